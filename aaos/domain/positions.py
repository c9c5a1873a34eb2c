"""Positions and their profit, from fills alone: average entry, realised and unrealised, fees, funding. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal, localcontext

from aaos.domain.order_book import Side
from aaos.domain.orders import ENTRY

ZERO = Decimal(0)
AVERAGE_STEP = Decimal("1e-16")
"""Average entries are rounded to this: a thousandth of a thousandth of the finest price step any venue has (1e-10)."""
EXACT_DIGITS = 80
"""Digits that sums and products are computed with: prices, quantities and averages of 16 decimals never reach that."""


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
        with localcontext(prec=EXACT_DIGITS):
            return self.realised - self.fees + self.funding


@dataclass(frozen=True, slots=True)
class Terms:
    """What an approval says of the position that its entry opens."""

    leverage: Decimal
    stop_price: Decimal | None
    take_profit_price: Decimal | None


UNKNOWN_TERMS = Terms(Decimal(1), None, None)
"""Of a position whose opening order nobody here sent."""


def apply_fill(
    position: Position | None,
    fill: Fill,
    leverage: Decimal,
    stop_price: Decimal | None,
    take_profit_price: Decimal | None,
) -> tuple[Position, ...]:
    """Returns the positions that a fill changes: one, or, when it turns a position over, the closed and the opened one.

    Nothing is lost to rounding: realised + unrealised profit is, at any mark, exactly what was sold less what was
    bought, whatever the order of the fills. Where an average price has no end, what it is rounded by (less than
    1e-16 of the quote currency for each unit held) is booked as realised.

    Args:
        position: the symbol's open position; None, or a flat one, when there is none.
        fill: new; a trade is booked once, which the caller sees to.
        leverage: as approved for the fill's source; the same holds for the two prices, which count only where the
            fill opens or increases a position.
        stop_price: an increase takes it when it is tighter than the position's own; no stop is ever loosened (R5).
        take_profit_price: taken where the position has none.
    """
    terms = Terms(leverage, stop_price, take_profit_price) if fill.leg == ENTRY else UNKNOWN_TERMS
    signed = fill.quantity if fill.side == "buy" else -fill.quantity
    with localcontext(prec=EXACT_DIGITS):
        if position is None or position.quantity == 0:
            return (_opened(fill, signed, fill.fee, terms),)
        if (signed > 0) == position.is_long:
            return (_increased(position, fill, signed, terms),)
        if abs(signed) <= abs(position.quantity):
            return (_reduced(position, fill, signed, fill.fee),)
        # One trade closes one position and opens another: its fee is shared out by quantity.
        fee = (fill.fee * abs(position.quantity) / fill.quantity).quantize(AVERAGE_STEP)
        closed = _reduced(position, fill, -position.quantity, fee)
        return closed, _opened(fill, position.quantity + signed, fill.fee - fee, terms)


def _opened(fill: Fill, signed: Decimal, fee: Decimal, terms: Terms) -> Position:
    return Position(
        id=None,
        account=fill.account,
        symbol=fill.symbol,
        # An exit that finds nothing to close (its entry's own fill is late) is nobody's entry, and gets no stop.
        source=fill.source if fill.leg == ENTRY else None,
        quantity=signed,
        average_entry=fill.price,
        peak_quantity=abs(signed),
        leverage=terms.leverage,
        realised=ZERO,
        fees=fee,
        funding=ZERO,
        stop_price=terms.stop_price,
        take_profit_price=terms.take_profit_price,
        opened_at=fill.filled_at,
        closed_at=None,
    )


def _increased(position: Position, fill: Fill, signed: Decimal, terms: Terms) -> Position:
    quantity = position.quantity + signed
    cost = position.quantity * position.average_entry + signed * fill.price
    average = (cost / quantity).quantize(AVERAGE_STEP)
    adopts = position.source is None and fill.leg == ENTRY
    return replace(
        position,
        source=fill.source if adopts else position.source,
        leverage=terms.leverage if adopts else position.leverage,
        quantity=quantity,
        average_entry=average,
        peak_quantity=max(position.peak_quantity, abs(quantity)),
        realised=position.realised + quantity * average - cost,
        fees=position.fees + fill.fee,
        stop_price=tighter(position.stop_price, terms.stop_price, is_long=position.is_long),
        take_profit_price=position.take_profit_price or terms.take_profit_price,
        opened_at=min(position.opened_at, fill.filled_at),
    )


def _reduced(position: Position, fill: Fill, signed: Decimal, fee: Decimal) -> Position:
    quantity = position.quantity + signed
    return replace(
        position,
        quantity=quantity,
        realised=position.realised - signed * (fill.price - position.average_entry),
        fees=position.fees + fee,
        # A fill that was told late may lie before the opening.
        closed_at=max(position.opened_at, fill.filled_at) if quantity == 0 else None,
    )


def apply_funding(position: Position, amount: Decimal) -> Position:
    """Returns the position with funding added: received, negative when paid, in quote currency."""
    with localcontext(prec=EXACT_DIGITS):
        return replace(position, funding=position.funding + amount)


def tighter(one: Decimal | None, other: Decimal | None, *, is_long: bool) -> Decimal | None:
    """Returns the stop price that is nearer to profit: a long's higher, a short's lower one."""
    if one is None or other is None:
        return one if other is None else other
    return max(one, other) if is_long else min(one, other)


def unrealised(position: Position, mark: Decimal) -> Decimal:
    """Returns the profit, in quote currency, that closing at `mark` would realise, before fees."""
    with localcontext(prec=EXACT_DIGITS):
        return position.quantity * (mark - position.average_entry)
