"""Positions and their profit, from fills alone: average entry, realised and unrealised, fees, funding. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from aaos.domain.order_book import Side

ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class Fill:
    """A stored fill: a trade of ours, and the order it belongs to (None: nobody here sent that order).

    `fee` in quote currency, positive when paid.
    """

    id: int
    account: str
    trade_id: str
    order_id: int | None
    source: str | None
    leg: str | None
    symbol: str
    side: Side
    quantity: Decimal
    price: Decimal
    fee: Decimal
    filled_at: datetime


@dataclass(frozen=True, slots=True)
class Position:
    """One round trip in a symbol, from flat to flat.

    Attributes:
        id: its row; None before it is stored.
        source: whose entry opened it (`decision:17`); None where nobody here sent that order.
        quantity: signed, in base currency: a short's is negative; 0 once it is closed.
        average_entry: of what is open, or, once closed, of what was.
        peak_quantity: the largest it has been, unsigned.
        leverage: as approved.
        realised: profit of what was closed, in quote currency, fees and funding not counted.
        fees: paid, positive.
        funding: received, negative when paid.
        stop_price: the protective stop as it stands: a long's never falls, a short's never rises (R5).
        take_profit_price: where its profit is taken; None: nowhere.
    """

    id: int | None
    account: str
    symbol: str
    source: str | None
    quantity: Decimal
    average_entry: Decimal
    peak_quantity: Decimal
    leverage: Decimal
    realised: Decimal
    fees: Decimal
    funding: Decimal
    stop_price: Decimal | None
    take_profit_price: Decimal | None
    opened_at: datetime
    closed_at: datetime | None

    @property
    def is_long(self) -> bool:
        """Whether it gains when the price rises."""
        return self.quantity > 0

    @property
    def net(self) -> Decimal:
        """Realised profit after fees and funding, in quote currency."""
        return self.realised - self.fees + self.funding
