"""An order on its way to the venue: written down, checked once more, sent once, and its outcome written down."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import structlog

from aaos.domain.orders import ENTRY, NewOrder, Order, OrderState, VenueOrder
from aaos.domain.runs import ClaimedRun
from aaos.errors import AmbiguousReply, OrderDenied, OrderRejected, VenueUnavailable
from aaos.services.book_fills import book_fills
from aaos.services.keep_trying import keep_trying
from aaos.services.settle_doubts import settle_doubts
from aaos.services.trading_desk import TradingDesk

log = structlog.get_logger()
T = TypeVar("T")

# An entry leaves at most this long after a look at the stop began, else it is looked at again (E1 allows 250 ms).
CHECK_HOLDS_S = 0.15
CHECKS_MAX = 5
# While the venue cannot be reached nothing was sent, and the same attempt may send: so often, with a growing pause.
SENDS_MAX = 3
SEND_AGAIN_S = 0.25
# What became of an order is worth more than a worker's time: it is written down as soon as the database is back.
WRITE_FOR_S = 30.0
# Of an order in these states nothing is at the venue, for certain.
NOTHING_THERE = (OrderState.WITHDRAWN, OrderState.REJECTED)
# And of these nobody can say.
NOBODY_KNOWS = (OrderState.INTENT, OrderState.UNKNOWN, OrderState.QUARANTINED)


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of an order.

    Attributes:
        order: as our books have it afterwards.
        first: whether this call wrote it down; False: an earlier one did, and this one has only asked about it.
        check_to_send_s: from the beginning of the last look at the stop to sending; None where nothing was sent.
    """

    order: Order
    first: bool = True
    check_to_send_s: float | None = None

    @property
    def denial(self) -> str | None:
        """Why nothing of it is at the venue; None where it was accepted, or nobody knows."""
        if self.order.state is OrderState.REJECTED:
            return "ORDER_REJECTED"
        if self.order.state is OrderState.WITHDRAWN:
            return (self.order.reason or "VENUE_UNAVAILABLE").partition(":")[0]
        return None


def send_order(new: NewOrder, desk: TradingDesk, run: ClaimedRun | None = None) -> Sent:
    """Writes the order down and sends it once; returns what became of it, with its fills booked.

    An order whose leg is written down already is never sent: it is asked about (`adopt_order`).

    Raises:
        OrderDenied: our books refuse it; nothing was written.
        EntriesHeld: an entry, while no entries are let through; nothing was written.
        FenceLost: the run is no longer the caller's.
        DatabaseUnavailable: nothing was sent, or what became of it could not be written; then it is asked about later.
    """
    intent = desk.orders.intend(new, run)
    if not intent.created:
        return adopt_order(intent.order, desk)
    order = intent.order
    try:
        seen, check_to_send_s = _place(order, desk)
    except _NotSent as kept:
        return Sent(_withdrawn(order, str(kept), desk))
    except OrderRejected as refused:
        return Sent(_rejected(order, refused, desk))
    except AmbiguousReply as ambiguous:
        return adopt_order(_doubted(order, str(ambiguous), desk), desk, first=True)
    settled = _write(lambda: desk.orders.settle(order.id, seen))
    log.info(
        "order_sent",
        order=order.id,
        source=order.source,
        leg=order.leg,
        symbol=order.symbol,
        side=order.side,
        quantity=str(order.quantity),
        state=settled.state.value,
        check_to_send_ms=round(check_to_send_s * 1000, 3),
    )
    return Sent(_with_fills(settled, desk) if seen.filled else settled, check_to_send_s=check_to_send_s)


def adopt_order(order: Order, desk: TradingDesk, *, first: bool = False) -> Sent:
    """Returns what became of an order that was written down before, with its fills booked; sends nothing, ever."""
    if order.state in NOBODY_KNOWS:
        order = settle_doubts([order], desk)[0]
    there = order.state not in NOBODY_KNOWS and order.state not in NOTHING_THERE
    return Sent(_with_fills(order, desk) if there else order, first)


class _NotSent(Exception):
    """Certainly nothing was sent; the message begins with the denial's code."""


def _place(order: Order, desk: TradingDesk) -> tuple[VenueOrder, float]:
    """Returns the venue's answer, and how long before sending the stop was looked at. Raises _NotSent."""
    why = ""
    for sends in range(SENDS_MAX):
        if sends:
            desk.sleep(SEND_AGAIN_S * 2.0 ** (sends - 1))
        looked_at = _let_through(order, desk)
        check_to_send_s = desk.clock() - looked_at
        try:
            return desk.broker.place(order), check_to_send_s
        except VenueUnavailable as away:
            desk.gate.lost()
            why = str(away)
            log.warning("venue_away", order=order.id, account=desk.account, sends=sends + 1, why=why)
    raise _NotSent(f"VENUE_UNAVAILABLE: {why}")


def _let_through(order: Order, desk: TradingDesk) -> float:
    """Returns when the look at the stop, and at the approval, that lets the order through began. Raises _NotSent.

    A look that took long may tell how things were before the stop: it is repeated. Exits are never held up by it.
    """
    for _ in range(CHECKS_MAX):
        began = desk.clock()
        try:
            may_send = _write(lambda: desk.orders.may_send(order.id))
        except OrderDenied as denied:
            raise _NotSent(f"{denied.code}: {denied}") from denied
        if not may_send:
            raise _NotSent("TRADING_STOPPED: between writing the order down and sending it")
        if order.leg != ENTRY or desk.clock() - began <= CHECK_HOLDS_S:
            return began
    raise _NotSent(f"VENUE_UNAVAILABLE: the stop could not be read within {CHECK_HOLDS_S} s, {CHECKS_MAX} times")


def _withdrawn(order: Order, reason: str, desk: TradingDesk) -> Order:
    stands = _write(lambda: desk.orders.order(order.id))
    if stands.state is not OrderState.INTENT:
        # Another worker took this one for dead and put its order in doubt; it has the word now.
        return stands
    _write(lambda: desk.orders.withdraw(order.id, reason))
    log.warning("order_withdrawn", order=order.id, account=desk.account, symbol=order.symbol, why=reason)
    return desk.orders.order(order.id)


def _rejected(order: Order, refused: OrderRejected, desk: TradingDesk) -> Order:
    reason = f"{refused.code}: {refused}" if refused.code else str(refused)
    _write(lambda: desk.orders.reject(order.id, reason))
    log.warning("order_rejected", order=order.id, account=desk.account, symbol=order.symbol, why=reason)
    return desk.orders.order(order.id)


def _doubted(order: Order, why: str, desk: TradingDesk) -> Order:
    desk.gate.lost()
    _write(lambda: desk.orders.doubt(order.id, why))
    log.warning("order_in_doubt", order=order.id, account=desk.account, symbol=order.symbol, why=why)
    return desk.orders.order(order.id)


def _with_fills(order: Order, desk: TradingDesk) -> Order:
    """Books what it filled; if the venue does not tell now, the watch fetches it a moment later."""
    try:
        book_fills(desk)
    except (VenueUnavailable, AmbiguousReply) as away:
        desk.gate.lost()
        log.warning("fills_not_fetched", order=order.id, account=desk.account, why=str(away))
    return desk.orders.order(order.id)


def _write(step: Callable[[], T]) -> T:
    return keep_trying(WRITE_FOR_S, step)
