"""Breakers under any order of events, and through an hour with a model that fails half of the time."""

from __future__ import annotations

import heapq
import random
from collections.abc import Iterator
from dataclasses import replace

import pytest
from breaker_examples import CLOSED, HALF_OPEN, LEASE_S, OPEN, Watched
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from aaos.domain.breakers import TRIAL_ANSWERS_S, Admission, BreakerRules

# --- whatever happens -------------------------------------------------------------------------------------


class AnyOrder(RuleBasedStateMachine):
    """Calls, verdicts, lost workers and time in any order; a second account of it is kept beside the breaker."""

    calls = Bundle("calls")

    @initialize(
        failures=st.integers(1, 4), calls=st.integers(2, 6), share=st.floats(0.1, 1), successes=st.integers(1, 4)
    )
    def begin(self, failures: int, calls: int, share: float, successes: int) -> None:
        self.watched = Watched(BreakerRules(failures, calls, share, 60.0, successes))
        self.opened_ms: int | None = None
        self.granted_ms: dict[str, int] = {}
        self.successes = 0

    @rule(target=calls)
    def ask(self) -> Admission | object:
        before = self.watched.breaker
        admission = self.watched.admit()
        now = self.watched.now_ms
        if before.state is OPEN:
            assert self.opened_ms is not None
            assert admission.allowed == (now - self.opened_ms >= 60_000), "open refuses for its whole time, no longer"
            assert (admission.change is not None) == admission.allowed
            if admission.allowed:
                self.granted_ms, self.successes = {}, 0
        else:
            assert admission.change is None
        if self.watched.breaker.state is HALF_OPEN and admission.allowed:
            assert admission.trial is not None
            live = [at for at in self.granted_ms.values() if now - at < LEASE_S * 1000]
            assert len(live) <= self.successes, "one trial, and one more for each success"
            self.granted_ms[admission.trial] = now
        assert admission.allowed or 0 < admission.retry_after_s <= max(60.0, TRIAL_ANSWERS_S)
        return admission if admission.allowed else multiple()

    @rule(admission=consumes(calls), ok=st.booleans())
    def verdict(self, admission: Admission, ok: bool) -> None:
        before = self.watched.breaker
        change = self.watched.report(admission, ok)
        if admission.epoch != before.epoch:
            assert (change, self.watched.breaker) == (None, before), "a late verdict changes nothing"
            return
        if before.state is HALF_OPEN and admission.trial in before.trials:
            self.granted_ms.pop(str(admission.trial))
            self.successes += ok
            assert (change is not None) == (not ok or self.successes == self.watched.rules.successes_to_close)
        if change is not None and change.after is OPEN:
            self.opened_ms = self.watched.now_ms

    @rule(admission=consumes(calls))
    def give_back(self, admission: Admission) -> None:
        before = self.watched.breaker
        self.watched.withdraw(admission)
        if admission.epoch == before.epoch and admission.trial is not None:
            self.granted_ms.pop(admission.trial, None)
        unlike_trials = replace(self.watched.breaker, trials=before.trials)
        assert unlike_trials == before, "withdrawing says nothing about the model"

    @rule(admission=consumes(calls))
    def die(self, admission: Admission) -> None:
        """A worker that is never heard of again."""

    @rule()
    def break_down_and_recover(self) -> None:
        """Quickly, so that what is older than an outage is met often."""
        while self.watched.breaker.state is CLOSED:
            self.verdict(self._granted(), ok=False)
        self.watched.wait(LEASE_S)
        while self.watched.breaker.state is not CLOSED:
            self.verdict(self._granted(), ok=True)

    def _granted(self) -> Admission:
        admission = self.ask()
        assert isinstance(admission, Admission)
        return admission

    @rule(seconds=st.sampled_from([0.001, 1.0, 30.0, 59.999, 60.0, LEASE_S, 1000.0]))
    def wait(self, seconds: float) -> None:
        self.watched.wait(seconds)

    @invariant()
    def it_is_bounded(self) -> None:
        if hasattr(self, "watched"):
            breaker, rules = self.watched.breaker, self.watched.rules
            assert len(breaker.window) <= rules.window_calls
            assert breaker.successes < rules.successes_to_close
            assert len(breaker.trials) <= breaker.successes + 1
            assert breaker.state is HALF_OPEN or not breaker.trials
            assert breaker.state is not CLOSED or breaker.failures_in_a_row < rules.failures_to_open


AnyOrder.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
test_in_any_order_what_must_never_happen_does_not = AnyOrder.TestCase


@given(verdicts=st.lists(st.booleans(), max_size=60))
def test_every_change_begins_an_epoch_and_nothing_else_does(verdicts: list[bool]) -> None:
    watched = Watched()
    for ok in verdicts:
        before = watched.breaker
        if watched.calls(ok) or watched.breaker.state is not before.state:
            assert watched.breaker.epoch > before.epoch
        else:
            assert watched.breaker.epoch == before.epoch
        watched.wait(7)


# --- an hour with a model that fails half of the time ------------------------------------------------------


def _an_hour(seed: int, failing: float, per_minute: float, latency_s: float) -> tuple[int, int, int]:
    """Returns how many calls were wanted, how many reached the model, and how often it was trusted or distrusted."""
    chance = random.Random(seed)
    watched = Watched()
    events: list[tuple[int, int, Admission | None]] = [
        (at, number, None) for number, at in _arrivals(chance, per_minute)
    ]
    wanted, reached, turns = len(events), 0, 0
    number = wanted
    heapq.heapify(events)
    while events:
        watched.now_ms, _, admission = heapq.heappop(events)
        if admission is None:
            admission = watched.admit()
            reached += admission.allowed
            if admission.allowed:
                number += 1
                done = watched.now_ms + round(chance.uniform(0.5, 1.5) * latency_s * 1000)
                heapq.heappush(events, (done, number, admission))
        else:
            change = watched.report(admission, chance.random() >= failing)
            turns += change is not None and CLOSED in (change.before, change.after)
    return wanted, reached, turns


def _arrivals(chance: random.Random, per_minute: float) -> Iterator[tuple[int, int]]:
    at, number = 0.0, 0
    while (at := at + chance.expovariate(per_minute / 60_000)) < 3_600_000:
        number += 1
        yield number, 1_000_000 + int(at)


@pytest.mark.requirement("FM-005")
def test_a_model_that_fails_half_of_the_time_is_not_hammered_and_does_not_flap() -> None:
    hours = [_an_hour(seed, failing=0.5, per_minute=60, latency_s=10) for seed in range(20)]
    wanted, reached, turns = (sum(column) for column in zip(*hours, strict=True))
    assert reached / wanted < 0.07, "one vote in twenty still goes to it"
    assert turns / (20 * 6) < 1, "less than once in ten minutes is it trusted or distrusted"
    assert max(each[2] for each in hours) / 6 <= 2


def test_a_model_that_is_down_is_asked_about_once_a_minute() -> None:
    hours = [_an_hour(seed, failing=1.0, per_minute=60, latency_s=10) for seed in range(5)]
    assert all(turns == 1 and reached <= 3 + 10 + 60 for _, reached, turns in hours), "it opens once, and stays"


def test_a_model_that_seldom_fails_is_trusted() -> None:
    wanted, reached, _ = _an_hour(1, failing=0.01, per_minute=60, latency_s=10)
    assert reached / wanted > 0.99
