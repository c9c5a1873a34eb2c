"""How runs end: state, result, outbox row and fed runs together or not at all."""

from __future__ import annotations

import pytest
from support.worlds import KIND, PLENTY, SLOT, MemoryWorld, PostgresWorld, World, analysis, born, granted, taken

from aaos.domain.results import content_hash
from aaos.domain.runs import ClaimRefused, Completed, Failed, Input, NewRun, Refusal, Skipped, State
from aaos.errors import DatabaseUnavailable, FenceLost, InvariantViolation, UnknownRun
from aaos.ports import RunStore

BODY = {"score": 12.5, "whole": 3.0, "none": None, "list": [1, 2.25], "text": "é"}


def context_and_decision(runs: RunStore) -> tuple[int, int]:
    """A decision that waits for a context which has nothing to wait for."""
    decision, stage = (analysis(kind, "", dependent=True) for kind in ("trading_decision", "trading_context"))
    [plan] = runs.insert_pipeline(decision, ["BTC/USDT"], SLOT, stage, [])
    return plan.body[0], plan.run_id


def votes(context: int, *voters: str) -> list[NewRun]:
    return [
        analysis("trading_analysis", request_key=f"vote:{context}:{voter}", params={"voter": voter}) for voter in voters
    ]


# --- together -----------------------------------------------------------------------------------------------


@pytest.mark.requirement("FM-RF-004")
def test_completing_stores_state_result_and_outbox_row(world: World) -> None:
    runs = world.runs()
    claim = taken(runs, born(runs))
    ended = runs.complete(claim, Completed(BODY, [Input("candles", "abc", "2026-01-01", 7)]), publish=True)
    assert ended.result_id is not None
    record = runs.run(claim.id)
    assert (record.state.value, record.result_id) == ("completed", ended.result_id)
    assert record.finished_at is not None
    result = world.results.result(ended.result_id)
    assert (result.run_id, result.fence, result.kind, result.symbol, result.slot) == (
        claim.id,
        claim.fence,
        KIND,
        "BTC/USDT",
        SLOT,
    )
    assert result.body == BODY
    assert result.content_hash == content_hash(BODY) == content_hash(result.body)
    assert result.inputs == [{"name": "candles", "content_hash": "abc", "as_of": "2026-01-01", "result_id": 7}]
    assert result.published_at is None
    assert world.announced() == {ended.result_id: False}


def test_what_is_not_to_be_published_has_no_outbox_row(world: World) -> None:
    runs = world.runs()
    ended = runs.complete(taken(runs, born(runs)), Completed(BODY), publish=False)
    assert world.results.result(ended.result_id or 0).body == BODY
    assert world.announced() == {}


@pytest.mark.requirement("FM-RF-004")
def test_when_the_outbox_row_cannot_be_written_nothing_is_stored(world: World) -> None:
    runs = world.runs()
    claim = taken(runs, born(runs))
    before = world.rows()
    with world.broken_outbox(), pytest.raises(InvariantViolation):
        runs.complete(claim, Completed(BODY), publish=True)
    assert world.rows()[claim.id].substance == before[claim.id].substance
    assert world.results.results(10) == []
    assert world.announced() == {}
    assert runs.complete(claim, Completed(BODY), publish=True).result_id is not None


@pytest.mark.requirement("FM-RF-004")
def test_when_a_fed_run_cannot_be_written_nothing_is_stored(world: World) -> None:
    runs = world.runs()
    context, _ = context_and_decision(runs)
    claim = taken(runs, context)
    unwritable = analysis("trading_analysis", request_key="vote", params={"voter": {1, 2}})
    with pytest.raises(TypeError):
        runs.complete(claim, Completed(BODY, feeds=[unwritable]), publish=True)
    assert world.rows()[context].state == "running"
    assert world.results.results(10) == []
    assert world.announced() == {}


def test_a_body_that_json_cannot_hold_is_refused_and_the_run_goes_on(world: World) -> None:
    runs = world.runs()
    claim = taken(runs, born(runs))
    with pytest.raises(Exception, match="cannot be stored as JSON"):
        runs.complete(claim, Completed({"score": float("nan")}), publish=True)
    assert world.rows()[claim.id].state == "running"


@pytest.mark.parametrize(("outcome", "state"), [(Skipped("stale"), "skipped"), (Failed("network", "away"), "failed")])
def test_ending_without_a_result_stores_why(world: World, outcome: Skipped | Failed, state: str) -> None:
    runs = world.runs()
    claim = taken(runs, born(runs))
    runs.end(claim, outcome)
    record = runs.run(claim.id)
    assert (record.state.value, record.reason) == (state, outcome.reason)
    assert record.failure_source == (outcome.source if isinstance(outcome, Failed) else None)
    assert record.finished_at is not None
    assert (record.result_id, world.announced()) == (None, {})


# --- lost confirmations -------------------------------------------------------------------------------------


@pytest.mark.requirement("FM-TAW-007")
@pytest.mark.requirement("Q1")
def test_completing_twice_under_one_fence_gives_the_same_result(world: World) -> None:
    runs = world.runs()
    claim = taken(runs, born(runs))
    first = runs.complete(claim, Completed(BODY), publish=True)
    again = runs.complete(claim, Completed(BODY), publish=True)
    assert again.result_id == first.result_id
    assert len(world.results.results(10)) == len(world.announced()) == 1


def test_ending_twice_under_one_fence_is_recognised(world: World) -> None:
    runs = world.runs()
    claim = taken(runs, born(runs))
    runs.end(claim, Failed("network", "away"))
    runs.end(claim, Failed("network", "away"))
    with pytest.raises(FenceLost):
        runs.complete(claim, Completed(BODY), publish=True)
    assert runs.run(claim.id).reason == "away"
    assert world.announced() == {}


def test_a_commit_whose_confirmation_got_lost_is_told_when_asked_again() -> None:
    world = MemoryWorld()
    runs = world.runs()
    claim = taken(runs, born(runs))
    world.database.lose_confirmations = 1
    with pytest.raises(DatabaseUnavailable):
        runs.complete(claim, Completed(BODY), publish=True)
    assert runs.complete(claim, Completed(BODY), publish=True).result_id is not None
    assert len(world.announced()) == 1


def test_a_database_that_ended_the_session_leaves_nothing_half_done(postgres_world: PostgresWorld) -> None:
    runs = postgres_world.runs()
    context, decision = context_and_decision(runs)
    claim = taken(runs, context)
    kill_this_session = """
        CREATE FUNCTION hang_up() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NEW; END $$;
        CREATE TRIGGER hang_up BEFORE INSERT ON run_dependencies FOR EACH ROW EXECUTE FUNCTION hang_up();
    """
    postgres_world.session.execute(kill_this_session)
    with pytest.raises(DatabaseUnavailable):
        runs.complete(claim, Completed(BODY, feeds=votes(context, "trend")), publish=True)
    assert postgres_world.rows()[context].state == "running"
    assert postgres_world.announced() == {}
    assert len(postgres_world.rows()) == 2
    postgres_world.session.execute("DROP TRIGGER hang_up ON run_dependencies")
    assert runs.complete(claim, Completed(BODY, feeds=votes(context, "trend")), publish=True).result_id
    assert len(runs.dependencies(decision)) == 2


# --- feeding ------------------------------------------------------------------------------------------------


@pytest.mark.requirement("F03")
def test_fed_votes_become_what_the_decision_waits_for(world: World) -> None:
    runs = world.runs()
    context, decision = context_and_decision(runs)
    ended = runs.complete(taken(runs, context), Completed(BODY, feeds=votes(context, "trend", "risk")), publish=False)
    assert [kind for _, kind in ended.feeds] == ["trading_analysis"] * 2
    needed = runs.dependencies(decision)
    assert [(each.kind, each.required) for each in needed] == [
        ("trading_context", True),
        ("trading_analysis", False),
        ("trading_analysis", False),
    ]
    assert runs.claim(decision, "worker", PLENTY) == ClaimRefused(Refusal.WAITING, runs.run(decision).state)
    assert runs.dependents(context) == [(decision, "trading_decision", False)]
    for run_id, _ in ended.feeds:
        claim = taken(runs, run_id)
        assert claim.params["voter"] in ("trend", "risk")
        assert not claim.scheduled
        runs.end(claim, Failed("sovereign_timeout", "no answer"))
    assert taken(runs, decision).id == decision


def test_completing_a_context_twice_feeds_its_votes_once(world: World) -> None:
    runs = world.runs()
    context, decision = context_and_decision(runs)
    claim = taken(runs, context)
    outcome = Completed(BODY, feeds=votes(context, "trend"))
    runs.complete(claim, outcome, publish=False)
    runs.complete(claim, outcome, publish=False)
    assert len(runs.dependencies(decision)) == 2
    assert len(world.rows()) == 3


# --- making room --------------------------------------------------------------------------------------------


def test_who_ends_makes_room_for_the_oldest_of_its_kind_that_was_turned_away(world: World) -> None:
    runs = world.runs()
    first = granted(runs.claim(born(runs, "A/USDT"), "worker", 1))
    other = born(runs, kind="regime_detection")
    newer, older = born(runs, "C/USDT"), born(runs, "B/USDT", slot=SLOT.replace(hour=11))
    for run_id in (other, newer, older):
        kind = runs.run(run_id).kind
        room = 1 if kind == KIND else 0
        assert runs.claim(run_id, "worker", room) == ClaimRefused(Refusal.NO_ROOM, runs.run(run_id).state)
    ended = runs.complete(first, Completed(BODY), publish=True)
    assert ended.promoted == (older, KIND)
    assert not world.rows()[older].parked
    assert runs.end(granted(runs.claim(older, "worker", 1)), Skipped("stale")).promoted == (newer, KIND)
    assert runs.end(granted(runs.claim(newer, "worker", 1)), Skipped("stale")).promoted == (other, "regime_detection")
    assert runs.end(taken(runs, other), Skipped("stale")).promoted is None


def test_a_run_that_is_not_due_yet_is_not_promoted(world: World) -> None:
    runs = world.runs()
    busy, waiting = taken(runs, born(runs, "A/USDT")), taken(runs, born(runs, "B/USDT"))
    runs.release(waiting, 10, "network away")
    assert runs.end(busy, Skipped("stale")).promoted is None


def test_a_run_whose_time_is_over_is_not_promoted_in_the_place_of_one_that_can_still_start(world: World) -> None:
    runs = world.runs()
    late = born(runs, "LATE/USDT", start_within_s=10)
    late_elsewhere = born(runs, "LATE/USDT", start_within_s=10, kind="regime_detection")
    in_time = born(runs, "B/USDT")
    for run_id in (late, late_elsewhere, in_time):
        assert runs.claim(run_id, "worker", 0) == ClaimRefused(Refusal.NO_ROOM, State.PENDING)
    busy = taken(runs, born(runs, "A/USDT"))
    world.pass_time(11)
    assert runs.end(busy, Skipped("stale")).promoted == (in_time, KIND)
    assert runs.end(taken(runs, in_time), Skipped("stale")).promoted is None


@pytest.mark.requirement("F05")
def test_a_whole_slot_flows_through_two_places_by_promotion_alone(world: World) -> None:
    runs = world.runs()
    symbols = [f"S{n}/USDT" for n in range(9)]
    at_work = [run_id for run_id, _ in runs.insert_slot(analysis(symbol=""), symbols, SLOT, 2)]
    while at_work:
        claim = granted(runs.claim(at_work.pop(0), "worker", 2))
        promoted = runs.complete(claim, Completed(BODY), publish=True).promoted
        at_work += [] if promoted is None else [promoted[0]]
    assert {row.state for row in world.rows().values()} == {"completed"}


# --- giving back --------------------------------------------------------------------------------------------


def test_a_released_run_waits_and_keeps_its_reason_and_gets_new_time_to_be_started(world: World) -> None:
    runs = world.runs()
    claim = taken(runs, born(runs, start_within_s=60))
    runs.release(claim, 10, "exchange away")
    row = world.rows()[claim.id]
    assert (row.state, row.reason, row.lease_left_s, row.hinted, row.parked) == (
        "pending",
        "exchange away",
        None,
        False,
        True,
    )
    assert row.due_in_s == pytest.approx(10, abs=1)
    assert row.deadline_left_s == pytest.approx(70, abs=1)


@pytest.mark.requirement("F08")
def test_a_released_dependent_run_keeps_its_deadline(world: World) -> None:
    runs = world.runs()
    context, _ = context_and_decision(runs)
    world.pass_time(50)
    runs.release(taken(runs, context), 10, "exchange away")
    assert world.rows()[context].deadline_left_s == pytest.approx(70, abs=1)


# --- looking ------------------------------------------------------------------------------------------------


def test_runs_are_listed_newest_first_by_kind_symbol_and_state(world: World) -> None:
    runs = world.runs()
    a, b = born(runs, "A/USDT"), born(runs, "B/USDT")
    c = born(runs, "A/USDT", kind="regime_detection")
    taken(runs, b)
    assert [record.id for record in runs.runs(10)] == [c, b, a]
    assert [record.id for record in runs.runs(1)] == [c]
    assert [record.id for record in runs.runs(10, kind=KIND)] == [b, a]
    assert [record.id for record in runs.runs(10, symbol="A/USDT")] == [c, a]
    assert [record.id for record in runs.runs(10, state="running")] == [b]
    record = runs.run(b)
    assert (record.owner, record.attempt, record.request_key, record.finished_at) == ("worker-1", 1, None, None)
    assert record.started_at is not None
    with pytest.raises(UnknownRun, match="aaos runs"):
        runs.run(4711)
