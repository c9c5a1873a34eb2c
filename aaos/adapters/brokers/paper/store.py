"""What the paper venue's ledger is kept in; one suite of tests holds for memory and PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Protocol

from aaos.domain.orders import CashFlow
from aaos.domain.venue.misbehaviours import Misbehaviour
from aaos.domain.venue.rules import InstrumentRules
from aaos.domain.venue.state import VenueAccount, VenueEntry, VenueTrade

OPENING_FLOW = "deposit:initial"


@dataclass(frozen=True, slots=True)
class Request:
    """A line of the transcript: what was asked, when it reached the venue, and what came of it.

    Attributes:
        at: wall-clock instant.
        method: of the broker.
        client_order_id: the order's name; None for what concerns no single order.
        reduce_only: of a placed order, None otherwise.
        outcome: `accepted`, `refused:CODE`, `canceled`, `unknown`, `found`, or what else the venue did.
        misbehaviour: that struck; None usually.
    """

    at: datetime
    account: str
    method: str
    outcome: str
    client_order_id: str | None = None
    venue_order_id: str | None = None
    symbol: str | None = None
    reduce_only: bool | None = None
    misbehaviour: str | None = None


class Listing(Protocol):
    """The symbols that the venue lists."""

    def grid(self, symbol: str) -> InstrumentRules | None:
        """Returns the symbol's grid as it was first listed; None: never yet."""
        ...

    def list_symbol(self, symbol: str, grid: InstrumentRules) -> InstrumentRules:
        """Lists the symbol, unless it is listed; returns its grid."""
        ...


class VenueBooks(Listing, Protocol):
    """One account's ledger, held by this caller alone until the context ends."""

    account: VenueAccount
    """The working copy; saved when the context ends."""

    def misbehaviour(self, method: str) -> Misbehaviour | None:
        """Returns what strikes this call, counting it."""
        ...

    def named(self, client_order_id: str, symbol: str) -> VenueEntry | None:
        """Returns the newest order of that name, open or ended."""
        ...

    def trades(self, since: datetime | None, told_by: datetime) -> Sequence[VenueTrade]:
        """Returns trades made at or after `since` and told by then, oldest first."""
        ...

    def flows(self, since: datetime | None) -> Sequence[CashFlow]:
        """Returns cash flows from then on, oldest first."""
        ...

    def record(self, request: Request) -> None:
        """Adds a line to the transcript."""
        ...


class VenueStore(Listing, Protocol):
    """The ledger of all accounts. Raises DatabaseUnavailable; then nothing was saved, or nobody knows."""

    def ledger(self, account: str, deposit: Decimal, now: datetime) -> AbstractContextManager[VenueBooks]:
        """Opens an account's ledger, one caller at a time; what changed is saved at the end, all of it or nothing.

        Args:
            account: made with that deposit when there is none of that name.
            deposit: in quote currency.
            now: wall-clock instant of the opening.
        """
        ...

    def behave(self, misbehaviour: Misbehaviour) -> Misbehaviour:
        """Stores a misbehaviour; it strikes from the next call on, in every process."""
        ...

    def behave_well(self) -> int:
        """Ends all misbehaviours; returns how many there were."""
        ...

    def misbehaviours(self) -> Sequence[Misbehaviour]:
        """Returns those that still strike, oldest first."""
        ...

    def struck(self, method: str, account: str | None) -> Misbehaviour | None:
        """Returns what strikes a call that concerns no ledger, counting it."""
        ...

    def accounts(self) -> Sequence[str]:
        """Returns the names of the accounts."""
        ...

    def orders(self, account: str, limit: int, open_only: bool = False) -> Sequence[VenueEntry]:
        """Returns orders as they are stored, newest first."""
        ...

    def newest_trades(self, account: str, limit: int) -> Sequence[VenueTrade]:
        """Returns trades as they are stored, newest first."""
        ...

    def requests(self, limit: int, account: str | None = None) -> Sequence[Request]:
        """Returns the transcript, newest first."""
        ...

    def forget_requests(self, keep: int) -> int:
        """Drops the oldest lines of the transcript beyond that many; returns how many."""
        ...
