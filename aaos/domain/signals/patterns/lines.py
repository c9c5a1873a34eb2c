"""Trend lines, and what the closes after a pattern's last point made of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from aaos.domain.signals.patterns.params import PatternParams
from aaos.domain.signals.patterns.shapes import PatternSide, PatternStatus
from aaos.domain.signals.patterns.view import Turn, View


@dataclass(frozen=True, slots=True)
class Line:
    """A straight line in log price: its height at candle `origin` and its rise per candle."""

    origin: int
    height: float
    slope: float

    def at(self, index: int) -> float:
        """Height at candle `index`."""
        return self.height + self.slope * (index - self.origin)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a pattern stood for a while: status, side, the candle that made it known, and the last one it held for.

    That last candle may lie after the newest one: so long it will hold if no close ends it before.
    """

    status: PatternStatus
    side: PatternSide
    known_at: int
    until: int


def through(first: Turn, second: Turn) -> Line:
    """The line through two turns."""
    return Line(first.index, first.height, (second.height - first.height) / (second.index - first.index))


def fitted(turns: Sequence[Turn]) -> tuple[Line, float]:
    """The least-squares line through at least two turns, and its largest residual."""
    origin = turns[0].index
    steps, heights = [turn.index - origin for turn in turns], [turn.height for turn in turns]
    mean_step, mean_height = sum(steps) / len(turns), sum(heights) / len(turns)
    spread = slant = 0.0
    for step, height in zip(steps, heights, strict=True):
        spread += (step - mean_step) ** 2
        slant += (step - mean_step) * (height - mean_height)
    slope = slant / spread
    start = mean_height - slope * mean_step
    residual = max(abs(height - start - slope * step) for step, height in zip(steps, heights, strict=True))
    return Line(origin, start, slope), residual


def contained(view: View, upper: Line, lower: Line, first: int, last: int, margin: float) -> bool:
    """Whether every close from candle `first` to `last` lies between the lines, give or take the margin."""
    above, below = upper.at(first) + margin, lower.at(first) - margin
    for close in view.closes[first - view.start : last + 1 - view.start]:
        if not below <= close <= above:
            return False
        above += upper.slope
        below += lower.slope
    return True


def follow(
    view: View,
    last: Turn,
    bounds: tuple[Line, Line],
    side: PatternSide,
    unit: float,
    params: PatternParams,
    apex: float = math.inf,
) -> tuple[Outcome, ...]:
    """What became of a pattern up to the view's candle: forming, confirmed, or first one and then the other.

    A close beyond a bound by `break_atr` ATRs confirms it on the side it announces (either side when it is neutral)
    and ends it on the other. It also ends when no break came in `max_wait` candles or before the apex, and once
    confirmed, after `max_age` candles or when a close passes the far bound as it stood at the break. Nothing, when it
    was over before its last turn was known.

    Args:
        view: the candles.
        last: the pattern's last turn.
        bounds: upper and lower line.
        side: what the pattern announces.
        unit: one ATR in log price.
        params: margins and ages.
        apex: how many candles after the last turn the lines meet.
    """
    upper, lower = bounds
    margin = params.break_atr * unit
    known_at = last.pivot.known_at
    given_up = last.index + int(min(params.max_wait, apex))
    for i in range(last.index + 1, min(given_up, view.at) + 1):
        close = view.closes[i - view.start]
        broken: PatternSide = "neutral"
        if close > upper.at(i) + margin:
            broken, far = "bullish", lower.at(i) - margin
        elif close < lower.at(i) - margin:
            broken, far = "bearish", upper.at(i) + margin
        if broken != "neutral":
            outcomes = [Outcome("forming", side, known_at, i - 1)]
            if side in ("neutral", broken):
                outcomes.append(_confirmed(view, last, i, broken, far, params))
            return tuple(each for each in outcomes if each.known_at <= each.until)
    return (Outcome("forming", side, known_at, given_up),) if known_at <= given_up else ()


def _confirmed(view: View, last: Turn, broken_at: int, side: PatternSide, far: float, params: PatternParams) -> Outcome:
    """A pattern that broke at that candle, until it is too old or a later close goes past the far bound."""
    known_at = max(broken_at, last.pivot.known_at)
    until = min(known_at + params.max_age, last.index + params.max_life)
    later = view.closes[broken_at + 1 - view.start : until + 1 - view.start]
    sign = 1 if side == "bullish" else -1
    failed = (i for i, close in enumerate(later, start=broken_at + 1) if sign * close < sign * far)
    return Outcome("confirmed", side, known_at, next(failed, until + 1) - 1)
