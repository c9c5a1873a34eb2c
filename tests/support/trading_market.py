"""A market that stands still until a test moves it: order books, and candles for risk to measure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal

import numpy as np

from aaos.domain.market import Candles
from aaos.domain.order_book import Level, OrderBook
from aaos.errors import UnknownSymbol
from aaos.ports import Clock

LEVELS = 12
STEP = Decimal("0.01")
LEVEL_SIZE = Decimal(3)
START = Decimal(100)
CANDLES = 300
CALM = 0.0005


def book_at(symbol: str, mid: Decimal, as_of: datetime, age_s: float = 0.0) -> OrderBook:
    """Returns a book of twelve levels a step apart on either side."""
    bids = tuple(Level(mid - STEP * (n + 1), LEVEL_SIZE) for n in range(LEVELS))
    asks = tuple(Level(mid + STEP * (n + 1), LEVEL_SIZE) for n in range(LEVELS))
    return OrderBook(symbol, bids, asks, as_of, age_s)


class MovedMarket:
    """Implements `ports.OrderBooks` and as much of `ports.MarketData` as risk reads; market time is the clock's."""

    def __init__(self, symbols: Sequence[str], clock: Clock) -> None:
        self._clock = clock
        self._shown: dict[str, list[OrderBook]] = {
            symbol: [book_at(symbol, START, clock.now() - timedelta(milliseconds=1))] for symbol in symbols
        }

    def move(self, symbol: str, mid: Decimal) -> None:
        """The market goes there; everybody sees it from now on."""
        shown = self._of(symbol)
        # Strictly later, also where the clock stands still.
        at = max(self._clock.now(), shown[-1].as_of + timedelta(microseconds=1))
        shown.append(book_at(symbol, max(mid, STEP * (LEVELS + 2)).quantize(STEP), at))

    def refresh(self) -> None:
        """Everywhere the book fills up again, as it does a moment later; prices stay."""
        for symbol in self._shown:
            self.move(symbol, self.mid(symbol))

    def mid(self, symbol: str) -> Decimal:
        """Returns where the market stands."""
        return self._of(symbol)[-1].mid

    def book(self, symbol: str, at: datetime) -> OrderBook:
        """See the port; a book is as young as it is read."""
        return self._of(symbol)[-1]

    def books_between(self, symbol: str, after: datetime | None, until: datetime) -> Sequence[OrderBook]:
        """See the port."""
        shown = self._of(symbol)
        return shown[-1:] if after is None else [book for book in shown if book.as_of > after] or shown[-1:]

    def market_time(self, symbol: str, at: datetime) -> datetime:
        """See the port."""
        return max(at, self._of(symbol)[-1].as_of)

    def candles(self, symbol: str, at: datetime, limit: int) -> Candles:
        """Returns calm candles that end where the market stands, of each symbol by itself."""
        rng = np.random.default_rng(sum(symbol.encode()))
        path = np.cumsum(rng.normal(0, CALM, CANDLES))
        close = float(self.mid(symbol)) * np.exp(path - path[-1])
        opened = np.concatenate([close[:1], close[:-1]])
        newest_ms = int(at.timestamp() * 1000) // 60_000 * 60_000 - 60_000
        times = newest_ms - 60_000 * np.arange(CANDLES)[::-1]
        high, low = np.maximum(opened, close) * (1 + CALM), np.minimum(opened, close) * (1 - CALM)
        return Candles(symbol, "1m", times, opened, high, low, close, np.full(CANDLES, 10.0)).tail(limit)

    def _of(self, symbol: str) -> list[OrderBook]:
        try:
            return self._shown[symbol]
        except KeyError:
            raise UnknownSymbol(f"{symbol} is not moved here") from None
