"""A pattern that was found, before overlaps are settled and it is told in prices and times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from aaos.domain.market import Candles
from aaos.domain.signals.patterns.lines import Outcome
from aaos.domain.signals.patterns.shapes import Pattern, PatternName, PatternPoint
from aaos.domain.signals.patterns.view import Turn

# One stretch of candles is read in one way by each family: a wedge is not a triangle as well.
_REVERSALS: tuple[PatternName, ...] = (
    "head_and_shoulders",
    "inverse_head_and_shoulders",
    "double_top",
    "double_bottom",
)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A pattern's turns with their roles, how it stands, its quality, and its level now as a price."""

    name: PatternName
    roles: Sequence[str]
    turns: Sequence[Turn]
    outcome: Outcome
    quality: float
    level: float

    def overlaps(self, other: Candidate) -> bool:
        """Whether both read the same candles, in the same way."""
        same = self.name == other.name if self.name in _REVERSALS else other.name not in _REVERSALS
        return same and self.turns[0].index < other.turns[-1].index and other.turns[0].index < self.turns[-1].index

    def told(self, candles: Candles) -> Pattern:
        """The pattern itself."""
        points = tuple(
            PatternPoint(role, int(candles.open_time_ms[turn.index]), turn.pivot.price)
            for role, turn in zip(self.roles, self.turns, strict=True)
        )
        known_at_ms = int(candles.open_time_ms[self.outcome.known_at])
        return Pattern(self.name, self.outcome.side, self.outcome.status, points, self.quality, known_at_ms, self.level)


def without_overlaps(found: Sequence[Candidate]) -> list[Candidate]:
    """Of candidates that overlap the one that says most (confirmed, then quality, then newest); newest known first."""
    kept: list[Candidate] = []
    for candidate in sorted(found, key=_worth, reverse=True):
        if not any(candidate.overlaps(other) for other in kept):
            kept.append(candidate)
    return sorted(kept, key=lambda c: (-c.outcome.known_at, -c.turns[-1].index, -c.turns[0].index, c.name))


def _worth(candidate: Candidate) -> tuple[bool, float, int, int, str]:
    turns = candidate.turns
    confirmed = candidate.outcome.status == "confirmed"
    return confirmed, candidate.quality, turns[-1].index, turns[0].index, candidate.name
