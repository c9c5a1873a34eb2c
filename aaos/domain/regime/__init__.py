"""Market regime, Wyckoff phase and volume trend of one series, each with confidence and the figures behind it.

params    windows, weights and thresholds (`config/regime.yaml`)
output    what a detection says: labels, confidences, events, evidence
columns   logarithms of prices: rules written for one side hold for the other upside down
trend     regime (trending_up, trending_down, ranging, volatile) and volume trend
events    climaxes, automatic rallies, tests, springs and upthrusts, signs of strength and weakness
phase     accumulation, markup, distribution, markdown, unknown
detect    all of it at the newest candle, candle by candle, or over a history
"""

from aaos.domain.regime.detect import RegimeStream, detect_regime, regimes_over
from aaos.domain.regime.output import EventName, EventSide, Labels, RegimeOutput, WyckoffEvent
from aaos.domain.regime.params import EventParams, PhaseParams, Regime, RegimeParams, VolumeTrend, WyckoffPhase

__all__ = [
    "EventName",
    "EventParams",
    "EventSide",
    "Labels",
    "PhaseParams",
    "Regime",
    "RegimeOutput",
    "RegimeParams",
    "RegimeStream",
    "VolumeTrend",
    "WyckoffEvent",
    "WyckoffPhase",
    "detect_regime",
    "regimes_over",
]
