"""Regime from ADX, the regression line's slope and the rank of realised volatility; volume trend from two means.

- **trending**: ADX is high and the regression line of the closes climbs or falls by enough.
- **volatile**: no trend, and realised volatility is high among its own past.
- **ranging**: neither.

Hysteresis is twofold: entering a label takes more than staying in it, and a new label counts only once the newest
`confirm_candles` candles have all called for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from aaos.domain.market import FloatArray
from aaos.domain.regime.columns import FLAT, Columns, figure, in_sigmas, ramp, windows
from aaos.domain.regime.params import Regime, RegimeParams, VolumeTrend
from aaos.domain.signals.indicators import average_directional_index

# An ADX of 50 is as strong as trends get (Wilder, 1978): confidence is full there.
_ADX_FULL = 50.0
# A label that the newest candle no longer calls for is held by confirmation alone: less than even odds.
_UNDECIDED = 0.5


@dataclass(frozen=True, slots=True)
class TrendFigures:
    """What the rules read at one candle; drift in sigmas of a random walk over as many candles, rank 0…1."""

    adx: float
    drift_sigmas: float
    fit: float
    volatility: float
    volatility_rank: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """A label, its confidence 0…1, and the figures it rests on."""

    label: Any
    confidence: float
    evidence: dict[str, Any]


def find_regime(columns: Columns, p: RegimeParams, previous: Regime | None) -> Verdict:
    """The regime at the newest candle.

    Args:
        columns: at least `candles_needed` candles.
        p: windows and thresholds.
        previous: the regime found last, if any.
    """
    measured = _measure(columns, p)
    wanted = [_called_for(each, p, previous) for each in measured]
    newest, figures = wanted[-1], measured[-1]
    agreed = previous is None or all(each == newest for each in wanted)
    label = newest if previous is None or agreed else previous
    confidence = _confidence(label, figures, p)
    if label != newest:
        confidence = _UNDECIDED * wanted.count(label) / len(wanted)
    return Verdict(label, confidence, _evidence(columns, figures, p, previous, newest))


def find_volume_trend(columns: Columns, p: RegimeParams, previous: VolumeTrend | None) -> Verdict:
    """Whether the newest window traded more or less than the one before; flat where nothing was traded before."""
    w = p.volume_window
    newest, before = float(columns.volume[-w:].mean()), float(columns.volume[-2 * w : -w].mean())
    ratio = newest / before if before > FLAT * newest else None
    label = _volume_label(ratio, p, previous)
    evidence = {
        "ratio": None if ratio is None else figure(ratio),
        "previous": previous,
        "newest_from_ms": int(columns.time_ms[-w]),
        "before_from_ms": int(columns.time_ms[-2 * w]),
    }
    return Verdict(label, _volume_confidence(label, ratio, p), evidence)


def _measure(columns: Columns, p: RegimeParams) -> list[TrendFigures]:
    """The figures of the newest `confirm_candles` candles, the oldest of them first."""
    n, k = len(columns), p.confirm_candles
    adx = _adx(columns, p.adx_period)[-k:]
    drift, fit = _drift(columns.close[n - p.slope_window - k + 1 :], p.slope_window)
    reach = min(n - 1, p.volatility_history + p.volatility_window + k - 2)
    volatility = _trailing_deviation(np.diff(columns.close)[-reach:], p.volatility_window)
    ends = range(len(volatility) - k + 1, len(volatility) + 1)
    ranks = [_rank_of_newest(volatility[max(0, end - p.volatility_history) : end]) for end in ends]
    return [TrendFigures(*map(float, each)) for each in zip(adx, drift, fit, volatility[-k:], ranks, strict=True)]


def _called_for(f: TrendFigures, p: RegimeParams, previous: Regime | None) -> Regime:
    direction: Regime = "trending_up" if f.drift_sigmas > 0 else "trending_down"
    staying = previous == direction
    adx, drift = (p.adx_leave, p.drift_leave_sigmas) if staying else (p.adx_enter, p.drift_enter_sigmas)
    if f.adx >= adx and abs(f.drift_sigmas) >= drift and f.drift_sigmas != 0:
        return direction
    rank = p.volatile_leave if previous == "volatile" else p.volatile_enter
    return "volatile" if f.volatility > FLAT and f.volatility_rank >= rank else "ranging"


def _confidence(regime: Regime, f: TrendFigures, p: RegimeParams) -> float:
    """0.5…1: how far the figures lie inside the regime; 0.5 at the threshold at which it would be left.

    Trending: mean of ADX's way from leaving to 50 and the regression's R². Volatile: the rank's way from
    leaving to 1. Ranging: what is missing to a trend and to volatility, whichever is nearer.
    """
    trend = (ramp(f.adx, p.adx_leave, _ADX_FULL) + f.fit) / 2
    turmoil = ramp(f.volatility_rank, p.volatile_leave, 1.0)
    inside = {"ranging": 1 - max(trend, turmoil), "volatile": turmoil}.get(regime, trend)
    return 0.5 + 0.5 * min(1.0, max(0.0, inside))


def _evidence(
    columns: Columns, f: TrendFigures, p: RegimeParams, previous: Regime | None, newest: Regime
) -> dict[str, Any]:
    volatility_from = max(0, len(columns) - p.volatility_window - p.volatility_history + 1)
    return {
        "adx": figure(f.adx),
        "drift_sigmas": figure(f.drift_sigmas),
        "fit": figure(f.fit),
        "volatility": figure(f.volatility),
        "volatility_rank": figure(f.volatility_rank),
        "newest_candle_says": newest,
        "previous": previous,
        "slope_from_ms": int(columns.time_ms[-p.slope_window]),
        "volatility_from_ms": int(columns.time_ms[volatility_from]),
    }


def _adx(columns: Columns, period: int) -> FloatArray:
    """ADX of log prices, so that a rise and its mirror image are equally strong.

    Its third argument is what moves are small against; moves in logarithms are relative to 1 already.
    """
    with np.errstate(invalid="ignore", divide="ignore"):  # where nothing moves there is no direction: 0
        return average_directional_index(columns.high, columns.low, np.ones(len(columns)), period)


def _drift(close: FloatArray, window: int) -> tuple[FloatArray, FloatArray]:
    """Per window: the least-squares line's rise in sigmas of a random walk, and its R² (0…1)."""
    y = windows(close, window)
    y = y - y.mean(axis=1, keepdims=True)
    x = np.arange(window) - (window - 1) / 2
    slope = y @ x / (x @ x)
    sigma = np.diff(y, axis=1).std(axis=1)
    spread = (y * y).sum(axis=1)
    explained = slope * slope * (x @ x)
    fit = np.where(spread > FLAT**2, np.minimum(1.0, explained / np.maximum(spread, FLAT**2)), 0.0)
    rises = zip((slope * (window - 1)).tolist(), sigma.tolist(), strict=True)
    return np.array([in_sigmas(rise, deviation, window - 1) for rise, deviation in rises]), fit


def _trailing_deviation(returns: FloatArray, window: int) -> FloatArray:
    """Standard deviation of each `window` returns, shape (n − window + 1,)."""
    rows = windows(returns, window)
    apart = rows - rows.mean(axis=1, keepdims=True)
    return np.asarray(np.sqrt(np.einsum("ij,ij->i", apart, apart) / window))  # half the time of numpy's std()


def _rank_of_newest(values: FloatArray) -> float:
    """The share of the values that the newest one exceeds, ties counting half: 0…1."""
    below, ties = np.count_nonzero(values < values[-1]), np.count_nonzero(values == values[-1]) - 1
    return float((below + ties / 2) / max(1, len(values) - 1))


def _volume_label(ratio: float | None, p: RegimeParams, previous: VolumeTrend | None) -> VolumeTrend:
    if ratio is None:
        return "flat"
    rising = p.volume_rising / (p.volume_stay if previous == "rising" else 1.0)
    declining = p.volume_declining * (p.volume_stay if previous == "declining" else 1.0)
    if ratio >= rising:
        return "rising"
    return "declining" if ratio <= declining else "flat"


def _volume_confidence(label: VolumeTrend, ratio: float | None, p: RegimeParams) -> float:
    """0…1: 0.5 at the threshold to enter the label, 1 at twice that distance from a ratio of 1.

    Flat: 0.5 at the nearer threshold, 1 at a ratio of 1. Below 0.5 only a label held by hysteresis; 0 without a ratio.
    """
    if ratio is None:
        return 0.0
    rise, fall = (ratio - 1) / (p.volume_rising - 1), (1 - ratio) / max(FLAT, 1 - p.volume_declining)
    outside = max(rise, fall)
    inside = 1 - outside if label == "flat" else outside - 1
    return 0.5 + 0.5 * min(1.0, max(-1.0, inside))
