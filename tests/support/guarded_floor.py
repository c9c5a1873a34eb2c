"""The trading floor of `trading_floor` with a market that moves and positions that are watched."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from support.trading_floor import GRID, SOURCE, START, SYMBOL, Floor, ScriptedVenue, StillBooks
from support.worlds import World

from aaos.domain.order_book import Level, OrderBook, Side
from aaos.domain.orders import ENTRY, NewOrder, Order
from aaos.domain.positions import Position
from aaos.services.guard_positions import guard_positions
from aaos.services.send_order import send_order
from aaos.services.trading_desk import TradingDesk
from aaos.services.watch_positions import Watched, watch_positions

D = Decimal
STOP_ROI = D(10)


def a_market(mid: str | Decimal, **changes: Any) -> OrderBook:
    """A book around a price, two levels deep."""
    middle, step = D(mid), D("0.01")
    sides = [tuple(Level(middle + sign * step * n, D(5)) for n in (1, 2)) for sign in (-1, 1)]
    return OrderBook(**{"symbol": SYMBOL, "bids": sides[0], "asks": sides[1], "as_of": START} | changes)


@dataclass
class Market(StillBooks):
    """A market whose price a test sets; it counts how often it is looked at."""

    looks: int = 0

    def book(self, symbol: str, at: datetime) -> OrderBook:
        self.looks += 1
        return self.standing

    def moves_to(self, mid: str) -> None:
        self.standing = a_market(mid)


class GuardedFloor(Floor):
    """A floor on which positions are opened by a fill and watched."""

    market: Market

    def __init__(self, world: World | None = None) -> None:
        super().__init__(world=world)
        self.market = Market(a_market(100))

    def open(self, quantity: str = "2", source: str = SOURCE, side: Side = "buy", **approved: Any) -> Order:
        """Sends an entry for 2 at 100, and fills so much of it."""
        approval = self.approve(source, side, **approved)
        entry = NewOrder(
            approval.id, source, approval.source_hash, approval.account, ENTRY, SYMBOL, side, "limit", D(2), D(5),
            price=D(100),
        )  # fmt: skip
        sent = send_order(entry, self.desk).order
        if D(quantity):
            self.fill(sent, quantity)
        return sent

    def fill(self, order: Order, quantity: str | Decimal) -> None:
        """Fills some of an order at the venue; our books do not know yet."""
        self.venue.fill(order.client_order_id, D(quantity))

    def watch(self, desk: TradingDesk | None = None) -> Watched:
        """One look, a second after the last."""
        self.pass_time(1)
        return watch_positions(desk or self.desk, self.market, self.world.clock, STOP_ROI)

    def guard(self, desk: TradingDesk | None = None) -> Any:
        """Guards positions without fetching anything first."""
        return guard_positions(desk or self.desk, self.market, self.world.clock, STOP_ROI)

    def position(self) -> Position:
        """Returns the one open position."""
        (position,) = self.books.open_positions("paper")
        return position

    def legs(self, kind: str, source: str = SOURCE) -> list[Order]:
        """Returns the source's legs of that kind, as our books have them."""
        return [order for order in self.orders.of_source(source) if order.leg.startswith(kind)]

    def live(self) -> dict[str, tuple[str, Decimal, Decimal | None]]:
        """Returns what is open at the venue, by leg: side, quantity, trigger."""
        names = {order.client_order_id: order.leg for order in self.orders.orders(1000)}
        return {
            names.get(each.client_order_id or "", "foreign"): (each.side, each.quantity, each.trigger_price)
            for each in self.venue.book.values()
            if each.state == "working"
        }


__all__ = ["GRID", "SOURCE", "SYMBOL", "D", "GuardedFloor", "Market", "ScriptedVenue", "a_market"]
