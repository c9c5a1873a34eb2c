"""Limits on calls to the model, over two real worker processes: kept to the call, and no vote is lost to them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from support.checks import check_runs
from support.lab import IDLE, QUICK, ROOM, Lab, module_environment, running_lab

from aaos.adapters.redis.limiter import PREFIX, RedisCallLimiter

VOTE = "trading_analysis"
CONCURRENT, PER_MINUTE = 2, 120
TIMEOUT_S = 6
# A minute that is nearly full when a test begins: who waits for its first places waits seconds.
EARLIER, FIRST_S, LAST_S = 110, 52.0, 48.0
NOW = "test:now"
MOVED_TIME = f"{{redis.call('GET', '{NOW}'), 0}}"
TIGHT = {
    "AAOS_SOVEREIGN__LIMITS__CONCURRENT": str(CONCURRENT),
    "AAOS_SOVEREIGN__LIMITS__REQUESTS_PER_MINUTE": str(PER_MINUTE),
    "AAOS_SOVEREIGN__BUDGET__TOKENS_PER_DECISION": "1000000000",
    "AAOS_KINDS__TRADING_ANALYSIS__TIMEOUT_SECONDS": str(TIMEOUT_S),
}


@pytest.fixture(scope="module")
def lab(databases: Any, valkey_server: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with (
        module_environment(databases, valkey_server) as environment,
        running_lab(
            environment, tmp_path_factory.mktemp("limits"), {**QUICK, **IDLE, **ROOM, **TIGHT}, latency_ms=300
        ) as lab,
    ):
        lab.keep_house()
        yield lab


@pytest.fixture
def fresh(lab: Lab) -> Lab:
    """The lab, with nothing counted yet."""
    with lab.redis() as redis:
        for key in redis.keys(f"{PREFIX}*"):
            redis.delete(key)
    return lab


def call_earlier(lab: Lab) -> list[float]:
    """Makes calls as they would have been made most of a minute ago, through the limiter; returns when they began."""
    began = []
    with lab.redis() as redis:
        limits = lab.client.settings.sovereign.limits
        limiter = RedisCallLimiter(redis, limits, lab.client.settings.models, time=MOVED_TIME)
        for number in range(EARLIER):
            began.append(time.time() - FIRST_S + (FIRST_S - LAST_S) * number / EARLIER)
            redis.set(NOW, repr(began[-1]))
            limiter.release(limiter.acquire("any model", 1_000, TIMEOUT_S), 1_000)
        redis.delete(NOW)
    return began


def most_in_a_minute(began: list[float]) -> int:
    return max(sum(at <= other < at + 60 for other in began) for at in began)


def most_at_once(calls: list[dict[str, Any]]) -> int:
    spans = [(call["received_at"], call["finished_at"] or time.time()) for call in calls]
    return max(sum(began <= at < ended for began, ended in spans) for at, _ in spans)


def test_thirty_votes_on_two_workers_are_all_cast_at_the_limits_pace_and_never_more_at_once(fresh: Lab) -> None:
    workers = [fresh.fleet.worker(VOTE, concurrency=8, wait=False) for _ in range(2)]
    fresh.fleet.wait_ready()
    votes = fresh.insert_votes(30, fresh.store_context(), "thirty")
    earlier = call_earlier(fresh)
    fresh.hint(VOTE, *votes)
    waiting = "SELECT count(*) FROM runs WHERE state = 'pending' AND due_at > clock_timestamp() AND reason LIKE %s"
    fresh.wait_until(lambda: fresh.value(waiting, "%requests per minute%") > 0, "some wait, and say for what")
    assert fresh.wait_final(votes, 60) == {"completed": 30}
    calls = fresh.simulator.transcript()["calls"]
    began = sorted(call["received_at"] for call in calls)
    assert len(calls) == 30, "nothing was asked twice"
    assert most_at_once(calls) <= CONCURRENT
    assert most_in_a_minute(earlier + began) <= PER_MINUTE
    at_once = PER_MINUTE - EARLIER
    assert began[at_once - 1] < earlier[0] + 60, "what the minute had left was used at once"
    late_s = 61 + 2 * (30 - at_once) * 60 / PER_MINUTE
    assert began[-1] < earlier[0] + late_s, "the pace of the limit is used"
    pauses = [later - before for before, later in pairwise(began[at_once:])]
    assert max(pauses) <= 5, "and nobody waits while there is room"
    attempts = fresh.rows("SELECT attempt FROM runs WHERE id = ANY(%s)", votes)
    assert {row.attempt for row in attempts} == {1}, "being put back cost none"
    assert all(f"run={vote}" in "".join(each.log() for each in workers) for vote in votes)
    check_runs(fresh.rows)
    for each in workers:
        each.terminate()


@pytest.mark.requirement("F01")
def test_the_places_of_a_worker_that_was_killed_are_free_again_when_its_calls_would_be_over(fresh: Lab) -> None:
    call_earlier(fresh)  # calls have been short: who finds no place is told to come back soon
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
