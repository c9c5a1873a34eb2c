"""The tables in memory: rows are frozen, a transaction is a copy that is put back when it fails."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import count
from typing import Any

from aaos.adapters.memory.clock import MovableClock
from aaos.domain.runs import JsonObject, State
from aaos.domain.sovereign import ModelAnswer
from aaos.errors import DatabaseUnavailable
from aaos.ports import ResultRecord


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
    """A row of `sovereign_calls`."""

    id: int
    run_id: int
    fence: int
    model: str
    prompt_hash: str
    state: str = "pending"
    answer: ModelAnswer | None = None
    error_code: str | None = None
    error_message: str | None = None


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

    def copy(self) -> Tables:
        """Returns tables that change apart from these; the frozen rows are shared."""
        copied = Tables()
        for name, table in vars(self).items():
            setattr(copied, name, dict(table))
        return copied


class MemoryDatabase:
    """One lock, one clock, and the faults a test wants.

    Attributes:
        away: every transaction raises DatabaseUnavailable.
        lose_confirmations: so many of the next transactions commit, and raise DatabaseUnavailable all the same.
        before_announcing: called with a result's id right before its outbox row is written; may raise.
    """

    def __init__(self, clock: MovableClock | None = None) -> None:
        self.clock = clock or MovableClock()
        self.tables = Tables()
        self.away = False
        self.lose_confirmations = 0
        self.before_announcing: Callable[[int], None] = _nothing
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

    def next_fence(self) -> int:
        """Returns a fence higher than all before, as a sequence does: never given back."""
        return next(self._fences)

    def next_id(self) -> int:
        """Returns a new id."""
        return next(self._ids)


def _nothing(_: int) -> None:
    """Nothing goes wrong unless a test says so."""
