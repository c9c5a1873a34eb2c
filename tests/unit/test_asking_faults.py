"""What may go wrong while a question is asked: nothing is paid for twice, lost, or blamed on who did not do it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from asking_examples import BIG, CRASHED, SETTINGS, SMALL, VOTE, Desk, Line, Recorded, Talkative
from support.worlds import taken

from aaos.adapters.memory.breakers import LocalModelBreakers
from aaos.domain.breakers import BreakerState
from aaos.domain.call_limits import CallLimits
from aaos.domain.runs import ClaimedRun
from aaos.domain.sovereign import Vote, parse_vote
from aaos.errors import (
    AaosError,
    BudgetReached,
    ContextTooLarge,
    DatabaseUnavailable,
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


@pytest.mark.requirement("FM-TAW-007")
def test_a_repair_that_fails_is_asked_for_again_and_not_the_question_that_was_paid_for() -> None:
    desk = Desk()
    voices = desk.voices(["no idea", CRASHED, VOTE])
    said = desk.ask(voices)
    assert said.role == "primary"
    first, second, third = voices.asked
    assert first.user == "user"
    assert second == third
    assert desk.outcomes() == ["invalid", "failed", "accepted"]


@pytest.mark.requirement("FM-TAW-007")
def test_a_rerun_asks_no_model_again_for_what_it_was_paid_and_could_not_say() -> None:
    desk = Desk()
    voices = desk.voices(["no idea"], [SovereignTimeout("late"), VOTE])
    with pytest.raises(SovereignTimeout):
        desk.ask(voices)
    desk.world.pass_time(16)
    said = desk.ask(voices, taken(desk.runs, desk.run.id))
    assert voices.models() == [BIG, BIG, SMALL, SMALL]
    assert said.role == "fallback"
    assert "no JSON object" in (said.fallback_why or "")
    assert [(each.model, each.attempt) for each in said.failed] == [(BIG, 1), (BIG, 2)]
    assert desk.state(BIG) is BreakerState.CLOSED


@pytest.mark.requirement("FM-TAW-007")
def test_a_rerun_after_a_repair_that_had_to_wait_asks_for_the_repair_only() -> None:
    desk = Desk(limits=CallLimits(requests_per_minute=1))
    voices = desk.voices(["no idea", VOTE])
    with pytest.raises(RateLimited):
        desk.ask(voices)
    desk.world.pass_time(16)
    desk.clock.now_s += 130
    said = desk.ask(voices, taken(desk.runs, desk.run.id))
    assert (said.role, [each.code for each in said.failed]) == ("primary", ["SovereignInvalidResponse"])
    assert [request.user == "user" for request in voices.asked] == [True, False]


@pytest.mark.parametrize(
    "refusal", [ContextTooLarge("the prompt takes 20100 tokens"), SovereignRequestRefused("HTTP 400")], ids=repr
)
def test_a_repair_that_is_refused_as_a_request_leaves_the_fallback_its_turn(refusal: Line) -> None:
    desk = Desk()
    said = desk.ask(desk.voices(["no idea", refusal]))
    assert said.role == "fallback"
    assert desk.outcomes() == ["invalid", "failed", "accepted"]


def test_a_budget_that_is_spent_at_the_repair_ends_the_asking() -> None:
    desk = Desk(replace(SETTINGS, fallback_model=None))
    one_call = replace(SETTINGS.budget, tokens_per_decision=1000)
    desk.world.ledger = type(desk.world.ledger)(desk.world.database, {}, one_call)
    voices = desk.voices(["no idea"])
    with pytest.raises(BudgetReached):
        desk.ask(Talkative(voices))
    assert voices.models() == [BIG]


def test_what_happened_to_the_fallback_is_not_told_of_the_primary() -> None:
    desk = Desk(replace(SETTINGS, breaker=replace(SETTINGS.breaker, failures_to_open=1)))
    voices = desk.voices([SovereignTimeout("hung")], [VOTE, "no idea", VOTE])
    desk.ask(voices, desk.another_run())
    said = desk.ask(voices, desk.another_run())
    assert said.fallback_why == "its breaker is open"
    assert [each.model for each in said.failed] == [SMALL]


def test_a_share_of_the_time_in_which_no_call_fits_is_not_begun_and_said_so() -> None:
    desk = Desk()
    voices = desk.voices([VOTE])
    late = desk.ask(voices, time_s=20)  # 12 s of them are the primary's, who usually has 60
    assert late.fallback_why == "there was no time to ask it"
    assert voices.models() == [SMALL]


def test_a_vote_that_is_very_late_asks_nobody_and_so_blames_nobody_for_its_hurry() -> None:
    desk = Desk()
    voices = desk.voices([SovereignTimeout("no answer within 1 s")])
    for _ in range(5):
        with pytest.raises(SovereignTimeout, match=r"32b: there was no time to ask it; .*7b: there was no time"):
            desk.ask(voices, desk.another_run(), time_s=9)
    assert voices.asked == []
    assert desk.state(BIG) is desk.state(SMALL) is BreakerState.CLOSED


def test_the_time_that_limiter_and_ledger_take_is_the_callers_and_not_added() -> None:
    desk = Desk()
    begin = desk.world.ledger.begin

    class Slow(Recorded):
        def begin(self, run: ClaimedRun, plan: Any) -> int:
            desk.clock.now_s += 14
            return begin(run, plan)

    desk.world.ledger = Slow(desk.world.ledger, "begin")  # type: ignore[assignment]
    voices = desk.voices([SovereignTimeout("hung")], [SovereignTimeout("hung, too")])
    started = desk.clock()
    with pytest.raises(SovereignTimeout):
        desk.ask(voices, time_s=100)
    assert voices.timeouts == [pytest.approx(46), pytest.approx(26)]
    assert desk.clock() - started <= 100


def test_no_pause_is_made_after_the_last_attempt_or_when_no_call_fits_behind_it() -> None:
    desk = Desk()
    desk.ask(desk.voices([CRASHED]))
    assert len(desk.clock.slept) == 1, "between the two attempts"
    desk = Desk()
    desk.ask(desk.voices([SovereignUnavailable("HTTP 429", status=429, retry_after_s=10)]), time_s=21)
    assert desk.clock.slept == [], "12.6 s are the primary's, one is gone, ten would be, and 2.1 are the least"
    desk.ask(desk.voices([SovereignUnavailable("HTTP 429", status=429, retry_after_s=10)]), desk.another_run())
    assert desk.clock.slept == [10], "as long as retry_after_max_s, and there is time"


def test_a_trial_that_our_side_ended_proves_nothing_and_makes_room_for_another_at_once() -> None:
    desk = Desk(replace(SETTINGS, breaker=replace(SETTINGS.breaker, failures_to_open=1, successes_to_close=1)))
    desk.ask(desk.voices([SovereignTimeout("hung")]), desk.another_run())
    desk.clock.now_s += SETTINGS.breaker.open_s
    with pytest.raises(SovereignCancelled):
        desk.ask(desk.voices([SovereignCancelled("closed")]), desk.another_run())
    assert desk.state(BIG) is BreakerState.HALF_OPEN
    assert desk.ask(desk.voices([VOTE]), desk.another_run()).role == "primary"


def test_an_answer_ends_a_row_of_failures() -> None:
    desk = Desk()
    voices = desk.voices([*[SovereignTimeout("hung")] * 2, VOTE, *[SovereignTimeout("hung")] * 2, VOTE])
    for _ in range(5):
        desk.ask(voices, desk.another_run())
    assert desk.state(BIG) is BreakerState.CLOSED


def test_an_unusable_answer_that_came_late_is_not_sent_back() -> None:
    desk = Desk()
    voices = desk.voices(["no idea", VOTE])
    voices.takes_s = 58
    assert desk.ask(voices, time_s=100).role == "fallback"
    assert voices.models() == [BIG, SMALL]


def test_the_ledger_tells_a_repair_from_a_vote_and_the_fallback_from_the_primary() -> None:
    desk = Desk()
    said = desk.ask(desk.voices(["no idea"], ["none either", VOTE]))
    calls = desk.world.ledger.calls(desk.run.id)
    assert [(each["role"], each["purpose"], each["attempt"]) for each in calls] == [
        ("primary", "vote", 1),
        ("primary", "repair", 2),
        ("fallback", "vote", 3),
        ("fallback", "repair", 4),
    ]
    assert [each.elapsed_ms for each in said.failed] == [1000] * 3


def test_the_limiter_hears_how_much_was_reserved_for_how_long_and_how_much_was_used() -> None:
    desk = Desk()
    desk.limiter = acquired = Recorded(desk.limiter, "acquire")  # type: ignore[assignment]
    desk.limiter = released = Recorded(acquired, "release")  # type: ignore[assignment]
    desk.ask(desk.voices([SovereignTimeout("hung")]), time_s=100)
    assert [args for args, _ in acquired.calls] == [(BIG, 750, pytest.approx(70)), (SMALL, 750, pytest.approx(50))]
    assert [args[1] for args, _ in released.calls] == [None, 120], "all of it, as far as anyone knows; what was counted"


def test_what_was_reserved_for_a_call_that_was_never_made_is_free_again() -> None:
    desk = Desk()
    desk.world.pass_time(16)
    taken(desk.runs, desk.run.id)
    desk.limiter = released = Recorded(desk.limiter, "release")  # type: ignore[assignment]
    with pytest.raises(FenceLost):
        desk.ask(desk.voices([VOTE]))
    assert [args[1] for args, _ in released.calls] == [0]


@pytest.mark.parametrize(
    ("failure", "free"),
    [
        (CRASHED, True),
        (SovereignUnavailable("connection lost", safe_to_retry=False), False),
        (SovereignTimeout("late"), False),
    ],
    ids=repr,
)
def test_a_call_that_may_have_been_charged_stays_booked(failure: AaosError, free: bool) -> None:
    desk = Desk(replace(SETTINGS, attempts_per_model=1))
    desk.world.ledger = failed = Recorded(desk.world.ledger, "fail")  # type: ignore[assignment]
    desk.ask(desk.voices([failure]))
    [(_, kwargs)] = failed.calls
    assert kwargs["free"] is free


def test_what_came_instead_of_an_answer_is_kept() -> None:
    desk = Desk(replace(SETTINGS, fallback_model=None))
    desk.world.ledger = failed = Recorded(desk.world.ledger, "fail")  # type: ignore[assignment]
    with pytest.raises(SovereignInvalidResponse) as caught:
        desk.ask(desk.voices([SovereignInvalidResponse("no chat completion", raw="<html>")]))
    [(args, _)] = failed.calls
    assert args[2] == "<html>"
    assert caught.value.raw == "<html>"


def test_a_failure_is_kept_while_the_database_is_away() -> None:
    desk = Desk()

    def late_and_lose_the_confirmation() -> str:
        desk.world.database.lose_confirmations = 1
        raise CRASHED

    assert desk.ask(desk.voices([late_and_lose_the_confirmation, VOTE])).role == "primary"
    assert desk.outcomes() == ["failed", "accepted"]


def test_an_unusable_answer_is_kept_while_the_database_is_away() -> None:
    desk = Desk()

    def ramble_and_lose_the_confirmation() -> str:
        desk.world.database.lose_confirmations = 1
        return "no idea"

    assert desk.ask(desk.voices([ramble_and_lose_the_confirmation, VOTE])).role == "primary"
    assert desk.outcomes() == ["invalid", "accepted"]


def test_a_reused_answer_that_stricter_rules_refuse_is_asked_for_anew() -> None:
    desk = Desk(replace(SETTINGS, cache_ttl_s=600))
    desk.ask(desk.voices([VOTE]))
    voices = desk.voices([VOTE])
    strict = [True]

    def stricter(content: str) -> Vote:
        if strict:
            strict.clear()
            raise SovereignInvalidResponse("not by the new rules", raw=content)
        return parse_vote(content)

    assert desk.ask(voices, desk.another_run(), read=stricter).reused is False
    assert voices.models() == [BIG]


@pytest.mark.requirement("FM-006")
def test_with_no_time_at_all_the_error_says_so_and_the_run_may_come_back() -> None:
    desk = Desk()
    voices = desk.voices([VOTE])
    with pytest.raises(SovereignTimeout, match="there was no time to ask it"):
        desk.ask(voices, time_s=-1)
    assert voices.asked == []


@pytest.mark.requirement("FM-006")
def test_a_run_comes_back_when_the_first_breaker_may_let_it_in() -> None:
    rules = replace(SETTINGS.breaker, failures_to_open=1)
    desk = Desk(replace(SETTINGS, attempts_per_model=1, breaker=rules))
    late = SovereignTimeout("hung")
    desk.ask(desk.voices([late]), desk.another_run())
    assert desk.state(BIG) is BreakerState.OPEN
    desk.clock.now_s += 20
    with pytest.raises(SovereignUnavailable, match=r"sovereign-7b: no idea.*sovereign-32b: its breaker") as caught:
        desk.ask(desk.voices([VOTE], [SovereignUnavailable("no idea", status=500)]), desk.another_run())
    assert 0 < (caught.value.retry_after_s or 0) < 40
    with pytest.raises(ModelsUnavailable) as refused:
        desk.ask(desk.voices([VOTE]), desk.another_run())
    assert 0 < (refused.value.retry_after_s or 0) < 40, "the primary's, which ends before the fallback's"


def test_an_unusable_answer_is_not_the_end_while_the_other_model_is_only_left_alone() -> None:
    desk = Desk(replace(SETTINGS, breaker=replace(SETTINGS.breaker, failures_to_open=1)))
    with pytest.raises(SovereignTimeout):
        desk.ask(desk.voices([SovereignTimeout("hung")], [SovereignTimeout("hung")]), desk.another_run())
    desk.clock.now_s += SETTINGS.breaker.open_s - 30
    desk.breakers = LocalModelBreakers(desk.settings.breaker, 130, desk.clock)
    desk.breakers.start_over({SMALL: 30})
    with pytest.raises(SovereignUnavailable) as caught:
        desk.ask(desk.voices(["no idea"]), desk.another_run())
    assert caught.value.retry_after_s == pytest.approx(28, abs=3)


@pytest.mark.requirement("FM-006")
def test_a_rerun_that_may_ask_nobody_costs_no_attempt_whatever_an_earlier_one_was_told() -> None:
    desk = Desk(replace(SETTINGS, breaker=replace(SETTINGS.breaker, failures_to_open=1)))
    voices = desk.voices(["no idea"], [SovereignTimeout("hung"), VOTE])
    with pytest.raises(SovereignTimeout):
        desk.ask(voices)
    desk.world.pass_time(16)
    with pytest.raises(ModelsUnavailable, match=r"32b: .*no JSON.*sovereign-7b: its breaker is open") as caught:
        desk.ask(voices, taken(desk.runs, desk.run.id))
    assert 0 < caught.value.retry_after_s <= SETTINGS.breaker.open_s
    assert voices.models() == [BIG, BIG, SMALL], "nothing was asked"


def test_a_model_that_nobody_serves_is_named_as_such_when_there_is_no_other() -> None:
    desk = Desk()
    missing = SovereignModelMissing("HTTP 404")
    with pytest.raises(SovereignModelMissing, match=r"sovereign-32b: HTTP 404; sovereign-7b: HTTP 404"):
        desk.ask(desk.voices([missing], [missing]))


def test_the_final_error_has_room_for_every_model_however_much_one_of_them_said() -> None:
    desk = Desk()
    page = SovereignUnavailable(f"HTTP 500: {'<p>' * 200}", status=500)
    with pytest.raises(SovereignUnavailable) as caught:
        desk.ask(desk.voices([page], [SovereignUnavailable("HTTP 503: warming up", status=503)]))
    assert len(str(caught.value)) <= 500
    assert "sovereign-7b: HTTP 503: warming up" in str(caught.value)


def test_nothing_is_tried_on_after_the_runs_own_time() -> None:
    desk = Desk()

    def late_and_lose_the_confirmation() -> str:
        desk.world.database.lose_confirmations = 1
        desk.clock.now_s += desk.run.time_left_s
        return VOTE

    with pytest.raises(DatabaseUnavailable):
        desk.ask(desk.voices([late_and_lose_the_confirmation]))
