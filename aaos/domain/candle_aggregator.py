"""Candles of a coarser timeframe made one candle at a time, as `market.resample` makes them all at once."""

from __future__ import annotations

from typing import NamedTuple

from aaos.domain.market import timeframe_ms
from aaos.errors import ConfigError

Row = tuple[int, float, float, float, float, float]
"""Open time (ms), open, high, low, close, volume."""


class GatheredCandle(NamedTuple):
    """A coarser candle, and how many candles it was made of."""

    row: Row
    parts: int


class CandleAggregator:
    """Gathers candles of `source` into complete, closed candles of `target`.

    Raises:
        ConfigError: `target` is not a multiple of `source`, or either is unknown.
    """

    def __init__(self, source: str, target: str) -> None:
        self._source_ms, self._target_ms = timeframe_ms(source), timeframe_ms(target)
        if self._target_ms % self._source_ms:
            raise ConfigError(f"{source} candles cannot be gathered to {target}: it is not a multiple")
        self._bucket_ms: int | None = None
        self._gathered: GatheredCandle | None = None

    def add(self, row: Row) -> tuple[GatheredCandle, ...]:
        """The coarser candles that have closed now: none, one, or after a gap the one before and this one's own.

        The first bucket is left out unless its very first candle is there.
        """
        bucket_ms = row[0] - row[0] % self._target_ms
        closed: list[GatheredCandle] = []
        if bucket_ms == self._bucket_ms:
            self._gathered = _joined(self._gathered, row)
        else:
            if self._gathered is not None:
                closed.append(self._gathered)
            whole = self._bucket_ms is not None or row[0] == bucket_ms
            self._bucket_ms, self._gathered = bucket_ms, GatheredCandle((bucket_ms, *row[1:]), 1) if whole else None
        if self._gathered is not None and row[0] + self._source_ms >= bucket_ms + self._target_ms:
            closed.append(self._gathered)
            self._gathered = None
        return tuple(closed)


def _joined(gathered: GatheredCandle | None, row: Row) -> GatheredCandle | None:
    if gathered is None:
        return None
    opened_ms, opening, high, low, _, volume = gathered.row
    joined = (opened_ms, opening, max(high, row[2]), min(low, row[3]), row[4], volume + row[5])
    return GatheredCandle(joined, gathered.parts + 1)
