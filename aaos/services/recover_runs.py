"""The sweeper: what was lost is found again, without waiting for any message."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import structlog

from aaos.domain.schedules import Kind, OnRestart, Schedule
from aaos.errors import BrokerUnavailable
from aaos.ports import Alerts, Hints, Recovery, RunRecord, RunStore

log = structlog.get_logger()

# Every dead lease is found by a sweep, and most just run again; these policies have something to say or do.
TOLD_BY_SWEEP: tuple[OnRestart, ...] = ("skip", "alert")


def recover_runs(
    kinds: Mapping[str, Kind], schedules: Mapping[str, Schedule], runs: RunStore, hints: Hints, alerts: Alerts
) -> Recovery:
    """Returns what one sweep did: leases and deadlines enforced, forgotten runs hinted again.

    Never hints a kind whose queue already holds as many messages as it has pending runs, and never more runs
    than may start: a backlog must not breed messages.
    """
    # Before leases are returned: after a quick restart the runs left behind show up only now.
    _take_stock(schedules, runs, alerts, TOLD_BY_SWEEP)
    recovery = runs.recover()
    _report(recovery, alerts)
    for name, kind in kinds.items():
        _hint_again(name, kind, runs, hints)
    return recovery


def recover_at_start(schedules: Mapping[str, Schedule], runs: RunStore, alerts: Alerts) -> Sequence[int]:
    """Returns the runs that the last stop left behind, after listing them in the log and as an alert.

    A schedule with `on_restart: skip` has its runs skipped; all others are taken up again by the sweeper.
    """
    return _take_stock(schedules, runs, alerts, ("rerun", *TOLD_BY_SWEEP))


def _take_stock(
    schedules: Mapping[str, Schedule], runs: RunStore, alerts: Alerts, policies: Sequence[OnRestart]
) -> Sequence[int]:
    left = []
    for orphan in runs.orphans():
        schedule = schedules.get(orphan.kind)
        policy: OnRestart = "rerun" if schedule is None else schedule.on_restart
        if policy in policies:
            _take_up(orphan, policy, runs, alerts)
            left.append(orphan.id)
    return left


def _take_up(orphan: RunRecord, policy: OnRestart, runs: RunStore, alerts: Alerts) -> None:
    reason = f"left running by {orphan.owner}; on_restart: skip"
    skipped = policy == "skip" and runs.abandon_orphan(orphan.id, reason)
    log.warning("run_left_behind", run=orphan.id, kind=orphan.kind, symbol=orphan.symbol, policy=policy)
    details = {"run": orphan.id, "on_restart": policy, "then": "skipped" if skipped else "run again"}
    message = f"{orphan.kind} {orphan.symbol} was left running by {orphan.owner}"
    alerts.raise_alert("run_left_behind", message, details)


def _report(recovery: Recovery, alerts: Alerts) -> None:
    for run_id, kind in recovery.returned:
        log.warning("run_recovered", run=run_id, kind=kind)
    for run_id, kind in recovery.crashed:
        log.error("run_dead_letter", run=run_id, kind=kind)
        alerts.raise_alert("dead_letter", f"run {run_id} ({kind}) ended its last attempt in a crash", {"run": run_id})
    for run_id, kind in recovery.timed_out:
        log.warning("run_timed_out", run=run_id, kind=kind)
    for run_id, kind in recovery.missed:
        log.warning("run_missed", run=run_id, kind=kind)


def _hint_again(name: str, kind: Kind, runs: RunStore, hints: Hints) -> None:
    pending, running = runs.active(name)
    if not pending:
        return
    try:
        queued = hints.queued(name)
        room = kind.max_concurrent - running - queued
        if queued >= pending:
            return
        for run_id in runs.hint_again(name, max(room, 0)):
            hints.hint(name, run_id)
    except BrokerUnavailable as error:
        log.warning("hints_not_sent", kind=name, why=str(error))
