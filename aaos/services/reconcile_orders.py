"""Our books of an account beside the venue's: what turned up is adopted, what differs is told, nothing is hidden."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import structlog

from aaos.domain.execution.reconciliation import (
    Difference,
    OrderComparison,
    compare_holdings,
    compare_orders,
    foreign_orders,
    revived,
)
from aaos.domain.execution.rules import ExecutionRules
from aaos.domain.orders import ENTRY, Order, OrderState, VenueOrder
from aaos.domain.positions import Fill
from aaos.errors import AmbiguousReply, EntriesHeld, VenueUnavailable
from aaos.services.book_fills import book_fills
from aaos.services.expire_orders import expire_orders
from aaos.services.settle_doubts import settle_doubts
from aaos.services.trading_desk import TradingDesk

log = structlog.get_logger()

FOREIGN_ORDER = "foreign_order"
BOOKS_DIFFER = "books_differ"
ORDER_TURNED_UP = "order_turned_up"
# The venue is asked one thing after another: what fills in between looks like a difference, once. One that is still
# there at the last look is none of these.
LOOKS_MAX = 3
LOOK_AGAIN_S = 0.3
# Beyond request and window: an intent this much older is not being sent any more (`Orders.intend` waits as long).
IN_FLIGHT_MARGIN_S = 10.0
HELD_AGAIN_S = 2.0
# An alert names so many; the report lists all.
TOLD_MAX = 10
# Released or not, these may still turn up; a hundred times more than an account ever had would be the venue's fault.
QUARANTINED_MAX = 1000


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """What one comparison of an account found.

    Attributes:
        in_order: whether entries may be sent: nothing differs, and no order's fate is unknown.
        settled: orders of whom the venue said something new, as they stand now.
        doubtful: orders whose fate is still unknown.
        foreign: open orders that nobody here wrote down.
        fills: trades that were booked by it.
        differences: what the books do not agree about.
    """

    account: str
    in_order: bool
    settled: Sequence[Order] = ()
    doubtful: Sequence[Order] = ()
    foreign: Sequence[VenueOrder] = ()
    fills: Sequence[Fill] = ()
    differences: Sequence[Difference] = ()

    @property
    def why(self) -> str:
        """Why entries are held: what differs, or whose fate is unknown; empty when neither is there."""
        told = [str(each) for each in self.differences[:TOLD_MAX]]
        told += [f"the fate of order {order.id} is unknown" for order in self.doubtful[:TOLD_MAX]]
        return "; ".join(told)


def reconcile_orders(desk: TradingDesk) -> Reconciliation:
    """Compares orders, fills, cash and positions with the venue's (R4); returns what it found.

    Orders are adopted, ended or quarantined as the venue knows them; one that is not ours is told of and left alone.
    Differences in positions or cash put the books in doubt; agreement ends the doubt they were in when it began. The
    first time in a process, orders that are too old are cancelled, too (HARD-1.3).

    Raises:
        VenueUnavailable: the venue could not be asked; the books stay as they are, and this process sends no entry.
        AmbiguousReply: the same.
    """
    with desk.gate.turn:
        return _reconcile(desk)


def ensure_reconciled(desk: TradingDesk) -> None:
    """Reconciles unless this process has done so since the last doubt; returns only when entries may be sent.

    Raises:
        EntriesHeld: the books differ, or the venue could not be asked.
    """
    if desk.gate.open:
        return
    with desk.gate.turn:
        why = None if desk.gate.open else desk.gate.refusal(desk.clock(), HELD_AGAIN_S) or _refused(desk)
    if why is not None:
        raise EntriesHeld(f"{desk.account}: {why}", HELD_AGAIN_S)


def _refused(desk: TradingDesk) -> str | None:
    try:
        return None if _reconcile(desk).in_order else desk.gate.refusal(desk.clock(), HELD_AGAIN_S)
    except (VenueUnavailable, AmbiguousReply) as away:
        return f"not reconciled: {away}"


def _reconcile(desk: TradingDesk) -> Reconciliation:
    try:
        found = _compare(desk)
        if not found.in_order and not found.why:
            # Orders were put in doubt, and settled, while it went on: another look ends that doubt, if nothing is left.
            again = _compare(desk)
            found = replace(again, settled=(*found.settled, *again.settled), fills=(*found.fills, *again.fills))
        if found.in_order and not desk.gate.loaded:
            expire_orders(desk)
    except (VenueUnavailable, AmbiguousReply) as away:
        desk.gate.refused(desk.clock(), f"not reconciled: {away}")
        raise
    if found.in_order:
        desk.gate.passed()
    else:
        desk.gate.refused(desk.clock(), found.why or "its books keep changing; they are compared again")
    found_nothing = found.in_order and not (found.settled or found.doubtful or found.foreign or found.fills)
    # Twice a minute for each account, year in, year out: only what found something is worth a line.
    (log.debug if found_nothing else log.info)(
        "orders_reconciled",
        account=desk.account,
        in_order=found.in_order,
        settled=len(found.settled),
        doubtful=len(found.doubtful),
        foreign=len(found.foreign),
        fills=len(found.fills),
        differences=[str(each) for each in found.differences[:TOLD_MAX]],
    )
    return found


def _compare(desk: TradingDesk) -> Reconciliation:
    # Read before anything is looked at: a doubt that arises while we look is not ended by what we saw.
    before = desk.books.books(desk.account)
    quarantined = [
        each
        for each in desk.orders.orders(QUARANTINED_MAX, state=OrderState.QUARANTINED)
        if each.account == desk.account
    ]
    fills = list(book_fills(desk))
    ours = desk.orders.unsettled(desk.account)
    compared = compare_orders(ours, desk.broker.open_orders(), in_flight_s(desk.rules))
    settled = _settled(compared, desk)
    foreign, odd = _strangers(compared.strangers, desk)
    if settled:
        fills += book_fills(desk)
    differences = (*compared.differences, *odd, *_holdings(desk, fills))
    doubtful = [order for order in settled if order.state is OrderState.UNKNOWN]
    found = Reconciliation(desk.account, False, settled, doubtful, foreign, fills, differences)
    _tell(found, quarantined, desk)
    if found.differences and before.why != found.why:
        desk.books.doubt(desk.account, found.why)
    return found if found.why else replace(found, in_order=desk.books.reconciled(desk.account, before.dirty_version))


def in_flight_s(rules: ExecutionRules) -> float:
    """Returns the age from which on an intent is not being sent any more, in seconds."""
    return rules.request_timeout_s + rules.visible_within_s + IN_FLIGHT_MARGIN_S


def _settled(compared: OrderComparison, desk: TradingDesk) -> list[Order]:
    settled = [desk.orders.settle(order.id, seen) for order, seen in compared.settle]
    doubtful = []
    for order in compared.ask:
        # Most of these have just ended: no reason to doubt them before the venue was asked.
        seen = desk.broker.order(order.client_order_id, order.symbol) if order.state is OrderState.WORKING else None
        if seen is None:
            doubtful.append(order)
        else:
            settled.append(desk.orders.settle(order.id, seen))
    return [*settled, *settle_doubts(doubtful, desk)] if doubtful else settled


def _strangers(strangers: Sequence[VenueOrder], desk: TradingDesk) -> tuple[Sequence[VenueOrder], list[Difference]]:
    """Returns the foreign ones, and what is odd about ours that should be over."""
    names = {each.client_order_id: each for each in strangers if each.client_order_id is not None}
    known = desk.orders.by_client_ids(list(names)) if names else {}
    odd = []
    for name, order in known.items():
        if order.state is OrderState.QUARANTINED:
            desk.orders.settle(order.id, _taken_up(order, names[name], desk))
        elif order.state.final:
            # Lists of open orders lag behind at some venues; the order itself is asked for before it counts as odd.
            odd.append(revived(order, desk.broker.order(name, order.symbol)))
    return foreign_orders(strangers, known), [each for each in odd if each is not None]


def _taken_up(order: Order, seen: VenueOrder, desk: TradingDesk) -> VenueOrder:
    """Returns how an order stands that turned up after its release: an entry is cancelled first.

    From the release on nothing was kept free for it, so another may have been let through in its place (R6). What it
    has filled is a position like any other. An exit makes nothing larger: the watch keeps it or cancels it.
    """
    return seen if order.leg != ENTRY else desk.broker.cancel(order) or seen


def _holdings(desk: TradingDesk, fills: list[Fill]) -> Sequence[Difference]:
    differences: Sequence[Difference] = ()
    for look in range(LOOKS_MAX):
        if look:
            desk.sleep(LOOK_AGAIN_S)
            # A trade may be told long after newer ones were booked: before anything counts as a difference, all are.
            fills += book_fills(desk, all_of_them=look == LOOKS_MAX - 1)
        positions, cash = desk.broker.positions(), desk.broker.cash()
        ours = desk.books.open_positions(desk.account)
        differences = compare_holdings(ours, positions, desk.books.cash(desk.account), cash)
        if not differences:
            break
    return differences


def tell_turned_up(order: Order, desk: TradingDesk) -> None:
    """Tells the operator of an order that was quarantined, and is at the venue after all."""
    message = f"order {order.id} ({order.side} {order.symbol}) turned up after its quarantine: {order.state}"
    desk.alerts.raise_alert(ORDER_TURNED_UP, message, {"account": desk.account, "order": order.id})


def _tell(found: Reconciliation, quarantined: Sequence[Order], desk: TradingDesk) -> None:
    for each in found.foreign:
        message = (
            f"{desk.account}: the venue has an open order that nobody here sent, {each.side} {each.quantity} "
            f"{each.symbol} ({each.venue_order_id}); it is left alone"
        )
        desk.alerts.raise_alert(FOREIGN_ORDER, message, {"account": desk.account, "order": each.venue_order_id})
    now = desk.orders.by_client_ids([each.client_order_id for each in quarantined]) if quarantined else {}
    for order in now.values():
        if order.state is not OrderState.QUARANTINED:
            tell_turned_up(order, desk)
    if found.differences:
        details = {"account": desk.account, "differences": [str(each) for each in found.differences]}
        desk.alerts.raise_alert(
            BOOKS_DIFFER, f"{desk.account}: {found.why}; no entries until it is cleared up", details
        )
