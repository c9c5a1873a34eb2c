"""Positions as a person sees them: what is open, at the market's price now, and what was closed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from aaos.errors import UnknownSymbol
from aaos.shell.connection import connect, helpful_errors
from aaos.shell.figures import average, json_form, percent, price, signed
from aaos.shell.filters import check_limit
from aaos.shell.runs import instant
from aaos.shell.tables import as_text, table

if TYPE_CHECKING:
    from rich.table import Table

    from aaos.bootstrap import Container
    from aaos.domain.positions import Position

OPEN_HEADERS = (
    "position", "account", "symbol", "side", "quantity", "entry", "now", "unrealised", "ROI", "stop", "take profit",
    "source", "opened",
)  # fmt: skip
CLOSED_HEADERS = (
    "position", "account", "symbol", "source", "quantity", "entry", "realised", "fees", "funding", "net", "opened",
    "closed",
)  # fmt: skip
NONE_OPEN = (
    "no open positions; `aaos decide SYM` may lead to one, `aaos risk` says what was let through, "
    "`aaos positions --closed` shows past ones"
)
NONE_CLOSED = "no closed positions; `aaos positions` shows the open ones"


@dataclass(frozen=True, slots=True)
class Mark:
    """The market's price now: the middle of the book; None with the reason where there is no usable book."""

    price: Decimal | None
    why: str | None = None


@dataclass(frozen=True, slots=True)
class HeldPosition:
    """An open position at the market's price now; profit is before the fees of closing it.

    `roi_pct` is the return on its margin. Without a usable book `mark`, `unrealised` and `roi_pct` are None, and `why`
    says so.
    """

    position: Position
    mark: Decimal | None
    unrealised: Decimal | None
    roi_pct: Decimal | None
    why: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Returns the JSON form."""
        now = {"mark": self.mark, "unrealised": self.unrealised, "roi_pct": self.roi_pct, "why": self.why}
        side = "long" if self.position.is_long else "short"
        return {**json_form(self.position), "side": side, "net": json_form(self.position.net), **json_form(now)}


class PositionList(list[HeldPosition]):
    """Open positions, oldest first; prints as a table."""

    def __rich__(self) -> Table:
        """The table, for rich."""
        return table(OPEN_HEADERS, ([
            each.position.id, each.position.account, each.position.symbol,
            "long" if each.position.is_long else "short", price(abs(each.position.quantity)),
            average(each.position.average_entry), price(each.mark), signed(each.unrealised), percent(each.roi_pct),
            price(each.position.stop_price), price(each.position.take_profit_price), each.position.source,
            instant(each.position.opened_at),
        ] for each in self))  # fmt: skip

    def notes(self) -> list[str]:
        """Returns what the table leaves out: why a price is missing, and which position has no stop."""
        unpriced = [f"{each.position.symbol}: no price now: {each.why}" for each in self if each.why]
        bare = [
            f"position {each.position.id} in {each.position.symbol} has no stop price: `aaos alerts` says why"
            for each in self
            if each.position.stop_price is None
        ]
        return [*unpriced, *bare]

    def to_dicts(self) -> list[dict[str, Any]]:
        """Returns the JSON form."""
        return [each.to_dict() for each in self]

    def __repr__(self) -> str:
        return "\n".join([as_text(self), *self.notes()]) if self else NONE_OPEN

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text("…" if cycle else repr(self))


class ClosedPositionList(list["Position"]):
    """Closed positions, newest first; prints as a table."""

    def __rich__(self) -> Table:
        """The table, for rich."""
        return table(CLOSED_HEADERS, ([
            each.id, each.account, each.symbol, each.source, price(each.peak_quantity), average(each.average_entry),
            signed(each.realised), signed(-each.fees), signed(each.funding), signed(each.net),
            instant(each.opened_at), instant(each.closed_at),
        ] for each in self))  # fmt: skip

    def notes(self) -> list[str]:
        """Returns nothing: the table is all there is."""
        return []

    def to_dicts(self) -> list[dict[str, Any]]:
        """Returns the JSON form."""
        return [{**json_form(each), "net": json_form(each.net)} for each in self]

    def __repr__(self) -> str:
        return as_text(self) if self else NONE_CLOSED

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text("…" if cycle else repr(self))


@helpful_errors()
def positions(
    account: str | None = None, *, closed: bool = False, limit: int = 100
) -> PositionList | ClosedPositionList:
    """Returns the open positions with what they would realise now, or the newest closed ones.

    Args:
        account: only of this one: `paper` (decisions), `paper-portfolio`.
        closed: the ones that were closed instead.
        limit: of closed ones, at most so many.

    Raises:
        InputError: the limit is none.
        DatabaseUnavailable: nothing can be read.
    """
    check_limit(limit)
    container = connect()
    books = container.trading_books
    if closed:
        return ClosedPositionList(books.closed_positions(limit, account))
    return PositionList(at_market(books.open_positions(account), container))


def at_market(found: Sequence[Position], container: Container) -> list[HeldPosition]:
    """Returns open positions at the market's price now."""
    marks = {symbol: mark_of(symbol, container) for symbol in {each.symbol for each in found}}
    return [_held(each, marks[each.symbol]) for each in found]


def mark_of(symbol: str, container: Container) -> Mark:
    """Returns the middle of the symbol's book now, if that can be relied on."""
    try:
        book = container.order_books.book(symbol, container.database.now())
    except UnknownSymbol:
        return Mark(None, f"the market in use does not list {symbol}; `aaos market` shows what it lists")
    fault = book.fault(container.settings.execution.max_book_age_s)
    if fault is not None:
        return Mark(None, f"{fault}: its book is of {instant(book.as_of)} market time")
    return Mark(book.mid)


def _held(position: Position, mark: Mark) -> HeldPosition:
    from aaos.domain.execution.profit import roi_percent
    from aaos.domain.positions import unrealised

    if mark.price is None:
        return HeldPosition(position, None, None, None, mark.why)
    return HeldPosition(position, mark.price, unrealised(position, mark.price), roi_percent(position, mark.price))
