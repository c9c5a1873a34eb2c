"""Technical analysis: candles in, one explained score out. Pure; TA-Lib (53 MB) is loaded at the first call.

indicators  columns over candles          params  periods, thresholds, weights
score       figures → contributions       here    the output and the one function others call
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from aaos.domain.market import Candles, check_candles
from aaos.domain.signals.indicators import IndicatorColumns, compute_indicators
from aaos.domain.signals.params import MAX_SCORE, SignalParams
from aaos.domain.signals.score import Contribution, Direction, direction_of, score_figures, total_score
from aaos.errors import InsufficientData

__all__ = [
    "MAX_SCORE",
    "Contribution",
    "Direction",
    "IndicatorColumns",
    "SignalOutput",
    "SignalParams",
    "compute_indicators",
    "generate_signal",
    "signal_at",
]


@dataclass(frozen=True, slots=True)
class SignalOutput:
    """The technical reading of one series at its newest candle.

    `score` is the sum of the contributions' points, −130…+130; `confidence_pct` is its share of 130;
    `indicators` holds the newest figures, None where one is undefined.
    """

    symbol: str
    timeframe: str
    direction: Direction
    score: float
    confidence_pct: float
    contributions: tuple[Contribution, ...]
    indicators: Mapping[str, float | None]
    candles_used: int
    newest_candle_ms: int

    def to_dict(self) -> dict[str, Any]:
        """JSON-able fields; every number is finite."""
        return {**asdict(self), "contributions": [c.to_dict() for c in self.contributions]}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        """What `to_dict` gave; other keys are passed over."""
        own = {field.name: stored[field.name] for field in fields(cls)}
        contributions = tuple(Contribution.from_dict(c) for c in stored["contributions"])
        return cls(**{**own, "contributions": contributions})


def generate_signal(candles: Candles, params: SignalParams) -> SignalOutput:
    """The technical reading at the newest candle.

    Raises:
        InsufficientData: with fewer candles than the slowest indicator needs; names how many.
        InvalidMarketData: when a candle is malformed.
    """
    if len(candles) < params.candles_needed:
        raise InsufficientData(
            f"{candles.symbol} {candles.timeframe}: indicators need {params.candles_needed} closed candles,"
            f" there are {len(candles)}: wait for more or load more history"
        )
    check_candles(candles)
    return signal_at(candles, compute_indicators(candles, params), len(candles) - 1, params)


def signal_at(candles: Candles, columns: IndicatorColumns, index: int, params: SignalParams) -> SignalOutput:
    """The reading at candle `index`, from columns over the whole series; no later candle is looked at."""
    figures = columns.newest(index)
    share = _obv_share(candles, columns, index, params.obv_window)
    contributions = score_figures(figures, float(candles.close[index]), share, params)
    score = total_score(contributions)
    return SignalOutput(
        symbol=candles.symbol,
        timeframe=candles.timeframe,
        direction=direction_of(score, params.min_score),
        score=score,
        confidence_pct=100 * abs(score) / MAX_SCORE,
        contributions=contributions,
        indicators=figures,
        candles_used=index + 1,
        newest_candle_ms=int(candles.open_time_ms[index]),
    )


def _obv_share(candles: Candles, columns: IndicatorColumns, index: int, window: int) -> float | None:
    """OBV's change over the window as a share of its volume, −1…1; None without volume."""
    # As Python's floats: an overflow is infinity there, neither an error nor a warning.
    traded = sum(map(float, candles.volume[index - window + 1 : index + 1]))
    change = float(columns.obv[index]) - float(columns.obv[index - window])
    if traded <= 0 or not math.isfinite(traded) or not math.isfinite(change):
        return None
    return max(-1.0, min(1.0, change / traded))
