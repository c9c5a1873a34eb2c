"""What callers see of the rows in memory."""

from __future__ import annotations

from datetime import datetime, timedelta

from aaos.adapters.memory.tables import RunRow
from aaos.domain.runs import ClaimedRun, Dependency
from aaos.ports import ResultRecord, RunRecord


def claimed(row: RunRow, fence: int, now: datetime) -> ClaimedRun:
    """Returns the claim that was granted under that fence."""
    return ClaimedRun(
        id=row.id,
        kind=row.kind,
        symbol=row.symbol,
        slot=row.slot,
        attempt=row.attempt,
        fence=fence,
        deadline=row.deadline,
        dependent=row.dependent,
        scheduled=row.request_key is None,
        params=row.params,
        created_at=row.created_at,
        time_left_s=(row.deadline - now).total_seconds(),
    )


def run_record(row: RunRow, result_id: int | None) -> RunRecord:
    """Returns the run as a person sees it."""
    return RunRecord(
        id=row.id,
        kind=row.kind,
        symbol=row.symbol,
        slot=row.slot,
        state=row.state,
        attempt=row.attempt,
        reason=row.reason,
        failure_source=row.failure_source,
        owner=row.owner,
        request_key=row.request_key,
        created_at=row.created_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
        result_id=result_id,
        due_at=row.due_at,
    )


def dependency(row: RunRow, required: bool, result: ResultRecord | None) -> Dependency:
    """Returns what a dependent run sees of one it waits for."""
    return Dependency(
        run_id=row.id,
        kind=row.kind,
        symbol=row.symbol,
        required=required,
        state=row.state,
        reason=row.reason,
        result_id=None if result is None else result.id,
        analyzed_at=None if result is None else result.analyzed_at,
        content_hash=None if result is None else result.content_hash,
        body=None if result is None else result.body,
        params=row.params,
    )


def time_is_over_at(row: RunRow, spent: bool) -> datetime | None:
    """Returns when a run that is put back cannot be worked on any more; None when its time begins anew."""
    if row.dependent:
        return row.deadline
    if spent or row.not_after is not None:
        return row.not_after
    return row.created_at + timedelta(seconds=row.start_within_s)
