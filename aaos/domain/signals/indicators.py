"""Indicator columns over a series of candles, by TA-Lib where it defines them the field's way.

Every column has shape (n,), is causal (the value at t depends on candles 0…t alone) and is NaN while it warms
up and wherever it is undefined: an oscillator over a range of zero says nothing, where TA-Lib says 0.

Means over a window (Awesome Oscillator, Bollinger, the stochastic's smoothing) are summed anew from that window.
TA-Lib slides one running total along: after a fall to a 1e-8th, as coins have had, what rounding left in it
moves the Bollinger middle by 2.4e-7 of the price, for good. `docs/indicators.md` has the conventions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from aaos.domain.market import Candles, FloatArray
from aaos.domain.signals.params import SignalParams

# An average move this small beside the price is the echo of one long gone: a float64 price cannot move by less
# than 2⁻⁵³ of itself, and no period is longer than 500. From there on the echo of rises and that of falls are noise.
LEAST_MOVE = 2.0**-64
# How many windows' deviations are held at once: bounds the memory of long periods over long histories to 4 MB.
_WINDOWS_AT_ONCE = 1024


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


class PriceRange(NamedTuple):
    """Highest high, lowest low and their distance in the newest candles, at each candle; NaN until there are enough."""

    highest: FloatArray
    lowest: FloatArray
    width: FloatArray


@cache
def library() -> Any:
    """TA-Lib's functions; the first call loads them."""
    from aaos.domain.signals.ta_lib import talib

    return talib


def compute_indicators(candles: Candles, params: SignalParams) -> IndicatorColumns:
    """Every indicator's column over checked candles; all NaN where they are too few."""
    # 0/0 is how a range of zero becomes NaN; near the largest float a column ends as NaN or infinity: None.
    with np.errstate(over="ignore", under="ignore", divide="ignore", invalid="ignore"):
        return _compute(candles, params)


def _compute(candles: Candles, params: SignalParams) -> IndicatorColumns:
    p = params
    high, low, close = candles.high, candles.low, candles.close
    ranges = {period: price_range(high, low, period) for period in {p.williams_period, p.stoch_period, p.kdj_period}}
    stoch_k, stoch_d = stochastic(close, ranges[p.stoch_period], p.stoch_smooth_k, p.stoch_smooth_d)
    kdj_k, kdj_d = stoch_k, stoch_d
    if (p.kdj_period, p.kdj_smooth_k, p.kdj_smooth_d) != (p.stoch_period, p.stoch_smooth_k, p.stoch_smooth_d):
        kdj_k, kdj_d = stochastic(close, ranges[p.kdj_period], p.kdj_smooth_k, p.kdj_smooth_d)
    macd_line, macd_signal, macd_hist = macd(close, p.macd_fast, p.macd_slow, p.macd_signal)
    upper, mid, lower = bollinger(close, p.bollinger_period, p.bollinger_deviations)
    return IndicatorColumns(
        rsi=rsi(close, p.rsi_period),
        macd_line=macd_line,
        macd_signal=macd_signal,
        macd_hist=macd_hist,
        williams_r=williams_r(close, ranges[p.williams_period]),
        ao=awesome_oscillator(high, low, p.ao_fast, p.ao_slow),
        stoch_k=stoch_k,
        stoch_d=stoch_d,
        bb_upper=upper,
        bb_mid=mid,
        bb_lower=lower,
        ema_fast=ema(close, p.ema_fast),
        ema_slow=ema(close, p.ema_slow),
        kdj_k=kdj_k,
        kdj_d=kdj_d,
        kdj_j=3 * kdj_k - 2 * kdj_d,
        obv=on_balance_volume(close, candles.volume),
        atr=average_true_range(high, low, close, p.atr_period),
        adx=average_directional_index(high, low, close, p.adx_period),
    )


def rsi(close: FloatArray, period: int) -> FloatArray:
    """Relative Strength Index, 0…100 (Wilder, 1978); NaN while the price has not moved.

    A price that stands still keeps its RSI, until nothing is left of the last move (`LEAST_MOVE`).
    """
    talib = library()
    moves = close[1:] - close[:-1]
    mean_rise = talib.RMA(np.maximum(moves, 0.0), period)
    mean_move = talib.RMA(np.abs(moves), period)
    values = _warming_up(len(close), 1)
    np.divide(mean_rise, mean_move, out=values[1:])
    values[1:][mean_move <= close[1:] * LEAST_MOVE] = np.nan
    values *= 100
    return values


def macd(close: FloatArray, fast: int, slow: int, signal: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    """MACD line, signal line and histogram, in price units (Appel, 1979).

    Each EMA is seeded with its own first mean; TA-Lib's MACD seeds the fast one 14 candles late.
    """
    line = ema(close, fast) - ema(close, slow)
    signal_line = ema(line, signal)
    return line, signal_line, line - signal_line


def price_range(high: FloatArray, low: FloatArray, period: int) -> PriceRange:
    """Highest high and lowest low of the newest `period` candles."""
    talib = library()
    highest, lowest = talib.MAX(high, period), talib.MIN(low, period)
    return PriceRange(highest, lowest, highest - lowest)


def williams_r(close: FloatArray, window: PriceRange) -> FloatArray:
    """Williams %R, −100…0 (Williams, 1973); NaN where the range is zero.

    TA-Lib takes a range of up to some 64 units in the last place for zero and answers 0, "overbought".
    """
    place = close - window.highest
    place /= window.width
    place *= 100
    return place


def stochastic(close: FloatArray, window: PriceRange, smooth_k: int, smooth_d: int) -> tuple[FloatArray, FloatArray]:
    """Slow stochastic %K and %D, 0…100 (Lane, 1984); NaN where a range they average is zero.

    With %J = 3 %K − 2 %D, which leaves 0…100 when the move is overstretched, they are the KDJ triple.
    """
    fast_k = close - window.lowest
    fast_k /= window.width
    fast_k *= 100
    k = window_means(fast_k, smooth_k)
    return k, window_means(k, smooth_d)


def awesome_oscillator(high: FloatArray, low: FloatArray, fast: int, slow: int) -> FloatArray:
    """Awesome Oscillator, in price units: fast minus slow mean of the median price (Williams, 1995)."""
    twice_median = high + low  # halved with the sums: exact, and a column less to go through
    oscillator = _warming_up(len(high), slow - 1)
    if len(high) >= slow:
        mean = _window_sums(twice_median, fast)[slow - fast :] / (2 * fast)
        np.subtract(mean, _window_sums(twice_median, slow) / (2 * slow), out=oscillator[slow - 1 :])
    return oscillator


def bollinger(close: FloatArray, period: int, deviations: float) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Upper, middle and lower band, in price units (Bollinger, 1983): mean ± population deviations."""
    mid = window_means(close, period)
    half_width = window_deviations(close, mid, period)
    half_width *= deviations
    return mid + half_width, mid, mid - half_width


def ema(values: FloatArray, period: int) -> FloatArray:
    """Exponential moving average, α = 2/(period + 1), seeded with the first `period` values' mean."""
    averages: FloatArray = library().EMA(values, period)
    return averages


def on_balance_volume(close: FloatArray, volume: FloatArray) -> FloatArray:
    """On-Balance Volume, in volume units, 0 at the first candle (Granville, 1963)."""
    from_zero = volume.copy()
    from_zero[:1] = 0  # where TA-Lib starts with the first candle's volume, whichever way that candle went
    balance: FloatArray = library().OBV(close, from_zero)
    return balance


def average_true_range(high: FloatArray, low: FloatArray, close: FloatArray, period: int) -> FloatArray:
    """Average True Range, in price units (Wilder, 1978)."""
    ranges: FloatArray = library().ATR(high, low, close, period)
    return ranges


def average_directional_index(high: FloatArray, low: FloatArray, close: FloatArray, period: int) -> FloatArray:
    """Average Directional Index, 0…100 (Wilder, 1978): the strength of a trend, whichever way it goes.

    Seeded with the first `period` moves, as in Wilder's book; TA-Lib seeds with one fewer, which it takes some 300
    candles to forget. The true range of +DI and −DI cancels out of DX. No direction counts as a DX of 0.
    """
    talib = library()
    up = talib.RMA(talib.PLUS_DM(high, low, 1), period)
    down = talib.RMA(talib.MINUS_DM(high, low, 1), period)
    both = up + down
    strength = np.abs(up - down)
    strength /= both
    strength[both <= close * LEAST_MOVE] = 0.0
    strength *= 100
    index: FloatArray = talib.RMA(strength, period)
    return index


def window_means(values: FloatArray, period: int) -> FloatArray:
    """The mean of the newest `period` values, at each place; NaN where one of them is missing or NaN."""
    means = _warming_up(len(values), period - 1)
    if len(values) >= period:
        np.divide(_window_sums(values, period), period, out=means[period - 1 :])
    return means


def window_deviations(values: FloatArray, means: FloatArray, period: int) -> FloatArray:
    """The population deviation of the newest `period` values around their mean, at each place.

    Two passes: each value's distance from its own window's mean is squared. A difference of mean squares, the
    one-pass way, loses twice as many digits as the deviation is smaller than the price: 12 for a stablecoin.
    """
    deviations = _warming_up(len(values), period - 1)
    for start in range(period - 1, len(values), _WINDOWS_AT_ONCE):
        here = slice(start, start + _WINDOWS_AT_ONCE)
        squares = _windows(values[start - period + 1 : here.stop], period) - means[here]
        squares *= squares
        # numpy sums row after row, but a single column pairwise: a value must not depend on what comes after it.
        total = np.add.reduce(squares, axis=0) if squares.shape[1] > 1 else np.add.accumulate(squares, axis=0)[-1]
        total /= period
        np.sqrt(total, out=deviations[here])
    return deviations


def _window_sums(values: FloatArray, period: int) -> FloatArray:
    """The sum of each `period` neighbours, shape (n − period + 1,): sums of 1, 2, 4, 8 … put together."""
    block, span = values, 1
    sums, summed = values[:0], 0
    while True:
        if period & span:
            sums = sums[: len(block) - summed] + block[summed:] if summed else block
            summed += span
        if summed == period:
            return sums
        block = block[:-span] + block[span:]
        span *= 2


def _warming_up(length: int, candles: int) -> FloatArray:
    """A column to be filled, NaN at its first so many candles."""
    column = np.empty(length)
    column[:candles] = np.nan
    return column


def _windows(values: FloatArray, period: int) -> FloatArray:
    """A view of shape (period, n − period + 1), a window in each column."""
    row = np.ascontiguousarray(values)
    # What sliding_window_view gives, in a tenth of its time.
    return np.ndarray((period, len(row) - period + 1), np.float64, row, strides=(row.itemsize, row.itemsize))
