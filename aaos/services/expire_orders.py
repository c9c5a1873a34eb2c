"""Working orders that nobody wants any more: too old, or of unknown age (HARD-1.3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import structlog

from aaos.domain.execution.expiry import expiry
from aaos.domain.orders import Order, OrderState, VenueOrder
from aaos.errors import AmbiguousReply, VenueUnavailable
from aaos.services.book_fills import book_fills
from aaos.services.trading_desk import TradingDesk

log = structlog.get_logger()


def expire_orders(desk: TradingDesk) -> Sequence[Order]:
    """Cancels working orders of ours that are too old or have no creation time; returns them as they stand.

    What protects an open position is never cancelled here; nor is an order that is not ours. An answer that got lost
    is no harm: what is still open is cancelled next time.

    Raises:
        VenueUnavailable: the venue could not be asked.
        AmbiguousReply: the same.
    """
    listed = {each.client_order_id: each for each in desk.broker.open_orders() if each.client_order_id is not None}
    ours = [order for order in desk.orders.unsettled(desk.account) if order.state is OrderState.WORKING]
    held = {position.symbol for position in desk.books.open_positions(desk.account)}
    expired = []
    for order in ours:
        seen = listed.get(order.client_order_id)
        why = None if seen is None else expiry(order, seen, held, desk.max_age_s(order))
        if why is not None:
            expired.append(_cancelled(order, why, desk))
    if expired:
        # What filled until the last moment counts.
        book_fills(desk)
    return [desk.orders.order(each.id) for each in expired]


def _cancelled(order: Order, why: str, desk: TradingDesk) -> Order:
    try:
        seen = desk.broker.cancel(order)
    except (VenueUnavailable, AmbiguousReply) as away:
        desk.gate.lost()
        log.warning("order_not_cancelled", order=order.id, account=desk.account, why=str(away))
        return order
    if seen is None:
        # Working here, unknown there: for reconciliation to find out.
        desk.gate.lost()
        return order
    stands = desk.orders.settle(order.id, _as_expired(seen, why))
    log.warning("order_expired", order=order.id, leg=order.leg, symbol=order.symbol, state=stands.state.value, why=why)
    return stands


def _as_expired(seen: VenueOrder, why: str) -> VenueOrder:
    """Cancelled by us for its age: our word for that is expired. One that filled meanwhile stays filled."""
    return replace(seen, state="expired", reason=why) if seen.state == "canceled" else seen
