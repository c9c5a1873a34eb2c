"""A portfolio account with books of the market that a test writes itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, cast

from support.worlds import MemoryWorld

from aaos.domain.order_book import Instrument, Level, OrderBook
from aaos.domain.orders import Order, OrderState
from aaos.domain.portfolio.rules import PortfolioRules
from aaos.domain.positions import Position
from aaos.errors import UnknownSymbol
from aaos.ports import AccountBooks, Broker, OrderBooks, TradingBooks
from aaos.services.rebalance_portfolio import PortfolioDesk

ACCOUNT = "paper-portfolio"
AT = datetime(2026, 1, 1, tzinfo=UTC)
D = Decimal


def book(symbol: str, price: str, age_s: float = 0.0) -> OrderBook:
    mid = D(price)
    bids, asks = (Level(mid - 1, D(10)),), (Level(mid + 1, D(10)),)
    return OrderBook(symbol, bids, asks, AT, age_s)


def position(symbol: str, quantity: str, entry: str) -> Position:
    return Position(
        1, ACCOUNT, symbol, "trade:1", D(quantity), D(entry), D(quantity), D(1), D(0), D(0), D(0), None, None, AT, None
    )


def order(source: str, state: str, filled: str = "0", **changes: Any) -> Order:
    given: dict[str, Any] = {
        "id": 7,
        "client_order_id": "aa",
        "approval_id": 1,
        "source": source,
        "source_hash": "h",
        "account": ACCOUNT,
        "leg": "entry",
        "symbol": "BTC/USDT",
        "side": "buy",
        "type": "limit",
        "quantity": D("0.5"),
        "leverage": D(1),
        "price": D(100),
        "trigger_price": None,
        "reduce_only": False,
        "state": OrderState(state),
        "stop_epoch": 1,
        "filled": D(filled),
        "venue_order_id": None,
        "reason": None,
        "created_at": AT,
        "age_s": 1.0,
    }
    return Order(**(given | changes))


@dataclass
class Market:
    """Order books and the venue's word on symbols, as the test has them."""

    listed: dict[str, OrderBook]
    account: str = ACCOUNT
    venue: str = "paper"

    def book(self, symbol: str, at: datetime) -> OrderBook:
        if symbol not in self.listed:
            raise UnknownSymbol(f"no symbol {symbol!r} in this market; it has: {', '.join(self.listed)}")
        return self.listed[symbol]

    def instrument(self, symbol: str) -> Instrument:
        if symbol not in self.listed:
            raise UnknownSymbol(f"no symbol {symbol!r} in this market; it has: {', '.join(self.listed)}")
        small = D("0.0001")
        return Instrument(symbol, D("0.1"), small, small, D(5), D(100), D("0.0002"), D("0.0006"), D("0.004"))


@dataclass
class Books:
    """Our books of the account, as the test has them."""

    money: Decimal = field(default=D(10_000))
    positions: list[Position] = field(default_factory=list)
    doubt: str | None = None

    def cash(self, account: str) -> Decimal:
        return self.money

    def open_positions(self, account: str | None = None) -> Sequence[Position]:
        return self.positions

    def books(self, account: str) -> AccountBooks:
        return AccountBooks(account, self.doubt, 1, AT)


@dataclass
class OrdersOf:
    """Orders by source, as the test has them."""

    by_source: Mapping[str, Sequence[Order]] = field(default_factory=dict)

    def of_source(self, source: str) -> Sequence[Order]:
        return self.by_source.get(source, ())


@dataclass
class Office:
    """One account, its market and its trades."""

    world: MemoryWorld = field(default_factory=MemoryWorld)
    market: Market = field(default_factory=lambda: Market({"BTC/USDT": book("BTC/USDT", "100")}))
    ledger: Books = field(default_factory=Books)

    @property
    def desk(self) -> PortfolioDesk:
        return PortfolioDesk(
            cast("OrderBooks", self.market),
            cast("Broker", self.market),
            cast("TradingBooks", self.ledger),
            self.world.trades,
            self.world.clock,
        )


def rules(**changes: Any) -> PortfolioRules:
    return PortfolioRules(**({"targets": {"BTC/USDT": D("0.4")}} | changes))
