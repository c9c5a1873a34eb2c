"""Profit and loss of each account: realised, unrealised, fees, funding, equity and how far it has fallen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from aaos.domain.orders import ACCOUNTS
from aaos.errors import InputError
from aaos.shell.connection import connect, helpful_errors
from aaos.shell.figures import json_form, quote, signed, sparkline
from aaos.shell.positions import HeldPosition, at_market
from aaos.shell.runs import instant
from aaos.shell.tables import as_text, table

if TYPE_CHECKING:
    from rich.console import Group

    from aaos.bootstrap import Container

CURVE_POINTS = 60
DAYS_MAX = 3_650
POSITIONS_MAX = 100_000
HEADERS = (
    "account", "equity", "cash", "realised", "unrealised", "fees", "funding", "net", "from peak", "today", "this week",
)  # fmt: skip
HUNDRED = Decimal(100)


@dataclass(frozen=True, slots=True)
class AccountProfit:
    """One account, in quote currency.

    Attributes:
        cash: deposits + realised − fees + funding.
        unrealised: what the open positions would realise now; None where one of them has no price now.
        equity: cash + unrealised; None as that.
        net: realised + unrealised − fees + funding; None as that.
        drawdown_pct: how far equity lies below its peak, the UTC day's and the ISO week's start, in percent; negative
            where it lies above; None where nothing was recorded yet.
        curve: recorded equity, oldest first.
    """

    account: str
    cash: Decimal
    realised: Decimal
    fees: Decimal
    funding: Decimal
    unrealised: Decimal | None
    peak_drawdown_pct: Decimal | None
    day_drawdown_pct: Decimal | None
    week_drawdown_pct: Decimal | None
    losses_in_a_row: int
    open_positions: int
    closed_positions: int
    curve: tuple[tuple[datetime, Decimal], ...]
    unpriced: tuple[str, ...]

    @property
    def equity(self) -> Decimal | None:
        """Cash and what the open positions would realise."""
        return None if self.unrealised is None else self.cash + self.unrealised

    @property
    def net(self) -> Decimal | None:
        """All that trading made."""
        return None if self.unrealised is None else self.realised + self.unrealised - self.fees + self.funding

    def to_dict(self) -> dict[str, Any]:
        """Returns the JSON form."""
        found: dict[str, Any] = json_form(self)
        return {**found, "equity": json_form(self.equity), "net": json_form(self.net)}


class Profits(list[AccountProfit]):
    """Accounts with their profit and loss; prints as a table with a curve each."""

    def __rich__(self) -> Group:
        """The table and the curves, for rich."""
        from rich.console import Group

        shown = table(HEADERS, ([
            each.account, quote(each.equity), quote(each.cash), signed(each.realised), signed(each.unrealised),
            signed(-each.fees), signed(each.funding), signed(each.net), _fall(each.peak_drawdown_pct),
            _fall(each.day_drawdown_pct), _fall(each.week_drawdown_pct),
        ] for each in self))  # fmt: skip
        return Group(shown, *self.notes())

    def notes(self) -> list[str]:
        """Returns each account's equity curve, and what keeps a figure from being known."""
        return [line for each in self for line in (*_curve(each), *each.unpriced)]

    def to_dicts(self) -> list[dict[str, Any]]:
        """Returns the JSON form."""
        return [each.to_dict() for each in self]

    def __repr__(self) -> str:
        return as_text(self)

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text("…" if cycle else repr(self))


@helpful_errors()
def pnl(account: str | None = None, days: int = 7) -> Profits:
    """Returns what each account is worth and made, with its equity curve.

    Args:
        account: only this one.
        days: the curve goes back so far.

    Raises:
        InputError: no such account; names those there are.
        DatabaseUnavailable: nothing can be read.
    """
    if not 0 < days <= DAYS_MAX:
        raise InputError(f"days is {days}: ask for 1 to {DAYS_MAX}")
    container = connect()
    return Profits(_profit(each, days, container) for each in chosen_accounts(account))


def chosen_accounts(account: str | None) -> Sequence[str]:
    """Returns all accounts, or that one. Raises InputError naming those there are."""
    if account is not None and account not in ACCOUNTS:
        raise InputError(f"no account {account!r}; there are: {', '.join(ACCOUNTS)}")
    return ACCOUNTS if account is None else (account,)


def _profit(account: str, days: int, container: Container) -> AccountProfit:
    books = container.trading_books
    # One look at the account, first: what is booked while the rest is read shows in the next one.
    snapshot = container.risk_desk.snapshot(account)
    closed = books.closed_positions(POSITIONS_MAX, account)
    held = at_market(books.open_positions(account), container)
    every = [*closed, *(each.position for each in held)]
    unrealised = _unrealised(held)
    equity = None if unrealised is None else snapshot.cash + unrealised
    now = snapshot.read_at
    return AccountProfit(
        account=account,
        cash=snapshot.cash,
        realised=sum((each.realised for each in every), Decimal(0)),
        fees=sum((each.fees for each in every), Decimal(0)),
        funding=sum((each.funding for each in every), Decimal(0)),
        unrealised=unrealised,
        peak_drawdown_pct=_drawdown(snapshot.peak_equity, equity),
        day_drawdown_pct=_drawdown(snapshot.day_equity, equity),
        week_drawdown_pct=_drawdown(snapshot.week_equity, equity),
        losses_in_a_row=snapshot.losses_in_a_row,
        open_positions=len(held),
        closed_positions=len(closed),
        curve=tuple(books.equity(account, now - timedelta(days=days), CURVE_POINTS)),
        unpriced=tuple(f"{account}: {each.position.symbol} has no price now: {each.why}" for each in held if each.why),
    )


def _unrealised(held: Sequence[HeldPosition]) -> Decimal | None:
    known = [each.unrealised for each in held if each.unrealised is not None]
    return sum(known, Decimal(0)) if len(known) == len(held) else None


def _drawdown(start: Decimal | None, equity: Decimal | None) -> Decimal | None:
    """How far equity lies below where it was, in percent of that."""
    return None if not start or equity is None else (start - equity) / start * HUNDRED


def _fall(drawdown_pct: Decimal | None) -> str | None:
    return None if drawdown_pct is None else f"{-drawdown_pct:+.2f} %"


def _curve(profit: AccountProfit) -> list[str]:
    if not profit.curve:
        return [f"{profit.account}: no equity recorded yet; the execution worker records it"]
    (first, start), (last, end) = profit.curve[0], profit.curve[-1]
    bars = sparkline([value for _, value in profit.curve])
    return [f"{profit.account}: {bars}  {quote(start)} ({instant(first)}) to {quote(end)} ({instant(last)})"]
