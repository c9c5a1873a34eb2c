"""The forms that answers are asked for in; standard library only: small processes read it, too."""

from __future__ import annotations

from typing import Any, Final, Literal

from aaos.domain.model_request import AnswerFormat

Signal = Literal["BUY", "SELL", "HOLD"]
SIGNALS: Final[tuple[Signal, ...]] = ("BUY", "SELL", "HOLD")

REASONING_MAX_CHARS: Final = 1_999
"""Longer reasoning is cut: 700 answer tokens are about 2,800 characters, and the raw answer is stored. Not 2,000: the
wire would send 1,999 (see there), and what is stored and hashed as asked would not be what was asked."""
VOTE_FIELDS: Final = ("reasoning", "signal", "confidence", "risk_score")
VOTE_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    # Reasoning first: a model that writes left to right then argues before it commits.
    "properties": {
        "reasoning": {"type": "string", "minLength": 1, "maxLength": REASONING_MAX_CHARS},
        "signal": {"type": "string", "enum": list(SIGNALS)},
        "confidence": {"type": "number", "minimum": 0, "maximum": 1},
        "risk_score": {"type": "number", "minimum": 0, "maximum": 1},
    },
    "required": list(VOTE_FIELDS),
    "additionalProperties": False,
}
"""JSON Schema of a vote, for servers that constrain their output (`response_format`)."""
VOTE_FORMAT: Final = AnswerFormat("vote", VOTE_SCHEMA)

ArbiterVerdict = Literal["proceed", "modify", "hold"]
ARBITER_VERDICTS: Final[tuple[ArbiterVerdict, ...]] = ("proceed", "modify", "hold")
CHANGES: Final = ("leverage", "size_fraction", "entry_price")
"""What an arbiter may change, within bounds that its question names."""
RULING_FIELDS: Final = ("reasoning", "verdict", *CHANGES)
RULING_REQUIRED: Final = ("reasoning", "verdict")
RULING_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    # The bounds of the figures are each question's own, and checked when the answer is read: one schema for all
    # questions is compiled once by a server that constrains its output.
    "properties": {
        "reasoning": {"type": "string", "minLength": 1, "maxLength": REASONING_MAX_CHARS},
        "verdict": {"type": "string", "enum": list(ARBITER_VERDICTS)},
        **{name: {"type": ["number", "null"]} for name in CHANGES},
    },
    "required": list(RULING_REQUIRED),
    "additionalProperties": False,
}
"""JSON Schema of an arbiter's ruling."""
RULING_FORMAT: Final = AnswerFormat("ruling", RULING_SCHEMA)
