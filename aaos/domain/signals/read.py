"""Reads a study at one of its candles: the figures there, turned into contributions, a score and a direction."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from aaos.domain.market import Candles, check_candles, check_coverage, timeframe_ms
from aaos.domain.signals.alignment import (
    TimeframeTrend,
    candles_for_alignment,
    coarser_timeframes,
    is_covered,
    trend_of,
    verdict_of,
)
from aaos.domain.signals.divergence import Divergence, find_divergences
from aaos.domain.signals.output import SignalOutput
from aaos.domain.signals.params import MAX_SCORE, SignalParams
from aaos.domain.signals.patterns import Pattern, find_patterns
from aaos.domain.signals.score import (
    Contribution,
    direction_of,
    momentum_contributions,
    momentum_share,
    score_figures,
    total_score,
)
from aaos.domain.signals.structure import alignment_contribution, divergence_contribution, pattern_contribution
from aaos.domain.signals.study import Study, TimeframeStudy, pivots_since, study_candles
from aaos.errors import InsufficientData


def generate_signal(candles: Candles, params: SignalParams) -> SignalOutput:
    """The technical reading at the newest candle; every candle given counts.

    Raises:
        InsufficientData: with fewer candles than the slowest indicator needs, or with too wide gaps among the
            newest of them; names how many, or the gap.
        InvalidMarketData: when a candle is malformed.
    """
    _require_enough(candles, len(candles), params)
    check_candles(candles)
    check_coverage(candles, params.candles_needed, params.max_missing_share)  # before the work, not only in signal_at
    return signal_at(study_candles(candles, params), len(candles) - 1, params)


def _require_enough(candles: Candles, count: int, params: SignalParams) -> None:
    if count < params.candles_needed:
        raise InsufficientData(
            f"{candles.symbol} {candles.timeframe}: indicators need {params.candles_needed} closed candles,"
            f" there are {count}: wait for more or load more history"
        )


def candles_to_read(timeframe: str, history_candles: int, params: SignalParams) -> int:
    """How many candles of `timeframe` an analysis reads: `history_candles`, and enough to know every timeframe."""
    return max(history_candles, candles_for_alignment(timeframe, params.candles_needed, params.alignment))


def signal_at(study: Study, index: int, params: SignalParams) -> SignalOutput:
    """The reading at candle `index` of a study; no later candle is looked at.

    Raises:
        InsufficientData: as `generate_signal` over the candles up to that one.
        IndexError: there is no such candle.
    """
    candles, columns = study.candles, study.columns
    if not 0 <= index < len(candles):
        raise IndexError(f"candle {index} of {len(candles)}: there are candles 0 … {len(candles) - 1}")
    _require_enough(candles, index + 1, params)
    check_coverage(candles, params.candles_needed, params.max_missing_share, index)
    base = TimeframeStudy(candles, columns)
    figures = columns.newest(index)
    share = _obv_share_at(base, index, params)
    indicators = score_figures(figures, float(candles.close[index]), share, params)
    momentum = momentum_share(indicators, params)
    own_trend = trend_of(candles.timeframe, momentum, _open_ms(candles, index), params.alignment)
    return assemble(
        moment_of(candles, index),
        figures,
        indicators,
        (own_trend, *_coarser_trends(study, index, params)),
        divergences_at(study, index, params),
        patterns_at(study, index, params),
        params,
    )


def divergences_at(study: Study, index: int, params: SignalParams) -> tuple[Divergence, ...]:
    """The divergences alive at candle `index` of a study."""
    c = study.columns
    lines = {"rsi": c.rsi, "macd": c.macd_line, "ao": c.ao, "obv": c.obv}
    pivots = pivots_since(study.pivots, int(study.stretch[index]), params.pivot_strength)
    return find_divergences(study.candles, lines, c.atr, pivots, index, params.divergence)


def patterns_at(study: Study, index: int, params: SignalParams) -> tuple[Pattern, ...]:
    """The patterns alive at candle `index` of a study."""
    pivots = pivots_since(study.pivots, int(study.stretch[index]), params.pivot_strength)
    return find_patterns(study.candles, study.columns.atr, pivots, index, params.patterns)


@dataclass(frozen=True, slots=True)
class Moment:
    """Where in which series a reading is taken."""

    symbol: str
    timeframe: str
    newest_candle_ms: int
    close: float
    candles_used: int
    candles_missing: int


def moment_of(candles: Candles, index: int) -> Moment:
    """The moment at which candle `index` was the newest."""
    newest_ms = _open_ms(candles, index)
    expected = (newest_ms - _open_ms(candles, 0)) // timeframe_ms(candles.timeframe) + 1
    close = float(candles.close[index])
    return Moment(candles.symbol, candles.timeframe, newest_ms, close, index + 1, expected - index - 1)


def assemble(
    moment: Moment,
    figures: Mapping[str, float | None],
    indicators: tuple[Contribution, ...],
    trends: tuple[TimeframeTrend, ...],
    divergences: tuple[Divergence, ...],
    patterns: tuple[Pattern, ...],
    params: SignalParams,
) -> SignalOutput:
    """The output made of its parts; the first of the trends is the series' own."""
    known = {trend.timeframe for trend in trends}
    unknown = [tf for tf in coarser_timeframes(moment.timeframe, params.alignment) if tf not in known]
    contributions = (
        *indicators,
        divergence_contribution(divergences, params),
        pattern_contribution(patterns, params),
        alignment_contribution(trends, unknown, params),
    )
    score = total_score(contributions)
    return SignalOutput(
        symbol=moment.symbol,
        timeframe=moment.timeframe,
        direction=direction_of(score, params.min_score),
        score=score,
        confidence_pct=100 * abs(score) / MAX_SCORE,
        contributions=contributions,
        indicators=figures,
        candles_used=moment.candles_used,
        newest_candle_ms=moment.newest_candle_ms,
        divergences=divergences,
        patterns=patterns,
        alignment=verdict_of(trends, unknown),
        timeframes=trends,
        candles_missing=moment.candles_missing,
        close=moment.close,
    )


def obv_share(change: float, traded: float) -> float | None:
    """OBV's change over a window as a share of the volume traded in it, −1…1; None without volume."""
    if traded <= 0 or not math.isfinite(traded) or not math.isfinite(change):
        return None
    return max(-1.0, min(1.0, change / traded))


def signed_volume(close: float, before: float, volume: float) -> float:
    """What a candle adds to OBV: its volume upwards, downwards, or nothing."""
    return volume if close > before else -volume if close < before else 0.0


def _obv_share_at(series: TimeframeStudy, index: int, params: SignalParams) -> float | None:
    """From the window's own candles: OBV's difference would lose them beside one huge volume long ago."""
    start = index - params.obv_window
    closes, volumes = (
        series.candles.close[start : index + 1].tolist(),
        series.candles.volume[start + 1 : index + 1].tolist(),
    )
    # Python's floats: an overflow is infinity there, neither an error nor a warning.
    return obv_share(sum(map(signed_volume, closes[1:], closes, volumes)), sum(volumes))


def _coarser_trends(study: Study, index: int, params: SignalParams) -> tuple[TimeframeTrend, ...]:
    """The trend of every coarser timeframe at its newest candle that had closed by candle `index`."""
    now_ms = _open_ms(study.candles, index) + timeframe_ms(study.candles.timeframe)
    trends = []
    for series in study.coarser:
        at = int(np.searchsorted(series.candles.close_times_ms, now_ms, side="right")) - 1
        if at + 1 >= params.candles_needed and _is_covered(study.candles, series.candles, at, params):
            close, figures = float(series.candles.close[at]), series.columns.newest(at)
            momentum = momentum_share(
                momentum_contributions(figures, close, _obv_share_at(series, at, params), params), params
            )
            opened_ms = _open_ms(series.candles, at)
            trends.append(trend_of(series.candles.timeframe, momentum, opened_ms, params.alignment))
    return tuple(trends)


def _is_covered(base: Candles, coarse: Candles, at: int, params: SignalParams) -> bool:
    start_ms = _open_ms(coarse, at + 1 - params.candles_needed)
    end_ms = _open_ms(coarse, at) + timeframe_ms(coarse.timeframe)
    first, end = np.searchsorted(base.open_time_ms, (start_ms, end_ms))
    return is_covered(int(end - first), end_ms - start_ms, base.timeframe, params.max_missing_share)


def _open_ms(candles: Candles, index: int) -> int:
    return int(candles.open_time_ms[index])
