"""What a language model is asked and what comes back; stdlib only, so that small processes can afford it."""

from __future__ import annotations

import hashlib
import json
import math
import string
from dataclasses import asdict, dataclass
from typing import Final

CHARS_PER_TOKEN: Final = 4
"""English text averages about four characters a token (OpenAI and Qwen tokenizer guides)."""


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """One question to one model; `temperature`, `max_tokens` and `seed` are sampling parameters."""

    model: str
    system: str
    user: str
    temperature: float = 0.0
    max_tokens: int = 700
    seed: int | None = None

    @property
    def prompt_hash(self) -> str:
        """Returns the sha256 (hex) over the canonical JSON of all fields: equal requests, equal hash."""
        fields = asdict(self) | {"temperature": float(self.temperature)}
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


_LETTERS_AND_BLANKS: Final = (string.ascii_letters + string.whitespace).encode("ascii")


def estimate_tokens(text: str) -> int:
    """Returns how many tokens `text` takes, rather too many than too few.

    Letters and blanks count a quarter each. Every digit, punctuation mark and byte of other scripts
    counts one: the tokenizers of the models we use (Qwen, Llama 2) split numbers digit by digit, and a
    candle table estimated at four characters a token would be three times as large as believed.
    """
    encoded = text.encode("utf-8", "surrogatepass")
    others = len(encoded.translate(None, _LETTERS_AND_BLANKS))
    return others + math.ceil((len(encoded) - others) / CHARS_PER_TOKEN)
