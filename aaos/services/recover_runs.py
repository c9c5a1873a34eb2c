"""The sweeper: what was lost is found again, without waiting for any message."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import structlog

from aaos.domain.schedules import Kind, Schedule
from aaos.errors import BrokerUnavailable
from aaos.ports import Alerts, Hints, Recovery, RunStore

log = structlog.get_logger()


def recover_runs(kinds: Mapping[str, Kind], runs: RunStore, hints: Hints, alerts: Alerts) -> Recovery:
    """Returns what one sweep did: leases and deadlines enforced, forgotten runs hinted again.

    Never hints a kind whose queue already holds as many messages as it has pending runs, and never more runs
    than may start: a backlog must not breed messages.
    """
    recovery = runs.recover()
    _report(recovery, alerts)
    for name, kind in kinds.items():
        _hint_again(name, kind, runs, hints)
    return recovery


def recover_at_start(schedules: Mapping[str, Schedule], runs: RunStore, alerts: Alerts) -> Sequence[int]:
    """Returns the runs that the last stop left behind, after listing them in the log and as an alert.

    A schedule with `on_restart: skip` has its runs skipped; all others are taken up again by the sweeper.
    """
    orphans = runs.orphans()
    for orphan in orphans:
        schedule = schedules.get(orphan.kind)
        policy = schedule.on_restart if schedule is not None else "rerun"
        skipped = policy == "skip" and runs.abandon_orphan(
            orphan.id, f"left running by {orphan.owner}; on_restart: skip"
        )
        message = f"{orphan.kind} {orphan.symbol} was left running by {orphan.owner}"
        log.warning("run_left_behind", run=orphan.id, kind=orphan.kind, symbol=orphan.symbol, policy=policy)
        details = {"run": orphan.id, "on_restart": policy, "then": "skipped" if skipped else "run again"}
        alerts.raise_alert("run_left_behind", message, details)
    return [orphan.id for orphan in orphans]


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
        if queued >= pending or room <= 0:
            return
        for run_id in runs.hint_again(name, room):
            hints.hint(name, run_id)
    except BrokerUnavailable as error:
        log.warning("hints_not_sent", kind=name, why=str(error))
