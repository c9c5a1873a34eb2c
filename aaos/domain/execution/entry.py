"""Where an entry rests: the ninth level of the own side, within the slippage guard, on the venue's grid. Pure.

Levels and guard: SPEC 10, config/execution.yaml (`entry_level`, `max_slippage`, `max_book_age_s`).
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from aaos.domain.execution.rules import ExecutionRules
from aaos.domain.order_book import BookFault, Instrument, OrderBook, Side
from aaos.domain.orders import Denial


@dataclass(frozen=True, slots=True)
class Entry:
    """A limit order's figures.

    Attributes:
        price: in quote currency, on the venue's grid.
        quantity: in base currency, on the venue's grid.
        mid: of the book, in quote currency.
        slippage: |price − mid| / mid.
        bounded: whether the approval's limit, not the book's level, made the price.
    """

    price: Decimal
    quantity: Decimal
    mid: Decimal
    slippage: Decimal
    bounded: bool = False


@dataclass(frozen=True, slots=True)
class NoEntry:
    """Why none is sent: the code and a sentence with the figures; `mid` and `slippage` as far as the book has them."""

    code: Denial
    reason: str
    mid: Decimal | None = None
    slippage: Decimal | None = None


def price_entry(
    book: OrderBook,
    instrument: Instrument,
    side: Side,
    quantity: Decimal,
    limit_price: Decimal | None,
    rules: ExecutionRules,
) -> Entry | NoEntry:
    """Returns where the entry rests, or why there is none (R7).

    Args:
        book: as it stands; its faults are found here.
        instrument: the venue's grid and smallest sizes.
        side: of the order: a buy rests at the ninth bid, a sell at the ninth ask.
        quantity: at most, in base currency.
        limit_price: the price is never worse than this one, in quote currency; None: unbounded.
        rules: level, guard and the book's greatest age.
    """
    fault = book.fault(rules.max_book_age_s)
    if fault is not None:
        return NoEntry(fault, _FAULTS[fault].format(book=book, rules=rules))
    levels = book.bids if side == "buy" else book.asks
    if len(levels) < rules.entry_level:
        reason = f"{book.symbol}: {len(levels)} levels on the {side} side, {rules.entry_level} are needed"
        return NoEntry("INSUFFICIENT_DEPTH", reason, book.mid)
    level = levels[rules.entry_level - 1].price
    bound = limit_price if limit_price is not None and _worse(level, limit_price, side) else None
    price = instrument.price(level if bound is None else bound, side)
    slippage = abs(price - book.mid) / book.mid
    entry = Entry(price, instrument.quantity(quantity), book.mid, slippage, bound is not None)
    return _too_far(entry, rules) or _too_small(entry, instrument) or entry


def _worse(price: Decimal, than: Decimal, side: Side) -> bool:
    return price > than if side == "buy" else price < than


def _too_far(entry: Entry, rules: ExecutionRules) -> NoEntry | None:
    if entry.slippage <= rules.max_slippage:
        return None
    far = f"lies {entry.slippage:.4%} from the middle {entry.mid}, at most {rules.max_slippage:.4%} is let through"
    if entry.bounded:
        return NoEntry("ENTRY_PRICE_OFF", f"the approved limit {entry.price} {far}", entry.mid, entry.slippage)
    reason = f"level {rules.entry_level} at {entry.price} {far}"
    return NoEntry("SLIPPAGE_EXCEEDED", reason, entry.mid, entry.slippage)


def _too_small(entry: Entry, instrument: Instrument) -> NoEntry | None:
    notional = entry.quantity * entry.price
    if entry.quantity >= instrument.min_quantity and notional >= instrument.min_notional and entry.quantity > 0:
        return None
    reason = (
        f"{entry.quantity} {instrument.symbol} for {notional} is below the venue's smallest order "
        f"({instrument.min_quantity}, for {instrument.min_notional})"
    )
    return NoEntry("TOO_SMALL", reason, entry.mid, entry.slippage)


_FAULTS: dict[BookFault, str] = {
    "BOOK_EMPTY": "a side of the book of {book.symbol} is empty",
    "BOOK_CROSSED": "the book of {book.symbol} is crossed: its best bid is not below its best ask",
    "BOOK_STALE": "the book of {book.symbol} is {book.age_s:.1f} s old, at most {rules.max_book_age_s:g} s are allowed",
}
