"""Orders whose fate is unknown: asked about by their names, adopted or quarantined, never sent again."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from aaos.domain.orders import Order, OrderState
from aaos.errors import AmbiguousReply, VenueUnavailable
from aaos.services.trading_desk import TradingDesk

log = structlog.get_logger()

# A venue may take longer than this to show an order: then nobody waits here, and a later call asks again.
WAIT_HERE_MAX_S = 5.0


def settle_doubts(doubtful: Sequence[Order], desk: TradingDesk) -> Sequence[Order]:
    """Returns the orders as they stand once the venue was asked for each by its name.

    Known to the venue → adopted. Not known → asked again after the venue's window → quarantined. The venue away, or its
    window too long to wait for here → left unknown, to be asked about later. Whoever meant to send one of them finds it
    in doubt, and does not.
    """
    marked = [_in_doubt(order, desk) for order in doubtful]
    stand = {order.id: order for order in marked}
    old = {order.id for order in doubtful if _window_over(order, desk)}
    try:
        absent = [each for each in _ask(marked, desk, stand) if each.state is OrderState.UNKNOWN]
        over, young = [each for each in absent if each.id in old], [each for each in absent if each.id not in old]
        if young and desk.rules.visible_within_s <= WAIT_HERE_MAX_S:
            desk.sleep(desk.rules.visible_within_s)
            over += _ask(young, desk, stand)
        for order in over:
            stand[order.id] = _quarantined(order, desk)
    except (VenueUnavailable, AmbiguousReply) as away:
        desk.gate.lost()
        log.warning("doubts_left", account=desk.account, orders=[each.id for each in doubtful], why=str(away))
    return [stand[order.id] for order in doubtful]


def _in_doubt(order: Order, desk: TradingDesk) -> Order:
    """Marks it unknown first: from here on nobody may send it, not even who wrote it down and was held up since."""
    if order.state not in (OrderState.INTENT, OrderState.WORKING):
        return order
    sent = order.state is OrderState.WORKING
    desk.orders.doubt(order.id, "the venue lists it no more" if sent else "written down, and perhaps sent")
    desk.gate.lost()
    return desk.orders.order(order.id)


def _window_over(order: Order, desk: TradingDesk) -> bool:
    """Whether one answer is enough: it was in doubt before, and has had the time to be sent and to show up."""
    enough_s = desk.rules.request_timeout_s + 2 * desk.rules.visible_within_s
    return order.state is OrderState.UNKNOWN and order.age_s >= enough_s


def _ask(orders: Sequence[Order], desk: TradingDesk, stand: dict[int, Order]) -> list[Order]:
    """Adopts those the venue knows; returns the others."""
    absent = []
    for order in orders:
        seen = desk.broker.order(order.client_order_id, order.symbol)
        if seen is None:
            absent.append(order)
            continue
        stand[order.id] = desk.orders.settle(order.id, seen)
        log.warning("order_adopted", order=order.id, was=order.state.value, state=stand[order.id].state.value)
    return absent


def _quarantined(order: Order, desk: TradingDesk) -> Order:
    waited_s = desk.rules.visible_within_s
    later = f"{waited_s:g} s" if waited_s else "right"
    reason = f"the venue does not know it {later} after it may have been sent"
    desk.orders.quarantine(order.id, reason)
    log.error("order_quarantined", order=order.id, account=desk.account, symbol=order.symbol, leg=order.leg)
    return desk.orders.order(order.id)
