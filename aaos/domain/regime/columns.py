"""The newest candles as columns that rules can be mirrored on: logarithms of prices, and scaled volumes.

A rise and its mirror image then differ in sign only, so every rule is written once, for one side.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from aaos.domain.market import Candles, FloatArray, IntArray

# Below this a move in log prices is float64 rounding: the market is flat.
FLAT = 1e-12


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """Natural logarithms of high, low, close (n,), and volumes (n,) divided by a power of two to lie within 0…1."""

    time_ms: IntArray
    high: FloatArray
    low: FloatArray
    close: FloatArray
    volume: FloatArray

    def __len__(self) -> int:
        return len(self.close)

    def upto(self, end: int) -> Columns:
        """The first `end` candles."""
        return Columns(self.time_ms[:end], self.high[:end], self.low[:end], self.close[:end], self.volume[:end])

    def since(self, start: int) -> Columns:
        """The candles from `start` on."""
        return Columns(
            self.time_ms[start:], self.high[start:], self.low[start:], self.close[start:], self.volume[start:]
        )

    def mirrored(self) -> Columns:
        """The same market upside down: what rose falls by as much."""
        return Columns(self.time_ms, -self.low, -self.high, -self.close, self.volume)


def columns_of(candles: Candles) -> Columns:
    """The candles' columns; prices and volumes times a power of two give the same to the last bit.

    The exponent is taken off before the logarithm, so no price overflows; the sum of all volumes is finite.
    """
    _, exponent = math.frexp(float(candles.close[0]))
    _, volume_exponent = math.frexp(float(candles.volume.max()))
    high, low, close = (_log(column, exponent) for column in (candles.high, candles.low, candles.close))
    return Columns(candles.open_time_ms, high, low, close, np.ldexp(candles.volume, -volume_exponent))


def true_ranges(columns: Columns) -> FloatArray:
    """True range of each candle, shape (n,) (Wilder, 1978); the first has no close before it."""
    before = np.concatenate((columns.close[:1], columns.close[:-1]))
    return np.maximum(columns.high, before) - np.minimum(columns.low, before)


def in_sigmas(log_move: float, sigma: float, steps: int) -> float:
    """A log move over what `steps` independent returns would typically add up to; 0 in a flat market.

    A perfectly even climb has no deviation at all: its own step is the measure then.
    """
    typical = max(sigma, abs(log_move) / steps) * math.sqrt(steps)
    return log_move / typical if typical > FLAT else 0.0


def ramp(value: float, low: float, high: float) -> float:
    """Where `value` lies between `low` (0) and `high` (1)."""
    return min(1.0, max(0.0, (value - low) / (high - low))) if high > low else float(value >= high)


def windows(values: FloatArray, size: int) -> FloatArray:
    """Every `size` neighbours as rows, shape (n − size + 1, size), without a copy.

    As numpy's sliding_window_view, of which a detection would spend a tenth of its time in checks.
    """
    values = np.ascontiguousarray(values)
    step = values.itemsize
    return np.ndarray((len(values) - size + 1, size), values.dtype, values, 0, (step, step))


def figure(value: float) -> float:
    """The value with six significant digits: what evidence shows, and nothing is computed from."""
    return float(f"{value:.6g}")


def _log(prices: FloatArray, exponent: int) -> FloatArray:
    mantissas, exponents = np.frexp(prices)
    return np.asarray(np.log(mantissas) + (exponents - exponent) * math.log(2))
