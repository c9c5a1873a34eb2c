"""The trading switch as a person sees it: whether entries may be sent, and what holds them back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aaos.domain.orders import ACCOUNTS, ENTRY, OrderState
from aaos.shell.connection import connect, helpful_errors
from aaos.shell.figures import json_form
from aaos.shell.lists import REASON_SHOWN_CHARS, shortened
from aaos.shell.orders import OrderList, said_by
from aaos.shell.runs import instant
from aaos.shell.tables import as_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Group

    from aaos.bootstrap import Container
    from aaos.domain.orders import Order
    from aaos.ports import AccountBooks, Switch

UNKNOWN_COUNTED = 100
# Books are compared each `execution.reconcile_s`; so many times without a result, nobody is doing it, nor watching.
COMPARISONS_MISSED = 3


@dataclass(frozen=True, slots=True, repr=False)
class Trading:
    """Whether entries are sent.

    Attributes:
        switch: the stop, and who changed it last.
        enabled: `execution.enabled`.
        books: each account's, in doubt or in order.
        doubtful: orders whose fate nobody knows, and quarantined ones that nobody has released.
        not_compared_for_s: see the function of that name.
    """

    switch: Switch
    enabled: bool
    books: tuple[AccountBooks, ...]
    doubtful: OrderList
    not_compared_for_s: float | None = None

    @property
    def goes_on(self) -> bool:
        """Whether nothing at all holds entries back."""
        return not self.switch.stopped and self.enabled and not self.doubtful and all(b.why is None for b in self.books)

    def lines(self) -> list[str]:
        """Returns how it stands, and what a person can do about it."""
        return [switch_line(self.switch), *self._off(), *(_books_line(each) for each in self.books), *self._remedies()]

    def to_dict(self) -> dict[str, Any]:
        """Returns the JSON form."""
        return {
            "goes_on": self.goes_on,
            "switch": json_form(self.switch),
            "execution_enabled": self.enabled,
            "books": json_form(self.books),
            "doubtful": self.doubtful.to_dicts(),
        }

    def __rich__(self) -> Group:
        """The lines and the orders in doubt, for rich."""
        from rich.console import Group

        orders: list[Any] = ["", self.doubtful] if self.doubtful else []
        return Group(*self.lines(), *orders)

    def __repr__(self) -> str:
        return as_text(self)

    def _off(self) -> list[str]:
        return [] if self.enabled else ["execution.enabled is false: decisions are assessed, and no order is sent"]

    def _remedies(self) -> list[str]:
        found = []
        if self.not_compared_for_s is not None:
            found.append(f"{_overdue(self.not_compared_for_s)}; stops that are at the venue stand")
        if self.switch.stopped:
            found.append("entries are sent again after `aaos trading resume --reason …`; exits and stops never ceased")
        quarantined = [each for each in self.doubtful if each.state is OrderState.QUARANTINED]
        if quarantined:
            found.append(
                f"order {quarantined[0].id} is quarantined: look at the venue whether it is there, then "
                f"`aaos orders release {quarantined[0].id} --reason …`"
            )
        return found


@dataclass(frozen=True, slots=True)
class TradingNow:
    """What `aaos status` says of trading, for a few short statements; `trading` looks closer."""

    stopped: bool
    enabled: bool
    open_positions: int
    unknown_orders: int
    not_compared_for_s: float | None = None

    @property
    def line(self) -> str:
        """Returns it in a line."""
        how = "STOPPED (`aaos trading resume --reason …`)" if self.stopped else "on"
        how = how if self.enabled else "off (execution.enabled is false)"
        doubts = f", orders in doubt: {self.unknown_orders} (`aaos trading`)" if self.unknown_orders else ""
        late = "" if self.not_compared_for_s is None else f", NOT WATCHED: {_overdue(self.not_compared_for_s)}"
        return f"trading: {how}, open positions: {self.open_positions}{doubts}{late}"


def trading_now(container: Container) -> TradingNow:
    """Returns the short form. Raises DatabaseUnavailable."""
    return TradingNow(
        stopped=container.trading_switch.read().stopped,
        enabled=container.settings.execution.enabled,
        open_positions=len(container.trading_books.open_positions()),
        unknown_orders=len(container.orders.orders(UNKNOWN_COUNTED, state=OrderState.UNKNOWN)),
        not_compared_for_s=not_compared_for_s(container, [container.trading_books.books(each) for each in ACCOUNTS]),
    )


def not_compared_for_s(container: Container, books: Sequence[AccountBooks]) -> float | None:
    """Returns for how many seconds an account's books were not compared with the venue's; None while that is in time.

    An account that nobody has compared yet is none of them: a stack that has just been started for the first time.
    """
    due_s = COMPARISONS_MISSED * container.settings.execution.reconcile_s
    now = container.database.now()
    ages = [(now - each.reconciled_at).total_seconds() for each in books if each.reconciled_at is not None]
    return max((age for age in ages if age > due_s), default=None)


def _overdue(seconds: float) -> str:
    return f"books not compared for {seconds:.0f} s; see whether the trader runs, and its log, or restart it"


@helpful_errors()
def trading() -> Trading:
    """Returns whether entries are sent, and what holds them back."""
    container = connect()
    books = tuple(container.trading_books.books(each) for each in ACCOUNTS)
    switch = container.trading_switch.read()
    enabled, doubtful = container.settings.execution.enabled, OrderList(doubtful_orders(container))
    return Trading(switch, enabled, books, doubtful, not_compared_for_s(container, books))


@helpful_errors()
def stop_trading(reason: str, by: str | None = None) -> Switch:
    """Stops all entries at once, whoever is about to send one; exits and protective stops go on.

    Args:
        reason: why, for the audit log.
        by: who says so; by default the name this process runs under.

    Raises:
        InputError: no reason is given.
        DatabaseUnavailable: it may not have been stopped: say it again.
    """
    return connect().trading_switch.stop(*said_by(by, reason))


@helpful_errors()
def resume_trading(reason: str, by: str | None = None) -> Switch:
    """Lets entries through again; what was approved before the stop is not sent any more. See `stop_trading`."""
    return connect().trading_switch.resume(*said_by(by, reason))


def doubtful_orders(container: Container) -> list[Order]:
    """Returns the orders whose fate nobody knows, and quarantined entries that nobody has released.

    A quarantined stop or exit holds nothing back; `orders(state="quarantined")` lists it.
    """
    unsettled = (order for account in ACCOUNTS for order in container.orders.unsettled(account))
    return [
        order
        for order in unsettled
        if order.state is OrderState.UNKNOWN or (order.state is OrderState.QUARANTINED and order.leg == ENTRY)
    ]


def switch_line(switch: Switch) -> str:
    """Returns how the switch stands, in a line."""
    state = "STOPPED" if switch.stopped else "on"
    why = shortened(switch.reason, REASON_SHOWN_CHARS)
    return f"trading is {state}, since {instant(switch.changed_at)} by {switch.by}: {why} (epoch {switch.epoch})"


def _books_line(books: AccountBooks) -> str:
    compared = f"compared with the venue's {instant(books.reconciled_at)}" if books.reconciled_at else "never compared"
    if books.why is None:
        return f"books of {books.account}: in order, {compared}"
    why = shortened(books.why, REASON_SHOWN_CHARS)
    return f"books of {books.account}: IN DOUBT, so no entries: {why}; {compared}, the execution worker compares them"
