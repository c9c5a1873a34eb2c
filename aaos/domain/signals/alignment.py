"""Do the timeframes agree? Each is read by its momentum alone: where it is going, not whether it is stretched.

Coarser timeframes are resampled from the candles at hand, so only candles that have closed count, and a
timeframe with too few of them has no direction rather than a guessed one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

from aaos.domain.market import timeframe_ms
from aaos.domain.signals.params import AlignmentParams
from aaos.domain.signals.score import Direction

Verdict = Literal["full", "partial", "divergent"]


@dataclass(frozen=True, slots=True)
class TimeframeTrend:
    """One timeframe's direction, from its momentum −1…1 at its newest closed candle."""

    timeframe: str
    direction: Direction
    momentum: float
    newest_candle_ms: int

    def to_dict(self) -> dict[str, Any]:
        """JSON-able fields."""
        return asdict(self)

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        """What `to_dict` gave."""
        return cls(**stored)


def coarser_timeframes(timeframe: str, params: AlignmentParams) -> tuple[str, ...]:
    """The configured timeframes that candles of `timeframe` can be resampled to, shortest first."""
    own_ms = timeframe_ms(timeframe)
    return tuple(tf for tf in params.timeframes if timeframe_ms(tf) > own_ms and timeframe_ms(tf) % own_ms == 0)


def candles_for_alignment(timeframe: str, candles_needed: int, params: AlignmentParams) -> int:
    """How many candles of `timeframe` hold enough of every configured one, wherever its first one begins."""
    widest = max((timeframe_ms(tf) for tf in coarser_timeframes(timeframe, params)), default=timeframe_ms(timeframe))
    return (candles_needed + 2) * (widest // timeframe_ms(timeframe))  # one cut off at the start, one still open


def is_covered(parts: int, span_ms: int, timeframe: str, max_missing_share: float) -> bool:
    """Whether a span that was gathered from `parts` candles of `timeframe` misses few enough of them."""
    return parts >= (1 - max_missing_share) * (span_ms // timeframe_ms(timeframe))


def trend_of(timeframe: str, momentum: float, newest_candle_ms: int, params: AlignmentParams) -> TimeframeTrend:
    """The timeframe's trend: long or short once momentum reaches `min_momentum` either way."""
    direction: Direction = "neutral"
    if abs(momentum) >= params.min_momentum:
        direction = "long" if momentum > 0 else "short"
    return TimeframeTrend(timeframe, direction, momentum, newest_candle_ms)


def verdict_of(trends: Sequence[TimeframeTrend], unknown: Sequence[str] = ()) -> Verdict | None:
    """Full: all point the same way. Divergent: some point up, others down. Partial: the rest. None: fewer than two.

    Args:
        trends: the known timeframes'.
        unknown: the others; as long as there is one, agreement is not full.
    """
    if len(trends) < 2:  # noqa: PLR2004 (agreement takes two)
        return None
    directions = {trend.direction for trend in trends}
    if directions in ({"long"}, {"short"}):
        return "partial" if unknown else "full"
    return "divergent" if {"long", "short"} <= directions else "partial"


def aligned_share(trends: Sequence[TimeframeTrend], unknown: Sequence[str] = ()) -> float | None:
    """−1…1: timeframes that point up less those that point down, of all; None with fewer than two known."""
    if verdict_of(trends) is None:
        return None
    votes = [{"long": 1, "short": -1, "neutral": 0}[trend.direction] for trend in trends]
    return sum(votes) / (len(votes) + len(unknown))
