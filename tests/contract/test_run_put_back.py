"""Runs that are put back until there is room: due later, at no cost, and only while there is time."""

from __future__ import annotations

from datetime import timedelta

import pytest
from support.worlds import PLENTY, SLOT, World, analysis, born, granted, roomy, taken

from aaos.domain.runs import ClaimRefused, Completed, Failed, Refusal, State
from aaos.errors import FenceLost
from aaos.ports import RunStore

SWEEP_S = 5.0


def vote(runs: RunStore, world: World, ends_in_s: float) -> int:
    """A vote that somebody waits for: nothing of it may happen after `ends_in_s`."""
    spec = analysis("trading_analysis", request_key="vote", not_after=world.now() + timedelta(seconds=ends_in_s))
    return runs.insert_request(spec)[0]


def crashed(runs: RunStore, world: World, run_id: int) -> None:
    """One attempt that ended in silence."""
    taken(runs, run_id)
    world.pass_time(16)
    runs.recover()


def test_a_run_that_crashed_twice_and_was_put_back_five_times_still_has_its_one_attempt_left(world: World) -> None:
    runs = world.runs()
    run_id = born(runs, start_within_s=600)
    for _ in range(2):
        crashed(runs, world, run_id)
    for _ in range(5):
        claim = taken(runs, run_id)
        assert claim.attempt == 3
        assert runs.release(claim, 10, "over the limit", spent=False)
        assert world.rows()[run_id].attempt == 2
        world.pass_time(10)
    runs.complete(taken(runs, run_id), Completed({}), publish=False)
    assert runs.run(run_id).attempt == 3


def test_an_attempt_that_counted_is_not_given_back(world: World) -> None:
    runs = world.runs()
    run_id = born(runs)
    assert runs.release(taken(runs, run_id), 1, "network away")
    assert world.rows()[run_id].attempt == 1


def test_a_run_put_back_shows_why_and_when_it_is_due_and_is_not_claimed_before(world: World) -> None:
    runs = world.runs()
    run_id = born(runs)
    runs.release(taken(runs, run_id), 20, "over the limit", spent=False)
    record = runs.run(run_id)
    assert (record.state, record.reason) == (State.PENDING, "over the limit")
    assert record.due_at is not None
    assert (record.due_at - world.now()).total_seconds() == pytest.approx(20, abs=1)
    assert runs.claim(run_id, "w", PLENTY) == ClaimRefused(Refusal.NOT_DUE, State.PENDING)
    world.pass_time(20)
    taken(runs, run_id)


def test_a_run_put_back_is_hinted_by_the_first_sweep_after_it_is_due_however_often_it_was_before(world: World) -> None:
    runs = world.runs()
    run_id = born(runs, start_within_s=600)
    world.pass_time(5)
    for _ in range(8):
        runs.release(taken(runs, run_id), 7, "over the limit", spent=False)
        world.pass_time(6)
        assert runs.hint_again("technical_analysis", 10) == []
        world.pass_time(1.5)
        assert runs.hint_again("technical_analysis", 10) == [run_id]


def test_a_run_that_would_be_due_too_late_is_not_put_back_and_stays_the_callers(world: World) -> None:
    runs = world.runs()
    claim = taken(runs, vote(runs, world, ends_in_s=60))
    assert not runs.release(claim, 60 - SWEEP_S + 0.1, "over the limit", spent=False)
    assert not runs.release(claim, 1e6, "asked to wait for days", spent=True)
    assert world.rows()[claim.id].state == "running"
    assert runs.release(claim, 60 - SWEEP_S - 1, "over the limit", spent=False)


@pytest.mark.requirement("Q2")
def test_a_vote_put_back_again_and_again_is_over_when_its_time_is(world: World) -> None:
    runs = world.runs()
    run_id = vote(runs, world, ends_in_s=100)
    times = 0
    while runs.release(claim := taken(runs, run_id), 15, "over the limit", spent=False):
        assert 0 < world.rows()[run_id].deadline_left_s <= 100 - 15 * times + 1
        world.pass_time(15)
        times += 1
    assert times == 6
    runs.end(claim, Failed("rate_limited", "over the limit"))
    assert world.rows()[run_id].state == "failed"


@pytest.mark.requirement("Q2")
def test_a_vote_put_back_that_no_worker_takes_again_is_ended_by_the_sweep_with_what_it_waited_for(world: World) -> None:
    runs = world.runs()
    run_id = vote(runs, world, ends_in_s=60)
    runs.release(taken(runs, run_id), 20, "over the limit", spent=False)
    world.pass_time(60.5)
    runs.recover()
    record = runs.run(run_id)
    assert record.state is State.SKIPPED
    assert (record.reason or "").endswith("before that: over the limit")


def test_without_an_end_of_its_own_a_run_is_put_back_within_the_time_it_had_to_be_started(world: World) -> None:
    runs = world.runs()
    run_id = born(runs, start_within_s=60)
    assert runs.release(taken(runs, run_id), 30, "over the limit", spent=False)
    assert world.rows()[run_id].deadline_left_s == pytest.approx(60, abs=1)
    world.pass_time(30)
    claim = taken(runs, run_id)
    assert not runs.release(claim, 30, "over the limit", spent=False)
    assert runs.release(claim, 30, "network away"), "an attempt that counts brings new time"


def test_a_dependent_run_is_put_back_before_its_deadline_only(world: World) -> None:
    runs = world.runs()
    [plan] = runs.insert_pipeline(analysis("trading_decision", "", dependent=True), ["BTC/USDT"], SLOT, None, [])
    claim = granted(runs.claim(plan.run_id, "w", PLENTY))
    assert not runs.release(claim, 120, "over the limit", spent=False)
    assert runs.release(claim, 60, "over the limit", spent=False)
    assert world.rows()[plan.run_id].deadline_left_s == pytest.approx(120, abs=1)


@pytest.mark.requirement("FM-TAW-007")
def test_a_worker_that_was_overtaken_puts_nothing_back(world: World) -> None:
    runs = world.runs()
    stale = taken(runs, born(runs))
    world.pass_time(16)
    taken(runs, stale.id, "other")
    before = world.rows()[stale.id].substance
    for spent in (True, False):
        with pytest.raises(FenceLost):
            runs.release(stale, 1, "late", spent=spent)
        with pytest.raises(FenceLost):
            runs.release(stale, 1e6, "late, and too late", spent=spent)
    assert world.rows()[stale.id].substance == before


def test_a_run_put_back_twice_by_the_same_worker_gets_one_attempt_back(world: World) -> None:
    runs = world.runs(roomy())
    claim = taken(runs, born(runs))
    runs.release(claim, 1, "over the limit", spent=False)
    with pytest.raises(FenceLost):
        runs.release(claim, 1, "over the limit", spent=False)
    assert world.rows()[claim.id].attempt == 0
