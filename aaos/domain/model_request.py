"""What a language model is asked and what comes back; stdlib only, so that small processes can afford it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class AnswerFormat:
    """The JSON an answer must be, for servers that constrain their output: a name and a JSON Schema."""

    name: str
    schema: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """One question to one model; `temperature`, `max_tokens` and `seed` are sampling parameters."""

    model: str
    system: str
    user: str
    temperature: float = 0.0
    max_tokens: int = 700
    seed: int | None = None
    answer_format: AnswerFormat | None = None

    @property
    def prompt_hash(self) -> str:
        """Returns the sha256 (hex) over the canonical JSON of all fields: equal requests, equal hash.

        A request without `answer_format` hashes as it did before there was one: stored hashes stay true.
        """
        fields = asdict(self) | {"temperature": float(self.temperature)}
        if self.answer_format is None:
            del fields["answer_format"]
        canonical = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(canonical.encode("ascii")).hexdigest()


@dataclass(frozen=True, slots=True)
class ModelAnswer:
    """What a model said, as received: `content` is untrusted text.

    Attributes:
        tokens_in: prompt tokens the service counted (our estimate where it counts none).
        latency_ms: from the call to the last byte of the answer.
        finish_reason: the service's word: "stop", "length", …; "unknown" where it gives none.
        request_id: the service's id of the answer, "" where it gives none.
    """

    model: str
    content: str
    tokens_in: int
    tokens_out: int
    latency_ms: float
    finish_reason: str
    request_id: str
