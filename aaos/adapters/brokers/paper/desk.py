"""One request's view of the venue: the account's ledger, brought up to the market's present before anything is done."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final

from aaos.adapters.brokers.paper.store import Listing, VenueBooks
from aaos.domain.order_book import Instrument, OrderBook
from aaos.domain.orders import Order
from aaos.domain.venue.checks import Refusal, free_margin
from aaos.domain.venue.matching import Exchange, cancel, crossings
from aaos.domain.venue.misbehaviours import Misbehaviour
from aaos.domain.venue.rules import PaperRules
from aaos.domain.venue.state import MarketView, VenueEntry
from aaos.errors import UnknownSymbol
from aaos.ports.trading import OrderBooks

VIEWS_KEPT_AFTER: Final = 60
"""Books looked at without anything happening, after which it is noted how far: a look costs 0.3 ms a book."""
EXTRA_BOOKS: Final = 50
"""Between two turning points, so many books at most are looked at for triggers."""


class VenueDesk:
    """An account at one wall-clock instant; `now` is never earlier than what was dated before."""

    def __init__(self, ledger: VenueBooks, books: OrderBooks, rules: PaperRules, now: datetime) -> None:
        self.ledger = ledger
        self.account = ledger.account
        self.now = max(now, ledger.account.seen_at)
        self._books = books
        self._rules = rules
        self._looked_at = 0
        self._told = 0
        self.struck: Misbehaviour | None = None

    def catch_up(self) -> None:
        """Matches every open order with the books since the last look; each book once."""
        for symbol in self.account.active_symbols():
            try:
                self.look(symbol)
            except UnknownSymbol:
                continue  # the market was exchanged for one that does not list it: nothing trades there

    def place(self, order: Order) -> VenueEntry | Refusal:
        """Accepts or refuses the order at the market's present."""
        try:
            exchange = self.look(order.symbol)
        except UnknownSymbol as error:
            return Refusal("UNKNOWN_SYMBOL", str(error))
        return exchange.place(order)

    def cancel(self, order: Order) -> VenueEntry | None:
        """Cancels what is left of the order; None where it is not known."""
        found = self.named(order.client_order_id, order.symbol)
        if found is None or found.state != "working":
            return found
        return cancel(self.account, found.number, self.now)

    def named(self, client_order_id: str, symbol: str) -> VenueEntry | None:
        """Returns the newest order of that name, once it can be seen."""
        found = self.ledger.named(client_order_id, symbol)
        return found if found is not None and found.visible_at <= self.now else None

    def hide(self, order: VenueEntry, seconds: float) -> None:
        """Lets queries not see the order, nor its trades, for so long."""
        self.account.put(replace(order, visible_at=self.now + timedelta(seconds=seconds)))

    def free_margin(self) -> Decimal:
        """Returns the cash that nothing has set aside, in quote currency."""
        return free_margin(self.account)

    def look(self, symbol: str) -> Exchange:
        """Matches the symbol's books since the last look; returns the account facing the newest."""
        until = self._books.market_time(symbol, self.now)
        view = self.account.views.get(symbol) if symbol in self.account.active_symbols() else None
        after = view.looked_until if view is not None and view.looked_until <= until else None
        books = self._books.books_between(symbol, after, until)
        instrument = instrument_of(symbol, books[-1], self.ledger, self._rules)
        for book in books:
            for each in (*self._crossed(instrument, book, after), book):
                reached = until if each is books[-1] else each.as_of
                at = self._wall(each, after, until)
                exchange = Exchange(self.account, instrument, each, self._rules, at, reached)
                exchange.look()
                self._looked_at += 1
        return exchange

    def struck_by(self, method: str) -> Misbehaviour | None:
        """Returns, and remembers, what strikes this request, counting it."""
        self.struck = self.ledger.misbehaviour(method)
        return self.struck

    def tell(self) -> None:
        """Decides when the new trades are told: at once, unless they are held back."""
        new = self.account.trades[self._told :]
        late = self.ledger.misbehaviour("match") if new else None
        delay = timedelta(seconds=0 if late is None else late.seconds)
        for index, each in enumerate(new, self._told):
            told_at = max(each.reported_at + delay, self.account.touched[each.order_number].visible_at)
            self.account.trades[index] = replace(each, reported_at=told_at)
        self._told += len(new)

    def close(self) -> None:
        """Decides what is saved; the last thing done at a desk."""
        self.tell()
        self.account.keep_views = self._looked_at > VIEWS_KEPT_AFTER
        if self.account.keep_views or self.account.changed:
            self.account.seen_at = self.now

    def _crossed(self, instrument: Instrument, book: OrderBook, after: datetime | None) -> Iterator[OrderBook]:
        """Yields the books on the way to this one at which a trigger fires or a position is liquidated.

        Between turning points the price moves evenly, so where it crosses a mark is found by proportion.
        """
        if after is None:
            return
        for _ in range(EXTRA_BOOKS):
            view = self.account.views[instrument.symbol]
            instant = self._next_crossing(instrument, view, book)
            if instant is None or instant >= book.as_of:
                return
            [extra] = self._books.books_between(instrument.symbol, None, instant)
            if not view.as_of < extra.as_of < book.as_of:
                return
            yield replace(extra, age_s=0.0)

    def _next_crossing(self, instrument: Instrument, view: MarketView, book: OrderBook) -> datetime | None:
        if view.mid is None or not (book.bids and book.asks) or view.as_of >= book.as_of:
            return None
        shares = crossings(self.account, instrument, view.mid, book.mid)
        if not shares:
            return None
        # The first book that shows the price beyond: books lie on a grid, each shows the price at its beginning.
        ahead = (book.as_of - view.as_of) * float(shares[0])
        return view.as_of + ahead + timedelta(milliseconds=self._rules.book_every_ms)

    def _wall(self, book: OrderBook, after: datetime | None, until: datetime) -> datetime:
        """Returns the wall-clock instant of a book: in proportion between the last look and now."""
        if after is None or not after < book.as_of < until:
            return self.now
        return self.account.seen_at + (self.now - self.account.seen_at) * ((book.as_of - after) / (until - after))


def instrument_of(symbol: str, book: OrderBook, listing: Listing, rules: PaperRules) -> Instrument:
    """Returns the symbol's instrument, listing it at its first price.

    Raises:
        UnknownSymbol: it is not listed, and has no price yet.
    """
    grid = rules.instruments.get(symbol) or listing.grid(symbol)
    if grid is None:
        if not book.bids:
            raise UnknownSymbol(f"{symbol} has no price yet: its market has not begun")
        grid = listing.list_symbol(symbol, rules.grid(symbol, book.bids[0].price))
    return rules.on_grid(symbol, grid)
