"""Indicators one closed candle at a time: the newest value of every column of `compute_indicators`.

Each class keeps one recurrence, in Python's floats and in the batch's order of operations (TA-Lib's where the
batch calls it). So the two agree to the last bit where nothing is smoothed exponentially; in EMAs and Wilder's
means TA-Lib fuses a multiplication with an addition, one rounding instead of two, which leaves some units in the
last place. The state is bounded by the periods: an update costs the same after a million candles as after a hundred.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, fields
from typing import NamedTuple

from aaos.domain.market import is_sound
from aaos.domain.signals.indicators import LEAST_MOVE
from aaos.domain.signals.params import SignalParams
from aaos.errors import InvalidMarketData

_NAN = math.nan


@dataclass(frozen=True, slots=True)
class IndicatorValues:
    """Every indicator at one candle, NaN where it is undefined; the fields are those of `IndicatorColumns`."""

    rsi: float
    macd_line: float
    macd_signal: float
    macd_hist: float
    williams_r: float
    ao: float
    stoch_k: float
    stoch_d: float
    bb_upper: float
    bb_mid: float
    bb_lower: float
    ema_fast: float
    ema_slow: float
    kdj_k: float
    kdj_d: float
    kdj_j: float
    obv: float
    atr: float
    adx: float

    def figures(self) -> dict[str, float | None]:
        """The values by name, None where one is undefined: what `IndicatorColumns.newest` gives."""
        values = ((name, getattr(self, name)) for name in _NAMES)
        return {name: value if math.isfinite(value) else None for name, value in values}


_NAMES = tuple(field.name for field in fields(IndicatorValues))


class PriceBar(NamedTuple):
    """What the indicators read of a candle's prices."""

    high: float
    low: float
    close: float


class IndicatorStream:
    """The indicators of one series, kept up to date candle by candle.

    After the n-th `update` the values are those of `compute_indicators` at the n-th candle of the same candles.
    """

    def __init__(self, params: SignalParams) -> None:
        p = params
        self._candles = 0
        self._previous: PriceBar | None = None
        self._rsi = RelativeStrength(p.rsi_period)
        self._macd = Macd(p.macd_fast, p.macd_slow, p.macd_signal)
        self._ao_fast, self._ao_slow = RollingMean(p.ao_fast), RollingMean(p.ao_slow)
        self._bollinger = Bollinger(p.bollinger_period, p.bollinger_deviations)
        self._ema_fast, self._ema_slow = Ema(p.ema_fast), Ema(p.ema_slow)
        self._ranges = {period: RollingRange(period) for period in (p.williams_period, p.stoch_period, p.kdj_period)}
        self._williams_range = self._ranges[p.williams_period]
        self._stochastic = Stochastic(self._ranges[p.stoch_period], p.stoch_smooth_k, p.stoch_smooth_d)
        self._kdj = Stochastic(self._ranges[p.kdj_period], p.kdj_smooth_k, p.kdj_smooth_d)
        self._obv = 0.0
        self._atr = WilderMean(p.atr_period)
        self._adx = DirectionalIndex(p.adx_period)

    def update(self, open_: float, high: float, low: float, close: float, volume: float) -> IndicatorValues:
        """Every indicator at this closed candle, the one that follows the last one given.

        Raises:
            InvalidMarketData: when the candle is malformed; it is not taken in, the stream goes on as before it.
        """
        if not is_sound(open_, high, low, close, volume):
            raise InvalidMarketData(
                f"candle {self._candles} of the stream: open {open_}, high {high}, low {low}, close {close}, volume"
                f" {volume}: prices must be positive and finite, high and low around open and close, volume not"
                " negative: correct the candle and give it again"
            )
        # Plain floats: numpy's are slower here, and warn of what is meant.
        bar = PriceBar(float(high), float(low), float(close))
        values = self._advance(bar, float(volume))
        self._previous = bar
        self._candles += 1
        return values

    def _advance(self, bar: PriceBar, volume: float) -> IndicatorValues:
        high, low, close = bar
        for window in self._ranges.values():
            window.update(high, low)
        macd_line, macd_signal = self._macd.update(close)
        median = (high + low) / 2
        upper, mid, lower = self._bollinger.update(close)
        stoch_k, stoch_d = self._stochastic.update(close)
        kdj_k, kdj_d = self._kdj.update(close)
        rsi, atr, adx = self._follow(bar, volume)
        return IndicatorValues(
            rsi=rsi,
            macd_line=macd_line,
            macd_signal=macd_signal,
            macd_hist=macd_line - macd_signal,
            williams_r=self._williams_range.place_from_top(close),
            ao=self._ao_fast.update(median) - self._ao_slow.update(median),
            stoch_k=stoch_k,
            stoch_d=stoch_d,
            bb_upper=upper,
            bb_mid=mid,
            bb_lower=lower,
            ema_fast=self._ema_fast.update(close),
            ema_slow=self._ema_slow.update(close),
            kdj_k=kdj_k,
            kdj_d=kdj_d,
            kdj_j=3 * kdj_k - 2 * kdj_d,
            obv=self._obv,
            atr=atr,
            adx=adx,
        )

    def _follow(self, bar: PriceBar, volume: float) -> tuple[float, float, float]:
        """RSI, ATR and ADX, and OBV in place: those that compare a candle with the one before it."""
        before = self._previous
        if before is None:
            return _NAN, _NAN, _NAN
        if bar.close > before.close:
            self._obv += volume
        elif bar.close < before.close:
            self._obv -= volume
        rsi = self._rsi.update(bar.close - before.close, bar.close)
        return rsi, self._atr.update(true_range(bar, before)), self._adx.update(bar, before)


class Ema:
    """Exponential moving average, seeded with the first mean; NaN values before the first number are passed over."""

    def __init__(self, period: int) -> None:
        self._period = period
        self._alpha = 2 / (period + 1)
        self._missing = period
        self._value = 0.0

    def update(self, value: float) -> float:
        """The average with this value, NaN until `period` values have come."""
        if not self._missing:
            self._value += (value - self._value) * self._alpha
        elif not math.isnan(value):
            self._value += value
            self._missing -= 1
            if not self._missing:
                self._value /= self._period
        return _NAN if self._missing else self._value


class Macd:
    """MACD line and its signal line."""

    def __init__(self, fast: int, slow: int, signal: int) -> None:
        self._fast, self._slow, self._signal = Ema(fast), Ema(slow), Ema(signal)

    def update(self, close: float) -> tuple[float, float]:
        """Line and signal line at this close."""
        line = self._fast.update(close) - self._slow.update(close)
        return line, self._signal.update(line)


class WilderMean:
    """Wilder's smoothed mean (1978), α = 1/period, seeded with the first mean."""

    def __init__(self, period: int) -> None:
        self._period = period
        self._keep = (period - 1) / period
        self._take = 1 - self._keep  # in this order the two add up to exactly 1
        self._missing = period
        self._value = 0.0

    def update(self, value: float) -> float:
        """The mean with this value, NaN until `period` values have come."""
        if not self._missing:
            self._value = self._keep * self._value + self._take * value
            return self._value
        self._value += value
        self._missing -= 1
        if self._missing:
            return _NAN
        self._value /= self._period
        return self._value


class RelativeStrength:
    """Relative Strength Index."""

    def __init__(self, period: int) -> None:
        self._rise, self._move = WilderMean(period), WilderMean(period)

    def update(self, move: float, close: float) -> float:
        """RSI after the price moved by `move` to `close`."""
        mean_rise = self._rise.update(max(move, 0.0))
        mean_move = self._move.update(abs(move))
        return mean_rise / mean_move * 100 if mean_move > close * LEAST_MOVE else _NAN


class DirectionalIndex:
    """Average Directional Index."""

    def __init__(self, period: int) -> None:
        self._up, self._down, self._strength = WilderMean(period), WilderMean(period), WilderMean(period)

    def update(self, bar: PriceBar, before: PriceBar) -> float:
        """ADX after `bar` followed `before`."""
        rise, drop = bar.high - before.high, before.low - bar.low
        up = self._up.update(rise if rise > 0 and rise > drop else 0.0)
        down = self._down.update(drop if drop > 0 and drop > rise else 0.0)
        both = up + down
        if math.isnan(both):
            return _NAN
        return self._strength.update(abs(up - down) / both * 100 if both > bar.close * LEAST_MOVE else 0.0)


class RollingMean:
    """The mean of the newest `period` values, from sums of 1, 2, 4, 8 … of them.

    No running total: none of a value's rounding (and no NaN) outlives the window, and an update takes log(period).
    """

    def __init__(self, period: int) -> None:
        self._period = period
        self._spans: list[tuple[deque[float] | None, deque[float] | None]] = []
        span, summed = 1, 0
        while summed < period:
            older_sums = _delay(span) if period & span and summed else None
            summed += period & span
            older_blocks = _delay(span) if summed < period else None
            self._spans.append((older_sums, older_blocks))
            span *= 2
        self._starts_at = (period & -period).bit_length() - 1  # the lowest span that is part of the period

    def update(self, value: float) -> float:
        """The mean with this value, NaN until the window is full of numbers."""
        block, total = value, 0.0
        for index, (older_sums, older_blocks) in enumerate(self._spans):
            if older_sums is not None:
                older = older_sums[0]
                older_sums.append(total)
                total = older + block
            elif index == self._starts_at:
                total = block
            if older_blocks is not None:
                older = older_blocks[0]
                older_blocks.append(block)
                block = older + block
        return total / self._period


class Bollinger:
    """Bollinger bands: mean ± population deviations, in two passes over the window."""

    def __init__(self, period: int, deviations: float) -> None:
        self._period, self._deviations = period, deviations
        self._mean = RollingMean(period)
        self._window: deque[float] = deque(maxlen=period)

    def update(self, close: float) -> tuple[float, float, float]:
        """Upper, middle and lower band at this close."""
        self._window.append(close)
        mean = self._mean.update(close)
        squares = 0.0  # one by one: sum() rounds otherwise from Python 3.12 on
        for price in self._window:
            away = price - mean
            squares += away * away
        half_width = self._deviations * math.sqrt(squares / self._period)
        return mean + half_width, mean, mean - half_width


class RollingMax:
    """The greatest of the newest `period` values, by a queue of those that can still become it (Lemire, 2006)."""

    def __init__(self, period: int) -> None:
        self._period = period
        self._seen = 0
        self._queue: deque[tuple[float, int]] = deque()

    def update(self, value: float) -> float:
        """The greatest value with this one, NaN until the window is full."""
        queue = self._queue
        while queue and queue[-1][0] <= value:
            queue.pop()
        queue.append((value, self._seen))
        self._seen += 1
        if queue[0][1] < self._seen - self._period:
            queue.popleft()
        return queue[0][0] if self._seen >= self._period else _NAN


class RollingRange:
    """Highest high and lowest low of the newest `period` candles."""

    def __init__(self, period: int) -> None:
        self._highs, self._negated_lows = RollingMax(period), RollingMax(period)
        self._highest = self._lowest = _NAN

    def update(self, high: float, low: float) -> None:
        """Moves the window on by a candle."""
        self._highest = self._highs.update(high)
        self._lowest = -self._negated_lows.update(-low)

    def place_from_bottom(self, close: float) -> float:
        """0 at the lowest low … 100 at the highest high; NaN where they are the same."""
        width = self._highest - self._lowest
        return (close - self._lowest) / width * 100 if width > 0 else _NAN

    def place_from_top(self, close: float) -> float:
        """−100 at the lowest low … 0 at the highest high; NaN where they are the same."""
        width = self._highest - self._lowest
        return (close - self._highest) / width * 100 if width > 0 else _NAN


class Stochastic:
    """Slow stochastic %K and %D over a range that is moved on before each update."""

    def __init__(self, window: RollingRange, smooth_k: int, smooth_d: int) -> None:
        self._window = window
        self._k, self._d = RollingMean(smooth_k), RollingMean(smooth_d)

    def update(self, close: float) -> tuple[float, float]:
        """%K and %D at this close."""
        k = self._k.update(self._window.place_from_bottom(close))
        return k, self._d.update(k)


def true_range(bar: PriceBar, before: PriceBar) -> float:
    """How far the price went since the close before (Wilder, 1978)."""
    return max(bar.high - bar.low, abs(bar.high - before.close), abs(bar.low - before.close))


def _delay(candles: int) -> deque[float]:
    """What was appended so many candles ago stands at its left; NaN before that."""
    return deque([_NAN] * candles, maxlen=candles)
