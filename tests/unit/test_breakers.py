"""A model's breaker: when it opens, who may try, when it closes; and what has nothing to do with it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

import pytest
from breaker_examples import CLOSED, HALF_OPEN, LEASE_S, MODEL, OPEN, RULES, Watched
from hypothesis import given
from hypothesis import strategies as st

from aaos import errors
from aaos.domain.breakers import (
    TASK_BREAKER_WEIGHTS,
    TRIAL_ANSWERS_S,
    BreakerChange,
    BreakerRules,
    BreakerView,
    task_breaker_weight,
)
from aaos.errors import FailureSource

# --- opening ----------------------------------------------------------------------------------------------


@pytest.mark.requirement("FM-005")
def test_three_failures_in_a_row_open_it_and_say_so() -> None:
    watched = Watched()
    assert watched.calls(False, False) == []
    assert watched.calls(False) == [BreakerChange(MODEL, CLOSED, OPEN, "3 failures in a row")]
    refused = watched.admit()
    assert (refused.allowed, refused.state, refused.retry_after_s) == (False, OPEN, 60.0)


def test_a_success_in_between_starts_the_count_again() -> None:
    assert Watched().calls(False, False, True, False, False, True) == []


def test_half_of_a_full_window_opens_it_though_never_three_failed_in_a_row() -> None:
    watched = Watched()
    assert watched.calls(*[False, True] * 4, False) == [], "nine calls are not ten"
    assert watched.calls(True) == [BreakerChange(MODEL, CLOSED, OPEN, "5 of the last 10 calls failed")]


def test_the_window_forgets_what_is_older_than_its_calls() -> None:
    watched = Watched()
    assert watched.calls(*[False, True] * 4, True, True, True, True, False, True, False) == []
    assert len(watched.breaker.window) == RULES.window_calls


@given(calls=st.integers(2, 100), data=st.data())
def test_the_window_opens_at_exactly_its_share(calls: int, data: st.DataObject) -> None:
    failed = data.draw(st.integers(1, calls))
    rules = BreakerRules(window_calls=calls, window_failure_share=failed / calls)
    assert rules.window_failures == failed


def test_verdicts_on_calls_admitted_before_it_opened_are_void() -> None:
    watched = Watched()
    early = [watched.admit() for _ in range(16)]
    changes = [watched.report(each, ok=False) for each in early]
    assert [change for change in changes if change] == [BreakerChange(MODEL, CLOSED, OPEN, "3 failures in a row")]
    assert watched.view().failures_in_a_row == 3


def test_a_verdict_from_before_an_outage_says_nothing_about_the_model_after_it() -> None:
    watched = Watched()
    early = [watched.admit() for _ in range(3)]
    watched.half_open().calls(*[True] * RULES.successes_to_close)
    assert watched.breaker.state is CLOSED
    assert [watched.report(each, ok=False) for each in early] == [None, None, None]
    assert watched.view() == BreakerView(MODEL, CLOSED, 0, 0.0)


# --- half-open --------------------------------------------------------------------------------------------


@pytest.mark.requirement("FM-005")
def test_after_sixty_seconds_one_call_tries_and_all_others_are_refused() -> None:
    watched = Watched().opened()
    watched.wait(59.999)
    assert not watched.admit().allowed
    watched.wait(0.001)
    trial, *others = [watched.admit() for _ in range(100)]
    assert trial.allowed
    assert trial.change == BreakerChange(MODEL, OPEN, HALF_OPEN, "left alone for 60 s: one call may try")
    assert not any(other.allowed for other in others)
    assert {other.retry_after_s for other in others} == {TRIAL_ANSWERS_S}


def test_a_failed_trial_opens_it_again_for_the_whole_time() -> None:
    watched = Watched().half_open()
    assert watched.calls(False) == [BreakerChange(MODEL, HALF_OPEN, OPEN, "a trial failed")]
    assert watched.view() == BreakerView(MODEL, OPEN, 4, 60.0)


def test_each_success_makes_room_for_one_more_trial_and_five_close_it() -> None:
    watched = Watched().half_open()
    changes, at_once = [], []
    while watched.breaker.state is not CLOSED:
        trials = [admission for admission in (watched.admit() for _ in range(20)) if admission.allowed]
        at_once.append(len(trials))
        changes += [watched.report(trial, ok=True) for trial in trials]
    assert at_once == [1, 2, 4], "three rounds, no stampede"
    assert [change for change in changes if change] == [
        BreakerChange(MODEL, HALF_OPEN, CLOSED, "5 trials in a row succeeded")
    ]
    assert watched.view() == BreakerView(MODEL, CLOSED, 0, 0.0)
    assert watched.calls(False, False) == [], "the window and the count begin anew"


def test_a_trial_whose_worker_died_makes_room_when_its_lease_ends_and_not_before() -> None:
    watched = Watched().half_open()
    lost = watched.admit()
    watched.wait(LEASE_S - 1)
    refused = watched.admit()
    assert (refused.allowed, refused.retry_after_s) == (False, 1.0), "nothing can be awaited beyond the lease"
    watched.wait(1)
    second = watched.admit()
    assert second.allowed
    assert second.change is None, "half-open it was already"
    assert watched.report(lost, ok=False) is None, "it was replaced: its verdict is void"
    assert watched.breaker.trials.keys() == {second.trial}


def test_a_late_trial_that_nobody_replaced_still_counts() -> None:
    watched = Watched().half_open()
    trial = watched.admit()
    watched.wait(LEASE_S + 1)
    assert watched.report(trial, ok=False) is not None


def test_a_trial_that_was_never_made_leaves_room_for_another() -> None:
    watched = Watched().half_open()
    watched.withdraw(watched.admit())
    assert watched.breaker.state is HALF_OPEN
    assert watched.admit().allowed


def test_a_verdict_counts_once() -> None:
    watched = Watched().half_open()
    trial = watched.admit()
    watched.report(trial, ok=True)
    watched.report(trial, ok=True)
    assert watched.breaker.successes == 1


def test_the_same_trial_asked_for_twice_is_one_trial() -> None:
    watched = Watched().half_open()
    first = watched.admit()
    watched.asked -= 1
    again = watched.admit()
    assert (again.allowed, again.trial) == (True, first.trial)
    assert len(watched.breaker.trials) == 1


def test_other_trials_of_a_round_that_failed_are_void() -> None:
    watched = Watched().half_open()
    watched.calls(True)
    one, other = watched.admit(), watched.admit()
    assert watched.report(one, ok=False) is not None
    assert watched.report(other, ok=True) is None
    assert watched.breaker.state is OPEN


def test_what_was_refused_has_no_verdict() -> None:
    watched = Watched().opened()
    before = watched.breaker
    refused = watched.admit()
    assert watched.report(refused, ok=True) is None
    watched.withdraw(refused)
    assert watched.breaker == before


def test_a_clock_set_back_by_an_hour_keeps_nothing_shut_for_an_hour() -> None:
    watched = Watched().opened()
    watched.wait(-3600)
    assert watched.admit().allowed
    watched.wait(-3600)
    assert watched.admit().allowed, "nor a trial alive"


# --- two kinds of breakers --------------------------------------------------------------------------------


def _error_classes(root: type[errors.AaosError] = errors.AaosError) -> Iterator[type[errors.AaosError]]:
    yield root
    for child in root.__subclasses__():
        yield from _error_classes(child)


@pytest.mark.requirement("D6")
@pytest.mark.requirement("FM-TAW-010")
def test_nothing_that_goes_wrong_with_a_model_counts_in_a_task_breaker() -> None:
    of_models = [
        each
        for each in _error_classes()
        if each.__name__.startswith("Sovereign")
        or issubclass(each, errors.ModelsUnavailable | errors.ModelOutputError | errors.BudgetReached)
    ]
    assert len(of_models) >= 8
    assert {each.__name__: task_breaker_weight(each.failure_source) for each in of_models} == dict.fromkeys(
        (each.__name__ for each in of_models), 0.0
    )
    assert all(weight == 0 for source, weight in TASK_BREAKER_WEIGHTS.items() if source.startswith("sovereign"))


def test_a_task_breaker_counts_crashes_whole_and_the_network_half_and_knows_every_source() -> None:
    assert task_breaker_weight("agent_crash") == 1.0
    assert task_breaker_weight("network") == 0.5
    assert set(TASK_BREAKER_WEIGHTS) == set(get_args(FailureSource))
