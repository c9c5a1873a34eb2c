"""A series with everything that is read from it, so that its whole past can be read at the cost of one pass."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter

from aaos.domain.market import Candles, IntArray, first_since_gap, resample
from aaos.domain.signals.alignment import coarser_timeframes
from aaos.domain.signals.indicators import IndicatorColumns, compute_indicators
from aaos.domain.signals.params import SignalParams
from aaos.domain.signals.pivots import Pivot, find_pivots

_INDEX = attrgetter("index")


@dataclass(frozen=True, slots=True, eq=False)
class TimeframeStudy:
    """One timeframe's candles and their indicators."""

    candles: Candles
    columns: IndicatorColumns


@dataclass(frozen=True, slots=True, eq=False)
class Study:
    """A series, its indicators (n,), its pivots in order, and the coarser timeframes that have enough candles.

    `stretch` (n,) holds for each candle the first one since the newest wide gap. What stands at candle t in all of
    this depends on candles 0…t alone.
    """

    candles: Candles
    columns: IndicatorColumns
    pivots: tuple[Pivot, ...]
    stretch: IntArray
    coarser: tuple[TimeframeStudy, ...]


def study_candles(candles: Candles, params: SignalParams) -> Study:
    """The study of a checked series of at least `params.candles_needed` candles."""
    columns = compute_indicators(candles, params)
    pivots = find_pivots(candles.high, candles.low, params.pivot_strength)
    stretch = first_since_gap(candles, params.max_gap_candles)
    return Study(candles, columns, pivots, stretch, tuple(_coarser_studies(candles, params)))


def pivots_since(pivots: Sequence[Pivot], first: int, strength: int) -> Sequence[Pivot]:
    """The pivots whose neighbours on both sides lie at candle `first` or later."""
    return pivots[bisect_left(pivots, first + strength, key=_INDEX) :] if first else pivots


def _coarser_studies(candles: Candles, params: SignalParams) -> list[TimeframeStudy]:
    studies = []
    for timeframe in coarser_timeframes(candles.timeframe, params.alignment):
        coarse = resample(candles, timeframe)
        if len(coarse) >= params.candles_needed:
            studies.append(TimeframeStudy(coarse, compute_indicators(coarse, params)))
    return studies
