"""Order books as a bad feed would show them: stale, empty or crossed, when that was asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from aaos.adapters.brokers.paper.store import VenueStore
from aaos.domain.order_book import OrderBook
from aaos.domain.venue.misbehaviours import Misbehaviour
from aaos.ports.trading import OrderBooks


class MisbehavingBooks:
    """Implements `ports.OrderBooks` for those who trade; the venue itself matches against the true books."""

    def __init__(self, books: OrderBooks, store: VenueStore) -> None:
        self._books = books
        self._store = store

    def book(self, symbol: str, at: datetime) -> OrderBook:
        """See the port."""
        book, struck = self._books.book(symbol, at), self._store.struck("book", None)
        return book if struck is None else _spoilt(book, struck)

    def books_between(self, symbol: str, after: datetime | None, until: datetime) -> Sequence[OrderBook]:
        """See the port."""
        return self._books.books_between(symbol, after, until)

    def market_time(self, symbol: str, at: datetime) -> datetime:
        """See the port."""
        return self._books.market_time(symbol, at)


def _spoilt(book: OrderBook, how: Misbehaviour) -> OrderBook:
    if how.mode == "empty_book":
        return replace(book, bids=(), asks=())
    if how.mode == "crossed_book":
        return replace(book, bids=book.asks, asks=book.bids)
    return replace(book, as_of=book.as_of - timedelta(seconds=how.seconds), age_s=book.age_s + how.seconds)
