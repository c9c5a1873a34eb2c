"""Contestants of `./run bench sovereign` in aaos's own Python: `python -m bench.callers NAME`; see peers/asking.py."""

from __future__ import annotations

import http.client
import json
import sys
import urllib.parse
from collections.abc import Callable, Mapping
from typing import Any

from bench.peers.asking import AsyncCaller, Caller, serve

Request = Mapping[str, Any]


class Floor(Caller):
    """The standard library's client on one open connection, nothing checked: what asking costs whoever asks."""

    def prepare(self, url: str, request: Request) -> None:
        """See the base."""
        at = urllib.parse.urlsplit(url)
        assert at.hostname is not None
        self._connection = http.client.HTTPConnection(at.hostname, at.port)
        self._path = at.path + "/chat/completions"
        self._body = json.dumps(request).encode()

    def ask(self) -> str:
        """See the base."""
        self._connection.request("POST", self._path, self._body, {"Content-Type": "application/json"})
        return str(json.loads(self._connection.getresponse().read())["choices"][0]["message"]["content"])

    alone = True


class BareHttpx(AsyncCaller):
    """httpx.AsyncClient as its documentation shows it: no deadline, no limit, nothing checked."""

    def prepare(self, url: str, request: Request) -> None:
        """See the base."""
        import httpx

        limits = httpx.Limits(max_connections=256, max_keepalive_connections=256)
        self._client = httpx.AsyncClient(limits=limits, timeout=None)
        self._url, self._request = url + "/chat/completions", request

    async def ask(self) -> str:
        """See the base."""
        answer = await self._client.post(self._url, json=self._request)
        return str(answer.json()["choices"][0]["message"]["content"])


class Aaos(Caller):
    """SovereignClient, asked from threads as workers do it."""

    def prepare(self, url: str, request: Request) -> None:
        """See the base."""
        import structlog

        from aaos.adapters.sovereign.client import SovereignClient
        from aaos.domain.model_request import AnswerFormat, ModelRequest
        from aaos.domain.sovereign import SovereignSettings

        structlog.configure(cache_logger_on_first_use=True)
        self._client = SovereignClient(url, SovereignSettings(pool_size=256, context_cap_tokens=1_000_000))
        wanted = request["response_format"]["json_schema"]
        self._request = ModelRequest(
            model=request["model"],
            system=request["messages"][0]["content"],
            user=request["messages"][1]["content"],
            temperature=request["temperature"],
            max_tokens=request["max_tokens"],
            seed=request["seed"],
            answer_format=AnswerFormat(wanted["name"], wanted["schema"]),
        )

    def ask(self) -> str:
        """See the base."""
        return self._client.ask(self._request).content


CALLERS: Mapping[str, Callable[[], Caller | AsyncCaller]] = {"floor": Floor, "httpx": BareHttpx, "aaos": Aaos}

if __name__ == "__main__":
    serve(CALLERS[sys.argv[1]]())
