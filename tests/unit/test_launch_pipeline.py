"""What a pipeline still waits for, read from its rows at any moment of its life."""

from __future__ import annotations

import pytest
from support.worlds import SLOT, MemoryWorld, analysis, taken

from aaos.domain.runs import Completed, Skipped
from aaos.errors import UnknownRun
from aaos.ports import PipelinePlan
from aaos.services.launch_pipeline import plan_pipeline


@pytest.fixture
def world() -> MemoryWorld:
    return MemoryWorld()


def insert(world: MemoryWorld) -> PipelinePlan:
    decision, stage = (analysis(kind, "", dependent=True) for kind in ("trading_decision", "trading_context"))
    inputs = [(analysis("technical_analysis", ""), SLOT), (analysis("regime_detection", ""), SLOT)]
    [plan] = world.runs().insert_pipeline(decision, ["BTC/USDT"], SLOT, stage, inputs)
    return plan


@pytest.mark.requirement("F03")
def test_a_fresh_pipeline_is_planned_as_it_was_inserted(world: MemoryWorld) -> None:
    inserted = insert(world)
    assert plan_pipeline(inserted.run_id, world.runs()) == inserted


@pytest.mark.requirement("F03")
def test_inputs_that_ended_are_not_waited_for_again(world: MemoryWorld) -> None:
    runs = world.runs()
    inserted = insert(world)
    runs.complete(taken(runs, inserted.header[0][0]), Completed({}), publish=True)
    plan = plan_pipeline(inserted.run_id, runs)
    assert (plan.body, plan.header) == (inserted.body, inserted.header[1:])


@pytest.mark.requirement("F03")
def test_once_the_context_is_frozen_the_votes_are_the_header_and_the_decision_the_body(world: MemoryWorld) -> None:
    runs = world.runs()
    inserted = insert(world)
    for run_id, _ in inserted.header:
        runs.complete(taken(runs, run_id), Completed({}), publish=True)
    votes = [analysis("trading_analysis", request_key=f"vote:{n}") for n in range(3)]
    ended = runs.complete(taken(runs, inserted.body[0]), Completed({}, feeds=votes), publish=False)
    plan = plan_pipeline(inserted.run_id, runs)
    assert (plan.body, plan.header) == ((inserted.run_id, "trading_decision"), ended.feeds)
    for run_id, _ in ended.feeds:
        runs.end(taken(runs, run_id), Skipped("late"))
    assert plan_pipeline(inserted.run_id, runs).header == []


def test_a_plain_run_is_its_own_body(world: MemoryWorld) -> None:
    run_id, _ = world.runs().insert_request(analysis(request_key="key"))
    assert plan_pipeline(run_id, world.runs()) == PipelinePlan(run_id, "BTC/USDT", (run_id, "technical_analysis"), [])


def test_an_unknown_run_is_named(world: MemoryWorld) -> None:
    with pytest.raises(UnknownRun, match="4711"):
        plan_pipeline(4711, world.runs())
