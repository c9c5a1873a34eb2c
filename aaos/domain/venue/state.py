"""What the venue knows of an account: orders, positions, money, and how far it has looked at each market.

`VenueAccount` is a working copy: the engine changes it in place and notes what is new, a store loads and saves it whole
or not at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from typing import Final, Literal

from aaos.domain.order_book import Side
from aaos.domain.orders import CashFlow, OrderType, VenueFill, VenueOrder, VenuePosition, VenueState

ZERO: Final = Decimal(0)
EXACT_DIGITS: Final = 60
"""Decimal digits in which sums and products of money are exact: none of ours has more."""
MONEY_STEP: Final = Decimal("1e-12")
"""What a division is rounded to, in quote currency; the rest stays in the other part, so nothing is lost."""
FlowKind = Literal["deposit", "withdrawal", "funding", "liquidation_fee"]


@dataclass(frozen=True, slots=True)
class VenueEntry:
    """An order in the venue's ledger.

    Attributes:
        number: in the account's own counting, which orders by age.
        triggered: whether a stop or take-profit has become a market order.
        visible_at: queries do not see it before (a misbehaviour; usually when it was made).
    """

    number: int
    venue_order_id: str
    client_order_id: str | None
    symbol: str
    side: Side
    type: OrderType
    quantity: Decimal
    leverage: Decimal
    price: Decimal | None
    trigger_price: Decimal | None
    reduce_only: bool
    state: VenueState
    filled: Decimal
    created_at: datetime
    updated_at: datetime
    visible_at: datetime
    triggered: bool = False
    reason: str | None = None

    @property
    def remaining(self) -> Decimal:
        """What is not filled, in base currency."""
        return self.quantity - self.filled

    @property
    def sign(self) -> int:
        """1 for a buy, −1 for a sell."""
        return 1 if self.side == "buy" else -1

    def told(self) -> VenueOrder:
        """Returns the order as it is told to whoever asks."""
        return VenueOrder(
            self.venue_order_id, self.client_order_id, self.symbol, self.side, self.type, self.state, self.quantity,
            self.filled, self.price, self.trigger_price, self.reduce_only, self.created_at, self.reason,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class VenueTrade:
    """A trade in the venue's ledger; `realised` is what it won or lost, `reported_at` when it is first told."""

    number: int
    order_number: int
    realised: Decimal
    reported_at: datetime
    fill: VenueFill


@dataclass(frozen=True, slots=True)
class Holding:
    """An open position with its isolated margin.

    Attributes:
        quantity: signed, in base currency.
        cost: what opening it cost, unsigned, in quote currency.
        margin: set aside for it, in quote currency; more it cannot lose.
    """

    symbol: str
    quantity: Decimal
    cost: Decimal
    margin: Decimal

    @property
    def sign(self) -> int:
        """1 for a long, −1 for a short."""
        return 1 if self.quantity > 0 else -1

    def unrealised(self, mark: Decimal) -> Decimal:
        """Returns its profit at that price, in quote currency."""
        return self.quantity * mark - self.sign * self.cost

    def told(self) -> VenuePosition:
        """Returns the position as it is told to whoever asks."""
        return VenuePosition(self.symbol, self.quantity, self.cost / abs(self.quantity))


Used = Mapping[tuple[Side, Decimal], Decimal]
"""What was taken of a book: (side of the level, price) → quantity."""


@dataclass(frozen=True, slots=True)
class MarketView:
    """How far the venue has looked at a symbol's market for this account.

    Attributes:
        looked_until: market instant up to which every book was matched.
        as_of: of the newest of them.
        mid: its middle; None where it had none.
        used: what the account has taken of that very book.
    """

    symbol: str
    looked_until: datetime
    as_of: datetime
    mid: Decimal | None
    used: Used = field(default_factory=dict)


@dataclass(slots=True)
class VenueAccount:
    """The working copy of an account.

    Attributes:
        seen_at: wall-clock instant of the last saved look at the markets.
        orders: the open ones, by number, oldest first; what ended in this session is in `touched` only.
        touched: orders made or changed in this session, by number.
        keep_views: save the views though nothing else is new; else the next look begins where the last saved one ended.
    """

    name: str
    seen_at: datetime
    deposits: Decimal = ZERO
    realised: Decimal = ZERO
    fees: Decimal = ZERO
    funding: Decimal = ZERO
    liquidation_fees: Decimal = ZERO
    next_number: int = 1
    orders: dict[int, VenueEntry] = field(default_factory=dict)
    holdings: dict[str, Holding] = field(default_factory=dict)
    views: dict[str, MarketView] = field(default_factory=dict)
    touched: dict[int, VenueEntry] = field(default_factory=dict)
    trades: list[VenueTrade] = field(default_factory=list)
    flows: list[CashFlow] = field(default_factory=list)
    keep_views: bool = False

    @property
    def cash(self) -> Decimal:
        """Deposits + realised − fees + funding − liquidation fees, in quote currency."""
        with localcontext(prec=EXACT_DIGITS):
            return self.deposits + self.realised - self.fees + self.funding - self.liquidation_fees

    @property
    def changed(self) -> bool:
        """Whether anything but views is new."""
        return bool(self.touched or self.trades or self.flows)

    def number(self) -> int:
        """Returns the next number of the account's counting."""
        self.next_number += 1
        return self.next_number - 1

    def put(self, order: VenueEntry) -> VenueEntry:
        """Keeps the order as it now stands."""
        self.touched[order.number] = order
        if order.state == "working":
            self.orders[order.number] = order
        else:
            self.orders.pop(order.number, None)
        return order

    def open_of(self, symbol: str) -> list[VenueEntry]:
        """Returns the symbol's open orders, oldest first."""
        return [each for each in self.orders.values() if each.symbol == symbol]

    def active_symbols(self) -> list[str]:
        """Returns the symbols on which something may happen."""
        return sorted(self.holdings.keys() | {each.symbol for each in self.orders.values()})

    def flow(self, flow_id: str, kind: FlowKind, symbol: str | None, amount: Decimal, at: datetime) -> None:
        """Books money that moves without a trade; positive comes in."""
        with localcontext(prec=EXACT_DIGITS):
            if kind == "funding":
                self.funding += amount
            elif kind == "liquidation_fee":
                self.liquidation_fees -= amount
            else:
                self.deposits += amount
        self.flows.append(CashFlow(self.name, flow_id, kind, symbol, amount, at))


def share(whole: Decimal, part: Decimal, of: Decimal) -> Decimal:
    """Returns `whole` × part / of, rounded to MONEY_STEP; all of it when the part is everything."""
    if part == of:
        return whole
    with localcontext(prec=EXACT_DIGITS):
        return (whole * part / of).quantize(MONEY_STEP, ROUND_HALF_EVEN)
