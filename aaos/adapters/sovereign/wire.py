"""The HTTP dialect of the model service (OpenAI-style chat completions): bytes out, bytes in, all checked.

What vLLM, Ollama, llama.cpp and LM Studio say in it, and how to set them up, stands in docs/sovereign.md.
"""

from __future__ import annotations

import re
import string
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Annotated, Any, Final, Literal

from annotated_types import Ge, Le, Len
from pydantic import BaseModel, ConfigDict, FiniteFloat, StrictStr, ValidationError
from pydantic_core import PydanticSerializationError

from aaos.domain.model_request import AnswerFormat, ModelAnswer, ModelRequest
from aaos.domain.sovereign import SovereignSettings, storable
from aaos.domain.tokens import estimate_tokens, prompt_tokens
from aaos.errors import (
    AaosError,
    InputError,
    SovereignInvalidResponse,
    SovereignModelMissing,
    SovereignRequestRefused,
    SovereignUnavailable,
)

RAW_KEPT_CHARS: Final = 8_192
"""What of an unusable body is kept for the record."""
EXCERPT_CHARS: Final = 200
"""What of a refusal's body goes into a message."""
ID_CHARS: Final = 128
TOKENS_MAX: Final = 2**31 - 1
"""Largest count a PostgreSQL integer holds; a service that counts more is not telling the truth."""
TRY_AGAIN_STATUS: Final = frozenset({408, 425, 429})
"""The 4xx that say "later", not "never" (RFC 9110, RFC 8470, RFC 6585)."""
RETRY_AFTER_MAX_S: Final = 3_600.0
"""A service that wants to be left alone for longer is asked again after an hour all the same."""
GRAMMAR_REPEATS_MAX: Final = 1_999
"""Longest `maxLength` sent: llama.cpp, and so Ollama and LM Studio, refused grammars with 2,000 repetitions and more
until September 2026 (ggml-org/llama.cpp issues 25746 and 27087)."""
DIGITS_PER_TOKEN_MAX: Final = 3
"""Current tokenizers put at most three digits into a token (Llama 3, GPT-4o, DeepSeek), Qwen and Gemma one."""
CHARS_PER_TOKEN_MAX: Final = 16
"""Far more than any text of ours reaches on average (about 4)."""


class _Out(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _In(BaseModel):
    # Servers add fields of their own to the envelope; none of them is read.
    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)


class ChatMessage(_Out):
    """One message of the conversation sent."""

    role: Literal["system", "user"]
    content: str


class ChatRequest(_Out):
    """Body of POST /chat/completions."""

    model: Annotated[str, Len(1, 256)]
    messages: tuple[ChatMessage, ...]
    temperature: Annotated[FiniteFloat, Ge(0), Le(2)]
    max_tokens: Annotated[int, Ge(1)]
    seed: int | None = None
    response_format: dict[str, Any] | None = None


class Part(_In):
    """A piece of a message's content, where a server gives it in pieces."""

    type: str
    text: str | None = None


class AnswerMessage(_In):
    """What the model said; empty when it refused, called a tool or ran out of tokens while thinking.

    The other fields only help to say why there is no content: a draft is no answer, whoever files it.
    """

    content: StrictStr | list[Part] | None = None
    reasoning: Any = None
    reasoning_content: Any = None
    refusal: Any = None
    tool_calls: Any = None


class Choice(_In):
    """One completion; we ask for one."""

    message: AnswerMessage
    finish_reason: str | None = None


class Usage(_In):
    """Tokens as the service counted them."""

    prompt_tokens: Annotated[int, Ge(0), Le(TOKENS_MAX)] | None = None
    completion_tokens: Annotated[int, Ge(0), Le(TOKENS_MAX)] | None = None


class ChatResponse(_In):
    """Body of a 2xx answer."""

    id: str | None = None
    model: str | None = None
    choices: Annotated[list[Choice], Len(1, 1)]
    usage: Usage | None = None


def encode_request(request: ModelRequest, settings: SovereignSettings) -> bytes:
    """Returns the HTTP body that asks `request`; raises InputError when it has no valid JSON form."""
    wanted = request.answer_format if settings.json_schema else None
    try:
        body = ChatRequest(
            model=request.model,
            messages=(
                ChatMessage(role="system", content=request.system),
                ChatMessage(role="user", content=request.user),
            ),
            temperature=request.temperature,
            max_tokens=request.max_tokens,
            seed=request.seed,
            response_format=None if wanted is None else _response_format(wanted),
        )
        return body.model_dump_json(exclude_none=True).encode("utf-8")
    except ValidationError as error:
        raise InputError(f"this is no request a model can be sent: {_first_fault(error)}") from error
    except PydanticSerializationError:
        raise InputError("this is no request a model can be sent: its text is not valid Unicode") from None


def decode_answer(body: bytes, request: ModelRequest, latency_ms: float, header_id: str = "") -> ModelAnswer:
    """Returns the answer in the body of a 2xx; raises SovereignInvalidResponse naming what is wrong.

    An answer that was cut off (`finish_reason` "length") is one: whoever reads it sees whether it is whole.
    """
    try:
        response = ChatResponse.model_validate_json(body)
    except ValidationError as error:
        raise invalid(f"not a chat completion: {_first_fault(error)}", body) from None
    choice, usage = response.choices[0], response.usage or Usage()
    content = _content(choice, body)
    tokens_in, tokens_out = usage.prompt_tokens, usage.completion_tokens
    _require_whole_prompt(request, tokens_in, body)
    return ModelAnswer(
        model=_short(response.model or request.model),
        content=content,
        tokens_in=tokens_in or prompt_tokens(request),
        tokens_out=estimate_tokens(content) if tokens_out is None else tokens_out,
        latency_ms=latency_ms,
        finish_reason=_short(choice.finish_reason or "unknown"),
        request_id=_short(response.id or header_id),
    )


def refusal(status: int, retry_after: float | None, body: bytes) -> AaosError:
    """Returns the error that a status other than 2xx stands for.

    Args:
        status: HTTP status.
        retry_after: seconds the service asks to wait, where it does (see `retry_after_s`).
        body: what came with it, or its beginning.
    """
    said = f"HTTP {status} {_phrase(status)}".rstrip()
    if retry_after is not None:
        said += f"; Retry-After: {retry_after:g} s"
    text = body.decode("utf-8", "replace")
    excerpt = _short(text, EXCERPT_CHARS)
    if excerpt:
        said += f"; it says: {excerpt}"
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in TRY_AGAIN_STATUS:
        return SovereignUnavailable(f"Sovereign is not able to answer now: {said}", status, retry_after)
    if status == HTTPStatus.NOT_FOUND or (status in _WRONG_REQUEST and _MODEL_MISSING.search(text)):
        return SovereignModelMissing(f"Sovereign does not serve this model: {said}; {_MISSING_REMEDY}")
    return SovereignRequestRefused(f"Sovereign refuses the request: {said}; {_remedy(status, text)}")


def retry_after_s(value: str | None, date: str | None = None) -> float | None:
    """Returns the seconds that a Retry-After header asks to wait, 0 … 3,600; None for none and for nonsense.

    Args:
        value: the header: seconds, or a moment as HTTP writes it (RFC 9110, 10.2.3).
        date: the answer's Date header: moments are the service's, so its clock counts, not ours.
    """
    if value is None or not value.isascii():
        return None
    if _SECONDS.fullmatch(value.strip()):
        return min(float(value), RETRY_AFTER_MAX_S)
    moment = _moment(value)
    if moment is None:
        return None
    now = _moment(date or "") or datetime.now(UTC)
    return min(max((moment - now).total_seconds(), 0.0), RETRY_AFTER_MAX_S)


def invalid(what: str, body: bytes) -> SovereignInvalidResponse:
    """Returns the error for a body that cannot be used; it keeps the beginning of the body."""
    raw = storable(body[: 4 * RAW_KEPT_CHARS].decode("utf-8", "replace"))[:RAW_KEPT_CHARS]
    return SovereignInvalidResponse(f"Sovereign's answer is {what}", raw=raw)


def _response_format(wanted: AnswerFormat) -> dict[str, Any]:
    schema = _grammatical(wanted.schema)
    return {"type": "json_schema", "json_schema": {"name": wanted.name, "strict": True, "schema": schema}}


def _grammatical(schema: Any) -> Any:
    """Returns the schema with no `maxLength` that a server's grammar cannot express."""
    if isinstance(schema, Mapping):
        return {
            key: min(value, GRAMMAR_REPEATS_MAX)
            if key == "maxLength" and isinstance(value, int)
            else _grammatical(value)
            for key, value in schema.items()
        }
    return [_grammatical(item) for item in schema] if isinstance(schema, list | tuple) else schema


def _content(choice: Choice, body: bytes) -> str:
    """Returns the text of the answer, raises SovereignInvalidResponse saying why there is none."""
    content = choice.message.content
    if isinstance(content, list):
        content = "".join(_text_of(part, body) for part in content)
    if content is None or not content.strip():
        raise invalid(f"a chat completion without content: {_why_empty(choice)}", body)
    return storable(content)


def _text_of(part: Part, body: bytes) -> str:
    if part.type in _THOUGHT:
        return ""
    if part.type != "text" or part.text is None:
        raise invalid(f"not a chat completion: content with a part of type {_short(part.type)}", body)
    return part.text


def _why_empty(choice: Choice) -> str:
    said = choice.message
    if said.refusal:
        return "the model refuses"
    if said.tool_calls:
        return "the model calls a tool, though none was offered"
    if choice.finish_reason == "length":
        return "all its tokens went into thinking (raise sovereign.max_tokens, or turn the model's thinking off)"
    if said.reasoning or said.reasoning_content:
        return "only thoughts (turn the model's thinking off, or correct the service's reasoning parser)"
    return f"finish_reason {_short(choice.finish_reason or 'unknown')}"


def _require_whole_prompt(request: ModelRequest, read_tokens: int | None, body: bytes) -> None:
    """Refuses an answer to less than was asked: Ollama cuts off the beginning of a long prompt and says nothing.

    What it cuts first is what holds the model to its task. The only sign is the number of tokens it has read.
    """
    if not read_tokens:
        return
    least = _least_tokens(request.system) + _least_tokens(request.user)
    if read_tokens < least:
        raise invalid(
            f"about a part of the prompt only: the service read {read_tokens} tokens of at least {least} "
            "(give it a longer context, see docs/sovereign.md, or lower sovereign.context_budget_tokens)",
            body,
        )


def _least_tokens(text: str) -> int:
    """Returns how many tokens `text` takes at the very least, whatever the tokenizer."""
    encoded = text.encode("utf-8", "surrogatepass")
    others = len(encoded.translate(None, _DIGITS))
    return (len(encoded) - others) // DIGITS_PER_TOKEN_MAX + others // CHARS_PER_TOKEN_MAX


_THOUGHT: Final = frozenset({"thinking", "reasoning"})
_DIGITS: Final = string.digits.encode("ascii")
_SECONDS: Final = re.compile(r"[0-9]{1,12}(\.[0-9]{1,6})?")
_WRONG_REQUEST: Final = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY})
# LM Studio and llama.cpp's router answer 400 where others answer 404.
_MODEL_MISSING: Final = re.compile(
    r"model_not_found|no models? loaded|invalid model (identifier|name)|failed to load model"
    r"|\bmodels?\b[^.\n]{0,200}?(not found|does not exist)",
    re.IGNORECASE,
)
_CONTEXT: Final = re.compile(r"context (length|size|window)|exceed_context_size|too many tokens", re.IGNORECASE)
_GRAMMAR: Final = re.compile(r"grammar|schema|response_format|guided|structured", re.IGNORECASE)

_AUTHENTICATE: Final = "check Sovereign's API key"
_MOVED: Final = "set Sovereign's URL to its final address (redirects are not followed)"
_MISSING_REMEDY: Final = "check the model's name, and that Sovereign's URL ends in /v1"
_REMEDIES: Final = {
    301: _MOVED,
    302: _MOVED,
    307: _MOVED,
    308: _MOVED,
    401: _AUTHENTICATE,
    403: _AUTHENTICATE,
    413: "send less context",
}


def _remedy(status: int, text: str) -> str:
    if status in _WRONG_REQUEST and _CONTEXT.search(text):
        return "give the service a longer context, or lower sovereign.context_budget_tokens and max_tokens"
    if status in _WRONG_REQUEST and _GRAMMAR.search(text):
        return "set sovereign.json_schema to false"
    return _REMEDIES.get(status, "correct the request or the sovereign settings")


def _moment(value: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


def _first_fault(error: ValidationError) -> str:
    """Returns where and what, without the input: it may be long or secret."""
    fault = error.errors(include_url=False, include_context=False, include_input=False)[0]
    place = ".".join(str(step) for step in fault["loc"])
    return _short(f"{place}: {fault['msg']}" if place else fault["msg"], EXCERPT_CHARS)


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


_PRINTABLE: Final = frozenset(string.printable) - frozenset("\t\n\r\x0b\x0c")


def _short(text: str, limit: int = ID_CHARS) -> str:
    """Returns untrusted `text` on one printable ASCII line of at most `limit` characters."""
    line = "".join(c if c in _PRINTABLE else " " for c in text[: 4 * limit])
    return " ".join(line.split())[:limit]
