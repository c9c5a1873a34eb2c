"""What the sweep finds again: dead leases, passed deadlines, forgotten hints, orphans of a restart."""

from __future__ import annotations

from datetime import timedelta

import pytest
from support.worlds import KIND, PLENTY, SLOT, World, analysis, born, roomy, taken

from aaos.domain.runs import ClaimedRun, Completed, Skipped, State
from aaos.ports import Recovery

NOTHING = Recovery([], [], [], [])


# --- leases and deadlines -----------------------------------------------------------------------------------


@pytest.mark.requirement("F06")
@pytest.mark.requirement("FM-TAW-007")
def test_a_run_whose_worker_fell_silent_goes_back_to_pending_with_the_reason(world: World) -> None:
    runs = world.runs()
    claim = taken(runs, born(runs), "host:7:task")
    world.pass_time(14)
    assert runs.recover() == NOTHING
    world.pass_time(2)
    assert runs.recover() == Recovery(returned=[(claim.id, KIND)], crashed=[], timed_out=[], missed=[])
    row = world.rows()[claim.id]
    assert (row.state, row.hinted, row.parked, row.lease_left_s) == ("pending", False, True, None)
    assert "host:7:task" in (row.reason or "")
    assert row.deadline_left_s == pytest.approx(120, abs=1)
    assert runs.recover() == NOTHING
    assert taken(runs, claim.id).attempt == 2


@pytest.mark.requirement("Q8")
def test_a_run_that_killed_its_worker_three_times_is_a_dead_letter_and_its_neighbour_flows(world: World) -> None:
    runs = world.runs()
    poison, neighbour = born(runs, "POISON/USDT"), born(runs, "FINE/USDT")
    for attempt in (1, 2, 3):
        assert taken(runs, poison).attempt == attempt
        world.pass_time(16)
        swept = runs.recover()
        assert (swept.returned, swept.crashed) == (([(poison, KIND)], []) if attempt < 3 else ([], [(poison, KIND)]))
    record = runs.run(poison)
    assert (record.state, record.failure_source, record.attempt) == (State.FAILED, "agent_crash", 3)
    assert "fell silent in attempt 3" in (record.reason or "")
    assert not isinstance(runs.claim(poison, "worker", PLENTY), ClaimedRun)
    runs.complete(taken(runs, neighbour), Completed({"score": 1}), publish=True)


@pytest.mark.requirement("F08")
@pytest.mark.requirement("Q2")
def test_a_run_past_its_deadline_is_failed_though_its_worker_still_renews(world: World) -> None:
    runs = world.runs()
    claim = taken(runs, born(runs, timeout_s=30))
    for _ in range(6):
        world.pass_time(5)
        runs.renew({claim.id: claim.fence})
    world.pass_time(1)
    assert runs.recover().timed_out == [(claim.id, KIND)]
    record = runs.run(claim.id)
    assert (record.state, record.failure_source) == (State.FAILED, "timeout")
    assert "30 s" in (record.reason or "")


@pytest.mark.requirement("Q2")
@pytest.mark.requirement("Q6")
def test_a_run_that_nobody_took_in_time_is_skipped_with_the_reason(world: World) -> None:
    runs = world.runs()
    run_id = born(runs, start_within_s=60)
    world.pass_time(59)
    assert runs.recover() == NOTHING
    world.pass_time(2)
    assert runs.recover().missed == [(run_id, KIND)]
    record = runs.run(run_id)
    assert (record.state, record.failure_source) == (State.SKIPPED, None)
    assert record.reason == "missed: no worker took it within 60 s"


@pytest.mark.requirement("Q2")
@pytest.mark.requirement("F08")
def test_a_dependent_run_whose_inputs_never_came_is_timed_out(world: World) -> None:
    runs = world.runs()
    decision = analysis("trading_decision", "", dependent=True, start_within_s=60.0)
    [plan] = runs.insert_pipeline(decision, ["BTC/USDT"], SLOT, None, [(analysis(start_within_s=600.0), SLOT)])
    world.pass_time(61)
    assert runs.recover().timed_out == [(plan.run_id, "trading_decision")]
    record = runs.run(plan.run_id)
    assert (record.state, record.failure_source) == (State.FAILED, "timeout")
    assert "what it waits for" in (record.reason or "")


def test_what_went_wrong_before_is_kept_when_a_retry_is_never_taken(world: World) -> None:
    runs = world.runs()
    claim = taken(runs, born(runs, start_within_s=60))
    runs.release(claim, 0, "exchange away")
    world.pass_time(61)
    runs.recover()
    assert runs.run(claim.id).reason == "missed: no worker took it within 60 s; before that: exchange away"


@pytest.mark.requirement("Q2")
def test_once_faults_stop_every_run_is_final(world: World) -> None:
    runs = world.runs()
    decision = analysis("trading_decision", "", dependent=True, start_within_s=300.0)
    runs.insert_pipeline(decision, ["A/USDT", "B/USDT"], SLOT, None, [(analysis(), SLOT)])
    taken(runs, born(runs, "C/USDT"))
    released = taken(runs, born(runs, "D/USDT"))
    runs.release(released, 10, "exchange away")
    for _ in range(13):
        world.pass_time(25)
        runs.recover()
    assert all(State(row.state).final for row in world.rows().values())


# --- hints --------------------------------------------------------------------------------------------------


@pytest.mark.requirement("F06")
def test_a_pending_run_is_hinted_again_after_a_while_and_then_ever_more_rarely(world: World) -> None:
    runs = world.runs(roomy(hint_after_s=5, hint_backoff_max_s=30))
    run_id = born(runs, start_within_s=6000)
    hinted_at = []
    for elapsed in range(1, 151):
        world.pass_time(1)
        if runs.hint_again(KIND, 10):
            hinted_at.append(elapsed)
    pauses = [b - a for a, b in zip([0, *hinted_at], hinted_at, strict=False)]
    assert pauses[:4] == [5, 5, 10, 20]
    assert set(pauses[4:]) == {30}
    assert runs.hint_again("another kind", 10) == []
    assert world.rows()[run_id].state == "pending"


def test_no_more_runs_are_hinted_than_there_is_room_for_the_oldest_slot_first(world: World) -> None:
    runs = world.runs()
    newer, older = born(runs, "A/USDT"), born(runs, "B/USDT", slot=SLOT.replace(hour=11))
    third = born(runs, "C/USDT")
    world.pass_time(6)
    assert runs.hint_again(KIND, 1) == [older]
    assert set(runs.hint_again(KIND, 5)) == {newer, third}
    assert runs.hint_again(KIND, 5) == []


def test_a_parked_run_that_was_never_promoted_is_hinted_too(world: World) -> None:
    runs = world.runs()
    runs.insert_slot(analysis(symbol=""), ["A/USDT", "B/USDT"], SLOT, 1)
    [parked] = [row.id for row in world.rows().values() if row.parked]
    world.pass_time(6)
    assert parked in runs.hint_again(KIND, 5)
    assert not world.rows()[parked].parked


def test_a_recovered_run_is_hinted_at_once_and_a_released_one_when_it_is_due(world: World) -> None:
    runs = world.runs()
    silent, released = taken(runs, born(runs, "A/USDT")), taken(runs, born(runs, "B/USDT"))
    runs.release(released, 20, "exchange away")
    world.pass_time(16)
    runs.recover()
    assert runs.hint_again(KIND, 5) == [silent.id]
    taken(runs, silent.id)
    world.pass_time(5)
    assert runs.hint_again(KIND, 5) == [released.id]


@pytest.mark.requirement("F03")
def test_a_dependent_run_whose_chord_body_never_came_is_hinted_once_its_inputs_are_final_for_a_while(
    world: World,
) -> None:
    runs = world.runs()
    decision = analysis("trading_decision", "", dependent=True, start_within_s=300.0)
    [plan] = runs.insert_pipeline(decision, ["BTC/USDT"], SLOT, None, [(analysis(), SLOT)])
    world.pass_time(20)
    assert runs.hint_again("trading_decision", 5) == []
    runs.end(taken(runs, plan.header[0][0]), Skipped("stale"))
    world.pass_time(4)
    assert runs.hint_again("trading_decision", 5) == [], "the chord's own body is given time to come"
    world.pass_time(2)
    assert runs.hint_again("trading_decision", 5) == [plan.run_id]


def test_running_and_final_runs_are_never_hinted(world: World) -> None:
    runs = world.runs()
    taken(runs, born(runs, "A/USDT"))
    runs.end(taken(runs, born(runs, "B/USDT")), Skipped("stale"))
    world.pass_time(10)
    assert runs.hint_again(KIND, 5) == []


def test_active_counts_pending_and_running_runs_of_the_kind(world: World) -> None:
    runs = world.runs()
    assert runs.active(KIND) == (0, 0)
    for symbol in ("A/USDT", "B/USDT", "C/USDT"):
        born(runs, symbol)
    born(runs, kind="regime_detection")
    taken(runs, born(runs, "D/USDT"))
    runs.end(taken(runs, born(runs, "E/USDT")), Skipped("stale"))
    assert runs.active(KIND) == (3, 1)


# --- a restart ----------------------------------------------------------------------------------------------


@pytest.mark.requirement("F06")
def test_orphans_are_the_running_runs_with_a_dead_lease(world: World) -> None:
    runs = world.runs()
    left = [taken(runs, born(runs, symbol), f"host:{symbol}").id for symbol in ("A/USDT", "B/USDT")]
    assert runs.orphans() == []
    world.pass_time(16)
    alive = taken(runs, born(runs, "C/USDT"))
    orphans = runs.orphans()
    assert [orphan.id for orphan in orphans] == left
    assert alive.id not in left
    assert [(orphan.owner, str(orphan.state)) for orphan in orphans] == [
        ("host:A/USDT", "running"),
        ("host:B/USDT", "running"),
    ]


@pytest.mark.requirement("F06")
def test_an_abandoned_orphan_is_skipped_but_not_if_somebody_took_it_over(world: World) -> None:
    runs = world.runs()
    left, saved = taken(runs, born(runs, "A/USDT")).id, taken(runs, born(runs, "B/USDT")).id
    assert not runs.abandon_orphan(left, "its lease still lives")
    world.pass_time(16)
    fresh = taken(runs, saved)
    assert runs.abandon_orphan(left, "left running; on_restart: skip")
    assert not runs.abandon_orphan(left, "twice")
    assert not runs.abandon_orphan(saved, "left running")
    record = runs.run(left)
    assert (record.state, record.reason) == (State.SKIPPED, "left running; on_restart: skip")
    assert runs.complete(fresh, Completed({"score": 1}), publish=True).result_id is not None


# --- what nobody can wait for any longer ----------------------------------------------------------------------


@pytest.mark.requirement("F08")
def test_no_attempt_of_a_run_outlasts_what_waits_for_it(world: World) -> None:
    runs = world.runs()
    vote = born(runs, not_after=world.now() + timedelta(seconds=40))
    first = taken(runs, vote)
    assert first.time_left_s == pytest.approx(30, abs=1)
    runs.release(first, 15, "Sovereign hung")
    world.pass_time(20)
    second = taken(runs, vote)
    assert second.time_left_s == pytest.approx(20, abs=1), "not 30 s again: the decision cannot wait that long"
    world.pass_time(21)
    assert runs.recover().timed_out == [(vote, KIND)]


def test_overdue_runs_beyond_the_room_are_parked_and_promoted_as_others_end(world: World) -> None:
    runs = world.runs()
    at_work = taken(runs, born(runs, "A/USDT"))
    lost = [born(runs, f"L{n}/USDT", SLOT) for n in range(3)]
    world.pass_time(6)
    assert runs.hint_again(KIND, 0) == []
    assert all(world.rows()[each].parked for each in lost)
    runs.renew({at_work.id: at_work.fence})
    ended = runs.complete(at_work, Completed({}), publish=False)
    assert ended.promoted == (lost[0], KIND)
