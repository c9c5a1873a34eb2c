"""How much two markets move together: the correlation of their log returns over the candles they share. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal

import numpy as np

from aaos.domain.market import Candles, FloatArray
from aaos.domain.risk.formulas import ONE

STEP = Decimal("0.000001")
# Below this share of the candles asked for, chance alone may hide a correlation.
MIN_SHARE = 0.5
# Deviations of log returns below this are noise of float64, no movement: the price is flat.
FLAT = 1e-12


@dataclass(frozen=True, slots=True)
class Correlation:
    """A correlation as it is used: −1 … 1, over how many returns; 1 where it is undefined, and why."""

    value: Decimal
    returns: int
    undefined: str | None = None


def correlation(one: Candles | None, other: Candles | None, candles: int) -> Correlation:
    """Returns the correlation of log returns over the newest common candles.

    Only candles that both series have count, each return from one of them to the next, so a gap in either spans the
    same time in both. What cannot be measured counts as 1: two positions nobody can tell apart are one bet.

    Args:
        one: closed candles, oldest first; None: there are none.
        other: likewise, of the other market.
        candles: the newest common ones to measure on; at least half as many must be there.
    """
    if one is None or other is None:
        return _undefined("no candles to measure it on")
    if one.timeframe != other.timeframe:
        return _undefined(f"candles of {one.timeframe} and of {other.timeframe} do not compare")
    closes = _common_closes(one, other, candles)
    returns = max(0, closes.shape[1] - 1)
    needed = int(candles * MIN_SHARE)
    if returns < needed:
        return _undefined(f"{returns} common returns, {needed} needed", returns)
    with np.errstate(divide="ignore", invalid="ignore"):
        moves = np.diff(np.log(closes), axis=1)
    if not np.isfinite(moves).all():
        return _undefined("a price is not positive", returns)
    moves -= moves.mean(axis=1, keepdims=True)
    deviations = np.sqrt((moves**2).sum(axis=1))
    if deviations.min() <= FLAT * returns**0.5:
        return _undefined("one of the prices is flat", returns)
    value = float(np.clip((moves[0] @ moves[1]) / deviations[0] / deviations[1], -1.0, 1.0))
    return Correlation(Decimal(value).quantize(STEP, rounding=ROUND_HALF_EVEN), returns)


def _common_closes(one: Candles, other: Candles, newest: int) -> FloatArray:
    """The closes of both at the open times that they share, shape (2, n)."""
    _, first, second = np.intersect1d(one.open_time_ms, other.open_time_ms, assume_unique=True, return_indices=True)
    return np.stack((one.close[first[-newest:]], other.close[second[-newest:]]))


def _undefined(why: str, returns: int = 0) -> Correlation:
    return Correlation(ONE, returns, why)
