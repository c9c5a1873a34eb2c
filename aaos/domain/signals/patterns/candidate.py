"""A pattern that was found, before overlaps are settled and it is told in prices and times."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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


# Heights are logarithms of prices over a reference that may change with the candle: the rest of a quality is rounding.
_QUALITY_DIGITS = 9


@dataclass(frozen=True, slots=True)
class Candidate:
    """A pattern's turns with their roles, how it stood for a while, its quality, its level now as a price (if any)."""

    name: PatternName
    roles: Sequence[str]
    turns: Sequence[Turn]
    outcome: Outcome
    quality: float
    level: float | None

    def is_told(self, met: Iterable[Candidate]) -> bool:
        """Whether it is still the best reading of its candles: none it met since it became known says more.

        Whether that one was told itself does not matter, nor whether it is alive still: so what was passed over once
        stays passed over, and nothing is told later than it became known.

        Args:
            met: every candidate known by now that was alive at some candle since this one became known; others may be
                among them.
        """
        known_at, worth = self.outcome.known_at, self._worth
        return not any(
            other.outcome.until >= known_at and self._overlaps(other) and other._worth > worth for other in met
        )

    def told(self, candles: Candles) -> Pattern | None:
        """The pattern itself; None when no float holds its level."""
        if self.level is None:
            return None
        points = tuple(
            PatternPoint(role, int(candles.open_time_ms[turn.index]), turn.pivot.price)
            for role, turn in zip(self.roles, self.turns, strict=True)
        )
        known_at_ms = int(candles.open_time_ms[self.outcome.known_at])
        return Pattern(self.name, self.outcome.side, self.outcome.status, points, self.quality, known_at_ms, self.level)

    def _overlaps(self, other: Candidate) -> bool:
        """Whether both read the same candles, in the same way."""
        same = self.name == other.name if self.name in _REVERSALS else other.name not in _REVERSALS
        return same and self.turns[0].index < other.turns[-1].index and other.turns[0].index < self.turns[-1].index

    @property
    def _worth(self) -> tuple[bool, float, int, int, str]:
        """How much it says: confirmed, then quality, then newest."""
        confirmed = self.outcome.status == "confirmed"
        quality = round(self.quality, _QUALITY_DIGITS)
        return confirmed, quality, self.turns[-1].index, self.turns[0].index, self.name


def newest_first(candidate: Candidate) -> tuple[int, int, int, str]:
    """Sorts the newest known first."""
    turns = candidate.turns
    return -candidate.outcome.known_at, -turns[-1].index, -turns[0].index, candidate.name
