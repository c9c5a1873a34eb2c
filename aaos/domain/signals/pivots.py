"""Pivots: turning points of a series, each with the candle at which it could first be known.

A pivot high of strength k is a high that none of the k candles on either side exceeds. So it is confirmed only
once k more candles have closed, and nothing may use it earlier: that delay is what keeps hindsight out of
divergences and patterns, whose points they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter
from typing import Literal

import numpy as np

from aaos.domain.market import FloatArray, IntArray

Side = Literal["high", "low"]


@dataclass(frozen=True, slots=True)
class Pivot:
    """A turning point: its candle's index, its price, and the index of the first candle at which it is known."""

    index: int
    side: Side
    price: float
    known_at: int


def find_pivots(high: FloatArray, low: FloatArray, strength: int) -> tuple[Pivot, ...]:
    """Every confirmed pivot, by the candle it lies on; a candle that is both gives its high first.

    Of equal highs (or lows) within reach of each other the first is the pivot, so a flat top has one, and a flat
    market has none: the pivot must stand out from the candle right before it.

    Args:
        high: highs, shape (n,).
        low: lows, shape (n,).
        strength: candles on either side that must not exceed it.
    """
    highs = [Pivot(i, "high", float(high[i]), i + strength) for i in _peaks(high, strength).tolist()]
    lows = [Pivot(i, "low", float(low[i]), i + strength) for i in _peaks(-low, strength).tolist()]
    return tuple(sorted(highs + lows, key=attrgetter("index")))  # stable: highs stay first


def _peaks(values: FloatArray, strength: int) -> IntArray:
    """Indices of values above all of the `strength` before and not below any of the `strength` after."""
    n = len(values)
    if n < 2 * strength + 1:
        return np.empty(0, dtype=np.int64)
    highest = _highest_of(values, strength)
    middle, before, after = values[strength : n - strength], highest[: n - 2 * strength], highest[strength + 1 :]
    return np.flatnonzero((middle > before) & (middle >= after)) + strength


def _highest_of(values: FloatArray, width: int) -> FloatArray:
    """The highest of each `width` values in a row, shape (n − width + 1,); NaN with a NaN among them.

    Windows of 1, 2, 4 … values, each the higher of two half as wide: a few operations on whole columns.
    """
    highest, have = values, 1
    while 2 * have <= width:
        highest = np.maximum(highest[:-have], highest[have:])
        have *= 2
    missing = width - have
    return np.maximum(highest[: len(highest) - missing], highest[missing:])
