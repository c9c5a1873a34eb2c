"""Indicator columns over a series of candles, by TA-Lib where it defines them the field's way.

Every column has shape (n,), is causal (the value at t depends on candles 0…t alone) and is NaN while it warms
up and wherever it is undefined: an oscillator over a range of zero says nothing, where TA-Lib would say 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np

from aaos.domain.market import BoolArray, Candles, FloatArray
from aaos.domain.signals.params import SignalParams


@dataclass(frozen=True, slots=True, eq=False)
class IndicatorColumns:
    """All indicators of one series; the field names are those of `SignalOutput.indicators`."""

    rsi: FloatArray
    macd_line: FloatArray
    macd_signal: FloatArray
    macd_hist: FloatArray
    williams_r: FloatArray
    ao: FloatArray
    stoch_k: FloatArray
    stoch_d: FloatArray
    bb_upper: FloatArray
    bb_mid: FloatArray
    bb_lower: FloatArray
    ema_fast: FloatArray
    ema_slow: FloatArray
    kdj_k: FloatArray
    kdj_d: FloatArray
    kdj_j: FloatArray
    obv: FloatArray
    atr: FloatArray
    adx: FloatArray

    def newest(self, index: int = -1) -> dict[str, float | None]:
        """The figures at one candle, None where a column is NaN."""
        values = ((f.name, float(getattr(self, f.name)[index])) for f in fields(self))
        return {name: value if math.isfinite(value) else None for name, value in values}


def compute_indicators(candles: Candles, params: SignalParams) -> IndicatorColumns:
    """Every indicator's column over the candles; at least two candles, checked ones."""
    with np.errstate(over="ignore", invalid="ignore"):  # near the largest float a column ends as NaN or infinity: None
        return _compute(candles, params)


def _compute(candles: Candles, params: SignalParams) -> IndicatorColumns:
    high, low, close, scale = normalised(candles)
    macd_line, macd_signal, macd_hist = macd(close, params.macd_fast, params.macd_slow, params.macd_signal)
    upper, mid, lower = bollinger(close, params.bollinger_period, params.bollinger_deviations)
    stoch_k, stoch_d = stochastic(high, low, close, params.stoch_period, params.stoch_smooth_k, params.stoch_smooth_d)
    kdj_k, kdj_d, kdj_j = kdj(high, low, close, params.kdj_period, params.kdj_smooth_k, params.kdj_smooth_d)
    return IndicatorColumns(
        rsi=rsi(close, params.rsi_period),
        macd_line=macd_line * scale,
        macd_signal=macd_signal * scale,
        macd_hist=macd_hist * scale,
        williams_r=williams_r(high, low, close, params.williams_period),
        ao=awesome_oscillator(high, low, params.ao_fast, params.ao_slow) * scale,
        stoch_k=stoch_k,
        stoch_d=stoch_d,
        bb_upper=upper * scale,
        bb_mid=mid * scale,
        bb_lower=lower * scale,
        ema_fast=ema(close, params.ema_fast) * scale,
        ema_slow=ema(close, params.ema_slow) * scale,
        kdj_k=kdj_k,
        kdj_d=kdj_d,
        kdj_j=kdj_j,
        obv=on_balance_volume(close, candles.volume),
        atr=average_true_range(high, low, close, params.atr_period) * scale,
        adx=average_directional_index(high, low, close, params.adx_period),
    )


def normalised(candles: Candles) -> tuple[FloatArray, FloatArray, FloatArray, float]:
    """High, low and close near 1, and the power of two they were divided by, which changes no digit.

    TA-Lib takes differences under 1e-14 for zero and squares prices; near 1 neither hurts a coin worth 1e-9.
    """
    scale = math.ldexp(0.5, math.frexp(float(candles.close[0]))[1])
    return candles.high / scale, candles.low / scale, candles.close / scale, scale


def rsi(close: FloatArray, period: int) -> FloatArray:
    """Relative Strength Index, 0…100 (Wilder, 1978); NaN while the price has never moved."""
    import talib

    values = talib.RSI(close, period)
    values[np.cumsum(np.abs(np.diff(close, prepend=close[0]))) == 0] = np.nan
    return values


def macd(close: FloatArray, fast: int, slow: int, signal: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    """MACD line, signal line and histogram, in price units (Appel, 1979).

    Each EMA is seeded with its own first mean; TA-Lib's MACD seeds the fast one 14 candles late.
    """
    line = ema(close, fast) - ema(close, slow)
    signal_line = ema(line, signal)
    return line, signal_line, line - signal_line


def williams_r(high: FloatArray, low: FloatArray, close: FloatArray, period: int) -> FloatArray:
    """Williams %R, −100…0 (Williams, 1973); NaN where the range is zero."""
    import talib

    values = talib.WILLR(high, low, close, period)
    values[_range_is_zero(high, low, period)] = np.nan
    return values


def awesome_oscillator(high: FloatArray, low: FloatArray, fast: int, slow: int) -> FloatArray:
    """Awesome Oscillator, in price units: fast minus slow mean of the median price (Williams, 1995)."""
    import talib

    median = (high + low) / 2
    return talib.SMA(median, fast) - talib.SMA(median, slow)


def stochastic(
    high: FloatArray, low: FloatArray, close: FloatArray, period: int, smooth_k: int, smooth_d: int
) -> tuple[FloatArray, FloatArray]:
    """Slow stochastic %K and %D, 0…100 (Lane, 1984); NaN where a range they average is zero."""
    import talib

    k, d = talib.STOCH(high, low, close, fastk_period=period, slowk_period=smooth_k, slowd_period=smooth_d)
    undefined = _range_is_zero(high, low, period)
    k[_any_of_last(undefined, smooth_k)] = np.nan
    d[_any_of_last(undefined, smooth_k + smooth_d - 1)] = np.nan
    return k, d


def kdj(
    high: FloatArray, low: FloatArray, close: FloatArray, period: int, smooth_k: int, smooth_d: int
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """%K, %D and %J = 3 %K − 2 %D; J leaves 0…100 when the move is overstretched."""
    k, d = stochastic(high, low, close, period, smooth_k, smooth_d)
    return k, d, 3 * k - 2 * d


def bollinger(close: FloatArray, period: int, deviations: float) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Upper, middle and lower band, in price units (Bollinger, 1983): mean ± population deviations."""
    import talib

    return talib.BBANDS(close, timeperiod=period, nbdevup=deviations, nbdevdn=deviations)


def ema(values: FloatArray, period: int) -> FloatArray:
    """Exponential moving average, α = 2/(period + 1), seeded with the first `period` values' mean."""
    import talib

    return talib.EMA(values, period)


def on_balance_volume(close: FloatArray, volume: FloatArray) -> FloatArray:
    """On-Balance Volume, in volume units, 0 at the first candle (Granville, 1963)."""
    return np.cumsum(np.sign(np.diff(close, prepend=close[0])) * volume)


def average_true_range(high: FloatArray, low: FloatArray, close: FloatArray, period: int) -> FloatArray:
    """Average True Range, in price units (Wilder, 1978)."""
    import talib

    return talib.ATR(high, low, close, period)


def average_directional_index(high: FloatArray, low: FloatArray, close: FloatArray, period: int) -> FloatArray:
    """Average Directional Index, 0…100 (Wilder, 1978): the strength of a trend, whichever way it goes."""
    import talib

    return talib.ADX(high, low, close, period)


def _range_is_zero(high: FloatArray, low: FloatArray, period: int) -> BoolArray:
    import talib

    return np.equal(talib.MAX(high, period), talib.MIN(low, period))


def _any_of_last(flags: BoolArray, count: int) -> BoolArray:
    """Whether any of the newest `count` flags is set, at each place."""
    return np.convolve(flags, np.ones(count))[: len(flags)] > 0
