"""An order book as it is used: best prices first, Decimal, with the instant it shows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_DOWN, ROUND_HALF_EVEN, ROUND_UP, Decimal
from typing import Literal

from aaos.errors import InvalidMarketData

Side = Literal["buy", "sell"]
BookFault = Literal["BOOK_EMPTY", "BOOK_CROSSED", "BOOK_STALE"]


@dataclass(frozen=True, slots=True)
class Level:
    """A price (quote currency) and how much (base currency) is offered there."""

    price: Decimal
    size: Decimal


@dataclass(frozen=True, slots=True)
class OrderBook:
    """Both sides of a book, best level first.

    Attributes:
        symbol: unified name.
        bids: falling prices.
        asks: rising prices.
        as_of: the market's time that the book shows.
        age_s: how old that was, in market seconds, when the book was read.
    """

    symbol: str
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]
    as_of: datetime
    age_s: float = 0.0

    @property
    def mid(self) -> Decimal:
        """The middle between the best prices. Raises InvalidMarketData when a side is empty."""
        if not self.bids or not self.asks:
            raise InvalidMarketData(f"the order book of {self.symbol} has an empty side")
        return (self.bids[0].price + self.asks[0].price) / 2

    def fault(self, max_age_s: float) -> BookFault | None:
        """Returns why no entry may rest on this book (R7); None when one may."""
        if not self.bids or not self.asks:
            return "BOOK_EMPTY"
        if self.bids[0].price >= self.asks[0].price:
            return "BOOK_CROSSED"
        return "BOOK_STALE" if not 0 <= self.age_s <= max_age_s else None


@dataclass(frozen=True, slots=True)
class Instrument:
    """What a venue says of a symbol. Fees and rates are fractions (0.0006 is 0.06 %).

    Attributes:
        symbol: unified name.
        price_step: smallest difference between prices.
        quantity_step: smallest difference between quantities, in base currency.
        min_quantity: smallest order, in base currency.
        min_notional: smallest order, in quote currency.
        max_leverage: the venue's own.
        maker_fee: for an order that rested.
        taker_fee: for one that took.
        maintenance_margin: of the notional; below that much equity a position is liquidated.
    """

    symbol: str
    price_step: Decimal
    quantity_step: Decimal
    min_quantity: Decimal
    min_notional: Decimal
    max_leverage: Decimal
    maker_fee: Decimal
    taker_fee: Decimal
    maintenance_margin: Decimal

    def quantity(self, wanted: Decimal) -> Decimal:
        """Returns the quantity on the venue's grid, never more than wanted."""
        return _on_grid(wanted, self.quantity_step, ROUND_DOWN)

    def price(self, wanted: Decimal, side: Side | None = None) -> Decimal:
        """Returns the price on the venue's grid: a buy never dearer, a sell never cheaper; with no side the nearest."""
        rounding = {"buy": ROUND_DOWN, "sell": ROUND_UP, None: ROUND_HALF_EVEN}[side]
        return _on_grid(wanted, self.price_step, rounding)


def _on_grid(value: Decimal, step: Decimal, rounding: str) -> Decimal:
    return (value / step).to_integral_value(rounding=rounding) * step
