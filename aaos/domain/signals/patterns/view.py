"""The stretch of candles in which patterns are looked for, in logarithms of price.

Logarithms, because equal steps of them are equal percentages: a trend line across a large move is straight there and
turning the chart upside down (p → c²/p) swaps tops and bottoms exactly. Time is counted in candles, as indicators and
charts count it: a gap in the data is one step.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from aaos.domain.market import Candles, FloatArray
from aaos.domain.signals.patterns.params import PatternParams
from aaos.domain.signals.pivots import Pivot

# An ATR this small beside the price is rounding, not movement; one above the price measures nothing a line could hold.
_FLAT_RELATIVE = 1e-10
_WILD_RELATIVE = 1.0
_HIGHEST = 700.0  # exp(710) fits no float


@dataclass(frozen=True, slots=True)
class Turn:
    """A pivot known at the view's candle: its index in the series, its height in log price, and the pivot itself."""

    index: int
    height: float
    pivot: Pivot


@dataclass(frozen=True, slots=True)
class View:
    """Candles start … at of a series, seen upright or upside down.

    Attributes:
        at: the current candle's index in the series.
        start: index of the first candle in view.
        reference: the price at height 0.
        closes: log(close / reference) from candle `start` on; `highs` and `lows` alike.
        tops: the known pivot highs in view, oldest first; `bottoms` alike.
        atr: the series' ATR in price units, shape (n,).
        close: the series' closes in price units, shape (n,).
        upside_down: whether heights are negated, and with them tops and bottoms swapped.
    """

    at: int
    start: int
    reference: float
    closes: list[float] = field(repr=False)
    highs: list[float] = field(repr=False)
    lows: list[float] = field(repr=False)
    tops: list[Turn] = field(repr=False)
    bottoms: list[Turn] = field(repr=False)
    atr: FloatArray = field(repr=False)
    close: FloatArray = field(repr=False)
    upside_down: bool

    def unit(self, turn: Turn) -> float | None:
        """One ATR in log price as of the candle at which the turn was known; None where nothing moves.

        Taken once, when the pattern's last turn is known, so that no verdict changes in hindsight.
        """
        known_at = turn.pivot.known_at
        relative = float(self.atr[known_at]) / float(self.close[known_at])
        return relative if _FLAT_RELATIVE < relative <= _WILD_RELATIVE else None

    def price(self, height: float) -> float | None:
        """The price at that height, or None when no float holds it."""
        height = -height if self.upside_down else height
        price = self.reference * math.exp(height) if height < _HIGHEST else math.inf
        return price if 0 < price < math.inf else None


def see(
    candles: Candles, atr: FloatArray, pivots: Sequence[Pivot], at: int, params: PatternParams
) -> tuple[View, View, list[Turn]]:
    """What can matter at candle `at`: the view upright, the view upside down, and the known pivots in view by index."""
    start = max(0, at + 1 - params.candles_needed)
    stretch = slice(start, at + 1)
    # Dividing by a power of two is exact: no rounding tells one unit of price, or one candle, from the next.
    reference = math.ldexp(1.0, math.frexp(float(candles.close[at]))[1])
    with np.errstate(all="ignore"):  # a ratio beyond float64 is infinite here, and no pattern is found on it
        closes, highs, lows = (
            np.log(column[stretch] / reference) for column in (candles.close, candles.high, candles.low)
        )
    upright = {"high": highs.tolist(), "low": lows.tolist()}
    first = at + 1 - params.lookback - params.max_span // 2  # half a span more, for the swing before a first point
    turns = [Turn(p.index, upright[p.side][p.index - start], p) for p in _in_view(pivots, max(0, first), at)]
    tops = [turn for turn in turns if turn.pivot.side == "high"]
    bottoms = [turn for turn in turns if turn.pivot.side == "low"]
    own = (atr, candles.close)
    up = View(
        at, start, reference, closes.tolist(), upright["high"], upright["low"], tops, bottoms, *own, upside_down=False
    )
    columns = ((-closes).tolist(), (-lows).tolist(), (-highs).tolist())
    down = View(at, start, reference, *columns, _turned(bottoms), _turned(tops), *own, upside_down=True)
    return up, down, turns


def _in_view(pivots: Sequence[Pivot], first: int, at: int) -> list[Pivot]:
    """The pivots known at candle `at` on candle `first` or later; found by bisection, however long the history."""
    start = bisect_left(pivots, first, key=lambda pivot: pivot.index)
    end = bisect_left(pivots, at + 1, lo=start, key=lambda pivot: pivot.index)
    return [pivot for pivot in pivots[start:end] if pivot.known_at <= at]


def _turned(turns: list[Turn]) -> list[Turn]:
    return [Turn(turn.index, -turn.height, turn.pivot) for turn in turns]
