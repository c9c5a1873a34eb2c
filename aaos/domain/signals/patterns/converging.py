"""Wedges and triangles: price swings between two lines that run together, until a close leaves them.

Which of the five it is depends on how far each line rises over the pattern, as a share of its width at the start:

    rising wedge         both rise        bearish      ascending triangle    upper flat, lower rises    bullish
    falling wedge        both fall        bullish      descending triangle   upper falls, lower flat    bearish
                                                       symmetrical triangle  upper falls, lower rises   neutral
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from aaos.domain.signals.patterns.candidate import Candidate
from aaos.domain.signals.patterns.lines import Line, contained, fitted, follow
from aaos.domain.signals.patterns.params import PatternParams
from aaos.domain.signals.patterns.shapes import PatternName, PatternSide
from aaos.domain.signals.patterns.view import Turn, View

# Full marks in quality: for two touches more than the fewest allowed, and for a shortest swing of half the mean length.
_MORE_TOUCHES = 3
_EVEN_STEP = 0.5
# By whether the upper and the lower line rise (1), fall (−1) or are flat (0).
_NAMES: dict[tuple[int, int], tuple[PatternName, PatternSide]] = {
    (1, 1): ("rising_wedge", "bearish"),
    (-1, -1): ("falling_wedge", "bullish"),
    (0, 1): ("ascending_triangle", "bullish"),
    (-1, 0): ("descending_triangle", "bearish"),
    (-1, 1): ("symmetrical_triangle", "neutral"),
}


@dataclass(frozen=True, slots=True)
class _Funnel:
    """Swings between two lines: their widths at the first and the last swing, and their worst residual in ATRs."""

    turns: Sequence[Turn]
    upper: Line
    lower: Line
    start_width: float
    end_width: float
    residual: float

    @property
    def span(self) -> int:
        """Candles from the first to the last swing."""
        return self.turns[-1].index - self.turns[0].index

    @property
    def apex(self) -> float:
        """How many candles after the last swing the converging lines meet.

        Counted from there, not from the series' beginning: a larger number would round it differently.
        """
        return self.end_width / (self.lower.slope - self.upper.slope)


def find_converging(view: View, turns: Sequence[Turn], lasts: range, params: PatternParams) -> list[Candidate]:
    """The longest wedge or triangle ending at each turn in `lasts` that was alive when that turn was known.

    Args:
        view: the candles, upright.
        turns: the known pivots in view by index, highs and lows together.
        lasts: the candles that may hold a pattern's last turn.
        params: what counts as one.

    Returns:
        One candidate for each status that it had.
    """
    found: list[Candidate] = []
    for swings in _zigzags(turns, lasts, params):
        unit = view.unit(swings[-1])
        if unit is not None:
            found += _longest(view, swings, unit, params)
    return found


def _zigzags(turns: Sequence[Turn], lasts: range, params: PatternParams) -> Iterator[list[Turn]]:
    """For each turn in `lasts` the swings that end there, as they were when it was known.

    Of neighbours on one side the more extreme is the swing. The first is left out: what came before it is not in
    view, so it need not be the extreme. A candle that is both a high and a low is passed over: which came first is
    not known.
    """
    swings: list[Turn] = []
    both = {a.index for a, b in pairwise(turns) if a.index == b.index}
    for turn in turns:
        if turn.index in both:
            continue
        if not swings or swings[-1].pivot.side != turn.pivot.side:
            swings.append(turn)
        elif (turn.height > swings[-1].height) == (turn.pivot.side == "high") and turn.height != swings[-1].height:
            swings[-1] = turn
        else:
            continue
        if turn.index in lasts and len(swings) > params.min_touches:
            yield swings[max(1, len(swings) - params.max_touches) :]


def _longest(view: View, swings: Sequence[Turn], unit: float, params: PatternParams) -> Sequence[Candidate]:
    """The pattern with most touches among those that end with the last swing and were alive once that was known."""
    longest: Sequence[Candidate] = ()
    for touches in range(params.min_touches, len(swings) + 1):
        taken = swings[-touches:]
        span = taken[-1].index - taken[0].index
        if span > params.max_span:
            break
        upper, above = fitted([turn for turn in taken if turn.pivot.side == "high"])
        lower, below = fitted([turn for turn in taken if turn.pivot.side == "low"])
        residual = max(above, below) / unit
        if residual > params.fit_atr:
            break  # more touches would only fit worse
        if span < params.min_span:
            continue
        start_width, end_width = (upper.at(turn.index) - lower.at(turn.index) for turn in (taken[0], taken[-1]))
        funnel = _Funnel(taken, upper, lower, start_width, end_width, residual)
        if _narrows(funnel, unit, params):
            longest = _judged(view, funnel, unit, params) or longest
    return longest


def _narrows(funnel: _Funnel, unit: float, params: PatternParams) -> bool:
    """Whether the lines run together, from far enough apart, to an apex neither too far nor too near.

    Near its apex lines cross by themselves: beyond three quarters of the way a triangle has lost its force (Edwards &
    Magee 1948), and one whose last point is known after it says nothing.
    """
    start_width, end_width = funnel.start_width, funnel.end_width
    return (
        start_width >= params.min_height_atr * unit
        and end_width >= 2 * params.fit_atr * unit
        and params.min_width_ratio <= end_width / start_width <= params.max_width_ratio
        and funnel.apex > funnel.turns[-1].pivot.known_at - funnel.turns[-1].index
    )


def _judged(view: View, funnel: _Funnel, unit: float, params: PatternParams) -> list[Candidate]:
    """A candidate for each status it had, when it has a name and no close broke out while it formed."""
    turns, upper, lower = funnel.turns, funnel.upper, funnel.lower
    above, below = (_trend(line.slope * funnel.span / funnel.start_width, params.flat_share) for line in (upper, lower))
    named, quality = _NAMES.get((above, below)), _quality(funnel, params)
    if named is None or quality < params.min_quality:
        return []
    if not contained(view, upper, lower, turns[0].index, turns[-1].index, params.break_atr * unit):
        return []
    name, side = named
    roles = [f"{'upper' if turn.pivot.side == 'high' else 'lower'}_touch" for turn in turns]
    return [
        Candidate(name, roles, turns, outcome, quality, view.price(_level(view, funnel, outcome.side)))
        for outcome in follow(view, turns[-1], (upper, lower), side, unit, params, funnel.apex)
    ]


def _trend(rise: float, flat: float) -> int:
    """The direction of a line that rises by that share of the pattern's width at the start."""
    return 0 if abs(rise) <= flat else 1 if rise > 0 else -1


def _level(view: View, funnel: _Funnel, side: PatternSide) -> float:
    """The line whose break counts, no later than at the apex; of a neutral pattern the one nearer to the close."""
    last = funnel.turns[-1].index
    after = min(view.at - last, funnel.apex)
    above, below = (line.at(last) + line.slope * after for line in (funnel.upper, funnel.lower))
    if side == "neutral":
        return above if 2 * view.closes[-1] >= above + below else below
    return above if side == "bullish" else below


def _quality(funnel: _Funnel, params: PatternParams) -> float:
    """The mean of fit, touches and evenness of the swings in time, each 0 … 1."""
    steps = [b.index - a.index for a, b in pairwise(funnel.turns)]
    parts = (
        1 - funnel.residual / params.fit_atr,
        min(1.0, (len(funnel.turns) - params.min_touches + 1) / _MORE_TOUCHES),
        min(1.0, min(steps) * len(steps) / sum(steps) / _EVEN_STEP),
    )
    return max(0.0, min(1.0, math.fsum(parts) / len(parts)))
