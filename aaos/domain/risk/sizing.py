"""How large a trade is, how leveraged, and where it ends: worked out first, held against limits afterwards. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_FLOOR, Decimal

from aaos.domain.order_book import Instrument, OrderBook, Side
from aaos.domain.risk.formulas import (
    HUNDRED,
    ONE,
    ZERO,
    hourly_atr_percent,
    leverage_limit,
    liquidation_price,
    stop_price,
    take_profit_price,
)
from aaos.domain.risk.proposal import Evidence, Proposal, Terms
from aaos.domain.risk.rules import RiskRules


@dataclass(frozen=True, slots=True)
class Sizing:
    """A trade as it would be made; prices and quantity on the venue's grid.

    Attributes:
        quantity: in base currency; 0 where the venue's grid has nothing that small.
        price: that the entry is expected at: the book's level on its own side.
        leverage: a whole number from 1 on.
        max_leverage: the volatility-adjusted maximum.
        atr_percent: of an hour, in percent of the price; None where it is unknown.
        stop_price: where its first stop stands; None: it opens nothing.
        take_profit_price: where its profit is taken; None: nowhere.
        liquidation_price: where the venue would close it; 0: nowhere.
    """

    quantity: Decimal
    price: Decimal
    leverage: Decimal
    max_leverage: Decimal
    atr_percent: Decimal | None
    stop_price: Decimal | None
    take_profit_price: Decimal | None
    liquidation_price: Decimal

    @property
    def notional(self) -> Decimal:
        """In quote currency."""
        return self.quantity * self.price

    @property
    def margin(self) -> Decimal:
        """That it ties up, in quote currency."""
        return self.notional / self.leverage


def size_trade(
    proposal: Proposal, evidence: Evidence, equity: Decimal, rules: RiskRules, terms: Terms, entry_level: int
) -> Sizing:
    """Returns the trade's size, leverage and prices; what the proposal asks for only ever lowers them.

    Args:
        proposal: what shall be traded.
        evidence: market and venue.
        equity: of the account, in quote currency.
        rules: base risk and the volatility that leverage is measured against.
        terms: the trade's own.
        entry_level: book level of the own side that an entry rests at, from 1.
    """
    instrument, side = evidence.instrument, proposal.side
    wanted = entry_price(evidence.book, side, entry_level, proposal.limit_price)
    price = max(instrument.price_step, instrument.price(wanted, side))
    atr = None if evidence.candles is None else hourly_atr_percent(evidence.candles)
    limit = leverage_limit(
        atr, rules.target_atr_percent, rules.target_leverage, terms.max_leverage, instrument.max_leverage
    )
    leverage = _lowered(limit, proposal.leverage)
    stop, profit = _exits(instrument, price, leverage, side, terms)
    return Sizing(
        quantity=_quantity(proposal, instrument, price, equity, rules.base_risk),
        price=price,
        leverage=leverage,
        max_leverage=limit,
        atr_percent=atr,
        stop_price=None if proposal.reduce_only else stop,
        take_profit_price=None if proposal.reduce_only else profit,
        liquidation_price=liquidation_price(price, leverage, instrument.maintenance_margin, side),
    )


def entry_price(book: OrderBook, side: Side, level: int, limit_price: Decimal | None) -> Decimal:
    """Returns the price an entry is expected at: the book's level on its own side, or its deepest, or the limit.

    Whether the book is deep enough is for whoever sends the order to say.
    """
    levels = book.bids if side == "buy" else book.asks
    price = levels[min(level, len(levels)) - 1].price
    if limit_price is None:
        return price
    return min(price, limit_price) if side == "buy" else max(price, limit_price)


def _lowered(limit: Decimal, asked: Decimal | None) -> Decimal:
    if asked is None:
        return limit
    return max(ONE, min(limit, asked).to_integral_value(rounding=ROUND_FLOOR))


def _quantity(
    proposal: Proposal, instrument: Instrument, price: Decimal, equity: Decimal, base_risk: Decimal
) -> Decimal:
    """The portfolio's own quantity, or what base_risk × equity buys; on the grid last, and never more."""
    if proposal.quantity is not None:
        return max(ZERO, instrument.quantity(proposal.quantity))
    fraction = min(ONE, max(ZERO, proposal.size_fraction))
    return max(ZERO, instrument.quantity(base_risk * equity * fraction / price))


def _exits(
    instrument: Instrument, price: Decimal, leverage: Decimal, side: Side, terms: Terms
) -> tuple[Decimal, Decimal | None]:
    """Stop and take-profit on the grid, at least one step away from the entry on their own side.

    Both are orders of the other side, and rounded as such: the stop towards the entry (it never loses more than was
    meant), the profit away from it. What would lie below zero stands on the lowest price there is.
    """
    exit_side: Side = "sell" if side == "buy" else "buy"
    step = instrument.price_step
    stop = instrument.price(stop_price(price, terms.stop_roi_percent, leverage, side), exit_side)
    stop = min(stop, price - step) if side == "buy" else max(stop, price + step)
    if terms.take_profit_roi_percent is None:
        return stop, None
    profit = instrument.price(take_profit_price(price, terms.take_profit_roi_percent, leverage, side), exit_side)
    profit = max(profit, price + step) if side == "buy" else min(max(profit, step), price - step)
    return stop, profit


def percent_of(amount: Decimal, equity: Decimal) -> Decimal | None:
    """Returns an amount in percent of equity; None where there is no equity."""
    return amount / equity * HUNDRED if equity > 0 else None
