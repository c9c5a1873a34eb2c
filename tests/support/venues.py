"""A paper venue for tests: a market whose price is told, a clock that is moved, any store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from aaos.adapters.brokers.paper import PaperBroker, VenueStore
from aaos.adapters.memory.clock import MovableClock
from aaos.domain.order_book import Level, OrderBook, Side
from aaos.domain.orders import Order, OrderState
from aaos.domain.venue.rules import InstrumentRules, PaperRules
from aaos.errors import UnknownSymbol

SYMBOL = "BTC/USDT"
EMPTY_VENUE = """
    SET session_replication_role = replica;
    DELETE FROM paper.accounts; DELETE FROM paper.instruments; DELETE FROM paper.orders; DELETE FROM paper.trades;
    DELETE FROM paper.positions; DELETE FROM paper.cash_flows; DELETE FROM paper.views; DELETE FROM paper.misbehaviours;
    DELETE FROM paper.requests;
    SET session_replication_role = origin;
"""
START = datetime(2026, 1, 1, tzinfo=UTC)
RULES = PaperRules(
    initial_deposit=Decimal(10_000),
    instruments={SYMBOL: InstrumentRules(Decimal("0.1"), Decimal("0.01"), Decimal("0.01"))},
)


class ToldBooks:
    """Implements `ports.OrderBooks`: the price runs evenly between the (second, price) points that were told.

    Market time is wall time. A spread of 0.2, ten levels of 0.1, the same size on each.
    """

    def __init__(self, *points: tuple[float, float], size: float = 5) -> None:
        self.points = sorted(points or ((0.0, 100.0),))
        self.size = Decimal(str(size))

    def tell(self, second: float, price: float) -> None:
        """Adds a point."""
        self.points = sorted([*self.points, (second, price)])

    def book(self, symbol: str, at: datetime) -> OrderBook:
        """See the port."""
        if symbol != SYMBOL:
            raise UnknownSymbol(f"no {symbol} here")
        second = (at - START).total_seconds()
        middle = Decimal(str(round(self._price(second), 1)))
        steps = [Decimal("0.1") * i for i in range(1, 11)]
        bids = tuple(Level(middle - step, self.size) for step in steps)
        return OrderBook(SYMBOL, bids, tuple(Level(middle + step, self.size) for step in steps), at)

    def books_between(self, symbol: str, after: datetime | None, until: datetime) -> Sequence[OrderBook]:
        """See the port."""
        if after is None or after >= until:
            return [self.book(symbol, until)]
        instants = [START + timedelta(seconds=second) for second, _ in self.points]
        return [self.book(symbol, at) for at in (*(i for i in instants if after < i < until), until)]

    def market_time(self, symbol: str, at: datetime) -> datetime:
        """See the port."""
        if symbol != SYMBOL:
            raise UnknownSymbol(f"no {symbol} here")
        return at

    def _price(self, second: float) -> float:
        before = [each for each in self.points if each[0] <= second] or self.points[:1]
        after = [each for each in self.points if each[0] > second] or before[-1:]
        (t0, p0), (t1, p1) = before[-1], after[0]
        return p0 if t0 >= t1 else p0 + (p1 - p0) * max(0.0, second - t0) / (t1 - t0)


class Venue:
    """A store, a market and a clock; `broker()` is another process each time."""

    def __init__(self, store: VenueStore, *points: tuple[float, float], **changes: Any) -> None:
        self.store = store
        self.books = ToldBooks(*points)
        self.clock = MovableClock(START)
        self.rules = replace(RULES, **changes)
        self.slept: list[float] = []

    def broker(self, account: str = "paper") -> PaperBroker:
        """Returns a broker of the account."""
        return PaperBroker(account, self.store, self.books, self.clock, self.rules, sleep=self.slept.append)


def an_order(side: Side = "buy", quantity: float | str | Decimal = 1, name: str = "a", **changes: Any) -> Order:
    """Returns a market order, unless it is given a price or a trigger."""
    for figure in ("price", "trigger_price", "leverage"):
        if figure in changes:
            changes[figure] = Decimal(str(changes[figure]))
    kind = "limit" if "price" in changes else "stop_market" if "trigger_price" in changes else "market"
    plain = Order(
        id=1, client_order_id=name, approval_id=1, source="decision:1", source_hash="", account="paper", leg="entry",
        symbol=SYMBOL, side=side, type=kind, quantity=Decimal(str(quantity)), leverage=Decimal(5), price=None,
        trigger_price=None, reduce_only=False, state=OrderState.INTENT, stop_epoch=1, filled=Decimal(0),
        venue_order_id=None, reason=None, created_at=START, age_s=0.0,
    )  # fmt: skip
    return replace(plain, **changes)
