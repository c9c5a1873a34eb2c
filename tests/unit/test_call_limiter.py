"""Limits that hold whether Redis is there or not."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from support.captured import captured_logs

from aaos.adapters.call_limiter import PROBE_AFTER_S, SteadyCallLimiter
from aaos.adapters.memory.limiter import LocalCallLimiter
from aaos.domain.call_limits import CallLimits
from aaos.errors import BrokerUnavailable, RateLimited
from aaos.ports import Permit

LIMITS = CallLimits(requests_per_minute=1_000, tokens_per_minute=1_000_000, concurrent=8)


@dataclass(slots=True)
class Hands:
    """A clock that is moved by hand."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass(slots=True)
class Shared:
    """A shared limiter that can be away, and counts how often it is tried."""

    limiter: LocalCallLimiter
    away: bool = False
    tried: int = 0
    released: list[tuple[str, int | None]] = field(default_factory=list)

    def acquire(self, model: str, tokens: int, hold_s: float) -> Permit:
        self._try()
        return self.limiter.acquire(model, tokens, hold_s)

    def release(self, permit: Permit, tokens_used: int | None = None) -> None:
        self._try()
        self.released.append((permit.token, tokens_used))
        self.limiter.release(permit, tokens_used)

    def _try(self) -> None:
        self.tried += 1
        if self.away:
            raise BrokerUnavailable("Redis is not available (it was told so)")


class Room:
    """A steady limiter between a shared one and a quarter of its own."""

    def __init__(self) -> None:
        self.clock = Hands()
        self.shared = Shared(LocalCallLimiter(LIMITS, self.clock))
        self.steady = SteadyCallLimiter(self.shared, LocalCallLimiter(LIMITS, self.clock, share=0.25), self.clock)

    def calls_that_fit(self) -> int:
        count = 0
        try:
            while count < 100:
                self.steady.acquire("m", 10, 100)
                count += 1
        except RateLimited:
            return count
        raise AssertionError("no limit held")


@pytest.fixture
def room() -> Room:
    return Room()


def test_with_redis_there_the_shared_limits_hold(room: Room) -> None:
    assert room.calls_that_fit() == 8


def test_being_refused_is_an_answer_and_not_an_outage(room: Room) -> None:
    room.calls_that_fit()
    with pytest.raises(RateLimited, match="8 calls at once"):
        room.steady.acquire("m", 10, 100)
    assert room.shared.tried == 10


def test_with_redis_away_the_process_keeps_to_its_share(room: Room) -> None:
    room.shared.away = True
    assert room.calls_that_fit() == 2


def test_while_redis_is_away_one_call_in_five_seconds_tries_it_and_it_is_logged_once(room: Room) -> None:
    room.shared.away = True
    with captured_logs() as lines:
        for _ in range(50):
            room.steady.release(room.steady.acquire("m", 10, 100))
        assert room.shared.tried == 1
        room.clock.now += PROBE_AFTER_S
        for _ in range(50):
            room.steady.release(room.steady.acquire("m", 10, 100))
    assert room.shared.tried == 2
    assert [line["event"] for line in lines] == ["limits_local"]


def test_it_goes_back_by_itself_when_redis_is_there_again_and_says_so_once(room: Room) -> None:
    room.shared.away = True
    room.steady.release(room.steady.acquire("m", 10, 100))
    room.shared.away = False
    room.clock.now += PROBE_AFTER_S
    with captured_logs() as lines:
        assert room.calls_that_fit() == 8
    assert [line["event"] for line in lines] == ["limits_shared"]


def test_each_permit_is_given_back_to_the_limiter_it_is_from(room: Room) -> None:
    own = room.steady.acquire("m", 10, 100)
    room.shared.away = True
    room.clock.now += PROBE_AFTER_S
    with pytest.raises(BrokerUnavailable):
        room.shared.acquire("m", 10, 100)
    locals_ = [room.steady.acquire("m", 10, 100) for _ in range(2)]
    for permit in locals_:
        room.steady.release(permit, 5)
    assert room.shared.released == []
    room.shared.away = False
    room.clock.now += PROBE_AFTER_S
    room.steady.release(room.steady.acquire("m", 10, 100))
    room.steady.release(own, 7)
    assert (own.token, 7) in room.shared.released


def test_what_could_not_be_given_back_is_when_redis_is_there_again(room: Room) -> None:
    held = [room.steady.acquire("m", 10, 100) for _ in range(8)]
    room.shared.away = True
    for permit in held:
        room.steady.release(permit, 5)
    assert room.shared.tried == 9, "only the first waited for Redis"
    room.shared.away = False
    room.clock.now += PROBE_AFTER_S
    with pytest.raises(RateLimited):
        room.steady.acquire("m", 10, 100)
    assert {token for token, _ in room.shared.released} == {permit.token for permit in held}
    assert room.calls_that_fit() == 8
