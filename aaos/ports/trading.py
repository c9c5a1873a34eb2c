"""Ports of trading: the venue, its books, and our own books of approvals, orders, fills and positions.

Raises DatabaseUnavailable when the database is away; nothing is half done then. An account is a name (`paper`,
`paper-portfolio`): one ledger at one venue.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Protocol

from aaos.domain.order_book import Instrument, OrderBook
from aaos.domain.orders import (
    CashFlow,
    Intent,
    NewOrder,
    Order,
    OrderState,
    RiskApproval,
    VenueFill,
    VenueOrder,
    VenuePosition,
)
from aaos.domain.portfolio.trades import OpenTrades, ScheduledTrade, TradeState, UnderWay
from aaos.domain.positions import Fill, Position
from aaos.domain.risk.account import AccountSnapshot
from aaos.domain.runs import ClaimedRun, NewRun


class OrderBooks(Protocol):
    """Order books of the market in use."""

    def book(self, symbol: str, at: datetime) -> OrderBook:
        """Returns the newest book at the wall-clock instant `at`; it may be old, empty or crossed: look before use.

        Raises:
            UnknownSymbol: the market does not list it.
        """
        ...

    def books_between(self, symbol: str, after: datetime | None, until: datetime) -> Sequence[OrderBook]:
        """Returns the books that the market showed after one *market* instant and up to another, oldest first.

        At the turning points of each candle at least; `after` None: only the one at `until`. Bounded: of a long time
        the newest 2,000.
        """
        ...

    def market_time(self, symbol: str, at: datetime) -> datetime:
        """Returns the market's own time at a wall-clock instant (they differ in a replay)."""
        ...


class Broker(Protocol):
    """One account at one venue.

    Every method raises VenueUnavailable (certainly nothing was sent), AmbiguousReply (perhaps it was), and nothing
    else but what is named.
    """

    account: str
    venue: str

    def instrument(self, symbol: str) -> Instrument:
        """Returns what the venue says of the symbol. Raises UnknownSymbol."""
        ...

    def place(self, order: Order) -> VenueOrder:
        """Sends the order under its client id, once; returns what became of it at once.

        Raises:
            OrderRejected: the venue refuses it; certainly nothing was accepted.
            AmbiguousReply: it may have been accepted. Never to be sent again.
            VenueUnavailable: certainly nothing was sent.
        """
        ...

    def cancel(self, order: Order) -> VenueOrder | None:
        """Cancels what is left of it; returns how it then stands, None where the venue does not know it."""
        ...

    def order(self, client_order_id: str, symbol: str) -> VenueOrder | None:
        """Returns the order of that name, open or ended; None where the venue does not know it (yet)."""
        ...

    def open_orders(self) -> Sequence[VenueOrder]:
        """Returns all orders that are open, ours or not."""
        ...

    def fills(self, since: datetime | None) -> Sequence[VenueFill]:
        """Returns trades from that instant (the venue's clock) on, oldest first; some may come twice."""
        ...

    def cash_flows(self, since: datetime | None) -> Sequence[CashFlow]:
        """Returns deposits, withdrawals, funding and the like from that instant on, oldest first."""
        ...

    def positions(self) -> Sequence[VenuePosition]:
        """Returns open positions."""
        ...

    def cash(self) -> Decimal:
        """Returns the account's cash: deposits + realised − fees + funding, in quote currency."""
        ...


@dataclass(frozen=True, slots=True)
class Switch:
    """Whether entries may be sent; each change raises the epoch."""

    epoch: int
    stopped: bool
    by: str
    reason: str
    changed_at: datetime


class TradingSwitch(Protocol):
    """The stop: a row in PostgreSQL, and nothing but that."""

    def read(self) -> Switch:
        """Returns how it stands."""
        ...

    def stop(self, by: str, reason: str) -> Switch:
        """Raises the epoch and stops entries, audited; stopped already: returns how it stands."""
        ...

    def resume(self, by: str, reason: str) -> Switch:
        """Raises the epoch and lets entries through again, audited; not stopped: returns how it stands."""
        ...


@dataclass(frozen=True, slots=True)
class AccountBooks:
    """Whether our books of an account agree with the venue's.

    `dirty_version` counts what put them in doubt; `why` is None when nothing does.
    """

    account: str
    why: str | None
    dirty_version: int
    reconciled_at: datetime | None


class RiskDesk(Protocol):
    """Risk's approvals. They are stored with the assessing run (`Completed.approval`), and used up by an order."""

    def of_source(self, source: str) -> RiskApproval | None:
        """Returns the source's approval."""
        ...

    def approvals(self, limit: int) -> Sequence[RiskApproval]:
        """Returns the newest first."""
        ...

    def snapshot(self, account: str) -> AccountSnapshot:
        """Returns one account as our books have it, read at one instant, with their version."""
        ...


class Orders(Protocol):
    """Our book of orders: written down before anything is sent, and never twice for one leg.

    What may be inserted the database decides: an entry needs an unexpired, unused approval over the same source hash,
    symbol and side, at least as large and as leveraged; a reduce-only leg needs an approval whose entry was used.
    """

    @property
    def namespace(self) -> str:
        """Of this database: part of every client order id."""
        ...

    def intend(self, order: NewOrder, run: ClaimedRun | None = None) -> Intent:
        """Writes an order down as `intent`, using its approval up, under the stop epoch now in force.

        The leg's order that is there already is returned as it stands, with `created` False: then nothing may be sent.

        Args:
            order: what shall be sent.
            run: the claim under which an entry is placed; None for what housekeeping sends.

        Raises:
            OrderDenied: NO_APPROVAL, APPROVAL_EXPIRED or TRADING_STOPPED; nothing was written.
            EntriesHeld: an entry, while an order of the account is unknown or an intent older than `visible_within_s`
                + 10 s, one of the symbol is quarantined and not released, or the account's books are in doubt.
            FenceLost: the run is no longer the caller's.
        """
        ...

    def may_send(self, order_id: int) -> bool:
        """Returns whether an entry may still be sent: it is an intent, its epoch is in force, nothing is stopped.

        An order of another leg, reduce-only as it is, may always be sent while it is an intent.

        Raises:
            OrderDenied: APPROVAL_EXPIRED since the entry was written down; it may not be sent.
        """
        ...

    def withdraw(self, order_id: int, reason: str) -> None:
        """Ends an intent of which certainly nothing was sent."""
        ...

    def settle(self, order_id: int, seen: VenueOrder) -> Order:
        """Records what the venue says of the order; an older word never undoes a newer one (a final state stays)."""
        ...

    def reject(self, order_id: int, reason: str) -> None:
        """Records that the venue refused it."""
        ...

    def doubt(self, order_id: int, reason: str) -> None:
        """Marks it unknown, and the account's books as in doubt."""
        ...

    def quarantine(self, order_id: int, reason: str) -> None:
        """Marks an unknown order as not known to the venue, with an alert."""
        ...

    def release(self, order_id: int, by: str, reason: str) -> Order:
        """Lets entries of its symbol through again after a quarantine, on a person's word, audited.

        Raises:
            InputError: it is not in quarantine.
        """
        ...

    def order(self, order_id: int) -> Order:
        """Returns one order. Raises InputError naming where orders are listed."""
        ...

    def of_leg(self, source: str, leg: str) -> Order | None:
        """Returns the order of that leg."""
        ...

    def of_source(self, source: str) -> Sequence[Order]:
        """Returns all orders of a source, oldest first."""
        ...

    def by_client_ids(self, client_order_ids: Sequence[str]) -> Mapping[str, Order]:
        """Returns those that are ours."""
        ...

    def unsettled(self, account: str) -> Sequence[Order]:
        """Returns intents, working, unknown and quarantined (not released) orders of an account, oldest first."""
        ...

    def orders(self, limit: int, symbol: str | None = None, state: OrderState | None = None) -> Sequence[Order]:
        """Returns the newest first."""
        ...


class TradingBooks(Protocol):
    """Fills, cash and positions. Each fill and cash flow is booked once, with what it makes of its position."""

    def book(self, account: str, fills: Sequence[VenueFill], flows: Sequence[CashFlow]) -> Sequence[Fill]:
        """Books what is new, with its effect on orders and positions, in one transaction; returns the new fills.

        A fill of a quarantined or unknown order makes it known. One of an order nobody here sent is booked with
        `order_id` None and raises an alert.
        """
        ...

    def newest_fill_at(self, account: str) -> datetime | None:
        """Returns the venue's time of the newest booked fill or cash flow."""
        ...

    def fills(self, limit: int, account: str | None = None, symbol: str | None = None) -> Sequence[Fill]:
        """Returns the newest first; with a limit of 0 all, oldest first."""
        ...

    def cash(self, account: str) -> Decimal:
        """Returns the account's cash as our books have it."""
        ...

    def open_positions(self, account: str | None = None) -> Sequence[Position]:
        """Returns positions that are not flat, oldest first."""
        ...

    def closed_positions(self, limit: int, account: str | None = None) -> Sequence[Position]:
        """Returns the newest first."""
        ...

    def raise_stop(self, position_id: int, stop_price: Decimal) -> bool:
        """Moves a position's stop in its favour; returns False where it stands there, or better, already.

        The database refuses the other direction (R5).
        """
        ...

    def record_equity(self, account: str, cash: Decimal, unrealised: Decimal) -> None:
        """Adds a point to the equity curve, on the database's time."""
        ...

    def equity(self, account: str, since: datetime, limit: int) -> Sequence[tuple[datetime, Decimal]]:
        """Returns the curve's points (instant, cash + unrealised) since then, oldest first, thinned to `limit`."""
        ...

    def books(self, account: str) -> AccountBooks:
        """Returns whether the account's books are in doubt."""
        ...

    def doubt(self, account: str, why: str) -> None:
        """Puts the account's books in doubt: no entries until they are reconciled."""
        ...

    def reconciled(self, account: str, dirty_version: int) -> bool:
        """Ends the doubt, unless more came up since that version; returns whether the books are now in order."""
        ...

    def watching(self, account: str) -> AbstractContextManager[bool]:
        """Holds the account's watch for one process at a time; the value is False when another holds it."""
        ...


class ScheduledTrades(Protocol):
    """Trades that a rebalance planned (`Completed.trades`), each made exactly once by any number of workers (F07)."""

    def release_due(self, spec: NewRun, limit: int) -> Sequence[tuple[int, int]]:
        """Claims due trades with row locks, skipping those another worker holds, and gives each its risk run.

        A buy is due only once all sells of its rebalance are over. Claim and run are one transaction.

        Args:
            spec: the risk run; symbol, request key (`risk:trade:{id}`), params (`source`) and `not_after` (the trade's
                own end) are filled in per trade.
            limit: at most so many.

        Returns:
            (trade id, risk run id) of those released.
        """
        ...

    def close(self, trade_id: int, state: TradeState, outcome: str) -> bool:
        """Ends a released trade; returns False when it had ended before."""
        ...

    def expire(self) -> Sequence[int]:
        """Ends planned trades whose time is over; returns their ids."""
        ...

    def open_trades(self, account: str) -> OpenTrades:
        """Returns the account's planned and released trades, read at one instant, in the order of their ids."""
        ...

    def under_way(self) -> Sequence[UnderWay]:
        """Returns the released trades with their risk and execution runs, read at one instant, oldest first."""
        ...

    def trade(self, trade_id: int) -> ScheduledTrade:
        """Returns one. Raises InputError naming where trades are listed."""
        ...

    def trades(self, limit: int, rebalance_run: int | None = None) -> Sequence[ScheduledTrade]:
        """Returns the newest rebalance first, each in the order of its trades."""
        ...
