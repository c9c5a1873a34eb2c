"""A small venue for tests: round figures, books that are written down, orders in one line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from aaos.domain.order_book import Instrument, Level, OrderBook, Side
from aaos.domain.orders import Order, OrderState
from aaos.domain.venue.matching import Exchange
from aaos.domain.venue.rules import InstrumentRules, PaperRules
from aaos.domain.venue.state import VenueAccount, VenueEntry

START = datetime(2026, 1, 1, 12, tzinfo=UTC)
SYMBOL = "BTC/USDT"
GRID = InstrumentRules(Decimal("0.1"), Decimal("0.01"), Decimal("0.01"))
RULES = PaperRules(
    initial_deposit=Decimal(10_000),
    spread_bps=Decimal(20),
    level_notional=Decimal(1_000),
    instruments={SYMBOL: GRID},
)
INSTRUMENT: Instrument = RULES.on_grid(SYMBOL, GRID)


def book_at(mid: float | str, size: float | str = 5, at: datetime = START, levels: int = 10) -> OrderBook:
    """A book with a spread of 0.2 around `mid`, levels of 0.1 and the same size on each."""
    middle, each = Decimal(str(mid)), Decimal(str(size))
    steps = [Decimal("0.1") * i for i in range(1, levels + 1)]
    bids = tuple(Level(middle - step, each) for step in steps)
    asks = tuple(Level(middle + step, each) for step in steps)
    return OrderBook(SYMBOL, bids, asks, at)


def account_with(deposit: int = 10_000) -> VenueAccount:
    account = VenueAccount("paper", START)
    account.flow("deposit:initial", "deposit", None, Decimal(deposit), START)
    return account


def facing(account: VenueAccount, book: OrderBook, rules: PaperRules = RULES) -> Exchange:
    return Exchange(account, rules.on_grid(SYMBOL, GRID), book, rules, book.as_of, book.as_of)


def order_of(side: Side = "buy", quantity: float | str | Decimal = 1, name: str = "a", **changes: Any) -> Order:
    """A market order, unless it is given a price or a trigger."""
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


def accepted(account: VenueAccount, book: OrderBook, order: Order, rules: PaperRules = RULES) -> VenueEntry:
    """Places the order against that book and returns it; fails when it was refused."""
    entry = facing(account, book, rules).place(order)
    assert isinstance(entry, VenueEntry), entry
    return entry


def refused(account: VenueAccount, book: OrderBook, order: Order, rules: PaperRules = RULES) -> str:
    """Places the order and returns the code with which it was refused."""
    answer = facing(account, book, rules).place(order)
    assert not isinstance(answer, VenueEntry), f"it was accepted: {answer}"
    return answer.code


def shows(account: VenueAccount, mids: Sequence[float | str], size: float | str = 5, rules: PaperRules = RULES) -> None:
    """Lets the market show books around these prices, a minute apart, from the newest one seen on."""
    for mid in mids:
        view = account.views.get(SYMBOL)
        at = START if view is None else view.as_of + timedelta(minutes=1)
        facing(account, book_at(mid, size, at), rules).look()


def traded(account: VenueAccount) -> list[tuple[str, Decimal, Decimal, str]]:
    """(side, quantity, price, liquidity) of all trades, oldest first."""
    return [(t.fill.side, t.fill.quantity, t.fill.price, t.fill.liquidity) for t in account.trades]


def held(account: VenueAccount) -> Decimal:
    """The signed quantity of the open position."""
    holding = account.holdings.get(SYMBOL)
    return Decimal(0) if holding is None else holding.quantity
