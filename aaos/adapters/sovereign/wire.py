"""The HTTP dialect of the model service (OpenAI-style chat completions): bytes out, bytes in, all checked."""

from __future__ import annotations

import string
from http import HTTPStatus
from typing import Annotated, Any, Final, Literal

from annotated_types import Ge, Le, Len
from pydantic import BaseModel, ConfigDict, FiniteFloat, StrictStr, ValidationError
from pydantic_core import PydanticSerializationError

from aaos.domain.sovereign import (
    VOTE_SCHEMA,
    ModelAnswer,
    ModelRequest,
    SovereignSettings,
    estimate_tokens,
    storable,
)
from aaos.errors import (
    AaosError,
    InputError,
    SovereignInvalidResponse,
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


class AnswerMessage(_In):
    """What the model said; null when it refused, called a tool or ran out of tokens while thinking."""

    content: StrictStr | None = None


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
    schema = {"type": "json_schema", "json_schema": {"name": "vote", "strict": True, "schema": VOTE_SCHEMA}}
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
            response_format=schema if settings.json_schema else None,
        )
        return body.model_dump_json(exclude_none=True).encode("utf-8")
    except ValidationError as error:
        raise InputError(f"this is no request a model can be sent: {_first_fault(error)}") from error
    except PydanticSerializationError:
        raise InputError("this is no request a model can be sent: its text is not valid Unicode") from None


def decode_answer(body: bytes, request: ModelRequest, latency_ms: float, header_id: str = "") -> ModelAnswer:
    """Returns the answer in the body of a 2xx; raises SovereignInvalidResponse naming what is wrong."""
    try:
        response = ChatResponse.model_validate_json(body)
    except ValidationError as error:
        raise invalid(f"not a chat completion: {_first_fault(error)}", body) from None
    choice, usage = response.choices[0], response.usage or Usage()
    finish_reason = _short(choice.finish_reason or "unknown")
    if choice.message.content is None:
        raise invalid(f"a chat completion without content (finish_reason {finish_reason})", body)
    content = storable(choice.message.content)
    asked_tokens = estimate_tokens(request.system) + estimate_tokens(request.user)
    tokens_in, tokens_out = usage.prompt_tokens, usage.completion_tokens
    return ModelAnswer(
        model=_short(response.model or request.model),
        content=content,
        tokens_in=asked_tokens if tokens_in is None else tokens_in,
        tokens_out=estimate_tokens(content) if tokens_out is None else tokens_out,
        latency_ms=latency_ms,
        finish_reason=finish_reason,
        request_id=_short(response.id or header_id),
    )


def refusal(status: int, retry_after: str | None, body: bytes) -> AaosError:
    """Returns the error that a status other than 2xx stands for."""
    said = f"HTTP {status} {_phrase(status)}".rstrip()
    if retry_after is not None:
        said += f"; Retry-After: {_short(retry_after)}"
    excerpt = _short(body.decode("utf-8", "replace"), EXCERPT_CHARS)
    if excerpt:
        said += f"; it says: {excerpt}"
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in TRY_AGAIN_STATUS:
        return SovereignUnavailable(f"Sovereign is not able to answer now: {said}")
    remedy = _REMEDIES.get(status, "correct the request or the sovereign settings")
    return SovereignRequestRefused(f"Sovereign refuses the request: {said}; {remedy}")


def invalid(what: str, body: bytes) -> SovereignInvalidResponse:
    """Returns the error for a body that cannot be used; it keeps the beginning of the body."""
    raw = storable(body[: 4 * RAW_KEPT_CHARS].decode("utf-8", "replace"))[:RAW_KEPT_CHARS]
    return SovereignInvalidResponse(f"Sovereign's answer is {what}", raw=raw)


_AUTHENTICATE: Final = "check Sovereign's API key"
_REMEDIES: Final = {
    301: "set Sovereign's URL to its final address (redirects are not followed)",
    302: "set Sovereign's URL to its final address (redirects are not followed)",
    307: "set Sovereign's URL to its final address (redirects are not followed)",
    308: "set Sovereign's URL to its final address (redirects are not followed)",
    400: "if it rejects response_format, set sovereign.json_schema to false",
    401: _AUTHENTICATE,
    403: _AUTHENTICATE,
    404: "check Sovereign's URL (it ends in /v1) and that the service serves this model",
    413: "send less context",
}


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
