"""Which working orders are too old (HARD-1.3). Pure."""

from __future__ import annotations

from collections.abc import Collection

from aaos.domain.orders import Order, VenueOrder


def expiry(order: Order, seen: VenueOrder, held: Collection[str], max_age_s: float) -> str | None:
    """Returns why the order is to be cancelled; None when it stays.

    Args:
        order: as our books have it; its age is by the database's clock.
        seen: as the venue lists it.
        held: symbols with an open position; what protects one of them stays, however old.
        max_age_s: how old an order like it may become.
    """
    if protects(order) and order.symbol in held:
        return None
    if seen.created_at is None:
        return "the venue knows no creation time of it"
    if order.age_s > max_age_s:
        return f"it has been working for {order.age_s:.0f} s, at most {max_age_s:g} s are allowed"
    return None


def protects(order: Order) -> bool:
    """Whether it is a position's stop or take-profit."""
    return order.reduce_only and order.type in ("stop_market", "take_profit_market")
