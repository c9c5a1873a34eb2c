"""Protective stops: where the first one goes, how it follows the market in steps, and when it has been passed. Pure.

A stop only ever moves in the position's favour (R5). The staircase is a function of one mark that never falls as the
mark improves, and the stop is the best of all it has been: so marks that come twice, late or in another order, and a
restart at any point, lead to the same stop as the best mark alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, localcontext

from aaos.domain.order_book import Instrument, Side
from aaos.domain.orders import opposite
from aaos.domain.positions import AVERAGE_STEP, EXACT_DIGITS, Position, tighter
from aaos.domain.risk.formulas import HUNDRED, stop_price, take_profit_price


@dataclass(frozen=True, slots=True)
class Staircase:
    """How a stop follows, all in percent of return on margin: from where on, in what steps, how far behind."""

    activation: Decimal
    step: Decimal
    distance: Decimal


def staircase_stop(position: Position, mark: Decimal, stairs: Staircase) -> Decimal | None:
    """Returns where one mark alone would put the stop; None below the activation.

    With a return on margin of at least `activation`: level = ⌊roi / step⌋ · step, stop at a return of
    level − distance (SPEC 9). Compared as products, so that a return of exactly a step is on it.
    """
    with localcontext(prec=EXACT_DIGITS):
        gained = mark - position.average_entry if position.is_long else position.average_entry - mark
        returned = gained * position.leverage * HUNDRED
        if returned < stairs.activation * position.average_entry:
            return None
        level = returned // (stairs.step * position.average_entry) * stairs.step
        price = take_profit_price(
            position.average_entry, level - stairs.distance, position.leverage, opposite(exit_side(position))
        )
        return price.quantize(AVERAGE_STEP)


def trailed_stop(position: Position, mark: Decimal, stairs: Staircase, instrument: Instrument) -> Decimal | None:
    """Returns the stop price that the position should have now: its own, or a tighter one on the venue's grid."""
    followed = staircase_stop(position, mark, stairs)
    # A distance larger than the margin lies below a price of zero: no stop at all.
    if followed is None or followed < instrument.price_step:
        return position.stop_price
    on_grid = stop_on_grid(followed, instrument, is_long=position.is_long)
    return tighter(position.stop_price, on_grid, is_long=position.is_long)


def default_stop(position: Position, roi_percent: Decimal, instrument: Instrument) -> Decimal:
    """Returns the stop of a position whose approval named none: where it has lost `roi_percent` of its margin."""
    price = stop_price(position.average_entry, roi_percent, position.leverage, opposite(exit_side(position)))
    return max(instrument.price_step, stop_on_grid(price, instrument, is_long=position.is_long))


def stop_on_grid(price: Decimal, instrument: Instrument, *, is_long: bool) -> Decimal:
    """Returns the price on the venue's grid that is no nearer to the market: a long's stop rounded down.

    What a division left behind (3.05 as 3.04999…) does not count as a price between two steps.
    """
    return instrument.price(price.quantize(AVERAGE_STEP), "buy" if is_long else "sell")


def is_passed(stop_price: Decimal, mark: Decimal, *, is_long: bool) -> bool:
    """Returns whether the market has already gone through the stop: an order there would trigger at once."""
    return mark <= stop_price if is_long else mark >= stop_price


def exit_side(position: Position) -> Side:
    """Returns the side of an order that closes the position."""
    return "sell" if position.is_long else "buy"
