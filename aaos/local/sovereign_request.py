"""What the simulated model service is asked: the body of POST /v1/chat/completions, checked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from aaos.domain.model_request import AnswerFormat, ModelRequest

MODEL_NAME_CHARS: Final = 256
TEMPERATURE_MAX: Final = 2


class RefusedRequestError(Exception):
    """A request this service answers with 400; the message says why."""


def read_request(body: bytes) -> ModelRequest:
    """Returns what is asked, with the hash the asking side computes; raises RefusedRequestError."""
    try:
        asked = json.loads(body)
    except (ValueError, RecursionError):
        raise RefusedRequestError("the body is not JSON") from None
    if not isinstance(asked, dict):
        raise RefusedRequestError("the body is not a JSON object")
    if asked.get("stream"):
        raise RefusedRequestError("stream is not supported; leave it out")
    texts = _texts(asked.get("messages"))
    return ModelRequest(
        model=_typed(asked, "model", str, "")[:MODEL_NAME_CHARS],
        system="\n".join(text for role, text in texts if role == "system"),
        user="\n".join(text for role, text in texts if role != "system"),
        temperature=_temperature(asked),
        max_tokens=_typed(asked, "max_tokens", int, 0),
        seed=_typed(asked, "seed", int, None),
        answer_format=_answer_format(asked.get("response_format")),
    )


def _texts(messages: object) -> list[tuple[str, str]]:
    if not isinstance(messages, list) or not messages:
        raise RefusedRequestError("messages must be a list with at least one message")
    for message in messages:
        if not (isinstance(message, dict) and isinstance(message.get("content"), str)):
            raise RefusedRequestError("a message must be an object with a role and a text as content")
    return [(str(message.get("role")), message["content"]) for message in messages]


def _answer_format(wanted: object) -> AnswerFormat | None:
    """Returns the schema that the answer must follow (the votes do); None for other kinds of response_format."""
    described = wanted.get("json_schema") if isinstance(wanted, dict) else None
    if not isinstance(described, dict):
        return None
    schema = described.get("schema")
    if not isinstance(schema, dict):
        raise RefusedRequestError("response_format.json_schema.schema must be an object")
    return AnswerFormat(str(described.get("name", "")), schema)


def _typed(asked: Mapping[str, Any], name: str, kind: Any, default: Any) -> Any:
    value = asked.get(name)
    if value is None:
        if default == "":
            raise RefusedRequestError(f"{name} is missing")
        return default
    if not isinstance(value, kind) or isinstance(value, bool):
        raise RefusedRequestError(f"{name} has the wrong type")
    return value


def _temperature(asked: Mapping[str, Any]) -> float:
    value = _typed(asked, "temperature", (int, float), 0.0)
    if not 0 <= value <= TEMPERATURE_MAX:
        raise RefusedRequestError(f"temperature must be 0 to {TEMPERATURE_MAX}")
    return float(value)
