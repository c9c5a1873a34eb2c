"""openai: the client that OpenAI-style services are usually asked with, here on one loop."""

from asking import AsyncCaller, serve
from openai import AsyncOpenAI


class OpenAi(AsyncCaller):
    """AsyncOpenAI with its retries off: a call is one exchange for everybody."""

    def prepare(self, url: str, request: dict) -> None:
        """See the base."""
        self._client = AsyncOpenAI(base_url=url, api_key="none", max_retries=0)
        self._request = request

    async def ask(self) -> str:
        """See the base."""
        answer = await self._client.chat.completions.create(**self._request)
        return answer.choices[0].message.content


serve(OpenAi())
