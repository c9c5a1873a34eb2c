"""The run store in memory: the same contract as on PostgreSQL, statement by statement."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from aaos.adapters.memory import births
from aaos.adapters.memory.births import capped
from aaos.adapters.memory.endings import follow_up, store_result
from aaos.adapters.memory.records import claimed, dependency, run_record, time_is_over_at
from aaos.adapters.memory.tables import MemoryDatabase, RunRow
from aaos.domain.runs import (
    ClaimedRun,
    ClaimRefused,
    Completed,
    Dependency,
    Failed,
    NewRun,
    Refusal,
    RunRules,
    Skipped,
    State,
)
from aaos.errors import FenceLost, UnknownRun
from aaos.ports import Ended, PipelinePlan, Recovery, ResultRecord, RunRecord

# A hint's pause doubles at most so often; far beyond any backoff that the rules allow.
HINTS_COUNTED = 30


class MemoryRunStore:
    """Implements `ports.RunStore`."""

    def __init__(self, database: MemoryDatabase, rules: RunRules) -> None:
        self._database = database
        self._rules = rules

    # --- being born -------------------------------------------------------------------------------------

    def insert_slot(
        self, spec: NewRun, symbols: Sequence[str], slot: datetime, hint_first: int
    ) -> Sequence[tuple[int, str]]:
        """See the port."""
        with self._database.transaction():
            born = births.insert_runs(self._database, spec, symbols, slot, hint_first)
        return [(row.id, row.symbol) for row in born if row.hinted_at is not None]

    def insert_request(self, spec: NewRun) -> tuple[int, bool]:
        """See the port."""
        with self._database.transaction():
            born = births.insert_runs(self._database, spec, [spec.symbol], None, births.ALL)
            if born:
                return born[0].id, True
            return births.ensure_runs(self._database, spec, [spec.symbol], None)[0][1], False

    def insert_pipeline(
        self,
        spec: NewRun,
        symbols: Sequence[str],
        slot: datetime | None,
        stage: NewRun | None,
        inputs: Sequence[tuple[NewRun, datetime | None]],
    ) -> Sequence[PipelinePlan]:
        """See the port."""
        with self._database.transaction():
            return births.insert_pipeline(self._database, spec, symbols, slot, stage, inputs)

    def insert_joint(
        self, spec: NewRun, slot: datetime, awaited: Sequence[tuple[str, datetime]]
    ) -> tuple[int, bool] | None:
        """See the port."""
        with self._database.transaction():
            return births.insert_joint(self._database, spec, slot, awaited)

    def record_missed(self, kind: str, symbols: Sequence[str], slots: Sequence[datetime], reason: str) -> int:
        """See the port."""
        written = 0
        with self._database.transaction():
            for slot in slots:
                spec = NewRun(kind, "", timeout_s=1, start_within_s=1)
                for row in births.insert_runs(self._database, spec, symbols, slot, births.NONE):
                    self._finish(row, State.SKIPPED, reason=reason, deadline=slot, parked=False)
                    written += 1
        return written

    def newest_slot(self, kind: str) -> datetime | None:
        """See the port."""
        with self._database.transaction() as tables:
            scheduled = (row for row in tables.runs.values() if row.kind == kind and row.request_key is None)
            return max((row.slot for row in scheduled), default=None)

    # --- being worked on --------------------------------------------------------------------------------

    def claim(self, run_id: int, owner: str, max_concurrent: int) -> ClaimedRun | ClaimRefused:
        """See the port."""
        with self._database.transaction() as tables:
            row = tables.runs.get(run_id)
            if row is None:
                return ClaimRefused(Refusal.UNKNOWN)
            refusal = self._refusal(row, max_concurrent)
            if refusal is None:
                return self._grant(row, owner)
            if refusal is Refusal.NO_ROOM and row.state is State.PENDING:
                self._database.update(row, parked=True)
            return ClaimRefused(refusal, row.state)

    def _refusal(self, row: RunRow, max_concurrent: int) -> Refusal | None:
        now = self._now()
        reasons = (
            (row.state.final, Refusal.FINAL),
            (row.lease_expires_at is not None and row.lease_expires_at >= now, Refusal.RUNNING_ELSEWHERE),
            (row.deadline <= now, Refusal.EXPIRED),
            (row.attempt >= self._rules.max_attempts, Refusal.EXHAUSTED),
            (row.dependent and self._waits(row.id), Refusal.WAITING),
            (row.due_at > now, Refusal.NOT_DUE),
            (not self._has_room(row, max_concurrent), Refusal.NO_ROOM),
        )
        return next((why for holds, why in reasons if holds), None)

    def _grant(self, row: RunRow, owner: str) -> ClaimedRun:
        now, fence = self._now(), self._database.next_fence()
        deadline = row.deadline if row.dependent else capped(now + timedelta(seconds=row.timeout_s), row.not_after)
        granted = self._database.update(
            row,
            state=State.RUNNING,
            parked=False,
            owner=owner,
            attempt=row.attempt + 1,
            fence=fence,
            started_at=now,
            deadline=deadline,
            lease_expires_at=self._lease_end(deadline),
        )
        return claimed(granted, fence, self._now())

    def _has_room(self, row: RunRow, max_concurrent: int) -> bool:
        others = [each for each in self._in_state(State.RUNNING) if each.id != row.id]
        of_kind = sum(each.kind == row.kind for each in others)
        return of_kind < max_concurrent and len(others) < self._rules.max_concurrent_tasks

    def _waits(self, run_id: int) -> bool:
        return any(not needed.state.final for needed, _ in self._needed(run_id))

    def renew(self, held: Mapping[int, int]) -> frozenset[int]:
        """See the port."""
        with self._database.transaction():
            ours = [row for run_id, fence in held.items() if (row := self._ours(run_id, fence)) is not None]
            for row in ours:
                self._database.update(row, lease_expires_at=self._lease_end(row.deadline))
        return frozenset(row.id for row in ours)

    def dependencies(self, run_id: int) -> Sequence[Dependency]:
        """See the port."""
        with self._database.transaction():
            needed = sorted(self._needed(run_id), key=lambda each: each[0].id)
            return [dependency(row, required, self._result(row.id)) for row, required in needed]

    def dependents(self, run_id: int) -> Sequence[tuple[int, str, bool]]:
        """See the port."""
        with self._database.transaction() as tables:
            waiting = sorted(waiter for waiter, needed in tables.dependencies if needed == run_id)
            rows = [tables.runs[waiter] for waiter in waiting]
            return [(row.id, row.kind, not self._waits(row.id)) for row in rows if row.state is State.PENDING]

    # --- ending -----------------------------------------------------------------------------------------

    def complete(self, run: ClaimedRun, outcome: Completed, publish: bool) -> Ended:
        """See the port."""
        with self._database.transaction():
            row = self._ours(run.id, run.fence)
            if row is None:
                return self._already_ended(run, State.COMPLETED)
            self._finish(row, State.COMPLETED)
            result_id = store_result(self._database, row, run.fence, outcome, publish)
            fed, starts = follow_up(self._database, run.id, outcome)
            return Ended(result_id, fed, self._promote(run.kind), starts)

    def end(self, run: ClaimedRun, outcome: Skipped | Failed) -> Ended:
        """See the port."""
        failed = isinstance(outcome, Failed)
        state = State.FAILED if failed else State.SKIPPED
        with self._database.transaction():
            row = self._ours(run.id, run.fence)
            if row is None:
                return self._already_ended(run, state)
            source = outcome.source if isinstance(outcome, Failed) else None
            self._finish(row, state, reason=outcome.reason, failure_source=source)
            return Ended(promoted=self._promote(run.kind))

    def release(self, run: ClaimedRun, delay_s: float, reason: str, *, spent: bool = True) -> bool:
        """See the port."""
        with self._database.transaction():
            row = self._ours(run.id, run.fence)
            if row is None:
                raise FenceLost(f"run {run.id}: released under fence {run.fence}, which is no longer its latest")
            over_at = time_is_over_at(row, spent)
            if over_at is not None and self._now() + timedelta(seconds=delay_s + self._rules.sweep_s) >= over_at:
                return False
            kept = {} if spent else {"attempt": row.attempt - 1, "deadline": over_at}
            self._return(row, reason, delay_s, hints=0, **kept)
            return True

    def _already_ended(self, run: ClaimedRun, state: State) -> Ended:
        row = self._database.tables.runs.get(run.id)
        if row is not None and row.state is state and row.fence == run.fence:
            return Ended(self._result_id(run.id))
        now = "gone" if row is None else f"{row.state} under fence {row.fence}"
        raise FenceLost(f"run {run.id} is {now}; the write under fence {run.fence} was refused")

    def _promote(self, kind: str) -> tuple[int, str] | None:
        now = self._now()
        parked = [
            row for row in self._in_state(State.PENDING) if row.parked and row.due_at <= now and row.deadline > now
        ]
        if not parked:
            return None
        first = min(parked, key=lambda row: (row.kind != kind, row.kind, row.slot, row.id))
        self._database.update(first, parked=False, hinted_at=now)
        return first.id, first.kind

    # --- recovery ---------------------------------------------------------------------------------------

    def recover(self) -> Recovery:
        """See the port."""
        with self._database.transaction():
            timed_out = self._time_out_running()
            returned, crashed = self._recover_leases()
            dependent, missed = self._expire_pending()
        return Recovery(returned, crashed, [*timed_out, *dependent], missed)

    def _time_out_running(self) -> list[tuple[int, str]]:
        late = [row for row in self._in_state(State.RUNNING) if row.deadline <= self._now()]
        for row in late:
            reason = f"attempt {row.attempt} was not done after {row.timeout_s:g} s (owner {row.owner})"
            self._finish(row, State.FAILED, reason=reason, failure_source="timeout")
        return [(row.id, row.kind) for row in late]

    def _recover_leases(self) -> tuple[list[tuple[int, str]], list[tuple[int, str]]]:
        returned, crashed = [], []
        for row in self._silent():
            reason = f"worker {row.owner} fell silent in attempt {row.attempt}"
            if row.attempt >= self._rules.max_attempts:
                self._finish(row, State.FAILED, reason=reason, failure_source="agent_crash", hints=0)
                crashed.append((row.id, row.kind))
            else:
                self._return(row, reason, 0, hints=0)
                returned.append((row.id, row.kind))
        return returned, crashed

    def _expire_pending(self) -> tuple[list[tuple[int, str]], list[tuple[int, str]]]:
        dependent, missed = [], []
        for row in [each for each in self._in_state(State.PENDING) if each.deadline <= self._now()]:
            before = "" if row.reason is None else f"; before that: {row.reason}"
            limit = f"{row.start_within_s:g} s{before}"
            if row.dependent:
                reason = f"what it waits for was not done after {limit}"
                self._finish(row, State.FAILED, reason=reason, failure_source="timeout")
                dependent.append((row.id, row.kind))
            else:
                self._finish(row, State.SKIPPED, reason=f"missed: no worker took it within {limit}")
                missed.append((row.id, row.kind))
        return dependent, missed

    def active(self, kind: str) -> tuple[int, int]:
        """See the port."""
        with self._database.transaction():
            pending, running = (
                sum(row.kind == kind for row in self._in_state(state)) for state in (State.PENDING, State.RUNNING)
            )
        return pending, running

    def hint_again(self, kind: str, room: int) -> Sequence[int]:
        """See the port."""
        with self._database.transaction():
            forgotten = [row for row in self._in_state(State.PENDING) if row.kind == kind and self._forgotten(row)]
            forgotten.sort(key=lambda row: (row.slot, row.id))
            for row in forgotten[:room]:
                hints = min(row.hints + 1, HINTS_COUNTED)
                self._database.update(row, hinted_at=self._now(), parked=False, hints=hints)
            self._park_overdue(kind)
        return [row.id for row in forgotten[:room]]

    def _park_overdue(self, kind: str) -> None:
        quiet = self._now() - timedelta(seconds=self._rules.hint_after_s)
        for row in self._in_state(State.PENDING):
            overdue = row.due_at <= self._now() and (row.hinted_at or row.created_at) <= quiet
            if row.kind == kind and overdue and not row.parked and not (row.dependent and self._waits(row.id)):
                self._database.update(row, parked=True)

    def _forgotten(self, row: RunRow) -> bool:
        now, rules = self._now(), self._rules
        pause_s = min(rules.hint_after_s * 2.0 ** max(row.hints - 1, 0), rules.hint_backoff_max_s)
        quiet_since = row.hinted_at or row.created_at
        if row.due_at > now or quiet_since > now - timedelta(seconds=pause_s):
            return False
        just_ended = now - timedelta(seconds=rules.hint_after_s)
        needed = [each for each, _ in self._needed(row.id)] if row.dependent else []
        return all(each.finished_at is not None and each.finished_at <= just_ended for each in needed)

    def orphans(self) -> Sequence[RunRecord]:
        """See the port."""
        with self._database.transaction():
            return [run_record(row, None) for row in sorted(self._silent(), key=lambda row: row.id)]

    def abandon_orphan(self, run_id: int, reason: str) -> bool:
        """See the port."""
        with self._database.transaction():
            row = next((each for each in self._silent() if each.id == run_id), None)
            if row is not None:
                self._finish(row, State.SKIPPED, reason=reason)
            return row is not None

    # --- being looked at --------------------------------------------------------------------------------

    def run(self, run_id: int) -> RunRecord:
        """See the port."""
        with self._database.transaction() as tables:
            if run_id not in tables.runs:
                raise UnknownRun(f"no run {run_id}; `aaos runs` lists the newest")
            return run_record(tables.runs[run_id], self._result_id(run_id))

    def runs(
        self, limit: int, kind: str | None = None, symbol: str | None = None, state: str | None = None
    ) -> Sequence[RunRecord]:
        """See the port."""
        with self._database.transaction() as tables:
            newest = sorted(tables.runs.values(), key=lambda row: row.id, reverse=True)
            found = [
                row
                for row in newest
                if kind in (None, row.kind) and symbol in (None, row.symbol) and state in (None, row.state.value)
            ]
            return [run_record(row, self._result_id(row.id)) for row in found[:limit]]

    # --- shared; all of it inside a transaction ---------------------------------------------------------

    def _now(self) -> datetime:
        return self._database.clock.now()

    def _lease_end(self, deadline: datetime) -> datetime:
        return min(self._now() + timedelta(seconds=self._rules.lease_s), deadline)

    def _ours(self, run_id: int, fence: int) -> RunRow | None:
        row = self._database.tables.runs.get(run_id)
        if row is None or (row.fence, row.state) != (fence, State.RUNNING) or row.deadline <= self._now():
            return None
        return row

    def _in_state(self, state: State) -> list[RunRow]:
        return [row for row in self._database.tables.runs.values() if row.state is state]

    def _silent(self) -> list[RunRow]:
        now = self._now()
        running = self._in_state(State.RUNNING)
        return [row for row in running if row.lease_expires_at is not None and row.lease_expires_at < now]

    def _finish(self, row: RunRow, state: State, **changes: object) -> None:
        self._database.update(row, state=state, finished_at=self._now(), lease_expires_at=None, **changes)

    def _return(self, row: RunRow, reason: str, delay_s: float, **changes: object) -> None:
        due_at = self._now() + timedelta(seconds=delay_s)
        until = capped(due_at + timedelta(seconds=row.start_within_s), row.not_after)
        waiting: dict[str, object] = {"deadline": row.deadline if row.dependent else until, "due_at": due_at}
        waiting |= {"state": State.PENDING, "lease_expires_at": None, "parked": True, "hinted_at": None}
        self._database.update(row, reason=reason, **(waiting | changes))

    def _needed(self, run_id: int) -> Iterator[tuple[RunRow, bool]]:
        tables = self._database.tables
        return ((tables.runs[n], required) for (waiter, n), required in tables.dependencies.items() if waiter == run_id)

    def _result(self, run_id: int) -> ResultRecord | None:
        return next((each for each in self._database.tables.results.values() if each.run_id == run_id), None)

    def _result_id(self, run_id: int) -> int | None:
        result = self._result(run_id)
        return None if result is None else result.id
