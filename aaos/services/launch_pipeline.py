"""What a pipeline still waits for, read from its rows: needed to build its chord again, at any time."""

from __future__ import annotations

from aaos.ports import PipelinePlan, RunStore
from aaos.services.tick_schedule import STAGES


def plan_pipeline(run_id: int, runs: RunStore) -> PipelinePlan:
    """Returns the chord-to-be of a dependent run: the unfinished inputs of its stage, then the stage.

    Raises:
        UnknownRun: there is no such run.
    """
    record = runs.run(run_id)
    body = (record.id, record.kind)
    needed = runs.dependencies(run_id)
    stage = next((each for each in needed if each.kind == STAGES.get(record.kind)), None)
    if stage is not None and not stage.state.final:
        body = (stage.run_id, stage.kind)
        needed = runs.dependencies(stage.run_id)
    header = [(each.run_id, each.kind) for each in needed if not each.state.final]
    return PipelinePlan(record.id, record.symbol, body, header)
