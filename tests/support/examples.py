"""Settings and a small market for services under test; every figure is an example."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

import numpy as np

from aaos.domain.market import Candles
from aaos.errors import UnknownSymbol
from aaos.settings import Settings, load_settings

MINUTE_MS = 60_000


@lru_cache(maxsize=1)
def shipped_settings() -> Settings:
    """Returns what config/*.yaml say."""
    return load_settings()


def changed_settings(**changes: Any) -> Settings:
    """Returns the shipped settings with these sections replaced."""
    shipped = shipped_settings().model_copy()
    for computed in ("hash", "redis_address"):  # a copy takes along what was computed of the original
        shipped.__dict__.pop(computed, None)
    return shipped.model_copy(update=changes)


class StillMarket:
    """Implements `ports.MarketData`: the same candles at every instant."""

    def __init__(self, symbols: Sequence[str] = ("BTC/USDT", "ETH/USDT"), candles: int = 300) -> None:
        self._series = {symbol: _rising(symbol, candles) for symbol in symbols}

    def symbols(self) -> Sequence[str]:
        return list(self._series)

    def timeframe(self, symbol: str) -> str:
        return self._series[symbol].timeframe

    def market_time(self, symbol: str, at: datetime) -> datetime:
        return at

    def candles(self, symbol: str, at: datetime, limit: int) -> Candles:
        if symbol not in self._series:
            raise UnknownSymbol(f"no symbol {symbol!r} in this market")
        return self._series[symbol].tail(limit)


def _rising(symbol: str, n: int) -> Candles:
    times = np.arange(n, dtype=np.int64) * MINUTE_MS
    close = 100 + np.arange(n) * 0.1
    return Candles(symbol, "1m", times, close - 0.05, close + 0.1, close - 0.1, close, np.full(n, 10.0))
