"""Technical analysis: candles in, one explained score out. Pure; TA-Lib (53 MB) is loaded at the first call.

indicators  columns over candles                 streaming   the same, one candle at a time
pivots      turning points, once confirmed       divergence, patterns/   what their shape says
alignment   do the timeframes agree              params      periods, thresholds, weights
score, structure   figures and shapes → contributions
study       a series with all of that            read        a study at a candle → output
stream      the output, one candle at a time     output      what comes out and explains itself
"""

from __future__ import annotations

from aaos.domain.signals.alignment import TimeframeTrend, Verdict
from aaos.domain.signals.divergence import Divergence, DivergenceParams
from aaos.domain.signals.indicators import IndicatorColumns, compute_indicators
from aaos.domain.signals.output import SignalOutput
from aaos.domain.signals.params import MAX_SCORE, AlignmentParams, SignalParams
from aaos.domain.signals.patterns import Pattern, PatternParams, PatternPoint
from aaos.domain.signals.pivots import Pivot
from aaos.domain.signals.read import candles_to_read, generate_signal, signal_at
from aaos.domain.signals.score import Contribution, Direction
from aaos.domain.signals.stream import SignalStream
from aaos.domain.signals.study import Study, study_candles

__all__ = [
    "MAX_SCORE",
    "AlignmentParams",
    "Contribution",
    "Direction",
    "Divergence",
    "DivergenceParams",
    "IndicatorColumns",
    "Pattern",
    "PatternParams",
    "PatternPoint",
    "Pivot",
    "SignalOutput",
    "SignalParams",
    "SignalStream",
    "Study",
    "TimeframeTrend",
    "Verdict",
    "candles_to_read",
    "compute_indicators",
    "generate_signal",
    "signal_at",
    "study_candles",
]
