"""Orders and fills as a person sees them."""

from __future__ import annotations

import getpass
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from aaos.domain.orders import OrderState
from aaos.errors import InputError
from aaos.shell.connection import connect, helpful_errors
from aaos.shell.figures import json_form, price
from aaos.shell.filters import check_limit, refuse_unknown, source_of
from aaos.shell.lists import REASON_SHOWN_CHARS, shortened
from aaos.shell.runs import instant
from aaos.shell.tables import as_text, table

if TYPE_CHECKING:
    from rich.table import Table

    from aaos.domain.orders import Order
    from aaos.domain.positions import Fill

ORDER_HEADERS = (
    "order", "written", "source", "leg", "symbol", "side", "type", "quantity", "filled", "price", "state", "why",
)  # fmt: skip
FILL_HEADERS = ("fill", "time", "account", "source", "leg", "symbol", "side", "quantity", "price", "fee")
NO_ORDERS = (
    "no orders; a tradable decision leads to one: `aaos risk` and `aaos vetoes` say what was let through or refused"
)
NO_FILLS = "no fills; `aaos orders` shows what waits for one"
ID_MAX = 2**63 - 1


class OrderList(list["Order"]):
    """Orders, newest first; prints as a table."""

    def __rich__(self) -> Table:
        """The table, for rich."""
        return table(ORDER_HEADERS, ([
            each.id, instant(each.created_at), each.source, each.leg, each.symbol, each.side, each.type,
            price(each.quantity), price(each.filled), price(each.price or each.trigger_price), each.state.value,
            shortened(each.reason or "", REASON_SHOWN_CHARS),
        ] for each in self))  # fmt: skip

    def to_dicts(self) -> list[dict[str, Any]]:
        """Returns the JSON form."""
        return [json_form(each) for each in self]

    def __repr__(self) -> str:
        return as_text(self) if self else NO_ORDERS

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text("…" if cycle else repr(self))


class FillList(list["Fill"]):
    """Fills, newest first; prints as a table."""

    def __rich__(self) -> Table:
        """The table, for rich."""
        return table(FILL_HEADERS, ([
            each.id, instant(each.filled_at), each.account, each.source, each.leg, each.symbol, each.side,
            price(each.quantity), price(each.price), price(each.fee),
        ] for each in self))  # fmt: skip

    def to_dicts(self) -> list[dict[str, Any]]:
        """Returns the JSON form."""
        return [json_form(each) for each in self]

    def __repr__(self) -> str:
        return as_text(self) if self else NO_FILLS

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text("…" if cycle else repr(self))


@helpful_errors()
def orders(
    limit: int = 20, symbol: str | None = None, state: str | None = None, source: str | int | None = None
) -> OrderList:
    """Returns the newest orders first, or all orders of one source.

    Args:
        limit: at most so many.
        symbol: only these.
        state: only these: intent, working, unknown, filled, canceled, rejected, expired, withdrawn, quarantined.
        source: of a decision (`decision:17`, or its run's number) or of a portfolio trade (`trade:4`).

    Raises:
        InputError: no such state or source; UnknownSymbol: names the known ones.
    """
    check_limit(limit)
    wanted = _state(state)
    container = connect()
    if source is None:
        found: Sequence[Order] = container.orders.orders(limit, symbol, wanted)
    else:
        whole = container.orders.of_source(source_of(source))
        found = [each for each in whole if symbol in (None, each.symbol) and wanted in (None, each.state)][:limit]
    if not found:
        refuse_unknown(symbol, container)
    return OrderList(found)


@helpful_errors()
def fills(limit: int = 20, account: str | None = None, symbol: str | None = None) -> FillList:
    """Returns the newest fills first.

    Raises:
        UnknownSymbol: names the known ones.
    """
    check_limit(limit)
    container = connect()
    found = FillList(container.trading_books.fills(limit, account, symbol))
    if not found:
        refuse_unknown(symbol, container)
    return found


@helpful_errors()
def release_order(order_id: int, reason: str, by: str | None = None) -> Order:
    """Lets entries of a quarantined order's symbol through again, on a person's word, which the audit log keeps.

    Args:
        order_id: as `orders(state="quarantined")` lists it.
        reason: why that is safe: what the venue says of the order.
        by: who says so; by default the name this process runs under.

    Raises:
        InputError: no such order, it is not quarantined, or no reason is given.
    """
    if not 0 < order_id <= ID_MAX:
        raise InputError(f"{order_id} is no order's id; `aaos orders --state quarantined` lists them")
    person, why = said_by(by, reason)
    return connect().orders.release(order_id, person, why)


def said_by(by: str | None, reason: str) -> tuple[str, str]:
    """Returns who says something and why, as the audit log keeps it. Raises InputError where either says nothing."""
    from aaos.services.approve_decision import NAME_MAX_CHARS, REASON_MAX_CHARS, text_said

    person = getpass.getuser() if by is None else by
    return text_said("by", person, NAME_MAX_CHARS), text_said("reason", reason, REASON_MAX_CHARS)


def _state(state: str | None) -> OrderState | None:
    try:
        return None if state is None else OrderState(state)
    except ValueError:
        raise InputError(f"no state {state!r}; an order is {', '.join(OrderState)}") from None
