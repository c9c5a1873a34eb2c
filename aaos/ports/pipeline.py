"""Ports of the pipeline: runs, results, messages, market, alerts, leases."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from aaos.domain.market import Candles
from aaos.domain.runs import ClaimedRun, ClaimRefused, Completed, Dependency, Failed, NewRun, Skipped, State


@dataclass(frozen=True, slots=True)
class Ended:
    """A run that has just been ended by us.

    Attributes:
        result_id: its stored result, if it completed.
        feeds: (run id, kind) of the runs born with it.
        promoted: (run id, kind) of a waiting run that may start now that this one made room.
        starts: (run id, kind) of the runs born with it that nobody waits for.
    """

    result_id: int | None = None
    feeds: Sequence[tuple[int, str]] = ()
    promoted: tuple[int, str] | None = None
    starts: Sequence[tuple[int, str]] = ()


@dataclass(frozen=True, slots=True)
class Recovery:
    """What one sweep did, by run id and kind."""

    returned: Sequence[tuple[int, str]] = ()
    crashed: Sequence[tuple[int, str]] = ()
    timed_out: Sequence[tuple[int, str]] = ()
    missed: Sequence[tuple[int, str]] = ()


@dataclass(frozen=True, slots=True)
class PipelinePlan:
    """A freshly inserted dependent run: every run of `header` must end before `body` may start.

    `body` is the stage before the run where it has one, else the run itself; pairs are (run id, kind).
    """

    run_id: int
    symbol: str
    body: tuple[int, str]
    header: Sequence[tuple[int, str]]


@dataclass(frozen=True, slots=True)
class RunRecord:
    """A run as a person sees it."""

    id: int
    kind: str
    symbol: str
    slot: datetime
    state: State
    attempt: int
    reason: str | None
    failure_source: str | None
    owner: str | None
    request_key: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    result_id: int | None
    due_at: datetime | None = None
    """When a pending run may be claimed; in the future for one that was put back."""


@dataclass(frozen=True, slots=True)
class ResultRecord:
    """A stored result; `inputs` is its lineage."""

    id: int
    run_id: int
    kind: str
    symbol: str
    slot: datetime
    fence: int
    analyzed_at: datetime
    content_hash: str
    body: Mapping[str, Any]
    inputs: Sequence[Mapping[str, Any]]
    published_at: datetime | None


class Clock(Protocol):
    """The one clock that orders things: the database's."""

    def now(self) -> datetime:
        """Returns the current instant, aware, UTC."""
        ...


class RunStore(Protocol):
    """Runs and their results. Every method is one statement or one transaction, on database time.

    Raises DatabaseUnavailable when the database is away; nothing is half done then.
    """

    def insert_slot(
        self, spec: NewRun, symbols: Sequence[str], slot: datetime, hint_first: int
    ) -> Sequence[tuple[int, str]]:
        """Inserts one run per symbol unless the slot has it; returns (id, symbol) of those now marked as hinted."""
        ...

    def insert_pipeline(
        self,
        spec: NewRun,
        symbols: Sequence[str],
        slot: datetime | None,
        stage: NewRun | None,
        inputs: Sequence[tuple[NewRun, datetime | None]],
    ) -> Sequence[PipelinePlan]:
        """Inserts, per symbol, a dependent run, the stage before it, and the inputs that are not there yet.

        All in one transaction; symbols whose slot (or request key) has its run already are left out.
        """
        ...

    def insert_joint(
        self, spec: NewRun, slot: datetime, awaited: Sequence[tuple[str, datetime]]
    ) -> tuple[int, bool] | None:
        """Inserts one run of `spec.symbol` that waits, whatever comes of them, for all scheduled runs of (kind, slot).

        Returns:
            (id, whether nothing is left to wait for); None when the slot has its run already.
        """
        ...

    def insert_request(self, spec: NewRun) -> tuple[int, bool]:
        """Inserts an ad-hoc run; returns (id, created): the same request key gives the same run."""
        ...

    def record_missed(self, kind: str, symbols: Sequence[str], slots: Sequence[datetime], reason: str) -> int:
        """Records slots as skipped unless they have a run; returns how many rows were written."""
        ...

    def newest_slot(self, kind: str) -> datetime | None:
        """Returns the newest scheduled slot of that kind."""
        ...

    def claim(self, run_id: int, owner: str, max_concurrent: int) -> ClaimedRun | ClaimRefused:
        """Grants the run to exactly one caller, raising its fence, or says why not."""
        ...

    def renew(self, held: Mapping[int, int]) -> frozenset[int]:
        """Extends the leases of {run id: fence}, never past a deadline; returns the ids still held."""
        ...

    def dependencies(self, run_id: int) -> Sequence[Dependency]:
        """Returns what the run depends on, in a stable order."""
        ...

    def dependents(self, run_id: int) -> Sequence[tuple[int, str, bool]]:
        """Returns (id, kind, ready) of the pending runs that wait for this one."""
        ...

    def complete(self, run: ClaimedRun, outcome: Completed, publish: bool) -> Ended:
        """Stores final state, result, outbox row, born runs, approval and veto together.

        Raises:
            RiskBookMoved: the approval rests on books (`NewRiskApproval.book_version`) that have changed; nothing is
                stored, and the run is still the caller's.
            FenceLost: the caller's claim is no longer the run's latest, or its deadline has passed.
        """
        ...

    def end(self, run: ClaimedRun, outcome: Skipped | Failed) -> Ended:
        """Stores a final state without a result. Raises FenceLost as `complete` does."""
        ...

    def release(self, run: ClaimedRun, delay_s: float, reason: str, *, spent: bool = True) -> bool:
        """Puts the run back to pending, due after `delay_s`; returns False, and does nothing, when that is too late.

        Too late is what no sweep would find before the run's time is over: `not_after`, or a dependent run's deadline.

        Args:
            run: the claim to be given up.
            delay_s: seconds until it may be claimed again.
            reason: why; shown while it waits.
            spent: whether this attempt counts. One that does not is given back, and the run gets no new time to be
                started by it: without a `not_after` that ends `start_within_s` after its birth.

        Raises:
            FenceLost: as `complete` does.
        """
        ...

    def recover(self) -> Recovery:
        """Ends or returns runs whose lease or deadline has passed."""
        ...

    def active(self, kind: str) -> tuple[int, int]:
        """Returns how many runs of that kind are (pending, running)."""
        ...

    def hint_again(self, kind: str, room: int) -> Sequence[int]:
        """Marks and returns up to `room` runs of that kind to be hinted: due, ready and not hinted lately.

        Those beyond are parked: they are promoted one by one as others end.
        """
        ...

    def orphans(self) -> Sequence[RunRecord]:
        """Returns runs marked running whose lease has ended: after a restart, what the last stop left behind."""
        ...

    def abandon_orphan(self, run_id: int, reason: str) -> bool:
        """Ends a run with a dead lease as skipped; False when it was taken over meanwhile."""
        ...

    def run(self, run_id: int) -> RunRecord:
        """Returns one run. Raises UnknownRun."""
        ...

    def runs(
        self, limit: int, kind: str | None = None, symbol: str | None = None, state: str | None = None
    ) -> Sequence[RunRecord]:
        """Returns the newest runs first."""
        ...


class ResultStore(Protocol):
    """Results by symbol, kind and time."""

    def result(self, result_id: int) -> ResultRecord:
        """Returns one result. Raises UnknownRun."""
        ...

    def result_of_run(self, run_id: int) -> ResultRecord | None:
        """Returns the result of that run, if it has one."""
        ...

    def latest(self, kind: str, symbol: str, before: datetime | None = None) -> ResultRecord | None:
        """Returns the newest *scheduled* result of an earlier slot than `before` (None: newest of all)."""
        ...

    def results(self, limit: int, kind: str | None = None, symbol: str | None = None) -> Sequence[ResultRecord]:
        """Returns the newest results first."""
        ...


class Outbox(Protocol):
    """Results stored but not yet announced."""

    def batch(self, limit: int) -> AbstractContextManager[OutboxBatch]:
        """Locks up to `limit` unpublished rows, skipping those another publisher holds; released at exit."""
        ...

    def backlog(self) -> int:
        """Returns how many rows wait."""
        ...


class OutboxBatch(Protocol):
    """Rows held by this publisher until the context ends."""

    results: Sequence[ResultRecord]

    def mark_published(self, stream_ids: Mapping[int, str]) -> None:
        """Marks {result id: stream entry id} as announced; commits with the context."""
        ...


class ResultStream(Protocol):
    """Where subscribers read results: one stream per kind, at least once, to be de-duplicated by result id."""

    def publish(self, results: Sequence[ResultRecord]) -> Mapping[int, str]:
        """Appends the results; returns {result id: entry id}. Raises BrokerUnavailable; nothing is lost then."""
        ...


class Hints(Protocol):
    """Messages that point a worker at a run. They may be lost, late, doubled or reordered."""

    def hint(self, kind: str, run_id: int) -> None:
        """Sends one message. Raises BrokerUnavailable; the row waits for the sweeper then."""
        ...

    def launch(self, run_id: int) -> None:
        """Asks a worker to build the chord of a requested pipeline. Raises BrokerUnavailable as `hint` does."""
        ...

    def tick(self, schedule: str) -> None:
        """Asks for a schedule's current slot now. Raises BrokerUnavailable as `hint` does."""
        ...

    def nudge_publisher(self) -> None:
        """Asks for the outbox to be published; a nudge already on its way is not doubled. Never raises."""
        ...

    def queued(self, kind: str) -> int:
        """Returns how many messages wait in the queue of that kind."""
        ...


class MarketData(Protocol):
    """Closed candles of one market, whatever its source: replayed, simulated or an exchange."""

    def candles(self, symbol: str, at: datetime, limit: int) -> Candles:
        """Returns up to `limit` candles that were closed at the wall-clock instant `at`, oldest first.

        The same arguments give the same candles, so that a repeated run gives the same answer.

        Raises:
            UnknownSymbol: the market does not list it.
            InsufficientData: fewer than `market.min_candles` are there.
            StaleInput: the newest one is older than `market.max_candle_age_timeframes` (a gap, or a replay's end).
        """
        ...

    def symbols(self) -> Sequence[str]:
        """Returns the symbols of the market, in a stable order."""
        ...

    def timeframe(self, symbol: str) -> str:
        """Returns the timeframe of the symbol's candles."""
        ...

    def market_time(self, symbol: str, at: datetime) -> datetime:
        """Returns the market's own time at a wall-clock instant (they differ in a replay)."""
        ...


class Alerts(Protocol):
    """What an operator should see."""

    def raise_alert(self, kind: str, message: str, details: Mapping[str, Any]) -> None:
        """Stores an alert; the same kind and message within a minute is stored once."""
        ...


class LeaseKeeper(Protocol):
    """Keeps the leases of this process's runs alive."""

    def holding(self, run: ClaimedRun) -> AbstractContextManager[Callable[[], bool]]:
        """Renews the lease while the context lasts; the value tells whether it is still held."""
        ...
