"""Money: what a trade, a funding instant and a liquidation do to an account. Exact: no cent appears or is lost."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal, localcontext
from typing import Final, Literal

from aaos.domain.order_book import Instrument
from aaos.domain.orders import VenueFill
from aaos.domain.venue.rules import PaperRules
from aaos.domain.venue.state import EXACT_DIGITS, MONEY_STEP, ZERO, Holding, VenueAccount, VenueEntry, VenueTrade, share

MS_PER_S: Final = 1_000
MAX_FUNDINGS_AT_ONCE: Final = 21
"""Funding instants that one look may be late for, a week of them: who sets the market's clock a year ahead does not
pay a year's funding at one price."""


def book_trade(
    account: VenueAccount,
    order: VenueEntry,
    quantity: Decimal,
    price: Decimal,
    liquidity: Literal["maker", "taker"],
    instrument: Instrument,
    at: datetime,
) -> VenueEntry:
    """Books one trade of an order: position, realised profit, fee; returns the order as it then stands."""
    rate = instrument.maker_fee if liquidity == "maker" else instrument.taker_fee
    with localcontext(prec=EXACT_DIGITS):
        fee = quantity * price * rate
        holding, realised = _after(account.holdings.get(order.symbol), order, quantity, price)
        account.realised += realised
        account.fees += fee
    if holding is None:
        account.holdings.pop(order.symbol, None)
    else:
        account.holdings[order.symbol] = holding
    number = account.number()
    fill = VenueFill(
        account.name, f"T{number}", order.venue_order_id, order.client_order_id, order.symbol, order.side, quantity,
        price, fee, liquidity, at,
    )  # fmt: skip
    account.trades.append(VenueTrade(number, order.number, realised, at, fill))
    filled = order.filled + quantity
    state = "filled" if filled == order.quantity else order.state
    return account.put(replace(order, filled=filled, state=state, updated_at=at))


def _after(
    holding: Holding | None, order: VenueEntry, quantity: Decimal, price: Decimal
) -> tuple[Holding | None, Decimal]:
    """Returns the position after a trade, and what the trade realised."""
    if holding is None or holding.sign == order.sign:
        return _increased(holding, order, quantity, price), ZERO
    held = abs(holding.quantity)
    closing = min(quantity, held)
    cost = share(holding.cost, closing, held)
    realised = holding.sign * (closing * price - cost)
    if quantity > held:
        return _increased(None, order, quantity - held, price), realised
    if quantity == held:
        return None, realised
    margin = holding.margin - share(holding.margin, closing, held)
    return Holding(holding.symbol, holding.quantity + order.sign * closing, holding.cost - cost, margin), realised


def _increased(holding: Holding | None, order: VenueEntry, quantity: Decimal, price: Decimal) -> Holding:
    notional = quantity * price
    margin = (notional / order.leverage).quantize(MONEY_STEP, ROUND_CEILING)
    old = holding or Holding(order.symbol, ZERO, ZERO, ZERO)
    return Holding(order.symbol, old.quantity + order.sign * quantity, old.cost + notional, old.margin + margin)


def pay_funding(
    account: VenueAccount, symbol: str, mark: Decimal, since: datetime, until: datetime, at: datetime, rules: PaperRules
) -> None:
    """Pays funding for each instant of it that the market passed after `since`, up to `until`; a long pays a short.

    Each is −position × mark × rate, at the mark of the book with which it was noticed.
    """
    holding = account.holdings.get(symbol)
    if holding is None:
        return
    width_ms = rules.funding_interval_s * MS_PER_S
    first, last = (int(each.timestamp() * MS_PER_S) // width_ms for each in (since, until))
    with localcontext(prec=EXACT_DIGITS):
        amount = -holding.quantity * mark * rules.funding_rate
    for _ in range(max(first, last - MAX_FUNDINGS_AT_ONCE), last):
        account.flow(f"F{account.number()}", "funding", symbol, amount, at)


def is_bankrupt(holding: Holding, mark: Decimal, instrument: Instrument) -> bool:
    """Returns whether a position's equity has fallen to the maintenance margin."""
    with localcontext(prec=EXACT_DIGITS):
        equity = holding.margin + holding.unrealised(mark)
        return equity <= instrument.maintenance_margin * abs(holding.quantity) * mark


def liquidation_mark(holding: Holding, instrument: Instrument) -> Decimal:
    """Returns the mark at which the position is liquidated; for a long without leverage it may be below zero.

    From margin + quantity × mark − sign × cost = maintenance × |quantity| × mark.
    """
    base = holding.sign * holding.cost - holding.margin
    return base / (holding.quantity - instrument.maintenance_margin * abs(holding.quantity))


def bankruptcy_price(holding: Holding, instrument: Instrument) -> Decimal:
    """Returns the worst price at which the position loses no more than its margin, on the grid, at least a step."""
    exact = (holding.sign * holding.cost - holding.margin) / holding.quantity
    rounding = ROUND_CEILING if holding.quantity > 0 else ROUND_FLOOR
    steps = (exact / instrument.price_step).to_integral_value(rounding)
    return max(steps, Decimal(1)) * instrument.price_step
