"""The run store on PostgreSQL: claim, renew, complete and recover, each one statement or one transaction."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from aaos.adapters.postgres import runs_sql as sql
from aaos.adapters.postgres.births import ALL, depend, ensure_runs, insert_parameters
from aaos.adapters.postgres.database import Database
from aaos.adapters.postgres.endings import follow_up, has_more
from aaos.domain.results import canonical_json
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
from aaos.ports import Ended, PipelinePlan, Recovery, RunRecord


class PostgresRunStore:
    """Implements `ports.RunStore`."""

    def __init__(self, database: Database, rules: RunRules) -> None:
        self._database = database
        self._rules = rules

    # --- being born -------------------------------------------------------------------------------------

    def insert_slot(
        self, spec: NewRun, symbols: Sequence[str], slot: datetime, hint_first: int
    ) -> Sequence[tuple[int, str]]:
        """See the port."""
        rows = self._database.rows(sql.INSERT_RUNS, insert_parameters(spec, symbols, slot, hint_first))
        return [(row.id, row.symbol) for row in rows if row.hinted]

    def insert_request(self, spec: NewRun) -> tuple[int, bool]:
        """See the port."""
        with self._database.transaction() as connection:
            born = connection.execute(sql.INSERT_RUNS, insert_parameters(spec, [spec.symbol], None, ALL)).first()
            if born is not None:
                return born.id, True
            found = connection.execute(sql.FIND_REQUESTED_RUNS, {"request_keys": [spec.request_key]}).one()
            return found.id, False

    def insert_pipeline(
        self,
        spec: NewRun,
        symbols: Sequence[str],
        slot: datetime | None,
        stage: NewRun | None,
        inputs: Sequence[tuple[NewRun, datetime | None]],
    ) -> Sequence[PipelinePlan]:
        """See the port."""
        with self._database.transaction() as connection:
            born = connection.execute(sql.INSERT_RUNS, insert_parameters(spec, symbols, slot, ALL)).all()
            if not born:
                return []
            ends = {row.symbol: row.id for row in born}
            waiting = ends
            body_kind = spec.kind
            if stage is not None:
                waiting = {symbol: run_id for symbol, run_id, _ in ensure_runs(connection, stage, list(ends), slot)}
                body_kind = stage.kind
                depend(connection, [(ends[symbol], waiting[symbol]) for symbol in ends])
            header: dict[str, list[tuple[int, str]]] = {symbol: [] for symbol in ends}
            for needed, needed_slot in inputs:
                for symbol, run_id, state in ensure_runs(connection, needed, list(ends), needed_slot):
                    depend(connection, [(waiting[symbol], run_id)])
                    if not State(state).final:
                        header[symbol].append((run_id, needed.kind))
        return [PipelinePlan(ends[s], s, (waiting[s], body_kind), header[s]) for s in ends]

    def insert_joint(
        self, spec: NewRun, slot: datetime, awaited: Sequence[tuple[str, datetime]]
    ) -> tuple[int, bool] | None:
        """See the port."""
        with self._database.transaction() as connection:
            born = connection.execute(sql.INSERT_RUNS, insert_parameters(spec, [spec.symbol], slot, ALL)).first()
            if born is None:
                return None
            for kind, needed_slot in awaited:
                parameters = {"run_id": born.id, "kind": kind, "slot": needed_slot}
                connection.execute(sql.AWAIT_SLOT, parameters)
            return born.id, bool(connection.execute(sql.IS_READY, {"id": born.id}).scalar_one())

    def record_missed(self, kind: str, symbols: Sequence[str], slots: Sequence[datetime], reason: str) -> int:
        """See the port."""
        parameters = {"kind": kind, "symbols": list(symbols), "slots": list(slots), "reason": reason}
        return self._database.execute(sql.RECORD_MISSED, parameters)

    def newest_slot(self, kind: str) -> datetime | None:
        """See the port."""
        row = self._database.row(sql.NEWEST_SLOT, {"kind": kind})
        return None if row is None else row[0]

    # --- being worked on --------------------------------------------------------------------------------

    def claim(self, run_id: int, owner: str, max_concurrent: int) -> ClaimedRun | ClaimRefused:
        """See the port."""
        parameters = {
            "id": run_id,
            "owner": owner,
            "lease_s": self._rules.lease_s,
            "max_attempts": self._rules.max_attempts,
            "max_concurrent": max_concurrent,
            "max_overall": self._rules.max_concurrent_tasks,
        }
        row = self._database.row(sql.CLAIM, parameters)
        if row is not None:
            return ClaimedRun(**row._asdict())
        refused = self._why_refused(run_id)
        if refused.refusal is not Refusal.NO_ROOM:
            return refused
        # Parked first, then asked again: who ended before finds room here, who ends later finds us parked. Only
        # one whose statement began before and ended after this promotes nobody; then the next sweep does.
        self._database.execute(sql.PARK, {"id": run_id})
        row = self._database.row(sql.CLAIM, parameters)
        return ClaimedRun(**row._asdict()) if row is not None else refused

    def _why_refused(self, run_id: int) -> ClaimRefused:
        row = self._database.row(sql.WHY_REFUSED, {"id": run_id, "max_attempts": self._rules.max_attempts})
        if row is None:
            return ClaimRefused(Refusal.UNKNOWN)
        state = State(row.state)
        reasons = (
            (state.final, Refusal.FINAL),
            (state is State.RUNNING and row.leased, Refusal.RUNNING_ELSEWHERE),
            (row.expired, Refusal.EXPIRED),
            (row.exhausted, Refusal.EXHAUSTED),
            (row.waiting, Refusal.WAITING),
            (row.not_due, Refusal.NOT_DUE),
        )
        return ClaimRefused(next((why for holds, why in reasons if holds), Refusal.NO_ROOM), state)

    def renew(self, held: Mapping[int, int]) -> frozenset[int]:
        """See the port."""
        parameters = {"ids": list(held), "fences": list(held.values()), "lease_s": self._rules.lease_s}
        return frozenset(row.id for row in self._database.rows(sql.RENEW, parameters))

    def dependencies(self, run_id: int) -> Sequence[Dependency]:
        """See the port."""
        rows = self._database.rows(sql.DEPENDENCIES, {"id": run_id})
        return [
            Dependency(
                run_id=row.id,
                kind=row.kind,
                symbol=row.symbol,
                required=row.required,
                state=State(row.state),
                reason=row.reason,
                result_id=row.result_id,
                analyzed_at=row.analyzed_at,
                content_hash=row.content_hash,
                body=row.body,
                params=row.params,
            )
            for row in rows
        ]

    def dependents(self, run_id: int) -> Sequence[tuple[int, str, bool]]:
        """See the port."""
        return [(row.id, row.kind, row.ready) for row in self._database.rows(sql.DEPENDENTS, {"id": run_id})]

    # --- ending -----------------------------------------------------------------------------------------

    def complete(self, run: ClaimedRun, outcome: Completed, publish: bool) -> Ended:
        """See the port."""
        body = canonical_json(outcome.body)
        parameters = {
            "id": run.id,
            "fence": run.fence,
            "kind": run.kind,
            "body": body.decode(),
            "content_hash": hashlib.sha256(body).hexdigest(),  # as `content_hash` has it, spelled out once
            "inputs": canonical_json([each.to_dict() for each in outcome.inputs]).decode(),
            "publish": publish,
        }
        if not has_more(outcome):
            row = self._database.row(sql.COMPLETE, parameters)
            return self._ended(row, run, State.COMPLETED)
        with self._database.transaction() as connection:
            row = connection.execute(sql.COMPLETE, parameters).first()
            feeds, starts = follow_up(connection, run.id, outcome) if row is not None else ([], [])
        return replace(self._ended(row, run, State.COMPLETED, feeds), starts=starts)

    def end(self, run: ClaimedRun, outcome: Skipped | Failed) -> Ended:
        """See the port."""
        failed = isinstance(outcome, Failed)
        state = State.FAILED if failed else State.SKIPPED
        parameters = {
            "id": run.id,
            "fence": run.fence,
            "kind": run.kind,
            "state": state.value,
            "reason": outcome.reason,
            "failure_source": outcome.source if isinstance(outcome, Failed) else None,
        }
        return self._ended(self._database.row(sql.END, parameters), run, state)

    def _ended(self, row: Any | None, run: ClaimedRun, state: State, feeds: Sequence[tuple[int, str]] = ()) -> Ended:
        if row is None:
            return self._already_ended(run, state)
        result_id = row.result_id if state is State.COMPLETED else None
        promoted = None if row.promoted_id is None else (row.promoted_id, row.promoted_kind)
        return Ended(result_id, feeds, promoted)

    def _already_ended(self, run: ClaimedRun, state: State) -> Ended:
        """Tells a commit whose confirmation was lost on the way (ours, fine) from a lost fence (not ours)."""
        row = self._database.row(sql.SETTLED, {"id": run.id})
        if row is not None and row.state == state and row.fence == run.fence:
            return Ended(row.result_id)
        now = "gone" if row is None else f"{row.state} under fence {row.fence}"
        raise FenceLost(f"run {run.id} is {now}; the write under fence {run.fence} was refused")

    def release(self, run: ClaimedRun, delay_s: float, reason: str, *, spent: bool = True) -> bool:
        """See the port."""
        parameters = {
            "id": run.id,
            "fence": run.fence,
            "delay_s": float(delay_s),
            "found_within_s": self._rules.sweep_s,
            "reason": reason,
            "spent": spent,
        }
        if self._database.execute(sql.RELEASE, parameters) == 1:
            return True
        if self._database.row(sql.STILL_OURS, {"id": run.id, "fence": run.fence}) is None:
            raise FenceLost(f"run {run.id}: released under fence {run.fence}, which is no longer its latest")
        return False

    # --- recovery ---------------------------------------------------------------------------------------

    def recover(self) -> Recovery:
        """See the port."""
        timed_out = self._database.rows(sql.TIME_OUT_RUNNING)
        leases = self._database.rows(sql.RECOVER_LEASES, {"max_attempts": self._rules.max_attempts})
        expired = self._database.rows(sql.EXPIRE_PENDING)
        return Recovery(
            returned=[(row.id, row.kind) for row in leases if row.state == State.PENDING],
            crashed=[(row.id, row.kind) for row in leases if row.state == State.FAILED],
            timed_out=[(row.id, row.kind) for row in (*timed_out, *(row for row in expired if row.dependent))],
            missed=[(row.id, row.kind) for row in expired if not row.dependent],
        )

    def active(self, kind: str) -> tuple[int, int]:
        """See the port."""
        row = self._database.row(sql.COUNT_ACTIVE, {"kind": kind})
        return (0, 0) if row is None else (row.pending, row.running)

    def hint_again(self, kind: str, room: int) -> Sequence[int]:
        """See the port."""
        parameters = {
            "kind": kind,
            "room": room,
            "hint_after_s": self._rules.hint_after_s,
            "hint_backoff_max_s": self._rules.hint_backoff_max_s,
        }
        hinted = [row.id for row in self._database.rows(sql.HINT_AGAIN, parameters)] if room > 0 else []
        self._database.execute(sql.PARK_OVERDUE, {"kind": kind, "hint_after_s": self._rules.hint_after_s})
        return hinted

    def orphans(self) -> Sequence[RunRecord]:
        """See the port."""
        return [_record(row) for row in self._database.rows(sql.ORPHANS)]

    def abandon_orphan(self, run_id: int, reason: str) -> bool:
        """See the port."""
        return self._database.execute(sql.ABANDON_ORPHAN, {"id": run_id, "reason": reason}) == 1

    # --- being looked at --------------------------------------------------------------------------------

    def run(self, run_id: int) -> RunRecord:
        """See the port."""
        row = self._database.row(sql.ONE_RUN, {"id": run_id})
        if row is None:
            raise UnknownRun(f"no run {run_id}; `aaos runs` lists the newest")
        return _record(row)

    def runs(
        self, limit: int, kind: str | None = None, symbol: str | None = None, state: str | None = None
    ) -> Sequence[RunRecord]:
        """See the port."""
        parameters = {"limit": limit, "kind": kind, "symbol": symbol, "state": state}
        return [_record(row) for row in self._database.rows(sql.NEWEST_RUNS, parameters)]


def _record(row: Any) -> RunRecord:
    return RunRecord(
        id=row.id,
        kind=row.kind,
        symbol=row.symbol,
        slot=row.slot,
        state=State(row.state),
        attempt=row.attempt,
        reason=row.reason,
        failure_source=row.failure_source,
        owner=row.owner,
        request_key=row.request_key,
        created_at=row.created_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
        result_id=row.result_id,
        due_at=row.due_at,
    )
