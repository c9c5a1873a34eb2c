"""Where a run stands: the stages it waits for, and in words what is going on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aaos.domain.runs import State
from aaos.shell.runs import Run
from aaos.shell.worker_commands import worker_command

if TYPE_CHECKING:
    from aaos.ports import RunStore
    from aaos.settings import Settings

LAUNCHER = "maintenance"


@dataclass(frozen=True, slots=True)
class Stage:
    """One run of a pipeline; `depth` is 0 for the run itself, 1 for what it waits for, and so on."""

    run_id: int
    kind: str
    symbol: str
    state: State
    reason: str | None
    depth: int


def stages(run: Run, runs: RunStore) -> Sequence[Stage]:
    """Returns the run and all that it waits for, what comes first, first."""
    found = {run.id: Stage(run.id, run.kind, run.symbol, run.state, run.reason, 0)}
    waiting = [run.id]
    while waiting:
        current = found[waiting.pop(0)]
        for each in runs.dependencies(current.run_id):
            if each.run_id not in found:
                found[each.run_id] = Stage(
                    each.run_id, each.kind, each.symbol, each.state, each.reason, current.depth + 1
                )
                waiting.append(each.run_id)
    # Votes are born by the context they wait for nothing but, so ids tell the order within a depth.
    return sorted(found.values(), key=_order)


def _order(stage: Stage) -> tuple[int, int, int]:
    # A decision waits for its context and, once that is there, for votes: same depth, votes after the context.
    return -stage.depth, int(stage.kind == "trading_analysis"), stage.run_id


def where_it_stands(run: Run, all_stages: Sequence[Stage], settings: Settings) -> str:
    """Returns what the run, or the stage it waits for, is doing, and what to check when that is nothing."""
    if run.state is State.RUNNING:
        return f"worker {run.owner} is at it (attempt {run.attempt})"
    unfinished = [stage for stage in all_stages if stage.depth and not stage.state.final]
    running = [stage for stage in unfinished if stage.state is State.RUNNING]
    if running:
        return f"it waits for {_named(running[0])}, which is running"
    deepest = max((stage.depth for stage in unfinished), default=0)
    first = next((stage for stage in unfinished if stage.depth == deepest), None)
    queues = [first.kind, LAUNCHER] if first else [run.kind]
    commands = "; ".join(worker_command(queue, settings) for queue in queues)
    plural = "s" if len(queues) > 1 else ""
    check = f"Is a worker running for the queue{plural} {' and '.join(queues)}? Start: {commands}."
    if first is not None and first.reason:
        back = "which was put back and comes again by itself (`aaos runs` says when)"
        return f"it waits for {_named(first)}, {back}: {first.reason}. Only if it is overdue: {check}"
    again = f" Before: {run.reason}." if run.reason else ""
    waits = f"it waits for {_named(first)}, which no worker has taken" if first else "no worker has taken it"
    return f"{waits}. {check}{again}"


def _named(stage: Stage) -> str:
    return f"{stage.kind} (run {stage.run_id})"
