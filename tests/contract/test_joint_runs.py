"""A run for all symbols at once: one per slot, behind every symbol's run, however those end."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from support.worlds import PLENTY, SLOT, PostgresWorld, World, analysis, taken

from aaos.domain.runs import ClaimRefused, Completed, Failed, Refusal, Skipped
from aaos.domain.schedules import ALL_SYMBOLS
from aaos.ports import RunStore

SYMBOLS = ["BTC/USDT", "ETH/USDT", "LTC/USDT"]
NEEDED = "trading_decision"
JOINT = analysis("portfolio_rebalance", ALL_SYMBOLS, dependent=True, timeout_s=360.0, start_within_s=360.0)
HOUR = timedelta(hours=1)


def decisions(runs: RunStore) -> list[int]:
    """Inserts the decisions of the slot, with nothing they wait for; returns their ids."""
    spec = analysis(NEEDED, "", dependent=True, timeout_s=300.0, start_within_s=300.0)
    return [plan.run_id for plan in runs.insert_pipeline(spec, SYMBOLS, SLOT, None, [])]


def joint(runs: RunStore) -> tuple[int, bool] | None:
    return runs.insert_joint(JOINT, SLOT, [(NEEDED, SLOT)])


@pytest.mark.requirement("F03")
def test_it_waits_for_the_run_of_every_symbol_in_the_slot(world: World) -> None:
    runs = world.runs()
    needed = decisions(runs)
    runs.insert_pipeline(analysis(NEEDED, "", dependent=True), SYMBOLS, SLOT - HOUR, None, [])
    runs.insert_request(analysis(NEEDED, request_key="mine", dependent=True))
    born = joint(runs)
    assert born is not None
    run_id, ready = born
    assert not ready
    assert [(each.run_id, each.required) for each in runs.dependencies(run_id)] == [(each, False) for each in needed]
    assert runs.claim(run_id, "worker", PLENTY) == ClaimRefused(Refusal.WAITING, runs.run(run_id).state)


@pytest.mark.requirement("F03")
@pytest.mark.parametrize(
    "end",
    [
        lambda runs, claim: runs.complete(claim, Completed({}), publish=False),
        lambda runs, claim: runs.end(claim, Skipped("stale input")),
        lambda runs, claim: runs.end(claim, Failed("timeout", "too slow")),
    ],
    ids=["completed", "skipped", "failed"],
)
def test_it_may_start_when_the_last_of_them_is_over_however_it_ended(
    world: World, end: Callable[[RunStore, object], object]
) -> None:
    runs = world.runs()
    first, *others, last = decisions(runs)
    born = joint(runs)
    assert born is not None
    for each in (first, *others):
        runs.complete(taken(runs, each), Completed({}), publish=False)
        assert (born[0], JOINT.kind, False) in runs.dependents(each)
    end(runs, taken(runs, last))
    assert runs.dependents(last) == [(born[0], JOINT.kind, True)]
    claim = taken(runs, born[0])
    assert (claim.symbol, claim.dependent, claim.scheduled) == (ALL_SYMBOLS, True, True)


@pytest.mark.requirement("F01")
@pytest.mark.requirement("Q1")
def test_a_slot_has_it_once(world: World) -> None:
    runs = world.runs()
    decisions(runs)
    assert joint(runs) is not None
    assert joint(runs) is None
    assert len(world.rows()) == len(SYMBOLS) + 1


@pytest.mark.requirement("F01")
def test_racing_beats_make_it_once(postgres_world: PostgresWorld) -> None:
    runs = postgres_world.runs()
    decisions(runs)
    with ThreadPoolExecutor(8) as pool:
        born = list(pool.map(lambda _: joint(runs), range(8)))
    assert sum(each is not None for each in born) == 1
    [(run_id, _)] = [each for each in born if each is not None]
    assert len(runs.dependencies(run_id)) == len(SYMBOLS)


def test_with_everything_over_or_nothing_there_it_is_ready_at_once(world: World) -> None:
    runs = world.runs()
    assert runs.insert_joint(JOINT, SLOT - HOUR, [(NEEDED, SLOT - HOUR)]) is not None
    for each in decisions(runs):
        runs.complete(taken(runs, each), Completed({}), publish=False)
    born = joint(runs)
    assert born is not None
    assert born[1]


@pytest.mark.requirement("FM-TAW-002")
def test_the_wait_ends_with_the_time_of_its_kind(world: World) -> None:
    runs = world.runs()
    decisions(runs)
    born = joint(runs)
    assert born is not None
    world.pass_time(361)
    assert (born[0], JOINT.kind) in runs.recover().timed_out
    assert runs.run(born[0]).failure_source == "timeout"


@pytest.mark.requirement("FM-TAW-008")
def test_one_that_nobody_was_told_of_is_found_by_the_sweep(world: World) -> None:
    runs = world.runs()
    needed = decisions(runs)
    born = joint(runs)
    assert born is not None
    world.pass_time(20)
    assert runs.hint_again(JOINT.kind, 10) == []
    for each in needed:
        runs.complete(taken(runs, each), Completed({}), publish=False)
    world.pass_time(20)
    assert runs.hint_again(JOINT.kind, 10) == [born[0]]
