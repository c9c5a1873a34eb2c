"""The way of the price inside a candle: open, the extreme nearer to it, the other extreme, close. Pure.

A candle says how far the price went and not in which order. The nearer extreme first is the usual assumption: it is
the shorter way. It turns at a quarter and at three quarters of the candle and moves evenly in between.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class CandlePath:
    """The path of one candle; `corners` are (instant in ms, price), in order: both ends and the two turns."""

    corners: tuple[tuple[int, Decimal], ...]

    def at(self, instant_ms: int) -> Decimal:
        """Returns the price at an instant inside the candle, ends included."""
        for (from_ms, before), (to_ms, after) in zip(self.corners, self.corners[1:], strict=False):
            if from_ms <= instant_ms <= to_ms:
                return before + (after - before) * (instant_ms - from_ms) / (to_ms - from_ms)
        raise ValueError(f"{instant_ms} is not inside the candle of {self.corners[0][0]} to {self.corners[-1][0]}")


def candle_path(open_ms: int, width_ms: int, prices: Sequence[float]) -> CandlePath:
    """Returns the path of a candle.

    Args:
        open_ms: when it opens.
        width_ms: how long it lasts.
        prices: open, high, low, close.
    """
    first, high, low, last = (Decimal(repr(float(price))) for price in prices)
    turns = (high, low) if high - first < first - low else (low, high)
    quarter_ms = width_ms // 4
    instants = (open_ms, open_ms + quarter_ms, open_ms + width_ms - quarter_ms, open_ms + width_ms)
    return CandlePath(tuple(zip(instants, (first, *turns, last), strict=True)))
