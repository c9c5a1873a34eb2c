"""The Sovereign ledger: one charge per accepted answer; and alerts, told once."""

from __future__ import annotations

import pytest
from support.worlds import World, born, taken

from aaos.domain.sovereign import ModelAnswer, ModelRequest
from aaos.errors import FenceLost, InvariantViolation

REQUEST = ModelRequest("sovereign-32b", "system", "user")
OTHER = ModelRequest("sovereign-32b", "system", "another user")
ANSWER = ModelAnswer("sovereign-32b", '{"signal": "BUY"}', 100, 20, 12.5, "stop", "req-1")


def states(world: World, run_id: int) -> list[str]:
    return [call["state"] for call in world.ledger.calls(run_id)]  # type: ignore[attr-defined]


@pytest.mark.requirement("FM-TAW-007")
def test_an_answer_that_was_paid_for_is_found_again_by_its_prompt(world: World) -> None:
    runs = world.runs()
    claim = taken(runs, born(runs))
    assert world.ledger.answered(claim.id, REQUEST) is None
    call = world.ledger.begin(claim, REQUEST)
    assert world.ledger.answered(claim.id, REQUEST) is None
    world.ledger.settle(call, ANSWER)
    assert world.ledger.answered(claim.id, REQUEST) == ANSWER
    assert world.ledger.answered(claim.id, OTHER) is None
    assert world.ledger.answered(claim.id + 1, REQUEST) is None
    assert states(world, claim.id) == ["answered"]


@pytest.mark.requirement("FM-TAW-007")
@pytest.mark.requirement("Q3")
def test_a_call_of_a_worker_that_was_overtaken_is_abandoned_and_its_answer_not_accepted(world: World) -> None:
    runs = world.runs()
    stale = taken(runs, born(runs))
    old_call = world.ledger.begin(stale, REQUEST)
    world.pass_time(16)
    fresh = taken(runs, stale.id)
    new_call = world.ledger.begin(fresh, REQUEST)
    with pytest.raises(FenceLost):
        world.ledger.settle(old_call, ANSWER)
    world.ledger.settle(new_call, ANSWER)
    assert states(world, stale.id) == ["abandoned", "answered"]


@pytest.mark.requirement("FM-TAW-007")
@pytest.mark.requirement("Q3")
def test_whoever_was_overtaken_may_not_even_ask(world: World) -> None:
    runs = world.runs()
    stale = taken(runs, born(runs))
    world.pass_time(16)
    taken(runs, stale.id)
    with pytest.raises(FenceLost, match="not asked"):
        world.ledger.begin(stale, REQUEST)
    assert states(world, stale.id) == []


@pytest.mark.requirement("FM-TAW-007")
def test_a_second_accepted_answer_to_the_same_prompt_is_refused(world: World) -> None:
    runs = world.runs()
    claim = taken(runs, born(runs))
    first, second = world.ledger.begin(claim, REQUEST), world.ledger.begin(claim, REQUEST)
    world.ledger.settle(first, ANSWER)
    with pytest.raises(InvariantViolation):
        world.ledger.settle(second, ANSWER)
    assert states(world, claim.id) == ["answered", "pending"]


def test_a_failed_call_says_so_and_leaves_no_answer(world: World) -> None:
    runs = world.runs()
    claim = taken(runs, born(runs))
    call = world.ledger.begin(claim, REQUEST)
    world.ledger.fail(call, "sovereign_timeout", "no answer within 120 s")
    assert states(world, claim.id) == ["failed"]
    assert world.ledger.answered(claim.id, REQUEST) is None
    with pytest.raises(FenceLost):
        world.ledger.settle(call, ANSWER)


def test_the_same_alert_within_a_minute_is_stored_once(world: World) -> None:
    for _ in range(3):
        world.alerts.raise_alert("dead_letter", "run 1 crashed", {"run": 1})
    world.alerts.raise_alert("dead_letter", "run 2 crashed", {"run": 2})
    world.alerts.raise_alert("run_left_behind", "run 1 crashed", {})
    assert world.alert_messages() == ["run 1 crashed", "run 2 crashed", "run 1 crashed"]
    world.pass_time(61)
    world.alerts.raise_alert("dead_letter", "run 1 crashed", {"run": 1})
    assert len(world.alert_messages()) == 4
