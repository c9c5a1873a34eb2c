"""What a chart pattern is: its name, side, status, points, quality, and the candle at which it was known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, Self

PatternName = Literal[
    "head_and_shoulders",
    "inverse_head_and_shoulders",
    "double_top",
    "double_bottom",
    "rising_wedge",
    "falling_wedge",
    "ascending_triangle",
    "descending_triangle",
    "symmetrical_triangle",
]
PatternSide = Literal["bullish", "bearish", "neutral"]
PatternStatus = Literal["forming", "confirmed"]


@dataclass(frozen=True, slots=True)
class PatternPoint:
    """One turning point of a pattern: what it is there, its candle's open time, its price."""

    role: str
    time_ms: int
    price: float

    def to_dict(self) -> dict[str, Any]:
        """JSON-able fields."""
        return asdict(self)

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        """What `to_dict` gave."""
        return cls(**stored)


@dataclass(frozen=True, slots=True)
class Pattern:
    """A pattern as it stands at one candle.

    Attributes:
        name: which of the nine.
        side: what it announces; a symmetrical triangle is neutral until it breaks.
        status: forming from the candle that confirms its last point, confirmed from the one whose close breaks `level`.
        points: its confirmed pivots, oldest first.
        quality: 0 (just allowed) … 1 (as in the textbook); docs/patterns.md says of what.
        known_at_ms: open time of the candle whose close made the status known.
        level: the neckline or trend line at the current candle, in price units: a close beyond it confirms.
    """

    name: PatternName
    side: PatternSide
    status: PatternStatus
    points: tuple[PatternPoint, ...]
    quality: float
    known_at_ms: int
    level: float

    @property
    def title(self) -> str:
        """As in `confirmed double bottom`."""
        return f"{self.status} {self.name.replace('_', ' ')}"

    def to_dict(self) -> dict[str, Any]:
        """JSON-able fields; every number is finite."""
        return {**asdict(self), "points": [point.to_dict() for point in self.points]}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        """What `to_dict` gave; other keys are passed over."""
        own = {field.name: stored[field.name] for field in fields(cls)}
        return cls(**{**own, "points": tuple(PatternPoint.from_dict(point) for point in stored["points"])})
