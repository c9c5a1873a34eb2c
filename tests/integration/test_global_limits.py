"""Limits on calls to the model, over two real worker processes: kept to the call, and no vote is lost to them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from support.checks import check_runs
from support.lab import IDLE, QUICK, Lab, module_environment, running_lab

from aaos.adapters.redis.limiter import PREFIX

VOTE = "trading_analysis"
CONCURRENT, PER_MINUTE = 2, 20
TIMEOUT_S = 20
TIGHT = {
    "AAOS_SOVEREIGN__LIMITS__CONCURRENT": str(CONCURRENT),
    "AAOS_SOVEREIGN__LIMITS__REQUESTS_PER_MINUTE": str(PER_MINUTE),
    "AAOS_SOVEREIGN__BUDGET__TOKENS_PER_DECISION": "1000000000",
    "AAOS_KINDS__TRADING_ANALYSIS__MAX_CONCURRENT": "16",
    "AAOS_KINDS__TRADING_ANALYSIS__TIMEOUT_SECONDS": str(TIMEOUT_S),
    "AAOS_RUNS__MAX_CONCURRENT_TASKS": "100",
    "AAOS_LOCAL__IO_THREADS": "32",
}


@pytest.fixture(scope="module")
def lab(databases: Any, valkey_server: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with (
        module_environment(databases, valkey_server) as environment,
        running_lab(environment, tmp_path_factory.mktemp("limits"), {**QUICK, **IDLE, **TIGHT}, latency_ms=300) as lab,
    ):
        lab.fleet.worker("maintenance", "result_publishing", concurrency=4, wait=False)
        lab.fleet.beat(wait=False)
        lab.fleet.wait_ready()
        yield lab


@pytest.fixture
def fresh(lab: Lab) -> Lab:
    """The lab, with nothing counted yet."""
    with lab.redis() as redis:
        for key in redis.keys(f"{PREFIX}*"):
            redis.delete(key)
    return lab


def most_in_a_minute(began: list[float]) -> int:
    return max(sum(at <= other < at + 60 for other in began) for at in began)


def most_at_once(calls: list[dict[str, Any]]) -> int:
    spans = [(call["received_at"], call["finished_at"] or time.time()) for call in calls]
    return max(sum(began <= at < ended for began, ended in spans) for at, _ in spans)


def test_thirty_votes_on_two_workers_are_all_cast_at_the_limits_pace_and_never_more_at_once(fresh: Lab) -> None:
    workers = [fresh.fleet.worker(VOTE, concurrency=8, wait=False) for _ in range(2)]
    fresh.fleet.wait_ready()
    votes = fresh.insert_votes(30, fresh.store_context(), "thirty")
    fresh.hint(VOTE, *votes)
    waiting = "SELECT count(*) FROM runs WHERE state = 'pending' AND due_at > clock_timestamp() AND reason LIKE %s"
    fresh.wait_until(lambda: fresh.value(waiting, "limit of%") > 0, "some wait, and say for what")
    assert fresh.wait_final(votes, 150) == {"completed": 30}
    calls = fresh.simulator.transcript()["calls"]
    began = sorted(call["received_at"] for call in calls)
    assert len(calls) == 30, "nothing was asked twice"
    assert most_at_once(calls) <= CONCURRENT
    assert most_in_a_minute(began) <= PER_MINUTE
    assert began[-1] - began[0] <= 61 + 10 * 60 / PER_MINUTE + 15, "the pace of the limit is used"
    assert max(later - earlier for earlier, later in pairwise(began)) <= 62, "and nobody waits while there is room"
    attempts = fresh.rows("SELECT attempt FROM runs WHERE id = ANY(%s)", votes)
    assert {row.attempt for row in attempts} == {1}, "being put back cost none"
    assert all(f"run={vote}" in "".join(each.log() for each in workers) for vote in votes)
    check_runs(fresh.rows)
    for each in workers:
        each.terminate()


@pytest.mark.requirement("F01")
def test_the_places_of_a_worker_that_was_killed_are_free_again_when_its_calls_would_be_over(fresh: Lab) -> None:
    fresh.simulator.behave(latency_ms=12_000)
    doomed = fresh.fleet.worker(VOTE, concurrency=8)
    held = fresh.insert_votes(CONCURRENT, fresh.store_context(), "held")
    fresh.hint(VOTE, *held)
    with fresh.redis() as redis:
        fresh.wait_until(lambda: redis.zcard(f"{PREFIX}:calls") == CONCURRENT, "the worker holds all places")
        doomed.kill()
        fresh.simulator.behave(latency_ms=100)
        survivor = fresh.fleet.worker(VOTE, concurrency=8)
        (other,) = fresh.insert_votes(1, fresh.store_context(), "other")
        fresh.hint(VOTE, other)
        blocked = "SELECT count(*) FROM runs WHERE id = %s AND reason LIKE %s"
        fresh.wait_until(lambda: fresh.value(blocked, other, "%calls at once%"), "there is no place for another", 10)
        assert fresh.wait_final([*held, other], 60) == {"completed": 3}
        fresh.wait_until(lambda: redis.zcard(f"{PREFIX}:calls") == 0, "all places are given back")
    attempts = {row.id: row.attempt for row in fresh.rows("SELECT id, attempt FROM runs WHERE id = ANY(%s)", held)}
    assert attempts == dict.fromkeys(held, 2), "only the crash cost an attempt"
    assert fresh.value("SELECT attempt FROM runs WHERE id = %s", other) == 1
    survivor.terminate()
