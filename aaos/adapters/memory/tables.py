"""The tables in memory: rows are frozen, a transaction is a copy that is put back when it fails."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import count
from typing import Any

from aaos.adapters.memory.clock import EPOCH, MovableClock
from aaos.adapters.memory.trading_rows import AccountRow, EquityPoint, FillRow, OrderRow
from aaos.domain.approvals import Approval
from aaos.domain.audit import NOTHING_BEFORE, ChainedRow
from aaos.domain.calibration import VoteOutcome
from aaos.domain.error_envelope import ErrorEnvelope
from aaos.domain.llm_budget import NOTHING, UNPRICED, Charge, ModelCard
from aaos.domain.model_request import ModelAnswer
from aaos.domain.orders import CashFlow, RiskApproval
from aaos.domain.portfolio.trades import ScheduledTrade
from aaos.domain.positions import Position
from aaos.domain.runs import JsonObject, NewAlert, State
from aaos.domain.vetoes import Veto
from aaos.errors import DatabaseUnavailable
from aaos.ports import CallPlan, ResultRecord, Switch


@dataclass(frozen=True, slots=True)
class RunRow:
    """A row of `runs`; the columns mean what the migration says they mean."""

    id: int
    kind: str
    symbol: str
    slot: datetime
    request_key: str | None
    dependent: bool
    parked: bool
    timeout_s: float
    start_within_s: float
    due_at: datetime
    deadline: datetime
    not_after: datetime | None
    hinted_at: datetime | None
    params: JsonObject
    created_at: datetime
    state: State = State.PENDING
    attempt: int = 0
    hints: int = 0
    owner: str | None = None
    fence: int | None = None
    lease_expires_at: datetime | None = None
    reason: str | None = None
    failure_source: str | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class CallRow:
    """A row of `sovereign_calls`; `booked` is what counts against the budgets now."""

    id: int
    run_id: int
    fence: int
    plan: CallPlan
    began_at: datetime
    card: ModelCard = UNPRICED
    booked: Charge = NOTHING
    outcome: str = "pending"
    answer: ModelAnswer | None = None
    fault: str | None = None
    error: ErrorEnvelope | None = None
    raw: str = ""
    cached_from: int | None = None
    ended_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class AlertRow:
    """A row of `alerts`."""

    raised_at: datetime
    kind: str
    message: str
    details: JsonObject


class Tables:
    """What is stored; copied whole at the start of a transaction."""

    def __init__(self) -> None:
        self.runs: dict[int, RunRow] = {}
        # (run, what it depends on) → whether that is required
        self.dependencies: dict[tuple[int, int], bool] = {}
        self.results: dict[int, ResultRecord] = {}
        # result → id of its stream entry, None while it waits
        self.outbox: dict[int, str | None] = {}
        self.calls: dict[int, CallRow] = {}
        # scope → what is spent or reserved in it
        self.spending: dict[str, Charge] = {}
        # (scope, cap) that an alert has told of
        self.told: dict[tuple[str, str], bool] = {}

        self.audit: dict[int, ChainedRow] = {}
        # number and hash of the newest entry of the audit log
        self.audit_head = (0, NOTHING_BEFORE)
        self.approvals: dict[int, Approval] = {}
        self.alerts: dict[int, AlertRow] = {}
        # vote (its result) → what became of it
        self.outcomes: dict[int, VoteOutcome] = {}
        self.risk_approvals: dict[int, RiskApproval] = {}
        self.orders: dict[int, OrderRow] = {}
        self.fills: dict[int, FillRow] = {}
        # (account, flow) → what moved
        self.flows: dict[tuple[str, str], CashFlow] = {}
        self.positions: dict[int, Position] = {}
        self.equity: dict[int, EquityPoint] = {}
        self.accounts: dict[str, AccountRow] = {}
        self.switch = Switch(1, False, "migration", "never stopped", EPOCH)
        self.vetoes: dict[int, Veto] = {}
        self.trades: dict[int, ScheduledTrade] = {}

    def copy(self) -> Tables:
        """Returns tables that change apart from these; the frozen rows are shared."""
        copied = Tables()
        for name, table in vars(self).items():
            setattr(copied, name, dict(table) if isinstance(table, dict) else table)
        return copied


class MemoryDatabase:
    """One lock, one clock, and the faults a test wants.

    Attributes:
        away: every transaction raises DatabaseUnavailable.
        lose_confirmations: so many of the next transactions commit, and raise DatabaseUnavailable all the same.
        before_announcing: called with a result's id right before its outbox row is written; may raise.
        watched: the accounts that somebody watches.
    """

    def __init__(self, clock: MovableClock | None = None) -> None:
        self.clock = clock or MovableClock()
        self.tables = Tables()
        self.away = False
        self.lose_confirmations = 0
        self.before_announcing: Callable[[int], None] = _nothing
        self.watched: set[str] = set()
        self._lock = threading.RLock()
        self._fences = count(1)
        self._ids = count(1)

    @contextmanager
    def transaction(self) -> Iterator[Tables]:
        """Yields the tables, alone; what is done to them is undone when the block raises."""
        with self._lock:
            if self.away:
                raise DatabaseUnavailable("the database in memory was told to be away; bring it back to go on")
            before = self.tables.copy()
            try:
                yield self.tables
            except BaseException:
                self.tables = before
                raise
            if self.lose_confirmations:
                self.lose_confirmations -= 1
                raise DatabaseUnavailable("the confirmation of a commit got lost, as it was told to")

    def update(self, row: RunRow, **changes: Any) -> RunRow:
        """Stores a changed run and returns it; to be called inside a transaction."""
        changed = replace(row, **changes)
        self.tables.runs[row.id] = changed
        return changed

    def note(self, alerts: Sequence[NewAlert]) -> None:
        """Stores alerts; to be called inside a transaction."""
        for each in alerts:
            row = AlertRow(self.clock.now(), each.kind, each.message, each.details)
            self.tables.alerts[self.next_id()] = row

    def next_fence(self) -> int:
        """Returns a fence higher than all before, as a sequence does: never given back."""
        return next(self._fences)

    def next_id(self) -> int:
        """Returns a new id."""
        return next(self._ids)


def _nothing(_: int) -> None:
    """Nothing goes wrong unless a test says so."""
