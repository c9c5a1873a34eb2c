"""The parameters of technical analysis (`config/signals.yaml`)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Annotated, ClassVar

from annotated_types import Ge, Gt, Le, Lt

from aaos.domain.market import TIMEFRAMES_MS
from aaos.domain.signals.divergence import DivergenceParams
from aaos.domain.signals.patterns import PatternParams
from aaos.errors import ConfigError

# The score's bound, from the specification of the signal output: −130 … +130.
MAX_SCORE = 130.0
_ROUNDING = 1e-9  # what float64 may add to a sum of twelve weights

Period = Annotated[int, Ge(2), Le(500)]
Percent = Annotated[float, Ge(0), Le(100)]
LowerHalf = Annotated[float, Ge(0), Lt(50)]
UpperHalf = Annotated[float, Gt(50), Le(100)]
Weight = Annotated[float, Ge(0), Le(MAX_SCORE)]


@dataclass(frozen=True, slots=True)
class AlignmentParams:
    """Which timeframes are read beside the candles' own, and from which momentum on one has a direction."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    timeframes: tuple[str, ...] = ("1m", "5m", "15m", "1h")
    min_momentum: Annotated[float, Gt(0), Lt(1)] = 0.25

    def __post_init__(self) -> None:
        unknown = [each for each in self.timeframes if each not in TIMEFRAMES_MS]
        widths = [TIMEFRAMES_MS.get(each, 0) for each in self.timeframes]
        if unknown or widths != sorted(set(widths)):
            raise ConfigError(
                f"signals.alignment.timeframes is {list(self.timeframes)}: name each of {', '.join(TIMEFRAMES_MS)} at"
                " most once, the shortest first"
            )


@dataclass(frozen=True, slots=True)
class SignalParams:
    """Periods, thresholds and weights; periods count candles, weights are points and add up to 130."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    rsi_period: Period = 14
    rsi_oversold: LowerHalf = 30.0
    rsi_overbought: UpperHalf = 70.0
    macd_fast: Period = 12
    macd_slow: Period = 26
    macd_signal: Period = 9
    williams_period: Period = 14
    williams_oversold: Annotated[float, Ge(-100), Le(0)] = -80.0
    williams_overbought: Annotated[float, Ge(-100), Le(0)] = -20.0
    ao_fast: Period = 5
    ao_slow: Period = 34
    stoch_period: Period = 14
    stoch_smooth_k: Annotated[int, Ge(1), Le(100)] = 3
    stoch_smooth_d: Annotated[int, Ge(1), Le(100)] = 3
    stoch_oversold: LowerHalf = 20.0
    stoch_overbought: UpperHalf = 80.0
    bollinger_period: Period = 20
    bollinger_deviations: Annotated[float, Gt(0), Le(10)] = 2.0
    ema_fast: Period = 20
    ema_slow: Period = 50
    kdj_period: Period = 14
    kdj_smooth_k: Annotated[int, Ge(1), Le(100)] = 3
    kdj_smooth_d: Annotated[int, Ge(1), Le(100)] = 3
    obv_window: Period = 20
    atr_period: Period = 14
    adx_period: Period = 14
    macd_full_atr: Annotated[float, Gt(0), Le(10)] = 0.3
    ao_full_atr: Annotated[float, Gt(0), Le(10)] = 2.0
    ema_full_atr: Annotated[float, Gt(0), Le(10)] = 1.5
    obv_full_share: Annotated[float, Gt(0), Le(1)] = 0.5
    adx_weak: Percent = 15.0
    adx_strong: Percent = 35.0
    counter_trend_share: Annotated[float, Ge(0), Le(1)] = 0.2
    pivot_strength: Annotated[int, Ge(1), Le(50)] = 5
    divergence: DivergenceParams = field(default_factory=DivergenceParams)
    divergence_hidden_share: Annotated[float, Ge(0), Le(1)] = 0.5
    divergence_full_strength: Annotated[float, Gt(0), Le(4)] = 1.0
    patterns: PatternParams = field(default_factory=PatternParams)
    pattern_forming_share: Annotated[float, Ge(0), Le(1)] = 0.3
    alignment: AlignmentParams = field(default_factory=AlignmentParams)
    max_missing_share: Annotated[float, Ge(0), Lt(1)] = 0.2
    max_gap_candles: Annotated[int, Ge(0), Le(10_000)] = 5
    weight_rsi: Weight = 10.0
    weight_macd: Weight = 20.0
    weight_williams: Weight = 5.0
    weight_ao: Weight = 10.0
    weight_stoch: Weight = 10.0
    weight_bollinger: Weight = 10.0
    weight_ema: Weight = 20.0
    weight_kdj: Weight = 5.0
    weight_obv: Weight = 10.0
    weight_divergence: Weight = 10.0
    weight_pattern: Weight = 10.0
    weight_alignment: Weight = 10.0
    min_score: Annotated[float, Gt(0), Le(MAX_SCORE)] = 40.0

    def __post_init__(self) -> None:
        for low, high in (
            ("williams_oversold", "williams_overbought"),
            ("macd_fast", "macd_slow"),
            ("ao_fast", "ao_slow"),
            ("ema_fast", "ema_slow"),
            ("adx_weak", "adx_strong"),
        ):
            if not getattr(self, low) < getattr(self, high):
                raise ConfigError(
                    f"signals.{low} is {getattr(self, low)}: it must be below {high} ({getattr(self, high)})"
                )
        total = math.fsum(self.weights)
        if abs(total - MAX_SCORE) > _ROUNDING:
            raise ConfigError(f"signals: the weights (weight_…) add up to {total:g}: they must add up to {MAX_SCORE:g}")
        if self.weight_alignment > 0 and self.momentum_weight <= 0:
            raise ConfigError(
                "signals.weight_alignment: timeframes are compared by their momentum, and the weights of macd, ema, ao"
                " and obv are all 0: give one of them points, or alignment none"
            )

    @property
    def weights(self) -> tuple[float, ...]:
        """Every weight, in points."""
        return tuple(getattr(self, name) for name in self.__slots__ if name.startswith("weight_"))

    @property
    def momentum_weight(self) -> float:
        """What the momentum family can give, in points."""
        return self.weight_macd + self.weight_ema + self.weight_ao + self.weight_obv

    @property
    def candles_needed(self) -> int:
        """The fewest candles with which every indicator is past its warm-up."""
        return max(
            self.rsi_period + 1,
            self.macd_slow + self.macd_signal - 1,
            self.williams_period,
            self.ao_slow,
            self.stoch_period + self.stoch_smooth_k + self.stoch_smooth_d - 2,
            self.bollinger_period,
            self.ema_slow,
            self.kdj_period + self.kdj_smooth_k + self.kdj_smooth_d - 2,
            self.obv_window + 1,
            self.atr_period + 1,
            2 * self.adx_period,
        )
