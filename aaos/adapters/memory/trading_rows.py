"""Rows of trading in memory; the columns mean what migration 0005 says they mean."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from aaos.domain.orders import Order, OrderState, VenueFill

NAMESPACE = "00000000-0000-4000-8000-000000000000"
# What an order may become; what is not named here is never left.
MAY_BECOME: dict[OrderState, frozenset[OrderState]] = {
    OrderState.INTENT: frozenset(OrderState) - {OrderState.INTENT},
    OrderState.WORKING: frozenset(
        (OrderState.UNKNOWN, OrderState.FILLED, OrderState.CANCELED, OrderState.REJECTED, OrderState.EXPIRED)
    ),
    OrderState.UNKNOWN: frozenset(OrderState) - {OrderState.INTENT, OrderState.UNKNOWN, OrderState.WITHDRAWN},
    OrderState.QUARANTINED: frozenset(
        (OrderState.WORKING, OrderState.FILLED, OrderState.CANCELED, OrderState.REJECTED, OrderState.EXPIRED)
    ),
}
UNSETTLED = (OrderState.INTENT, OrderState.WORKING, OrderState.UNKNOWN, OrderState.QUARANTINED)


@dataclass(frozen=True, slots=True)
class OrderRow:
    """A row of `orders`: `told` is what the venue said is filled, ahead of the fills themselves."""

    order: Order
    told: Decimal = Decimal(0)
    released: bool = False

    @property
    def unsettled(self) -> bool:
        """Whether more is expected of it."""
        return self.order.state in UNSETTLED and not self.released

    @property
    def rest(self) -> Decimal:
        """What may still be filled."""
        at_most = self.order.quantity if self.unsettled else self.told
        return max(at_most - self.order.filled, Decimal(0))


@dataclass(frozen=True, slots=True)
class FillRow:
    """A row of `fills`."""

    id: int
    order_id: int | None
    fill: VenueFill


@dataclass(frozen=True, slots=True)
class AccountRow:
    """A row of `account_books`."""

    version: int = 0
    cash: Decimal = Decimal(0)
    why: str | None = None
    dirty_version: int = 0
    reconciled_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class EquityPoint:
    """A row of `equity_points`."""

    account: str
    at: datetime
    equity: Decimal
