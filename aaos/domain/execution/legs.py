"""Legs of a source after its entry: what covers a position, what comes next, and how soon. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Literal

from aaos.domain.orders import ENTRY, Order, OrderState

LegKind = Literal["stop", "take_profit", "exit"]
FAILED = (OrderState.REJECTED, OrderState.QUARANTINED, OrderState.WITHDRAWN, OrderState.EXPIRED, OrderState.CANCELED)
# So many failures in a row are answered at once (an answer was lost, the market moved on); then each doubles the pause,
# so that what the venue will never take makes a row a minute, not one a second.
FAILURES_AT_ONCE = 3
PAUSE_FIRST_S = 1.0
PAUSE_MAX_S = 60.0


def is_leg(order: Order, kind: LegKind) -> bool:
    """Returns whether the order is a leg of that kind."""
    return order.leg.partition(":")[0] == kind


def legs_of(orders: Iterable[Order], kind: LegKind) -> list[Order]:
    """Returns the orders that are legs of that kind, by their number."""
    return sorted((order for order in orders if is_leg(order, kind)), key=_number)


def next_leg(orders: Iterable[Order], kind: LegKind) -> str:
    """Returns the name of a source's next leg: `stop:3` after `stop:2`, whatever became of those before."""
    return f"{kind}:{max((_number(order) for order in orders if is_leg(order, kind)), default=0) + 1}"


def entry_of(orders: Iterable[Order]) -> Order | None:
    """Returns the source's entry, None where it has none, or one that only made a position smaller."""
    return next((order for order in orders if order.leg == ENTRY and not order.reduce_only), None)


def left_of(order: Order) -> Decimal:
    """Returns the quantity that is not filled yet."""
    return order.quantity - order.filled


def pause_s(orders: Sequence[Order], kind: LegKind) -> float:
    """Returns for how many seconds more no leg of that kind is sent, since the last ones came to nothing."""
    failures = 0
    legs = legs_of(orders, kind)
    for order in reversed(legs):
        if order.state not in FAILED or order.filled or _was_ours_to_cancel(order):
            break
        failures += 1
    if failures < FAILURES_AT_ONCE:
        return 0.0
    pause = min(PAUSE_FIRST_S * 2.0 ** (failures - FAILURES_AT_ONCE), PAUSE_MAX_S)
    return max(0.0, pause - legs[-1].age_s)


def _was_ours_to_cancel(order: Order) -> bool:
    """A stop or take-profit ends as canceled when we replace it; a market order only when the venue gave up on it."""
    return order.state is OrderState.CANCELED and order.type != "market"


def _number(order: Order) -> int:
    number = order.leg.partition(":")[2]
    return int(number) if number.isdecimal() else 0
