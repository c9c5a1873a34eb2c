"""Market regime, Wyckoff phase and volume trend of one series, each with the figures that it rests on.

- **Regime**: trending when ADX is high and the regression line climbs or falls by enough; volatile when
  realised volatility is high among its own past; otherwise ranging. Entering takes more than staying.
- **Phase** (after Wyckoff's cycle): a trend is markup or markdown. A range after a fall in which buyers carry
  their share of the volume is accumulation, a range after a rise in which sellers do is distribution;
  the rest is unknown.
- **Volume trend**: the mean volume of the newest window beside that of the window before.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from annotated_types import Ge, Gt, Le

from aaos.domain.market import Candles, FloatArray, check_candles
from aaos.domain.signals.indicators import average_directional_index, normalised
from aaos.errors import ConfigError, InsufficientData

Regime = Literal["trending_up", "trending_down", "ranging", "volatile"]
WyckoffPhase = Literal["accumulation", "markup", "distribution", "markdown", "unknown"]
VolumeTrend = Literal["rising", "declining", "flat"]

Window = Annotated[int, Ge(5), Le(2_000)]
Sigmas = Annotated[float, Ge(0), Le(10)]
Share = Annotated[float, Ge(0), Le(1)]

# Below this deviation of log returns a series is flat: what is left is float64 rounding.
_FLAT_SIGMA = 1e-12
# An ADX of 50 is as strong as trends get (Wilder, 1978): confidence is full there.
_ADX_FULL = 50.0


@dataclass(frozen=True, slots=True)
class RegimeParams:
    """Windows in candles, thresholds to enter and to leave a regime (`config/regime.yaml`)."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    adx_period: Annotated[int, Ge(2), Le(200)] = 14
    adx_enter: Annotated[float, Ge(0), Le(100)] = 25.0
    adx_leave: Annotated[float, Ge(0), Le(100)] = 20.0
    slope_window: Window = 50
    drift_enter_sigmas: Sigmas = 1.0
    drift_leave_sigmas: Sigmas = 0.5
    volatility_window: Window = 20
    volatility_history: Window = 150
    volatile_enter: Share = 0.95
    volatile_leave: Share = 0.85
    volume_window: Window = 20
    volume_rising: Annotated[float, Gt(1), Le(10)] = 1.2
    volume_declining: Annotated[float, Gt(0), Le(1)] = 0.8
    range_window: Window = 40
    prior_window: Window = 100
    prior_trend_sigmas: Sigmas = 1.0
    volume_side_margin: Annotated[float, Ge(0), Le(0.5)] = 0.05

    def __post_init__(self) -> None:
        for low, high in (
            ("adx_leave", "adx_enter"),
            ("drift_leave_sigmas", "drift_enter_sigmas"),
            ("volatile_leave", "volatile_enter"),
        ):
            if getattr(self, low) > getattr(self, high):
                raise ConfigError(
                    f"regime.{low} is {getattr(self, low)}: it may be at most {high} ({getattr(self, high)}),"
                    " or a regime would end before it began"
                )

    @property
    def candles_needed(self) -> int:
        """The fewest candles with which every figure exists."""
        return max(
            2 * self.adx_period,
            self.slope_window + 1,
            self.volatility_window + self.volatility_history,
            2 * self.volume_window,
            self.range_window + self.prior_window + 1,
        )


@dataclass(frozen=True, slots=True)
class RegimeOutput:
    """The regime of one series at its newest candle; `evidence` names the figures and their candles."""

    symbol: str
    timeframe: str
    regime: Regime
    confidence: float
    wyckoff_phase: WyckoffPhase
    volume_trend: VolumeTrend
    evidence: Mapping[str, float | str | None]
    candles_used: int
    newest_candle_ms: int

    def to_dict(self) -> dict[str, Any]:
        """JSON-able fields; every number is finite."""
        return asdict(self)

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        """What `to_dict` gave; other keys are passed over."""
        return cls(**{field.name: stored[field.name] for field in fields(cls)})


@dataclass(frozen=True, slots=True)
class _Figures:
    """What the rules read; `*_sigmas` are log moves divided by what a random walk would have made of them."""

    adx: float
    drift_sigmas: float
    fit: float
    volatility: float
    volatility_rank: float
    prior_sigmas: float
    volume_ratio: float | None
    up_volume_share: float | None


def detect_regime(candles: Candles, params: RegimeParams, previous: str | None = None) -> RegimeOutput:
    """The regime at the newest candle.

    Args:
        candles: closed candles; only the newest ones that the windows span count, apart from ADX.
        params: windows and thresholds.
        previous: the regime last found for this series, which is easier to stay in than to enter.

    Raises:
        InsufficientData: with fewer candles than the widest window; names how many are needed.
        InvalidMarketData: when a candle is malformed.
    """
    if len(candles) < params.candles_needed:
        raise InsufficientData(
            f"{candles.symbol} {candles.timeframe}: the regime needs {params.candles_needed} closed candles,"
            f" there are {len(candles)}: wait for more or load more history"
        )
    check_candles(candles)
    with np.errstate(over="ignore", invalid="ignore"):  # volumes near the largest float add up to infinity: None
        figures = _measure(candles, params)
    regime = _regime_of(figures, params, previous)
    return RegimeOutput(
        symbol=candles.symbol,
        timeframe=candles.timeframe,
        regime=regime,
        confidence=_confidence(regime, figures, params),
        wyckoff_phase=_phase_of(regime, figures, params),
        volume_trend=_volume_trend_of(figures.volume_ratio, params),
        evidence=_evidence(candles, figures, params, previous),
        candles_used=len(candles),
        newest_candle_ms=int(candles.open_time_ms[-1]),
    )


def _measure(candles: Candles, p: RegimeParams) -> _Figures:
    high, low, close, _ = normalised(candles)
    log_close = np.log(close)
    returns = np.diff(log_close)
    volatilities = _trailing_deviation(returns, p.volatility_window)[-p.volatility_history :]
    drift, fit = _drift(log_close[-p.slope_window :], float(returns[-p.slope_window + 1 :].std()))
    prior_end = len(close) - p.range_window
    prior = log_close[prior_end - p.prior_window - 1 : prior_end]
    return _Figures(
        adx=float(average_directional_index(high, low, close, p.adx_period)[-1]),
        drift_sigmas=drift,
        fit=fit,
        volatility=float(volatilities[-1]),
        volatility_rank=_rank_of_newest(volatilities),
        prior_sigmas=_in_sigmas(float(prior[-1] - prior[0]), float(np.diff(prior).std()), p.prior_window),
        volume_ratio=_volume_ratio(candles.volume, p.volume_window),
        up_volume_share=_up_volume_share(candles, p.range_window),
    )


def _regime_of(f: _Figures, p: RegimeParams, previous: str | None) -> Regime:
    for name, sign in (("trending_up", 1.0), ("trending_down", -1.0)):
        staying = previous == name
        adx, drift = (p.adx_leave, p.drift_leave_sigmas) if staying else (p.adx_enter, p.drift_enter_sigmas)
        if f.adx >= adx and sign * f.drift_sigmas >= drift and f.drift_sigmas != 0:
            return "trending_up" if sign > 0 else "trending_down"
    rank = p.volatile_leave if previous == "volatile" else p.volatile_enter
    return "volatile" if f.volatility > _FLAT_SIGMA and f.volatility_rank >= rank else "ranging"


def _confidence(regime: Regime, f: _Figures, p: RegimeParams) -> float:
    """0…1: how far the figures lie inside the regime, half from its own threshold on.

    Trending: mean of ADX's way from leaving to 50 and the regression's R². Volatile: the rank's way from
    leaving to 1. Ranging: what is missing to a trend and to volatility, whichever is nearer.
    """
    trend = (_share(f.adx, p.adx_leave, _ADX_FULL) + f.fit) / 2
    turmoil = _share(f.volatility_rank, p.volatile_leave, 1.0)
    inside = {"ranging": 1 - max(trend, turmoil), "volatile": turmoil}.get(regime, trend)
    return 0.5 + 0.5 * min(1.0, max(0.0, inside))


def _phase_of(regime: Regime, f: _Figures, p: RegimeParams) -> WyckoffPhase:
    if regime == "trending_up":
        return "markup"
    if regime == "trending_down":
        return "markdown"
    if regime == "volatile" or f.up_volume_share is None:
        return "unknown"
    if f.prior_sigmas <= -p.prior_trend_sigmas and f.up_volume_share >= 0.5 - p.volume_side_margin:
        return "accumulation"
    if f.prior_sigmas >= p.prior_trend_sigmas and f.up_volume_share <= 0.5 + p.volume_side_margin:
        return "distribution"
    return "unknown"


def _volume_trend_of(ratio: float | None, p: RegimeParams) -> VolumeTrend:
    if ratio is None or p.volume_declining < ratio < p.volume_rising:
        return "flat"
    return "rising" if ratio >= p.volume_rising else "declining"


def _evidence(candles: Candles, f: _Figures, p: RegimeParams, previous: str | None) -> dict[str, float | str | None]:
    opens = candles.open_time_ms
    return {
        **asdict(f),
        "previous_regime": previous,
        "newest_candle_ms": int(opens[-1]),
        "slope_from_ms": int(opens[-p.slope_window]),
        "volatility_from_ms": int(opens[-p.volatility_window - p.volatility_history + 1]),
        "volume_from_ms": int(opens[-2 * p.volume_window]),
        "range_from_ms": int(opens[-p.range_window]),
        "prior_from_ms": int(opens[-p.range_window - p.prior_window]),
    }


def _trailing_deviation(returns: FloatArray, window: int) -> FloatArray:
    """Standard deviation of each `window` returns, shape (n − window + 1,)."""
    windows = np.lib.stride_tricks.sliding_window_view(returns, window)
    return np.asarray(windows.std(axis=1))


def _rank_of_newest(values: FloatArray) -> float:
    """The share of the values that the newest one exceeds, ties counting half: 0…1."""
    below, ties = np.count_nonzero(values < values[-1]), np.count_nonzero(values == values[-1]) - 1
    return float((below + ties / 2) / max(1, len(values) - 1))


def _drift(log_close: FloatArray, sigma: float) -> tuple[float, float]:
    """The least-squares line's rise over the window in sigmas of a random walk, and its R² (0…1)."""
    n = len(log_close)
    x = np.arange(n) - (n - 1) / 2
    y = log_close - log_close.mean()
    slope = float(x @ y) / float(x @ x)
    spread = float(y @ y)
    fit = min(1.0, slope * slope * float(x @ x) / spread) if spread > _FLAT_SIGMA**2 else 0.0
    return _in_sigmas(slope * (n - 1), sigma, n - 1), fit


def _in_sigmas(log_move: float, sigma: float, steps: int) -> float:
    """A log move over what `steps` independent returns would typically add up to; 0 in a flat market.

    A perfectly even climb has no deviation at all: its own step is the measure then.
    """
    typical = max(sigma, abs(log_move) / steps) * math.sqrt(steps)
    return log_move / typical if typical > _FLAT_SIGMA else 0.0


def _volume_ratio(volume: FloatArray, window: int) -> float | None:
    """Mean volume of the newest window over that of the window before; None where nothing was traded."""
    newest, before = float(volume[-window:].mean()), float(volume[-2 * window : -window].mean())
    ratio = newest / before if before > 0 else math.inf
    return ratio if math.isfinite(ratio) else None


def _up_volume_share(candles: Candles, window: int) -> float | None:
    """The share of the range's volume traded in rising candles, unchanged ones left out; None without any."""
    body = candles.close[-window:] - candles.open[-window:]
    volume = candles.volume[-window:]
    up, down = float(volume[body > 0].sum()), float(volume[body < 0].sum())
    return up / (up + down) if 0 < up + down < math.inf else None


def _share(value: float, low: float, high: float) -> float:
    """Where `value` lies between `low` (0) and `high` (1)."""
    return min(1.0, max(0.0, (value - low) / (high - low))) if high > low else 0.0
