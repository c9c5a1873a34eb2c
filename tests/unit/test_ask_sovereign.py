"""One question: asked of the voter's own model, then of the fallback, within its time, and paid for once."""

from __future__ import annotations

from dataclasses import replace

import pytest
from asking_examples import BIG, CRASHED, DOWN, SETTINGS, SMALL, VOTE, Desk, Line
from support.worlds import taken

from aaos.domain.breakers import BreakerState
from aaos.domain.call_limits import CallLimits
from aaos.errors import (
    BudgetReached,
    FenceLost,
    ModelsUnavailable,
    RateLimited,
    SovereignCancelled,
    SovereignInvalidResponse,
    SovereignModelMissing,
    SovereignRequestRefused,
    SovereignTimeout,
    SovereignUnavailable,
)


def test_the_voters_own_model_is_asked_first_and_its_answer_is_the_answer() -> None:
    desk = Desk()
    voices = desk.voices([VOTE])
    said = desk.ask(voices)
    assert (said.value.signal, said.role, said.fallback_why, said.failed) == ("BUY", "primary", None, ())
    assert voices.models() == [BIG]
    assert desk.outcomes() == ["accepted"]


@pytest.mark.requirement("FM-003")
@pytest.mark.requirement("FM-TAW-010")
@pytest.mark.parametrize(
    "failure", [SovereignTimeout("no answer"), CRASHED, DOWN, SovereignModelMissing("404"), "no idea"], ids=repr
)
def test_the_fallback_answers_when_the_primary_does_not_and_the_answer_says_so(failure: Line) -> None:
    desk = Desk()
    said = desk.ask(desk.voices([failure]))
    assert (said.role, said.request.model, said.answer.model) == ("fallback", SMALL, SMALL)
    assert said.fallback_why
    assert said.failed
    assert {each.model for each in said.failed} == {BIG}
    assert desk.outcomes()[-1] == "accepted"
    assert "accepted" not in desk.outcomes()[:-1]


@pytest.mark.requirement("FM-006")
@pytest.mark.requirement("F14")
def test_each_failure_is_told_in_one_envelope() -> None:
    desk = Desk()
    said = desk.ask(desk.voices([CRASHED, SovereignTimeout("no answer within 60 s")]))
    first, second = said.failed
    assert (first.code, first.model, first.retryable, first.failure_source) == (
        "SovereignUnavailable",
        BIG,
        True,
        "sovereign_error",
    )
    assert (first.attempt, second.attempt) == (1, 2)
    assert (second.code, second.failure_source) == ("SovereignTimeout", "sovereign_timeout")
    assert first.elapsed_ms == 1000
    assert "HTTP 500" in first.message


@pytest.mark.requirement("FM-004")
def test_a_primary_that_hangs_leaves_the_fallback_its_share_of_the_time() -> None:
    desk = Desk()
    voices = desk.voices([SovereignTimeout("hung")])
    started = desk.clock()
    desk.ask(voices, time_s=100)
    assert voices.models() == [BIG, SMALL]
    assert voices.timeouts == [pytest.approx(60), pytest.approx(40)]
    assert desk.clock() - started <= 100


@pytest.mark.requirement("FM-004")
def test_no_call_is_given_more_than_the_configured_deadline_of_a_request() -> None:
    desk = Desk(replace(SETTINGS, request_timeout_s=20))
    voices = desk.voices([SovereignTimeout("hung")])
    desk.ask(voices, time_s=100)
    assert voices.timeouts == [20, 20]


def test_without_a_fallback_the_primary_has_all_the_time() -> None:
    desk = Desk(replace(SETTINGS, fallback_model=None))
    voices = desk.voices([VOTE])
    desk.ask(voices, time_s=100)
    assert voices.timeouts == [100]


def test_a_voter_of_the_fallback_model_has_no_other_fallback() -> None:
    desk = Desk(replace(SETTINGS, fallback_model=BIG))
    voices = desk.voices([SovereignTimeout("hung")])
    with pytest.raises(SovereignTimeout):
        desk.ask(voices)
    assert voices.models() == [BIG]


def test_what_is_safe_to_try_again_is_tried_again_on_the_same_model_after_a_growing_pause() -> None:
    desk = Desk(replace(SETTINGS, attempts_per_model=3, breaker=replace(SETTINGS.breaker, failures_to_open=10)))
    voices = desk.voices([CRASHED, CRASHED, VOTE])
    assert desk.ask(voices).role == "primary"
    assert voices.models() == [BIG, BIG, BIG]
    first, second = desk.clock.slept
    assert 0.5 * 0.75 <= first <= 0.5 * 1.25
    assert 1.0 * 0.75 <= second <= 1.0 * 1.25


@pytest.mark.parametrize("failure", [SovereignTimeout("late"), SovereignUnavailable("connection lost")], ids=repr)
def test_what_may_have_been_worked_on_is_not_sent_to_the_same_model_twice(failure: Line) -> None:
    desk = Desk()
    voices = desk.voices([failure])
    desk.ask(voices)
    assert voices.models() == [BIG, SMALL]


def test_a_pause_the_service_asks_for_is_kept_if_it_is_short() -> None:
    desk = Desk()
    busy = SovereignUnavailable("HTTP 429", status=429, retry_after_s=7)
    voices = desk.voices([busy, VOTE])
    assert desk.ask(voices).role == "primary"
    assert desk.clock.slept == [7]


def test_a_long_pause_is_not_waited_for_the_fallback_is_asked() -> None:
    desk = Desk()
    voices = desk.voices([SovereignUnavailable("HTTP 429", status=429, retry_after_s=11)])
    assert desk.ask(voices).role == "fallback"
    assert desk.clock.slept == []
    assert voices.models() == [BIG, SMALL]


@pytest.mark.requirement("FM-TAW-005")
def test_an_unusable_answer_is_sent_back_once_to_be_repaired() -> None:
    desk = Desk()
    voices = desk.voices(['{"signal": "BUY"}', VOTE])
    said = desk.ask(voices)
    assert (said.role, said.value.confidence) == ("primary", 0.85)
    assert voices.models() == [BIG, BIG]
    assert '{"signal": "BUY"}' in voices.asked[1].user
    assert "missing" in voices.asked[1].user
    assert desk.outcomes() == ["invalid", "accepted"]
    assert [each.code for each in said.failed] == ["SovereignInvalidResponse"]


@pytest.mark.requirement("D4")
@pytest.mark.requirement("F14")
def test_an_answer_that_stays_unusable_is_never_an_answer() -> None:
    desk = Desk()
    voices = desk.voices(["no idea"], ["none either"])
    with pytest.raises(SovereignInvalidResponse, match=r"sovereign-32b: .*sovereign-7b: "):
        desk.ask(voices)
    assert voices.models() == [BIG, BIG, SMALL, SMALL]
    assert desk.outcomes() == ["invalid"] * 4


def test_a_body_that_is_no_chat_completion_is_not_worth_a_repair() -> None:
    desk = Desk()
    voices = desk.voices([SovereignInvalidResponse("not a chat completion", raw="<html>")])
    assert desk.ask(voices).role == "fallback"
    assert voices.models() == [BIG, SMALL]
    assert desk.outcomes() == ["failed", "accepted"]


@pytest.mark.requirement("FM-005")
def test_three_failures_open_the_primarys_breaker_and_then_it_is_left_alone() -> None:
    desk = Desk()
    voices = desk.voices([SovereignTimeout("hung")])
    for _ in range(3):
        desk.ask(voices, desk.another_run())
    assert desk.state(BIG) is BreakerState.OPEN
    before = voices.models().count(BIG)
    said = desk.ask(voices, desk.another_run())
    assert voices.models().count(BIG) == before
    assert (said.role, said.fallback_why) == ("fallback", "its breaker is open")
    desk.clock.now_s += SETTINGS.breaker.open_s
    desk.ask(voices, desk.another_run())
    assert voices.models().count(BIG) == before + 1, "one trial after the pause"
    assert desk.state(SMALL) is BreakerState.CLOSED


@pytest.mark.requirement("FM-005")
def test_with_every_breaker_open_nothing_is_asked_and_the_error_says_when_to_come_back() -> None:
    desk = Desk(replace(SETTINGS, attempts_per_model=1))
    voices = desk.voices([SovereignTimeout("hung")], [SovereignTimeout("hung, too")])
    for _ in range(3):
        with pytest.raises(SovereignTimeout):
            desk.ask(voices)
    asked = len(voices.asked)
    with pytest.raises(ModelsUnavailable, match=r"sovereign-32b: its breaker is open; sovereign-7b: ") as caught:
        desk.ask(voices)
    assert len(voices.asked) == asked
    assert 0 < (caught.value.retry_after_s or 0) <= SETTINGS.breaker.open_s
    assert caught.value.costs_attempt is False


def test_a_model_that_refuses_the_request_is_not_blamed_and_the_fallback_has_its_turn() -> None:
    desk = Desk()
    refused = SovereignRequestRefused("HTTP 401: check Sovereign's API key")
    voices = desk.voices([refused])
    for _ in range(4):
        said = desk.ask(voices, desk.another_run())
        assert said.role == "fallback"
        assert "HTTP 401" in str(said.fallback_why)
    assert desk.state(BIG) is BreakerState.CLOSED


def test_a_request_that_every_model_refuses_fails_for_good_and_says_why_of_each() -> None:
    desk = Desk(limits=CallLimits(concurrent=1))
    voices = desk.voices([SovereignRequestRefused("HTTP 401")], [SovereignRequestRefused("HTTP 400")])
    with pytest.raises(SovereignRequestRefused, match=r"sovereign-32b: HTTP 401; sovereign-7b: HTTP 400"):
        desk.ask(voices)
    assert voices.models() == [BIG, SMALL]
    assert desk.free() == 1


def test_calls_that_our_side_ended_are_blamed_on_no_model_and_hold_nothing() -> None:
    desk = Desk(limits=CallLimits(concurrent=2))
    for ended in (SovereignCancelled("closed"), KeyboardInterrupt(), SystemExit()):
        for _ in range(4):
            with pytest.raises(type(ended)):
                desk.ask(desk.voices([ended]))
    assert desk.state(BIG) is BreakerState.CLOSED
    assert desk.free() == 2


@pytest.mark.requirement("FM-TAW-006")
def test_over_a_global_limit_nothing_is_asked_and_nobody_is_blamed() -> None:
    desk = Desk(limits=CallLimits(concurrent=1))
    held = desk.limiter.acquire(BIG, 10, 1000)
    voices = desk.voices([VOTE])
    with pytest.raises(RateLimited) as caught:
        desk.ask(voices)
    assert voices.asked == []
    assert caught.value.retry_after_s
    assert desk.outcomes() == []
    desk.limiter.release(held, 0)
    assert desk.ask(voices).role == "primary"
    assert desk.free() == 1, "the call's permit was given back"


def test_a_spent_budget_asks_nothing_and_holds_nothing() -> None:
    tight = replace(SETTINGS.budget, tokens_per_decision=100)
    desk = Desk(limits=CallLimits(concurrent=1))
    desk.world.ledger = type(desk.world.ledger)(desk.world.database, {}, tight)
    voices = desk.voices([VOTE])
    with pytest.raises(BudgetReached, match=r"tokens_per_decision = 100 tokens; 0 .* the decision on context \d+,"):
        desk.ask(voices)
    assert voices.asked == []
    assert desk.free() == 1


@pytest.mark.requirement("FM-TAW-007")
@pytest.mark.parametrize("big", [[VOTE], ["no idea", VOTE], [CRASHED, CRASHED], ["no idea", "no idea"]], ids=str)
def test_a_rerun_uses_what_was_paid_for_and_asks_nothing(big: list[Line]) -> None:
    desk = Desk()
    voices = desk.voices(big)
    first = desk.ask(voices)
    desk.world.pass_time(16)  # the worker dies before it can store its vote
    again = taken(desk.runs, desk.run.id)
    asked = len(voices.asked)
    second = desk.ask(voices, again)
    assert len(voices.asked) == asked
    assert (second.value, second.answer, second.role) == (first.value, first.answer, first.role)


def test_the_same_question_is_answered_from_the_ledger_only_where_that_is_allowed_and_not_for_long() -> None:
    for ttl_s, waited_s, calls in ((0.0, 0, 2), (600.0, 0, 1), (600.0, 601, 2)):
        desk = Desk(replace(SETTINGS, cache_ttl_s=ttl_s))
        voices = desk.voices([VOTE])
        first = desk.ask(voices)
        desk.world.pass_time(waited_s)
        second = desk.ask(voices, desk.another_run())
        assert len(voices.asked) == calls
        assert (first.reused, second.reused) == (False, calls == 1)
        assert second.value == first.value


@pytest.mark.requirement("FM-TAW-007")
@pytest.mark.requirement("Q3")
def test_a_worker_that_was_overtaken_asks_nothing_and_blames_nobody() -> None:
    desk = Desk(limits=CallLimits(concurrent=1))
    desk.world.pass_time(16)
    taken(desk.runs, desk.run.id)
    voices = desk.voices([VOTE])
    with pytest.raises(FenceLost):
        desk.ask(voices)
    assert voices.asked == []
    assert desk.free() == 1


def test_with_too_little_time_left_nobody_is_asked_and_blamed_for_our_hurry() -> None:
    desk = Desk(replace(SETTINGS, fallback_model=None, attempts_per_model=5))
    voices = desk.voices([CRASHED])
    voices.takes_s = 32
    with pytest.raises(SovereignUnavailable):
        desk.ask(voices, time_s=100)
    assert len(voices.asked) == 3, "a fourth would have had 3.x of 100 s"


def test_an_answer_is_kept_while_the_database_is_away() -> None:
    desk = Desk()

    def answer_and_lose_the_confirmation() -> str:
        desk.world.database.lose_confirmations = 1
        return VOTE

    assert desk.ask(desk.voices([answer_and_lose_the_confirmation])).value.signal == "BUY"
    assert desk.outcomes() == ["accepted"]
