"""What the venue refuses, each with its code, before an order becomes part of any book."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from aaos.domain.order_book import Instrument
from aaos.domain.orders import Order
from aaos.domain.venue.rules import PaperRules
from aaos.domain.venue.state import ZERO, VenueAccount, VenueEntry

RefusalCode = Literal[
    "INVALID_QUANTITY",
    "QUANTITY_TOO_SMALL",
    "NOTIONAL_TOO_SMALL",
    "INVALID_PRICE",
    "PRICE_OUT_OF_BAND",
    "INVALID_TRIGGER",
    "INVALID_LEVERAGE",
    "DUPLICATE_CLIENT_ID",
    "REDUCE_ONLY",
    "INSUFFICIENT_MARGIN",
    "TOO_MANY_ORDERS",
    "UNKNOWN_SYMBOL",
    "REJECTED",
]
CONDITIONAL = ("stop_market", "take_profit_market")


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an order is refused."""

    code: RefusalCode
    why: str


def refusal(
    account: VenueAccount, order: Order, instrument: Instrument, mark: Decimal | None, rules: PaperRules
) -> Refusal | None:
    """Returns the first reason to refuse the order; None: it is accepted.

    Args:
        account: as it stands, looked up to now.
        order: what was sent.
        instrument: the symbol's.
        mark: the middle of the book; None when it has none (then what needs one is not checked).
        rules: the venue's.
    """
    checks: tuple[Callable[[], Iterator[Refusal]], ...] = (
        lambda: _shape(order, instrument),
        lambda: _prices(order, instrument, mark, rules),
        lambda: _size(order, instrument, mark),
        lambda: _account(account, order, rules),
        lambda: _margin(account, order, instrument, mark),
    )
    return next((found for check in checks for found in check()), None)


def _shape(order: Order, instrument: Instrument) -> Iterator[Refusal]:
    if order.quantity <= 0 or order.quantity % instrument.quantity_step:
        yield Refusal("INVALID_QUANTITY", f"{order.quantity} is not a multiple of {instrument.quantity_step}")
    if not 1 <= order.leverage <= instrument.max_leverage:
        yield Refusal("INVALID_LEVERAGE", f"leverage {order.leverage}: 1 to {instrument.max_leverage} are allowed")


def _prices(order: Order, instrument: Instrument, mark: Decimal | None, rules: PaperRules) -> Iterator[Refusal]:
    if (order.type == "limit") != (order.price is not None):
        yield Refusal("INVALID_PRICE", f"a {order.type} order {'needs a' if order.price is None else 'has no'} price")
    if (order.type in CONDITIONAL) != (order.trigger_price is not None):
        needs = "needs a" if order.trigger_price is None else "has no"
        yield Refusal("INVALID_TRIGGER", f"a {order.type} order {needs} trigger price")
    if order.price is not None:
        if order.price <= 0 or order.price % instrument.price_step:
            yield Refusal("INVALID_PRICE", f"{order.price} is not a multiple of {instrument.price_step}")
        if mark is not None and _beyond(order.price, order, mark, rules.price_band):
            yield Refusal("PRICE_OUT_OF_BAND", f"{order.price} is more than {rules.price_band:%} beyond the mid {mark}")
    if order.trigger_price is not None and (order.trigger_price <= 0 or order.trigger_price % instrument.price_step):
        yield Refusal("INVALID_TRIGGER", f"{order.trigger_price} is not a multiple of {instrument.price_step}")


def _beyond(price: Decimal, order: Order, mark: Decimal, band: Decimal) -> bool:
    return price > mark * (1 + band) if order.side == "buy" else price < mark * (1 - band)


def _size(order: Order, instrument: Instrument, mark: Decimal | None) -> Iterator[Refusal]:
    # What only reduces may be of any size on the grid: a remainder must be closable.
    if order.reduce_only:
        return
    if order.quantity < instrument.min_quantity:
        yield Refusal("QUANTITY_TOO_SMALL", f"{order.quantity}: at least {instrument.min_quantity}")
    price = order.price or order.trigger_price or mark
    if price is not None and price * order.quantity < instrument.min_notional:
        yield Refusal("NOTIONAL_TOO_SMALL", f"worth {price * order.quantity}: at least {instrument.min_notional}")


def _account(account: VenueAccount, order: Order, rules: PaperRules) -> Iterator[Refusal]:
    if any(each.client_order_id == order.client_order_id for each in account.orders.values()):
        yield Refusal("DUPLICATE_CLIENT_ID", f"an open order has the id {order.client_order_id}")
    if len(account.orders) >= rules.max_open_orders:
        yield Refusal("TOO_MANY_ORDERS", f"{len(account.orders)} orders are open, no more are allowed")
    if order.reduce_only and closable(account, order) == 0:
        yield Refusal("REDUCE_ONLY", f"there is no position in {order.symbol} that a {order.side} would reduce")


def _margin(account: VenueAccount, order: Order, instrument: Instrument, mark: Decimal | None) -> Iterator[Refusal]:
    price = order.price or order.trigger_price or mark
    if order.reduce_only or price is None:
        return
    opening = max(ZERO, order.quantity - closable(account, order))
    needed = opening * price * (1 / order.leverage + instrument.taker_fee)
    free = free_margin(account)
    if needed > free:
        yield Refusal("INSUFFICIENT_MARGIN", f"it needs {needed:.2f}, {max(free, ZERO):.2f} are free")


def closable(account: VenueAccount, order: Order | VenueEntry) -> Decimal:
    """Returns how much of the open position an order of that side could close, in base currency."""
    holding = account.holdings.get(order.symbol)
    is_other_side = holding is not None and (holding.quantity > 0) == (order.side == "sell")
    return abs(holding.quantity) if holding is not None and is_other_side else ZERO


def free_margin(account: VenueAccount) -> Decimal:
    """Returns the cash that neither a position nor an open entry has set aside; profit not realised is not cash."""
    held = sum((each.margin for each in account.holdings.values()), ZERO)
    return account.cash - held - sum((_reserved(account, each) for each in account.orders.values()), ZERO)


def _reserved(account: VenueAccount, order: VenueEntry) -> Decimal:
    price = order.price or order.trigger_price
    if order.reduce_only or price is None:
        return ZERO
    return max(ZERO, order.remaining - closable(account, order)) * price / order.leverage
