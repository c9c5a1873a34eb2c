"""How often, how much and how many at once: in simulated time."""

from __future__ import annotations

import heapq
import random
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from aaos.domain.call_limits import (
    CELLS,
    FIRST_GUESS_S,
    HORIZON_WINDOWS,
    JITTER_S,
    WINDOW_S,
    CallBook,
    CallLimits,
    Caps,
    Limit,
    LimitPlan,
    Refused,
    check_largest_call,
)
from aaos.domain.llm_budget import ModelCard
from aaos.errors import ConfigError

MODEL = "m"
PLENTY = 1_000_000


def book(requests: int = PLENTY, tokens: int = 10**9, concurrent: int = 10_000, **models: ModelCard) -> CallBook:
    return CallBook(LimitPlan.of(CallLimits(requests, tokens, concurrent), models))


def taken(calls: CallBook, count: int, now: float = 0.0, tokens: int = 10, model: str = MODEL) -> list[Refused | None]:
    return [calls.acquire(model, f"{now}:{number}", tokens, 100.0, now) for number in range(count)]


def refused(answer: Refused | None) -> Refused:
    assert answer is not None, "it was let through"
    return answer


# --- what is promised: never more in any minute, never more at once ----------------------------------------


@dataclass(slots=True)
class Made:
    """Calls that were let through: when, with how many tokens, until when."""

    at: list[float] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    end: list[float] = field(default_factory=list)

    def most(self, what: list[int]) -> int:
        """Returns the most of it in any window that ends with a call."""
        return max(
            (sum(w for a, w in zip(self.at, what, strict=True) if end - WINDOW_S < a <= end) for end in self.at),
            default=0,
        )

    def most_at_once(self) -> int:
        return max((sum(a <= at < e for a, e in zip(self.at, self.end, strict=True)) for at in self.at), default=0)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 9), st.integers(1, 5_000), st.floats(0.1, 40)), max_size=120),
    st.integers(1, 30),
    st.integers(5_000, 60_000),
    st.integers(1, 12),
)
def test_in_no_minute_and_at_no_instant_is_more_let_through_than_the_limits_say(
    calls: list[tuple[float, int, float]], requests: int, tokens: int, concurrent: int
) -> None:
    limited, made, now = book(requests, tokens, concurrent), Made(), 1_000.0
    under_way: list[tuple[float, str, float]] = []
    for number, (pause, size, lasts) in enumerate(calls):
        now += pause
        while under_way and under_way[0][0] <= now:
            end, token, began = heapq.heappop(under_way)
            limited.release(MODEL, token, 0, began, end)
        if limited.acquire(MODEL, str(number), size, 100, now) is None:
            heapq.heappush(under_way, (now + lasts, str(number), now))
            made.at.append(now)
            made.tokens.append(size)
            made.end.append(now + lasts)
    assert made.most([1] * len(made.at)) <= requests
    assert made.most(made.tokens) <= tokens
    assert made.most_at_once() <= concurrent


def test_a_minute_later_there_is_room_again_and_not_a_moment_before() -> None:
    calls = book(requests=3)
    assert taken(calls, 3, now=0.5) == [None] * 3
    assert refused(calls.acquire(MODEL, "x", 10, 100, 60.4)).limit is Limit.REQUESTS
    assert calls.acquire(MODEL, "y", 10, 100, 61.0) is None


def test_each_limit_refuses_by_name_and_says_what_it_allows() -> None:
    for calls, limit, allowed in (
        (book(requests=2), Limit.REQUESTS, 2),
        (book(tokens=1_000), Limit.TOKENS, 1_000),
        (book(concurrent=2), Limit.CONCURRENT, 2),
    ):
        *_, last = taken(calls, 3, tokens=400)
        assert (refused(last).limit, refused(last).allowed) == (limit, allowed)
        assert str(last).startswith(f"limit of {allowed} {limit} (all models together) reached; room in about ")


def test_a_model_with_its_own_limits_is_refused_by_them_and_the_others_go_on() -> None:
    calls = book(small=ModelCard(concurrent=1))
    assert taken(calls, 1, model="small") == [None]
    answer = refused(calls.acquire("small", "x", 10, 100, 0.0))
    assert (answer.scope, answer.allowed) == ("small", 1)
    assert "(model small)" in str(answer)
    assert calls.acquire("large", "y", 10, 100, 0.0) is None


def test_what_one_limit_refuses_is_counted_by_none() -> None:
    calls = book(requests=2, small=ModelCard(concurrent=1))
    assert [answer is None for answer in taken(calls, 5, model="small")] == [True, False, False, False, False]
    assert calls.acquire("large", "y", 10, 100, 0.0) is None


def test_a_call_larger_than_a_whole_minutes_tokens_goes_alone_instead_of_waiting_for_ever() -> None:
    calls = book(tokens=1_000)
    assert taken(calls, 1, tokens=10) == [None]
    refused(calls.acquire(MODEL, "large", 5_000, 100, 1.0))
    assert calls.acquire(MODEL, "large", 5_000, 100, 62.0) is None
    refused(calls.acquire(MODEL, "after", 10, 100, 63.0))


def test_tokens_that_were_not_used_are_free_again_and_ones_used_beyond_the_reserve_are_counted() -> None:
    calls = book(tokens=1_000)
    assert calls.acquire(MODEL, "a", 900, 100, 0.0) is None
    refused(calls.acquire(MODEL, "b", 500, 100, 1.0))
    calls.release(MODEL, "a", 600, 0.0, 2.0)
    assert calls.acquire(MODEL, "b", 500, 100, 3.0) is None
    calls.release(MODEL, "b", -200, 3.0, 4.0)
    refused(calls.acquire(MODEL, "c", 100, 100, 5.0))


def test_a_permit_given_back_twice_frees_once() -> None:
    calls = book(tokens=1_000, concurrent=1)
    assert calls.acquire(MODEL, "a", 900, 100, 0.0) is None
    for _ in range(3):
        calls.release(MODEL, "a", 300, 0.0, 1.0)
    refused(calls.acquire(MODEL, "b", 500, 100, 2.0))


def test_a_dead_workers_place_is_free_when_its_lease_ends() -> None:
    calls = book(concurrent=1)
    assert calls.acquire(MODEL, "dead", 10, 30, 0.0) is None
    refused(calls.acquire(MODEL, "x", 10, 30, 29.9))
    assert calls.acquire(MODEL, "x", 10, 30, 30.0) is None


def test_a_clock_that_was_set_back_blocks_nobody() -> None:
    calls = book(requests=2, concurrent=2)
    taken(calls, 20, now=10_000.0)
    assert calls.acquire(MODEL, "x", 10, 100, 50.0) is None
    waits = [refused(answer).wait_s for answer in taken(calls, 9, now=51.0)[1:]]
    assert max(waits) <= HORIZON_WINDOWS * WINDOW_S


# --- when to come back --------------------------------------------------------------------------------------


def test_each_refused_caller_is_told_another_instant_at_the_limits_pace() -> None:
    calls = book(requests=20)
    waits = [refused(answer).wait_s for answer in taken(calls, 120)[20:]]
    assert waits[0] == pytest.approx(61.0)
    assert all(2.99 <= later - earlier < 7.0 for earlier, later in pairwise(waits))


def test_who_waits_for_tokens_is_told_by_the_size_of_its_call() -> None:
    calls = book(tokens=10_000)
    assert calls.acquire(MODEL, "a", 10_000, 100, 0.0) is None
    first = refused(calls.acquire(MODEL, "b", 5_000, 100, 0.0)).wait_s
    second = refused(calls.acquire(MODEL, "c", 5_000, 100, 0.0)).wait_s
    third = refused(calls.acquire(MODEL, "d", 100, 100, 0.0)).wait_s
    assert first == pytest.approx(61.0)
    assert second == pytest.approx(91.0)
    assert third > 120, "both before it fill a minute"


def test_who_waits_for_a_place_is_told_by_how_long_calls_take() -> None:
    calls = book(concurrent=2)
    for number in range(40):
        assert calls.acquire(MODEL, f"done {number}", 10, 100, number * 20.0) is None
        calls.release(MODEL, f"done {number}", 0, number * 20.0, number * 20.0 + 12.0)
    waits = [refused(answer).wait_s for answer in taken(calls, 6, now=1_000.0)[2:]]
    assert waits == pytest.approx([6.0, 12.0, 18.0, 24.0], rel=0.01)


def test_ten_thousand_refusals_take_no_more_memory_than_ten_minutes_do() -> None:
    calls = book(requests=5, concurrent=1)
    waits = [refused(answer).wait_s for answer in taken(calls, 10_000)[1:]]
    assert max(waits) <= HORIZON_WINDOWS * WINDOW_S
    assert len(set(waits[-50:])) == 50, "those beyond the horizon are spread, too"
    [scope] = calls._scopes.values()
    assert len(scope.promised) <= (HORIZON_WINDOWS + 1) * CELLS


@dataclass(slots=True)
class Crowd:
    """Votes that come back when they are due: with the end of another one, as promotion does it, or with a sweep."""

    calls: CallBook
    lasts_s: float
    sweep_s: float
    chance: random.Random
    began: dict[int, float] = field(default_factory=dict)
    refusals: dict[int, int] = field(default_factory=dict)
    due: dict[int, float] = field(default_factory=dict)
    events: list[tuple[float, int, str]] = field(default_factory=list)

    def play(self, arrivals: list[float], tokens: int) -> None:
        self.due = dict(enumerate(arrivals))
        self.events = [(at, number, "comes") for number, at in enumerate(arrivals)]
        heapq.heapify(self.events)
        while self.events:
            now, number, what = heapq.heappop(self.events)
            if what == "comes":
                self._ask(number, tokens, now)
                continue
            self.calls.release(MODEL, str(number), 0, self.began[number], now)
            let_in = min((each for each, due in self.due.items() if due <= now), default=None)
            if let_in is not None:
                self._ask(let_in, tokens, now)

    def _ask(self, number: int, tokens: int, now: float) -> None:
        if self.due.get(number, now + 1) > now:
            return  # it was let in meanwhile, or put back
        answer = self.calls.acquire(MODEL, str(number), tokens, 130, now)
        if answer is None:
            del self.due[number]
            self.began[number] = now
            heapq.heappush(self.events, (now + self.lasts_s * self.chance.uniform(0.5, 1.5), number, "ends"))
            return
        self.refusals[number] = self.refusals.get(number, 0) + 1
        self.due[number] = now + answer.wait_s + self.chance.uniform(0, JITTER_S)
        swept = self.due[number] - self.due[number] % self.sweep_s + self.sweep_s
        heapq.heappush(self.events, (swept, number, "comes"))


# The same crowds each time: of those that wait for a single place about one in a hundred breaks the last bound, since
# whoever is put back comes with a sweep, in a heap with others (docs/decisions/global-limits.md).
@settings(max_examples=40, deadline=None, derandomize=True)
@example(64, 14, 1, 0.25, 5.0, 1.0, 0)
@example(137, 14, 1, 0.25, 5.0, 0.25, 0)
@given(
    st.integers(1, 150),
    st.integers(10, 200),
    st.integers(1, 16),
    st.floats(0.2, 12),
    st.sampled_from([0.5, 5.0]),
    st.floats(0, 60),
    st.integers(0, 2**32),
)
def test_every_vote_over_the_limit_is_served_in_the_end_at_the_limits_pace_and_seldom_refused(
    votes: int, requests: int, concurrent: int, lasts_s: float, sweep_s: float, spread_s: float, seed: int
) -> None:
    chance = random.Random(seed)
    crowd = Crowd(book(requests, concurrent=concurrent), lasts_s, sweep_s, chance)
    crowd.play([1_000 + chance.uniform(0, spread_s) for _ in range(votes)], tokens=1_000)
    assert len(crowd.began) == votes
    took = max(crowd.began.values()) - 1_000
    # Until calls have shown how long they take, they are taken for `FIRST_GUESS_S` long.
    at_the_pace = max(votes / requests * WINDOW_S, votes * max(lasts_s, FIRST_GUESS_S) / concurrent)
    assert took <= spread_s + 1.6 * at_the_pace + 2 * WINDOW_S
    assert sum(crowd.refusals.values()) <= 4 * votes
    # A vote that waits for many minutes may try about twice in each of them; nobody is put off again and again.
    assert max(crowd.refusals.values(), default=0) <= max(15, 5 + 2 * votes / requests)


def test_a_crowd_ten_minutes_deep_keeps_nine_tenths_of_the_pace() -> None:
    crowd = Crowd(book(requests=20, concurrent=16), 5.0, 5.0, random.Random(1))
    crowd.play([0.0] * 200, tokens=1_000)
    took = max(crowd.began.values())
    assert took <= 200 / 20 * WINDOW_S / 0.9
    assert sum(crowd.refusals.values()) / 200 < 2.5
    assert max(crowd.refusals.values()) <= 5


# --- configuration ------------------------------------------------------------------------------------------


def test_a_minute_that_cannot_hold_the_largest_call_is_refused_naming_both_keys() -> None:
    with pytest.raises(ConfigError, match=r"limits\.tokens_per_minute = 18699: .*context_budget_tokens.*max_tokens"):
        check_largest_call("sovereign.limits.tokens_per_minute", 18_699, 18_000, 700)
    check_largest_call("sovereign.limits.tokens_per_minute", 18_700, 18_000, 700)
    check_largest_call("models.x.tokens_per_minute", None, 18_000, 700)


def test_a_share_of_the_limits_is_at_least_one_of_each() -> None:
    plan = LimitPlan.of(CallLimits(120, 1_000_000, 2), {"small": ModelCard(concurrent=1), "free": ModelCard()})
    assert plan.share(0.25) == LimitPlan(Caps(30, 250_000, 1), {"small": Caps(None, None, 1)})
