"""How runs come to be: one per slot and symbol, one per request key, a pipeline with all it waits for."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import pytest
from support.worlds import KIND, PLENTY, SLOT, PostgresWorld, World, analysis, born, taken

from aaos.domain.runs import ClaimRefused, Completed, Failed, NewRun, Refusal, Skipped, State
from aaos.ports import PipelinePlan, RunStore

SYMBOLS = ["BTC/USDT", "ETH/USDT", "LTC/USDT"]
TECHNICAL, REGIME = analysis("technical_analysis", ""), analysis("regime_detection", "")
STAGE = analysis("trading_context", "", dependent=True)
DECISION = analysis("trading_decision", "", dependent=True, timeout_s=300.0, start_within_s=300.0)
MINUTE = timedelta(minutes=1)


def pipeline(runs: RunStore, symbols: list[str], stage: NewRun | None = STAGE) -> list[PipelinePlan]:
    inputs = [(TECHNICAL, SLOT), (REGIME, SLOT)]
    return list(runs.insert_pipeline(DECISION, symbols, SLOT, stage, inputs))


def identities(world: World) -> list[tuple[str, str]]:
    return sorted((row.kind, row.symbol) for row in world.rows().values())


# --- slots --------------------------------------------------------------------------------------------------


@pytest.mark.requirement("F01")
@pytest.mark.requirement("Q1")
def test_a_slot_ticked_twice_has_one_run_per_symbol(world: World) -> None:
    runs = world.runs()
    first = runs.insert_slot(analysis(symbol=""), SYMBOLS, SLOT, 3)
    second = runs.insert_slot(analysis(symbol=""), SYMBOLS, SLOT, 3)
    assert [symbol for _, symbol in first] == SYMBOLS
    assert second == []
    assert len(world.rows()) == 3


@pytest.mark.requirement("F01")
@pytest.mark.requirement("Q1")
def test_two_beats_ticking_at_once_make_one_run_per_symbol(postgres_world: PostgresWorld) -> None:
    runs = postgres_world.runs()
    symbols = [f"S{n}/USDT" for n in range(50)]
    for minute in range(5):

        def tick(_: int, slot: datetime = SLOT + minute * MINUTE) -> Sequence[tuple[int, str]]:
            return runs.insert_slot(analysis(symbol=""), symbols, slot, 50)

        with ThreadPoolExecutor(4) as pool:
            ticks = list(pool.map(tick, range(4)))
        assert sum(map(len, ticks)) == 50
    assert len(postgres_world.rows()) == 250


def test_a_symbol_that_joined_later_gets_its_run_of_the_slot(world: World) -> None:
    runs = world.runs()
    runs.insert_slot(analysis(symbol=""), SYMBOLS[:1], SLOT, 9)
    late = runs.insert_slot(analysis(symbol=""), SYMBOLS, SLOT, 9)
    assert [symbol for _, symbol in late] == SYMBOLS[1:]


def test_the_same_slot_of_another_kind_or_time_is_another_run(world: World) -> None:
    runs = world.runs()
    ids = {born(runs), born(runs, kind="regime_detection"), born(runs, slot=SLOT + MINUTE)}
    assert len(ids) == 3
    assert runs.newest_slot(KIND) == SLOT + MINUTE
    assert runs.newest_slot("sentiment_analysis") is None


@pytest.mark.requirement("F05")
def test_a_tick_hints_as_many_symbols_as_may_start_and_parks_the_rest(world: World) -> None:
    runs = world.runs()
    hinted = runs.insert_slot(analysis(symbol=""), SYMBOLS, SLOT, 2)
    rows = world.rows()
    assert [symbol for _, symbol in hinted] == SYMBOLS[:2]
    assert {row.symbol: (row.hinted, row.parked) for row in rows.values()} == {
        "BTC/USDT": (True, False),
        "ETH/USDT": (True, False),
        "LTC/USDT": (False, True),
    }
    assert [taken(runs, run_id).symbol for run_id, _ in hinted] == SYMBOLS[:2]


@pytest.mark.requirement("Q6")
def test_missed_slots_are_recorded_as_skipped_unless_they_have_a_run(world: World) -> None:
    runs = world.runs()
    done = born(runs, "BTC/USDT", SLOT)
    written = runs.record_missed(KIND, SYMBOLS[:2], [SLOT, SLOT + MINUTE], "missed: nobody ticked this slot")
    assert written == 3
    assert runs.record_missed(KIND, SYMBOLS[:2], [SLOT, SLOT + MINUTE], "missed: again") == 0
    records = [record for record in runs.runs(10) if record.id != done]
    assert {(record.symbol, record.slot) for record in records} == {
        ("ETH/USDT", SLOT),
        ("BTC/USDT", SLOT + MINUTE),
        ("ETH/USDT", SLOT + MINUTE),
    }
    assert {record.state for record in records} == {State.SKIPPED}
    assert {record.reason for record in records} == {"missed: nobody ticked this slot"}
    assert all(record.finished_at is not None for record in records)
    assert world.rows()[done].state == "pending"


# --- requests -----------------------------------------------------------------------------------------------


@pytest.mark.requirement("F01")
@pytest.mark.requirement("FM-TAW-011")
def test_the_same_request_key_gives_the_same_run(world: World) -> None:
    runs = world.runs()
    first, created = runs.insert_request(analysis(request_key="key-1"))
    again, created_again = runs.insert_request(analysis(request_key="key-1"))
    other, _ = runs.insert_request(analysis(request_key="key-2"))
    assert (created, created_again) == (True, False)
    assert again == first != other
    claim = taken(runs, first)
    assert not claim.scheduled
    runs.complete(claim, Completed({"score": 7}), publish=True)
    stored = world.results.result_of_run(runs.insert_request(analysis(request_key="key-1"))[0])
    assert stored is not None
    assert stored.body == {"score": 7}


@pytest.mark.requirement("F01")
def test_a_request_key_used_by_many_at_once_gives_one_run(postgres_world: PostgresWorld) -> None:
    runs = postgres_world.runs()
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: runs.insert_request(analysis(request_key="key")), range(20)))
    assert len({run_id for run_id, _ in answers}) == 1
    assert sum(created for _, created in answers) == 1


def test_requests_stand_beside_the_schedule_and_do_not_count_as_its_slots(world: World) -> None:
    runs = world.runs()
    born(runs, slot=SLOT)
    runs.insert_request(analysis(request_key="key"))
    assert runs.newest_slot(KIND) == SLOT


# --- pipelines ----------------------------------------------------------------------------------------------


@pytest.mark.requirement("F03")
def test_a_pipeline_is_born_with_its_stage_and_its_inputs_once(world: World) -> None:
    runs = world.runs()
    plans = pipeline(runs, SYMBOLS[:2])
    assert [plan.symbol for plan in plans] == SYMBOLS[:2]
    kinds = ("regime_detection", "technical_analysis", "trading_context", "trading_decision")
    assert identities(world) == [(kind, symbol) for kind in kinds for symbol in SYMBOLS[:2]]
    for plan in plans:
        assert plan.body[1] == "trading_context"
        assert [kind for _, kind in plan.header] == ["technical_analysis", "regime_detection"]
        assert [each.kind for each in runs.dependencies(plan.run_id)] == ["trading_context"]
        needed = runs.dependencies(plan.body[0])
        assert [(each.run_id, each.kind) for each in needed] == sorted(plan.header)
        assert {each.symbol for each in needed} == {plan.symbol}
        assert all(each.required for each in needed)
    assert pipeline(runs, SYMBOLS[:2]) == []
    assert len(world.rows()) == 8


@pytest.mark.requirement("F03")
def test_inputs_that_are_there_already_are_reused_and_finished_ones_not_waited_for(world: World) -> None:
    runs = world.runs()
    done, running = born(runs, kind="technical_analysis"), born(runs, kind="regime_detection")
    runs.complete(taken(runs, done), Completed({"score": 1}), publish=True)
    taken(runs, running)
    [plan] = pipeline(runs, ["BTC/USDT"])
    assert plan.header == [(running, "regime_detection")]
    assert {each.run_id for each in runs.dependencies(plan.body[0])} == {done, running}
    assert len(world.rows()) == 4


def test_a_pipeline_without_a_stage_waits_itself(world: World) -> None:
    runs = world.runs()
    [plan] = pipeline(runs, ["BTC/USDT"], stage=None)
    assert plan.body == (plan.run_id, "trading_decision")
    assert len(runs.dependencies(plan.run_id)) == 2


def test_a_requested_pipeline_has_inputs_of_its_own(world: World) -> None:
    runs = world.runs()
    scheduled = born(runs, kind="technical_analysis")
    decision = analysis("trading_decision", dependent=True, request_key="k")
    stage = analysis("trading_context", dependent=True, request_key="k:trading_context")
    technical = analysis("technical_analysis", request_key="k:technical_analysis")
    [plan] = runs.insert_pipeline(decision, ["BTC/USDT"], None, stage, [(technical, None)])
    assert [kind for _, kind in plan.header] == ["technical_analysis"]
    assert plan.header[0][0] != scheduled
    assert runs.insert_pipeline(decision, ["BTC/USDT"], None, stage, [(technical, None)]) == []
    assert runs.insert_request(decision) == (plan.run_id, False)


@pytest.mark.requirement("F01")
def test_two_beats_inserting_a_pipeline_at_once_make_one(postgres_world: PostgresWorld) -> None:
    runs = postgres_world.runs()
    with ThreadPoolExecutor(4) as pool:
        plans = list(pool.map(lambda _: pipeline(runs, SYMBOLS), range(4)))
    assert sorted(map(len, plans)) == [0, 0, 0, 3]
    assert len(postgres_world.rows()) == 12


@pytest.mark.requirement("F03")
def test_a_dependent_run_is_refused_while_an_input_is_unfinished(world: World) -> None:
    runs = world.runs()
    [plan] = pipeline(runs, ["BTC/USDT"])
    waiting = ClaimRefused(Refusal.WAITING, world_state(runs, plan.body[0]))
    (technical, _), (regime, _) = plan.header
    assert runs.claim(plan.body[0], "worker", PLENTY) == waiting
    runs.complete(taken(runs, technical), Completed({"score": 1}), publish=True)
    assert runs.claim(plan.body[0], "worker", PLENTY) == waiting
    claim = taken(runs, regime)
    assert runs.claim(plan.body[0], "worker", PLENTY) == waiting
    runs.complete(claim, Completed({"regime": "ranging"}), publish=True)
    assert taken(runs, plan.body[0]).dependent


@pytest.mark.requirement("F03")
@pytest.mark.parametrize("outcome", [Failed("network", "exchange away"), Skipped("stale input")])
def test_a_dependent_run_sees_how_its_inputs_ended(world: World, outcome: Failed | Skipped) -> None:
    runs = world.runs()
    [plan] = pipeline(runs, ["BTC/USDT"])
    (technical, _), (regime, _) = plan.header
    ended = runs.complete(taken(runs, technical), Completed({"score": 1}), publish=True)
    runs.end(taken(runs, regime), outcome)
    good, bad = runs.dependencies(taken(runs, plan.body[0]).id)
    stored = world.results.result(ended.result_id or 0)
    assert (good.state.value, good.result_id, good.body) == ("completed", stored.id, {"score": 1})
    assert (good.content_hash, good.analyzed_at) == (stored.content_hash, stored.analyzed_at)
    assert bad.state.value == ("failed" if isinstance(outcome, Failed) else "skipped")
    assert (bad.reason, bad.result_id, bad.body) == (outcome.reason, None, None)


def test_a_dependent_run_sees_what_its_inputs_were_asked(world: World) -> None:
    runs = world.runs()
    [plan] = pipeline(runs, ["BTC/USDT"])
    for technical, _ in plan.header:
        runs.complete(taken(runs, technical), Completed({"score": 1}), publish=True)
    vote = analysis("trading_analysis", request_key="vote:1:trend", params={"voter": "trend"})
    runs.complete(taken(runs, plan.body[0]), Completed({"frozen": 1}, feeds=[vote]), publish=False)
    waiting = {each.kind: each.params for each in runs.dependencies(plan.run_id)}
    assert waiting == {"trading_context": {}, "trading_analysis": {"voter": "trend"}}


def test_who_waits_is_told_whether_all_it_waits_for_is_final(world: World) -> None:
    runs = world.runs()
    [plan] = pipeline(runs, ["BTC/USDT"])
    (technical, _), (regime, _) = plan.header
    runs.end(taken(runs, technical), Skipped("no candles"))
    assert runs.dependents(technical) == [(*plan.body, False)]
    runs.end(taken(runs, regime), Skipped("no candles"))
    assert runs.dependents(technical) == runs.dependents(regime) == [(*plan.body, True)]
    taken(runs, plan.body[0])
    assert runs.dependents(regime) == []
    assert runs.dependents(plan.run_id) == []


def world_state(runs: RunStore, run_id: int) -> object:
    return runs.run(run_id).state
