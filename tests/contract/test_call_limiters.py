"""The limiter in memory and on a real Valkey: the same answers to the same calls, in time that is moved by hand."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import pytest
from redis import Redis

from aaos.adapters.memory.limiter import LocalCallLimiter
from aaos.adapters.redis.limiter import PREFIX, RedisCallLimiter
from aaos.adapters.redis.scripts import connect_brisk
from aaos.domain.call_limits import CELLS, HORIZON_WINDOWS, JITTER_S, CallLimits
from aaos.domain.llm_budget import ModelCard
from aaos.errors import BrokerUnavailable, RateLimited
from aaos.ports import CallLimiter, Permit

START_S = 1_800_000_000
NOW = "test:now"
MOVED_TIME = f"{{redis.call('GET', '{NOW}'), 0}}"
SMALL = {"small": ModelCard(requests_per_minute=4, tokens_per_minute=20_000, concurrent=2)}
LIMITS = CallLimits(requests_per_minute=10, tokens_per_minute=50_000, concurrent=4)
CLOCK_SET_BACK = 0.03
"""So often the clock is set back between two moves, by 1 s to almost three hours."""


class NoChance(random.Random):
    """Never adds anything."""

    def uniform(self, a: float, b: float) -> float:
        return a


class Ground(Protocol):
    """Where limiters live, and what time it is there."""

    def limiter(self, limits: CallLimits, models: dict[str, ModelCard] | None = None) -> CallLimiter: ...

    def pass_time(self, seconds: float) -> None: ...


@dataclass(slots=True)
class MemoryGround:
    now: float = START_S

    def limiter(self, limits: CallLimits, models: dict[str, ModelCard] | None = None) -> LocalCallLimiter:
        return LocalCallLimiter(limits, lambda: self.now, models, chance=NoChance())

    def pass_time(self, seconds: float) -> None:
        self.now += seconds


@dataclass(slots=True)
class ValkeyGround:
    redis: Redis
    now: float = START_S

    def __post_init__(self) -> None:
        self.pass_time(0)

    def limiter(self, limits: CallLimits, models: dict[str, ModelCard] | None = None) -> RedisCallLimiter:
        return RedisCallLimiter(self.redis, limits, models, NoChance(), time=MOVED_TIME)

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.redis.set(NOW, repr(self.now))


@pytest.fixture(params=["memory", "valkey"])
def ground(request: pytest.FixtureRequest) -> Iterator[Ground]:
    if request.param == "memory":
        yield MemoryGround()
        return
    with connect_brisk(request.getfixturevalue("redis_url")) as client:
        yield ValkeyGround(client)


def wait_for(limiter: CallLimiter, model: str = "m", tokens: int = 10) -> float:
    with pytest.raises(RateLimited) as caught:
        limiter.acquire(model, tokens, 100)
    assert caught.value.retry_after_s is not None
    return caught.value.retry_after_s


def test_the_limit_of_requests_holds_for_a_minute_and_no_longer(ground: Ground) -> None:
    limiter = ground.limiter(CallLimits(3, 1_000_000, 100))
    for _ in range(3):
        limiter.acquire("m", 10, 100)
    with pytest.raises(RateLimited, match=r"limit of 3 requests per minute \(all models together\) reached"):
        limiter.acquire("other", 10, 100)
    ground.pass_time(60)
    wait_for(limiter)
    ground.pass_time(1)
    limiter.acquire("m", 10, 100)


def test_who_is_refused_is_told_to_come_back_at_another_instant_than_the_one_before(ground: Ground) -> None:
    limiter = ground.limiter(CallLimits(20, 1_000_000, 100))
    for _ in range(20):
        limiter.acquire("m", 10, 100)
    waits = [wait_for(limiter) for _ in range(10)]
    assert waits == pytest.approx([61.0 + 3 * number for number in range(10)])


def test_tokens_are_reserved_and_what_was_not_used_is_free_again(ground: Ground) -> None:
    limiter = ground.limiter(CallLimits(100, 1_000, 100))
    permit = limiter.acquire("m", 900, 100)
    wait_for(limiter, tokens=500)
    limiter.release(permit, 300)
    limiter.release(limiter.acquire("m", 700, 100), None)
    wait_for(limiter, tokens=1)


def test_more_tokens_used_than_reserved_are_counted(ground: Ground) -> None:
    limiter = ground.limiter(CallLimits(100, 1_000, 100))
    limiter.release(limiter.acquire("m", 100, 100), 950)
    wait_for(limiter, tokens=100)


def test_a_call_larger_than_a_whole_minutes_tokens_goes_alone(ground: Ground) -> None:
    limiter = ground.limiter(CallLimits(100, 1_000, 100))
    limiter.acquire("m", 5_000, 100)
    assert wait_for(limiter, tokens=5_000) == pytest.approx(61.0)
    ground.pass_time(61)
    limiter.acquire("m", 5_000, 100)


def test_places_are_given_back_and_a_dead_workers_end_by_themselves(ground: Ground) -> None:
    limiter = ground.limiter(CallLimits(100, 1_000_000, 2))
    limiter.acquire("m", 10, 30)
    held = limiter.acquire("m", 10, 30)
    assert wait_for(limiter) < wait_for(limiter)
    limiter.release(held, 10)
    limiter.release(held, 10)
    limiter.acquire("m", 10, 100)
    wait_for(limiter)
    ground.pass_time(30.5)
    limiter.acquire("m", 10, 100)
    wait_for(limiter)


def test_a_models_own_limits_hold_beside_those_of_all(ground: Ground) -> None:
    limiter = ground.limiter(CallLimits(3, 1_000_000, 100), {"small": ModelCard(requests_per_minute=1)})
    limiter.acquire("small", 10, 100)
    with pytest.raises(RateLimited, match=r"limit of 1 requests per minute \(model small\)"):
        limiter.acquire("small", 10, 100)
    limiter.acquire("large", 10, 100)
    limiter.acquire("large", 10, 100)
    wait_for(limiter, "large")


def test_two_limiters_on_one_ground_share_what_there_is_on_valkey_only(redis_url: str) -> None:
    with connect_brisk(redis_url) as client:
        ground = ValkeyGround(client)
        one, other = (ground.limiter(CallLimits(100, 1_000_000, 2)) for _ in range(2))
        one.acquire("m", 10, 100)
        held = other.acquire("m", 10, 100)
        wait_for(one)
        one.release(held)
        other.acquire("m", 10, 100)


@dataclass(slots=True)
class Player:
    """Plays the same calls on a limiter and writes down its answers."""

    ground: Ground
    limiter: CallLimiter
    held: list[Permit] = field(default_factory=list)
    heard: list[Any] = field(default_factory=list)

    def play(self, moves: list[tuple[str, Any]]) -> list[Any]:
        for what, value in moves:
            if what == "pause":
                self.ground.pass_time(value)
            elif what == "release" and self.held:
                self.limiter.release(self.held.pop(int(value * len(self.held))), int(value * 9_000))
            elif what == "acquire":
                self._ask(*value)
        return self.heard

    def _ask(self, model: str, tokens: int) -> None:
        try:
            self.held.append(self.limiter.acquire(model, tokens, 25))
            self.heard.append("yes")
        except RateLimited as refused:
            self.heard.append((str(refused).partition(";")[0], round(refused.retry_after_s or 0, 2)))


@pytest.mark.parametrize("seed", range(6))
def test_the_script_and_the_arithmetic_in_memory_answer_alike_whatever_happens(redis_url: str, seed: int) -> None:
    chance = random.Random(seed)
    moves: list[tuple[str, Any]] = []
    for _ in range(400):
        moves.append(("acquire", (chance.choice(["small", "large"]), chance.randint(1, 9_000))))
        moves += [("pause", round(chance.uniform(0, 6), 3))] if chance.random() < 0.4 else []
        moves += [("pause", round(-(10 ** chance.uniform(0, 4)), 3))] if chance.random() < CLOCK_SET_BACK else []
        moves += [("release", chance.random())] if chance.random() < 0.4 else []
    with connect_brisk(redis_url) as client:
        memory, valkey = MemoryGround(), ValkeyGround(client)
        here, there = (Player(ground, ground.limiter(LIMITS, SMALL)).play(moves) for ground in (memory, valkey))
    assert len({type(each) for each in here}) == 2, "some let through and some refused"
    assert [each if each == "yes" else each[0] for each in there] == [
        each if each == "yes" else each[0] for each in here
    ]
    waits = [(a[1], b[1]) for a, b in zip(here, there, strict=True) if a != "yes"]
    assert [b for _, b in waits] == pytest.approx([a for a, _ in waits], abs=0.02)


# --- on a real server only ----------------------------------------------------------------------------------


def test_by_the_servers_own_clock_fifty_racing_threads_never_hold_more_than_there_is(redis_url: str) -> None:
    most, under_way, lock, served = 0, 0, threading.Lock(), 0

    def ask() -> None:
        nonlocal most, under_way, served
        with connect_brisk(redis_url, 5) as client:
            limiter = RedisCallLimiter(client, CallLimits(30, 1_000_000, 3))
            for _ in range(6):
                try:
                    permit = limiter.acquire("m", 100, 60)
                except RateLimited:
                    continue
                with lock:
                    served += 1
                    under_way += 1
                    most = max(most, under_way)
                time.sleep(0.002)
                with lock:
                    under_way -= 1
                limiter.release(permit, 50)

    threads = [threading.Thread(target=ask) for _ in range(50)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert most == 3
    assert served <= 30


def test_ten_thousand_refusals_leave_little_behind_and_all_of_it_ends(redis_url: str) -> None:
    with connect_brisk(redis_url, 5) as client:
        limiter = RedisCallLimiter(client, CallLimits(2, 1_000_000, 2), SMALL)
        waits = []
        for _ in range(2_000):
            try:
                limiter.acquire("small", 10, 100)
            except RateLimited as refused:
                waits.append(refused.retry_after_s or 0)
        assert max(waits) <= HORIZON_WINDOWS * 60 + JITTER_S
        keys = client.keys(f"{PREFIX}*")
        assert sum(client.hlen(key) for key in keys if client.type(key) == b"hash") <= 2 * (2 * 11 * CELLS + 4)
        assert all(client.ttl(key) > 0 for key in keys)


def test_a_server_that_is_not_there_or_frozen_is_said_to_be_away_and_soon(valkey_server: Any, redis_url: str) -> None:
    limiter = RedisCallLimiter(connect_brisk(redis_url, 0.3), CallLimits(10, 1_000_000, 1))
    limiter.release(limiter.acquire("m", 10, 100), 5)
    os.kill(valkey_server.pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        with pytest.raises(BrokerUnavailable):
            limiter.acquire("m", 10, 100)
        assert time.monotonic() - began < 2
    finally:
        os.kill(valkey_server.pid, signal.SIGCONT)
    time.sleep(0.2)
    with pytest.raises(RateLimited):
        limiter.acquire("m", 10, 100)  # the call that nobody heard the answer of was booked …
    limiter.release(limiter.acquire("m", 10, 100), 5)  # … and is taken back as soon as that is known
    nowhere = RedisCallLimiter(connect_brisk("redis://127.0.0.1:9/0", 0.3), CallLimits())
    with pytest.raises(BrokerUnavailable):
        nowhere.acquire("m", 10, 100)
