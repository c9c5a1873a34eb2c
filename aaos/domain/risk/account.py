"""What risk looks at: one account as our own books have it, at one version of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class Exposure:
    """An open position, or an approval or working entry that may become one; `quantity` is signed (short: negative)."""

    source: str | None
    symbol: str
    quantity: Decimal
    price: Decimal
    leverage: Decimal
    is_open: bool

    @property
    def notional(self) -> Decimal:
        """In quote currency, unsigned."""
        return abs(self.quantity) * self.price


@dataclass(frozen=True, slots=True)
class AccountSnapshot:
    """One account at one version of its books, in quote currency.

    Attributes:
        account: its name.
        version: of the books; whatever changes orders, fills, positions or approvals raises it.
        cash: deposits + realised profit − fees + funding.
        exposures: open positions, unexpired unused approvals, and what is left of working entries.
        peak_equity: the highest equity recorded; None before the first record.
        day_equity: equity at the start of this UTC day (the first record of it, else the last before it).
        week_equity: the same of this ISO week (Monday, UTC).
        losses_in_a_row: closed positions with a net loss, newest first, until one that gained.
        read_at: by the database's clock.
    """

    account: str
    version: int
    cash: Decimal
    exposures: tuple[Exposure, ...]
    peak_equity: Decimal | None
    day_equity: Decimal | None
    week_equity: Decimal | None
    losses_in_a_row: int
    read_at: datetime
