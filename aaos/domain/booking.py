"""What new fills and cash flows make of an account's orders, positions and cash. Pure; adapters load and store.

A fill is booked whatever it says: it happened. One that our books cannot explain (an order that nobody here sent, more
than was ordered, an order that was never sent as far as we know) is booked all the same, with an alert, and puts the
account's books in doubt: no entries until they are reconciled (R3).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal, localcontext
from typing import TypeVar

from aaos.domain.orders import CashFlow, Order, OrderState, RiskApproval, VenueFill
from aaos.domain.positions import EXACT_DIGITS, UNKNOWN_TERMS, Fill, Position, Terms, apply_fill, apply_funding
from aaos.domain.runs import NewAlert

ZERO = Decimal(0)
# An order in one of these has fills only if our books were wrong about it.
NEVER_SENT = (OrderState.REJECTED, OrderState.WITHDRAWN)
ADOPTED = (OrderState.INTENT, OrderState.UNKNOWN, OrderState.QUARANTINED)
T = TypeVar("T")


@dataclass(slots=True)
class Booking:
    """One account's books while new fills and flows are entered; afterwards, what is to be stored.

    Attributes:
        orders: by id: those that the fills belong to; changed as fills are entered.
        approvals: by id: of those orders.
        open: the open position of each symbol.
        closed: those that were closed by a fill entered here.
        cash: what came in (negative: went out).
        alerts: what a person should see.
        doubt: why the books are in doubt now; None when nothing was odd.
    """

    orders: dict[int, Order]
    approvals: Mapping[int, RiskApproval]
    open: dict[str, Position]
    closed: list[Position] = field(default_factory=list)
    cash: Decimal = ZERO
    alerts: list[NewAlert] = field(default_factory=list)
    doubt: str | None = None

    def enter(self, fill: Fill) -> None:
        """Enters a fill: its order, its symbol's position, the account's cash."""
        order = None if fill.order_id is None else self.orders[fill.order_id]
        if order is None:
            self._odd(fill, "is of an order that nobody here sent", "unknown_fill")
        else:
            self.orders[order.id] = self._filled(order, fill)
        before = self.open.pop(fill.symbol, None)
        terms = self._terms(order)
        changed = apply_fill(before, fill, terms.leverage, terms.stop_price, terms.take_profit_price)
        with localcontext(prec=EXACT_DIGITS):
            realised = sum((each.realised for each in changed), ZERO) - (before.realised if before else ZERO)
            self.cash += realised - fill.fee
        for position in changed:
            if position.closed_at is None:
                self.open[fill.symbol] = position
            else:
                self.closed.append(position)

    def _terms(self, order: Order | None) -> Terms:
        if order is None:
            return UNKNOWN_TERMS
        approval = self.approvals[order.approval_id]
        return Terms(approval.leverage, approval.stop_price, approval.take_profit_price)

    def _filled(self, order: Order, fill: Fill) -> Order:
        with localcontext(prec=EXACT_DIGITS):
            filled = order.filled + fill.quantity
        if order.symbol != fill.symbol or order.side != fill.side:
            self._odd(fill, f"says it is of order {order.id}, a {order.side} of {order.symbol}", "misplaced_fill")
        elif filled > order.quantity:
            self._odd(fill, f"fills order {order.id} beyond its {order.quantity}: {filled} now", "overfilled_order")
        elif order.state in NEVER_SENT:
            self._odd(fill, f"fills order {order.id}, which our books have as {order.state}", "unexpected_fill")
        return replace(order, filled=filled, state=_state_after(order, filled))

    def _odd(self, fill: Fill, what: str, kind: str) -> None:
        message = f"fill {fill.trade_id} of {fill.account} ({fill.side} {fill.quantity} {fill.symbol}) {what}"
        details = {"account": fill.account, "trade_id": fill.trade_id, "order_id": fill.order_id}
        self.alerts.append(NewAlert(kind, message, details))
        self.doubt = message


def _state_after(order: Order, filled: Decimal) -> OrderState:
    """An order that fills is at the venue; all of it filled, it is done. Other ends stay."""
    if order.state in (*ADOPTED, OrderState.WORKING):
        return OrderState.FILLED if filled >= order.quantity else OrderState.WORKING
    return order.state


def new_fills(told: Iterable[VenueFill], known: frozenset[str]) -> list[VenueFill]:
    """Returns the fills that are not booked, each once, in the order they happened.

    Of one instant the shorter id comes first: venues count their trades, and T9 was made before T10.
    """
    found = {each.trade_id: each for each in told if each.trade_id not in known}
    return sorted(found.values(), key=lambda each: (each.filled_at, len(each.trade_id), each.trade_id))


def new_flows(told: Iterable[CashFlow], known: frozenset[str]) -> list[CashFlow]:
    """Returns the cash flows that are not booked, each once, in the order they happened."""
    found = {each.flow_id: each for each in told if each.flow_id not in known}
    return sorted(found.values(), key=lambda each: (each.at, each.flow_id))


def funded(positions: Sequence[Position], flow: CashFlow) -> Position | None:
    """Returns the position that a funding payment belongs to, with it: the last opened by then; None for none.

    Args:
        positions: of the flow's symbol, any order.
        flow: a funding payment.
    """
    opened = [each for each in positions if each.opened_at <= flow.at]
    if flow.kind != "funding" or not opened:
        return None
    return apply_funding(max(opened, key=lambda each: (each.opened_at, each.id or 0)), flow.amount)


def thinned(points: Sequence[T], limit: int) -> Sequence[T]:
    """Returns at most `limit` points, evenly spread, the first (with a limit of 2 and more) and the last among them."""
    total = len(points)
    if total <= limit:
        return points
    if limit <= 1:
        return points[total - limit :]
    return [points[number * (total - 1) // (limit - 1)] for number in range(limit)]
