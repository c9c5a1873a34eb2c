"""Conflict (SPEC 8, step 5): an independent signal that is sure of the other side brings the arbiter in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from aaos.domain.decision.consensus import Stance, Voice
from aaos.domain.decision.rules import DecisionRules

_HALF = Fraction(1, 2)


@dataclass(frozen=True, slots=True)
class Opponent:
    """An independent signal for the other side, and how sure it is (0…1, distrust applied)."""

    name: str
    says: Stance
    confidence: float

    def to_dict(self) -> dict[str, Any]:
        """JSON-able fields."""
        return {"name": self.name, "says": self.says, "confidence": self.confidence}


def opponents(action: Stance, said: Sequence[Voice], rules: DecisionRules) -> tuple[Opponent, ...]:
    """Returns the voices that are for the other side, more than for this one, and at least so sure of it.

    A model whose own votes are split evenly is on neither side.
    """
    other: Stance = "SELL" if action == "BUY" else "BUY"
    return tuple(
        Opponent(voice.name, other, voice.confidence(other))
        for voice in said
        if voice.share(other) > _HALF and voice.confidence(other) >= rules.conflict_confidence
    )


def in_words(against: Sequence[Opponent]) -> str:
    """Returns who is against it, and how sure."""
    return ", ".join(f"{each.name} says {each.says} ({each.confidence:.2f})" for each in against)
