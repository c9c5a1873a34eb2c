"""Who may work on a run: one at a time, proved by a fence that only rises."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from support.worlds import KIND, PLENTY, SLOT, PostgresWorld, World, analysis, born, granted, roomy, taken

from aaos.domain.runs import ClaimedRun, ClaimRefused, Completed, Failed, Refusal, Skipped, State
from aaos.errors import FenceLost
from aaos.ports import RunStore

ANSWER = Completed({"score": 1})


def refused(runs: RunStore, run_id: int) -> Refusal:
    claim = runs.claim(run_id, "worker-2", PLENTY)
    assert isinstance(claim, ClaimRefused), "granted, though it must not be"
    return claim.refusal


def race(contenders: int, attempt: Callable[[int], Any]) -> list[Any]:
    """Lets so many threads attempt at the same instant; returns what each got."""
    start = threading.Barrier(contenders)

    def run(number: int) -> Any:
        start.wait(30)
        return attempt(number)

    with ThreadPoolExecutor(contenders) as pool:
        return list(pool.map(run, range(contenders)))


# --- granting -----------------------------------------------------------------------------------------------


def test_a_pending_run_is_granted_with_owner_lease_attempt_and_deadline(world: World) -> None:
    runs = world.runs()
    run_id = born(runs, params={"voter": "trend"})
    claim = granted(runs.claim(run_id, "host:1:task", PLENTY))
    assert (claim.id, claim.kind, claim.symbol, claim.slot) == (run_id, KIND, "BTC/USDT", SLOT)
    assert (claim.attempt, claim.dependent, claim.scheduled) == (1, False, True)
    assert claim.params == {"voter": "trend"}
    row = world.rows()[run_id]
    assert (row.state, row.owner, row.fence, row.attempt) == ("running", "host:1:task", claim.fence, 1)
    assert row.lease_left_s == pytest.approx(15, abs=1)
    assert row.deadline_left_s == pytest.approx(30, abs=1)


def test_an_unknown_run_is_refused(world: World) -> None:
    assert refused(world.runs(), 4711) is Refusal.UNKNOWN


@pytest.mark.requirement("FM-TAW-003")
@pytest.mark.requirement("FM-TAW-011")
@pytest.mark.requirement("Q4")
def test_a_run_under_a_live_lease_is_refused(world: World) -> None:
    runs = world.runs()
    run_id = born(runs)
    first = taken(runs, run_id)
    world.pass_time(14)
    assert refused(runs, run_id) is Refusal.RUNNING_ELSEWHERE
    assert world.rows()[run_id].fence == first.fence


@pytest.mark.requirement("FM-TAW-007")
@pytest.mark.requirement("Q3")
@pytest.mark.requirement("Q4")
def test_an_expired_lease_is_taken_over_under_a_higher_fence(world: World) -> None:
    runs = world.runs()
    run_id = born(runs)
    first = taken(runs, run_id, "worker-1")
    world.pass_time(16)
    second = taken(runs, run_id, "worker-2")
    assert second.fence > first.fence
    assert second.attempt == 2
    assert world.rows()[run_id].owner == "worker-2"


@pytest.mark.requirement("Q3")
def test_fences_rise_from_run_to_run(world: World) -> None:
    runs = world.runs()
    fences = [taken(runs, born(runs, symbol)).fence for symbol in ("A/USDT", "B/USDT", "C/USDT")]
    assert fences == sorted(set(fences))


@pytest.mark.requirement("FM-TAW-011")
@pytest.mark.parametrize("outcome", [ANSWER, Skipped("no candles"), Failed("network", "gone")])
def test_a_final_run_is_refused_and_its_state_told(world: World, outcome: Any) -> None:
    runs = world.runs()
    claim = taken(runs, born(runs))
    if isinstance(outcome, Completed):
        runs.complete(claim, outcome, publish=True)
    else:
        runs.end(claim, outcome)
    again = runs.claim(claim.id, "worker-2", PLENTY)
    state = {Completed: State.COMPLETED, Skipped: State.SKIPPED, Failed: State.FAILED}[type(outcome)]
    assert again == ClaimRefused(Refusal.FINAL, state)


def test_a_released_run_is_not_due_at_once(world: World) -> None:
    runs = world.runs()
    claim = taken(runs, born(runs))
    runs.release(claim, 10, "network away")
    assert refused(runs, claim.id) is Refusal.NOT_DUE
    world.pass_time(11)
    assert taken(runs, claim.id).attempt == 2


# --- racing -------------------------------------------------------------------------------------------------


@pytest.mark.requirement("FM-TAW-003")
@pytest.mark.requirement("Q4")
def test_of_a_hundred_racing_claimers_one_wins_every_time(postgres_world: PostgresWorld) -> None:
    runs = postgres_world.runs()
    for number in range(8):
        run_id = born(runs, f"S{number}/USDT")
        claims = race(100, lambda n, run_id=run_id: runs.claim(run_id, f"worker-{n}", PLENTY))
        winners = [claim for claim in claims if isinstance(claim, ClaimedRun)]
        assert len(winners) == 1
        losers = {claim.refusal for claim in claims if isinstance(claim, ClaimRefused)}
        assert losers == {Refusal.RUNNING_ELSEWHERE}
        row = postgres_world.rows()[run_id]
        assert (row.fence, row.attempt) == (winners[0].fence, 1)


@pytest.mark.requirement("FM-TAW-003")
@pytest.mark.requirement("Q3")
def test_of_fifty_who_race_for_an_expired_lease_one_wins(postgres_world: PostgresWorld) -> None:
    runs = postgres_world.runs()
    stale = taken(runs, born(runs))
    postgres_world.pass_time(16)
    claims = race(50, lambda n: runs.claim(stale.id, f"worker-{n}", PLENTY))
    [winner] = [claim for claim in claims if isinstance(claim, ClaimedRun)]
    assert winner.fence > stale.fence
    assert winner.attempt == 2


@pytest.mark.requirement("FM-TAW-003")
def test_of_eight_racing_claimers_one_wins_on_either_ground(world: World) -> None:
    runs = world.runs()
    run_id = born(runs)
    claims = race(8, lambda n: runs.claim(run_id, f"worker-{n}", PLENTY))
    assert sum(isinstance(claim, ClaimedRun) for claim in claims) == 1


def test_racing_claims_never_overshoot_the_room_of_a_kind(postgres_world: PostgresWorld) -> None:
    runs = postgres_world.runs()
    ids = [born(runs, f"S{n}/USDT") for n in range(40)]
    claims = race(40, lambda n: runs.claim(ids[n], f"worker-{n}", 3))
    assert sum(isinstance(claim, ClaimedRun) for claim in claims) == 3
    assert {claim.refusal for claim in claims if isinstance(claim, ClaimRefused)} == {Refusal.NO_ROOM}
    assert sum(row.state == "running" for row in postgres_world.rows().values()) == 3


def test_racing_claims_never_overshoot_the_room_of_all_kinds(postgres_world: PostgresWorld) -> None:
    runs = postgres_world.runs(roomy(max_concurrent_tasks=5))
    ids = [born(runs, f"S{n}/USDT", kind=f"kind-{n % 4}") for n in range(40)]
    claims = race(40, lambda n: runs.claim(ids[n], f"worker-{n}", 3))
    assert sum(isinstance(claim, ClaimedRun) for claim in claims) == 5


# --- room ---------------------------------------------------------------------------------------------------


def test_one_turned_away_for_want_of_room_waits_parked_and_a_takeover_needs_no_second_place(world: World) -> None:
    runs = world.runs()
    first, second = born(runs, "A/USDT"), born(runs, "B/USDT")
    granted(runs.claim(first, "worker-1", 1))
    turned_away = runs.claim(second, "worker-2", 1)
    assert turned_away == ClaimRefused(Refusal.NO_ROOM, State.PENDING)
    assert world.rows()[second].parked
    world.pass_time(16)
    assert granted(runs.claim(first, "worker-3", 1)).attempt == 2


def test_the_limit_of_all_kinds_counts_every_kind(world: World) -> None:
    runs = world.runs(roomy(max_concurrent_tasks=2))
    ids = [born(runs, kind=kind) for kind in ("one", "two", "three")]
    taken(runs, ids[0])
    taken(runs, ids[1])
    assert refused(runs, ids[2]) is Refusal.NO_ROOM


# --- leases -------------------------------------------------------------------------------------------------


@pytest.mark.requirement("Q4")
def test_a_heartbeat_renews_the_lease(world: World) -> None:
    runs = world.runs()
    claim = taken(runs, born(runs))
    world.pass_time(10)
    assert runs.renew({claim.id: claim.fence}) == {claim.id}
    world.pass_time(10)
    assert refused(runs, claim.id) is Refusal.RUNNING_ELSEWHERE


@pytest.mark.requirement("F08")
def test_a_lease_never_reaches_past_the_deadline(world: World) -> None:
    runs = world.runs()
    short = taken(runs, born(runs, "A/USDT", timeout_s=4))
    long = taken(runs, born(runs, "B/USDT", timeout_s=20))
    world.pass_time(10)
    assert runs.renew({short.id: short.fence, long.id: long.fence}) == {long.id}
    rows = world.rows()
    assert rows[short.id].lease_left_s == pytest.approx(-6, abs=1)
    assert rows[long.id].lease_left_s == pytest.approx(10, abs=1)
    assert rows[long.id].lease_left_s == pytest.approx(rows[long.id].deadline_left_s, abs=0.001)


@pytest.mark.requirement("Q3")
def test_a_stale_fence_renews_nothing(world: World) -> None:
    runs = world.runs()
    stale = taken(runs, born(runs))
    world.pass_time(16)
    fresh = taken(runs, stale.id)
    before = world.rows()[stale.id].lease_left_s
    world.pass_time(5)
    assert runs.renew({stale.id: stale.fence}) == frozenset()
    after = world.rows()[stale.id].lease_left_s
    assert before is not None
    assert after is not None
    assert before - after == pytest.approx(5, abs=1)
    assert runs.renew({stale.id: fresh.fence}) == {stale.id}


def test_renewing_nothing_is_nothing(world: World) -> None:
    assert world.runs().renew({}) == frozenset()


# --- attempts and deadlines ---------------------------------------------------------------------------------


@pytest.mark.requirement("Q8")
def test_after_the_last_attempt_a_run_is_not_granted_any_more(world: World) -> None:
    runs = world.runs()
    run_id = born(runs, timeout_s=300)
    for attempt in (1, 2, 3):
        assert taken(runs, run_id).attempt == attempt
        world.pass_time(16)
    assert refused(runs, run_id) is Refusal.EXHAUSTED


@pytest.mark.requirement("F08")
def test_a_run_past_its_deadline_is_not_granted(world: World) -> None:
    runs = world.runs()
    waiting, running = born(runs, "A/USDT", start_within_s=20), born(runs, "B/USDT", timeout_s=20)
    taken(runs, running)
    world.pass_time(21)
    assert refused(runs, waiting) is Refusal.EXPIRED
    assert refused(runs, running) is Refusal.EXPIRED


@pytest.mark.requirement("F08")
def test_each_attempt_of_a_run_has_its_whole_time_but_a_dependent_run_has_one_for_all(world: World) -> None:
    runs = world.runs()
    free = born(runs, timeout_s=40)
    bound = runs.insert_pipeline(
        analysis("trading_decision", timeout_s=40.0, start_within_s=40.0, dependent=True), ["BTC/USDT"], SLOT, None, []
    )[0].run_id
    for run_id in (free, bound):
        taken(runs, run_id)
    world.pass_time(16)
    for run_id in (free, bound):
        taken(runs, run_id)
    rows = world.rows()
    assert rows[free].deadline_left_s == pytest.approx(40, abs=1)
    assert rows[bound].deadline_left_s == pytest.approx(24, abs=1)


# --- stale writers ------------------------------------------------------------------------------------------


WRITES = {
    "complete": lambda runs, claim: runs.complete(claim, ANSWER, publish=True),
    "skip": lambda runs, claim: runs.end(claim, Skipped("late")),
    "fail": lambda runs, claim: runs.end(claim, Failed("network", "late")),
    "release": lambda runs, claim: runs.release(claim, 1, "late"),
}


@pytest.mark.requirement("FM-TAW-007")
@pytest.mark.requirement("Q3")
@pytest.mark.parametrize("write", WRITES)
def test_whoever_was_overtaken_writes_nothing(world: World, write: str) -> None:
    runs = world.runs()
    stale = taken(runs, born(runs))
    world.pass_time(16)
    fresh = taken(runs, stale.id)
    before = world.rows()[stale.id].substance
    with pytest.raises(FenceLost):
        WRITES[write](runs, stale)
    assert world.rows()[stale.id].substance == before
    assert world.results.results(10) == []
    ended = runs.complete(fresh, ANSWER, publish=True)
    assert ended.result_id is not None
    assert world.results.result(ended.result_id).fence == fresh.fence


@pytest.mark.requirement("FM-TAW-007")
@pytest.mark.requirement("Q3")
@pytest.mark.parametrize("write", WRITES)
def test_whoever_was_given_up_writes_nothing_even_if_nobody_took_over(world: World, write: str) -> None:
    runs = world.runs()
    stale = taken(runs, born(runs))
    world.pass_time(16)
    assert runs.recover().returned == [(stale.id, KIND)]
    with pytest.raises(FenceLost):
        WRITES[write](runs, stale)
    assert world.rows()[stale.id].state == "pending"
    assert world.results.results(10) == []


@pytest.mark.requirement("F08")
@pytest.mark.parametrize("write", WRITES)
def test_past_its_deadline_nothing_a_worker_says_is_accepted(world: World, write: str) -> None:
    runs = world.runs()
    late = taken(runs, born(runs, timeout_s=10))
    world.pass_time(11)
    with pytest.raises(FenceLost):
        WRITES[write](runs, late)
    assert runs.recover().timed_out == [(late.id, KIND)]
    row = world.rows()[late.id]
    assert (row.state, row.failure_source) == ("failed", "timeout")
    assert world.results.results(10) == []


@pytest.mark.requirement("Q3")
def test_a_slow_worker_whose_lease_ended_may_finish_while_nobody_took_over(world: World) -> None:
    runs = world.runs()
    slow = taken(runs, born(runs))
    world.pass_time(16)
    assert runs.complete(slow, ANSWER, publish=True).result_id is not None


@pytest.mark.requirement("Q3")
def test_of_an_old_and_a_new_owner_writing_at_once_only_the_new_one_is_heard(postgres_world: PostgresWorld) -> None:
    runs = postgres_world.runs()
    for number in range(20):
        stale = taken(runs, born(runs, f"S{number}/USDT"))
        postgres_world.pass_time(16)
        fresh = taken(runs, stale.id)

        def write(n: int, claims: tuple[ClaimedRun, ...] = (stale, fresh)) -> Any:
            try:
                return runs.complete(claims[n % 2], Completed({"from": n % 2}), publish=True).result_id
            except FenceLost:
                return None

        heard = race(6, write)
        assert heard[0::2] == [None] * 3
        assert len(set(heard[1::2])) == 1, "the same answer, however often its confirmation was asked for"
        stored = postgres_world.results.result_of_run(stale.id)
        assert stored is not None
        assert (stored.fence, stored.body) == (fresh.fence, {"from": 1})
