"""The paper venue's ledger in memory."""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal

from aaos.adapters.brokers.paper.store import OPENING_FLOW, Request
from aaos.domain.orders import CashFlow
from aaos.domain.venue.misbehaviours import Misbehaviour, counted
from aaos.domain.venue.rules import InstrumentRules
from aaos.domain.venue.state import VenueAccount, VenueEntry, VenueTrade


@dataclass(slots=True)
class _Kept:
    """All that is kept of one account."""

    account: VenueAccount
    orders: dict[int, VenueEntry] = field(default_factory=dict)
    trades: list[VenueTrade] = field(default_factory=list)
    flows: list[CashFlow] = field(default_factory=list)


class MemoryVenueStore:
    """Implements `VenueStore`; for tests and simulations."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._kept: dict[str, _Kept] = {}
        self._grids: dict[str, InstrumentRules] = {}
        self._misbehaviours: list[Misbehaviour] = []
        self._requests: list[Request] = []

    @contextmanager
    def ledger(self, account: str, deposit: Decimal, now: datetime) -> Iterator[_MemoryBooks]:
        """See the protocol."""
        with self._lock:
            kept = self._kept.get(account) or _Kept(VenueAccount(account, now))
            books = _MemoryBooks(self, kept)
            if account not in self._kept and deposit:
                books.account.flow(OPENING_FLOW, "deposit", None, deposit, now)
            yield books
            if books.account.changed or books.account.keep_views or account not in self._kept:
                self._save(books.account, kept)
            self._requests += books.lines

    def _save(self, account: VenueAccount, kept: _Kept) -> None:
        kept.orders |= account.touched
        kept.trades += account.trades
        kept.flows += account.flows
        kept.account = replace(account, touched={}, trades=[], flows=[], keep_views=False)
        self._kept[account.name] = kept

    def grid(self, symbol: str) -> InstrumentRules | None:
        """See the protocol."""
        return self._grids.get(symbol)

    def list_symbol(self, symbol: str, grid: InstrumentRules) -> InstrumentRules:
        """See the protocol."""
        return self._grids.setdefault(symbol, grid)

    def behave(self, misbehaviour: Misbehaviour) -> Misbehaviour:
        """See the protocol."""
        with self._lock:
            stored = replace(misbehaviour, id=len(self._misbehaviours) + 1)
            self._misbehaviours.append(stored)
            return stored

    def behave_well(self) -> int:
        """See the protocol."""
        with self._lock:
            ended = len(self.misbehaviours())
            self._misbehaviours = [replace(each, calls_left=0) for each in self._misbehaviours]
            return ended

    def misbehaviours(self) -> Sequence[Misbehaviour]:
        """See the protocol."""
        return [each for each in self._misbehaviours if each.calls_left != 0]

    def struck(self, method: str, account: str | None) -> Misbehaviour | None:
        """See the protocol."""
        with self._lock:
            for index, each in enumerate(self._misbehaviours):
                if each.concerns(method, account):
                    self._misbehaviours[index] = counted(each)
                    if each.strikes_next:
                        return each
            return None

    def accounts(self) -> Sequence[str]:
        """See the protocol."""
        return sorted(self._kept)

    def orders(self, account: str, limit: int, open_only: bool = False) -> Sequence[VenueEntry]:
        """See the protocol."""
        kept = self._kept.get(account)
        found = [] if kept is None else [each for _, each in sorted(kept.orders.items(), reverse=True)]
        return [each for each in found if not open_only or each.state == "working"][:limit]

    def newest_trades(self, account: str, limit: int) -> Sequence[VenueTrade]:
        """See the protocol."""
        kept = self._kept.get(account)
        return [] if kept is None else kept.trades[::-1][:limit]

    def requests(self, limit: int, account: str | None = None) -> Sequence[Request]:
        """See the protocol."""
        return [each for each in reversed(self._requests) if account in (None, each.account)][:limit]

    def forget_requests(self, keep: int) -> int:
        """See the protocol."""
        with self._lock:
            dropped = max(0, len(self._requests) - keep)
            del self._requests[:dropped]
            return dropped


class _MemoryBooks:
    """Implements `VenueBooks` on a copy of what is kept."""

    def __init__(self, store: MemoryVenueStore, kept: _Kept) -> None:
        self.account = copy.copy(kept.account)
        # Entries, positions and views are frozen: copying what holds them is enough.
        for name in ("orders", "holdings", "views", "touched"):
            setattr(self.account, name, dict(getattr(kept.account, name)))
        self.account.trades, self.account.flows = [], []
        self.lines: list[Request] = []
        self._store = store
        self._kept = kept

    def grid(self, symbol: str) -> InstrumentRules | None:
        return self._store.grid(symbol)

    def list_symbol(self, symbol: str, grid: InstrumentRules) -> InstrumentRules:
        return self._store.list_symbol(symbol, grid)

    def misbehaviour(self, method: str) -> Misbehaviour | None:
        return self._store.struck(method, self.account.name)

    def named(self, client_order_id: str, symbol: str) -> VenueEntry | None:
        orders = self._kept.orders | self.account.touched
        found = [each for each in orders.values() if (each.client_order_id, each.symbol) == (client_order_id, symbol)]
        return max(found, key=lambda each: each.number, default=None)

    def trades(self, since: datetime | None, told_by: datetime) -> Sequence[VenueTrade]:
        told = [each for each in (*self._kept.trades, *self.account.trades) if each.reported_at <= told_by]
        recent = [each for each in told if since is None or each.fill.filled_at >= since]
        return sorted(recent, key=lambda each: (each.fill.filled_at, each.number))

    def flows(self, since: datetime | None) -> Sequence[CashFlow]:
        return [each for each in (*self._kept.flows, *self.account.flows) if since is None or each.at >= since]

    def record(self, request: Request) -> None:
        self.lines.append(request)
