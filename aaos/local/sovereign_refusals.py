"""Answers other than 200, worded as the servers do that people run: vLLM, Ollama, a proxy in front of them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final

from aaos.domain.model_request import ModelRequest

DIALECTS: Final = ("vllm", "ollama")
RETRY_AFTER_S: Final = 1
RETRY_DATE_S: Final = 2
RETRY_ABSURD_S: Final = 31_536_000
CONTEXT_TOKENS: Final = 4_096
"""What a prompt is said to exceed, by the mode that says so of any prompt."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A response without a completion."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


def error_body(message: str, kind: str = "simulated", code: int | None = None, param: str | None = None) -> bytes:
    """Returns an error as OpenAI-style servers write it."""
    return json.dumps({"error": {"message": message, "type": kind, "param": param, "code": code}}).encode("ascii")


def model_missing(model: str, dialect: str) -> Refusal:
    """Returns how the server says that it does not serve a model."""
    if dialect == "ollama":
        return Refusal(HTTPStatus.NOT_FOUND, error_body(f"model '{model}' not found", "not_found_error"))
    message = f"The model `{model}` does not exist."
    return Refusal(HTTPStatus.NOT_FOUND, error_body(message, "NotFoundError", 404, "model"))


def context_exceeded(tokens_in: int, max_tokens: int, context_tokens: int) -> Refusal:
    """Returns how vLLM says that prompt and answer do not fit into the model's context window."""
    message = (
        f"This model's maximum context length is {context_tokens} tokens. However, you requested "
        f"{tokens_in + max_tokens} tokens ({tokens_in} in the messages, {max_tokens} in the completion). "
        "Please reduce the length of the messages or completion."
    )
    return Refusal(HTTPStatus.BAD_REQUEST, error_body(message, "BadRequestError", 400))


def refuse(mode: str, asked: ModelRequest, tokens_in: int, dialect: str) -> Refusal:
    """Returns the refusal of a mode of group `status`."""
    if mode == "model_missing":
        return model_missing(asked.model, dialect)
    if mode == "context_length":
        tokens_in = max(tokens_in, CONTEXT_TOKENS + 1)
        return context_exceeded(tokens_in, asked.max_tokens, CONTEXT_TOKENS)
    return REFUSALS[mode]()


def _too_many(retry_after: str | None) -> Refusal:
    headers = {} if retry_after is None else {"retry-after": retry_after}
    body = error_body("rate limit exceeded (simulated)", "RateLimitError", 429)
    return Refusal(HTTPStatus.TOO_MANY_REQUESTS, body, headers)


def _http_date(seconds_ahead: float) -> str:
    # RFC 9110, 5.6.7; Python leaves LC_TIME at C unless a program asks otherwise.
    return time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + seconds_ahead))


def _page(status: HTTPStatus) -> Refusal:
    page = (
        f"<html>\r\n<head><title>{status.value} {status.phrase}</title></head>\r\n<body>\r\n"
        f"<center><h1>{status.value} {status.phrase}</h1></center>\r\n<hr><center>proxy</center>\r\n"
        "</body>\r\n</html>\r\n"
    )
    return Refusal(status, page.encode("ascii"), {"content-type": "text/html"})


def _said(status: HTTPStatus, message: str, kind: str) -> Refusal:
    return Refusal(status, error_body(message, kind, status.value))


REFUSALS: Final[Mapping[str, Callable[[], Refusal]]] = {
    "429": lambda: _too_many(str(RETRY_AFTER_S)),
    "429_date": lambda: _too_many(_http_date(RETRY_DATE_S)),
    "429_absurd": lambda: _too_many(str(RETRY_ABSURD_S)),
    "429_silent": lambda: _too_many(None),
    "400": lambda: _said(HTTPStatus.BAD_REQUEST, "the request cannot be understood (simulated)", "BadRequestError"),
    "401": lambda: _said(HTTPStatus.UNAUTHORIZED, "Unauthorized (simulated)", "AuthenticationError"),
    "500": lambda: _said(HTTPStatus.INTERNAL_SERVER_ERROR, "the model crashed (simulated)", "InternalServerError"),
    "502": lambda: _page(HTTPStatus.BAD_GATEWAY),
    "503": lambda: _page(HTTPStatus.SERVICE_UNAVAILABLE),
    "504": lambda: _page(HTTPStatus.GATEWAY_TIMEOUT),
    "busy": lambda: Refusal(
        HTTPStatus.SERVICE_UNAVAILABLE,
        error_body("server busy, please try again. maximum pending requests exceeded", "api_error"),
    ),
    "redirect": lambda: Refusal(
        HTTPStatus.TEMPORARY_REDIRECT, error_body("moved (simulated)"), {"location": "/v1/chat/completions"}
    ),
}
"""What is refused with, by mode; model_missing and context_length depend on the request."""
