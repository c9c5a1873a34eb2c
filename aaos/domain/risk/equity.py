"""What an account is worth, and how much of each symbol it has, at prices that can be trusted. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from aaos.domain.risk.account import AccountSnapshot, Exposure
from aaos.domain.risk.formulas import ZERO
from aaos.domain.risk.proposal import Seen

MarkedBy = Literal["book", "candle", "margin", "order"]


@dataclass(frozen=True, slots=True)
class Marked:
    """An exposure at a price.

    Attributes:
        exposure: what it is.
        price: that it is counted at, in quote currency.
        unrealised: profit since entry; 0 for what is not open yet.
        by: `book`: the book's mid; `candle`: no usable book, so the newest close, and a gain is not counted;
            `margin`: neither, so its whole margin is counted as lost; `order`: not open, at its own price.
        shrinks: it is not open and would make an open position smaller.
    """

    exposure: Exposure
    price: Decimal
    unrealised: Decimal
    by: MarkedBy
    shrinks: bool

    @property
    def notional(self) -> Decimal:
        """In quote currency, unsigned; where the mark is no book's, at the dearer of mark and entry."""
        price = self.price if self.by == "book" else max(self.price, self.exposure.price)
        return abs(self.exposure.quantity) * price

    @property
    def margin(self) -> Decimal:
        """Tied up at its venue, in quote currency."""
        return self.exposure.notional / self.exposure.leverage


@dataclass(frozen=True, slots=True)
class Account:
    """An account at current prices: `equity` is cash + unrealised profit, `grows` all that is or may become open."""

    snapshot: AccountSnapshot
    marks: tuple[Marked, ...]
    equity: Decimal

    @property
    def grows(self) -> Sequence[Marked]:
        """Returns open positions and what may add to them or open others."""
        return [each for each in self.marks if not each.shrinks]

    @property
    def free(self) -> Decimal:
        """Equity that no margin ties up."""
        return self.equity - sum((each.margin for each in self.grows), ZERO)

    def notional_of(self, symbol: str) -> Decimal:
        """Returns what there is of a symbol, pending entries included, in quote currency."""
        return sum((each.notional for each in self.grows if each.exposure.symbol == symbol), ZERO)

    def sellable(self, symbol: str) -> Decimal:
        """Returns how much of a long holding nothing has been approved to sell yet, in base currency."""
        held = sum((e.quantity for e in self.snapshot.exposures if e.symbol == symbol and e.is_open), ZERO)
        selling = sum((each.exposure.quantity for each in self.marks if _sells(each, symbol)), ZERO)
        return max(ZERO, held + selling)


def valued(snapshot: AccountSnapshot, seen: Mapping[str, Seen], max_book_age_s: float) -> Account:
    """Returns the account at current prices.

    A position whose book is stale, empty, crossed or absent is never valued at what is hoped for: see `Marked.by`.

    Args:
        snapshot: the account as our books have it.
        seen: by symbol; what is missing counts as neither book nor candles.
        max_book_age_s: an older book is not used, in market seconds.
    """
    open_sign: dict[str, int] = {}
    for each in snapshot.exposures:
        if each.is_open:
            open_sign[each.symbol] = _sign(each.quantity)
    marks = tuple(
        _marked(each, seen.get(each.symbol, Seen()), max_book_age_s, open_sign) for each in snapshot.exposures
    )
    return Account(snapshot, marks, snapshot.cash + sum((each.unrealised for each in marks), ZERO))


def _marked(exposure: Exposure, seen: Seen, max_book_age_s: float, open_sign: Mapping[str, int]) -> Marked:
    if not exposure.is_open:
        shrinks = open_sign.get(exposure.symbol, 0) == -_sign(exposure.quantity)
        return Marked(exposure, exposure.price, ZERO, "order", shrinks)
    if seen.book is not None and seen.book.fault(max_book_age_s) is None:
        mid = seen.book.mid
        return Marked(exposure, mid, _profit(exposure, mid), "book", shrinks=False)
    if seen.candles is not None and len(seen.candles):
        close = Decimal(str(float(seen.candles.close[-1])))
        return Marked(exposure, close, min(ZERO, _profit(exposure, close)), "candle", shrinks=False)
    return Marked(exposure, exposure.price, -exposure.notional / exposure.leverage, "margin", shrinks=False)


def _profit(exposure: Exposure, price: Decimal) -> Decimal:
    return exposure.quantity * (price - exposure.price)


def _sells(mark: Marked, symbol: str) -> bool:
    return mark.exposure.symbol == symbol and not mark.exposure.is_open and mark.exposure.quantity < 0


def _sign(quantity: Decimal) -> int:
    return (quantity > 0) - (quantity < 0)
