"""The Sovereign ledger: one charge per accepted answer, every call told; and alerts, told once."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
from sqlalchemy import text
from support.workers import wait_until
from support.worlds import PostgresWorld, World, born, taken

from aaos.domain.error_envelope import ErrorEnvelope
from aaos.domain.model_request import AnswerFormat, ModelAnswer, ModelRequest
from aaos.domain.runs import ClaimedRun, Completed
from aaos.errors import FenceLost, InvariantViolation, SovereignTimeout, SovereignUnavailable
from aaos.ports import CallPlan

REQUEST = ModelRequest("sovereign-32b", "system", "user", answer_format=AnswerFormat("vote", {"type": "object"}))
OTHER = replace(REQUEST, user="another user")
PLAN = CallPlan(REQUEST, 17, "primary", "vote", 1, "full", "vote-3", 100)
ANSWER = ModelAnswer("sovereign-32b", '{"signal": "BUY"}', 100, 20, 12.5, "stop", "req-1")
TIMED_OUT = ErrorEnvelope.of(SovereignTimeout("no answer within 120 s"), "sovereign-32b", 1, 120_000.0)
REFUSED = ErrorEnvelope.of(SovereignUnavailable("429 too many requests", 429), "sovereign-32b", 1, 3.0)
WAITING_FOR_A_LOCK = text("""
    SELECT count(*) AS count FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
""")


def outcomes(world: World, run_id: int) -> list[str]:
    return [call["outcome"] for call in world.ledger.calls(run_id)]  # type: ignore[attr-defined]


def waiting_for_a_lock(world: PostgresWorld) -> int:
    [row] = world.database.rows(WAITING_FOR_A_LOCK)
    return int(row.count)


def a_claim(world: World, symbol: str = "BTC/USDT") -> ClaimedRun:
    runs = world.runs()
    return taken(runs, born(runs, symbol))


@pytest.mark.requirement("FM-TAW-007")
def test_an_answer_that_was_paid_for_is_found_again_by_its_prompt(world: World) -> None:
    claim = a_claim(world)
    assert world.ledger.answered(claim.id, REQUEST) is None
    call = world.ledger.begin(claim, PLAN)
    assert world.ledger.answered(claim.id, REQUEST) is None
    world.ledger.settle(call, ANSWER)
    assert world.ledger.answered(claim.id, REQUEST) == ANSWER
    for other in (OTHER, replace(REQUEST, model="sovereign-7b"), replace(REQUEST, temperature=0.5)):
        assert world.ledger.answered(claim.id, other) is None
    assert world.ledger.answered(claim.id + 1, REQUEST) is None
    assert outcomes(world, claim.id) == ["accepted"]


@pytest.mark.requirement("FM-TAW-007")
def test_an_unusable_answer_is_kept_with_its_fault_and_found_again_too(world: World) -> None:
    """Whoever comes back reads it again, and need not pay for the same nonsense twice."""
    claim = a_claim(world)
    world.ledger.settle(world.ledger.begin(claim, PLAN), ANSWER, "confidence is missing")
    repair = replace(PLAN, request=OTHER, purpose="repair", attempt=2)
    world.ledger.settle(world.ledger.begin(claim, repair), replace(ANSWER, content="{}"))
    assert world.ledger.answered(claim.id, REQUEST) == ANSWER
    assert outcomes(world, claim.id) == ["invalid", "accepted"]
    told = world.ledger.calls(claim.id)  # type: ignore[attr-defined]
    assert [(call["purpose"], call["attempt"], call["fault"]) for call in told] == [
        ("vote", 1, "confidence is missing"), ("repair", 2, None)
    ]  # fmt: skip


@pytest.mark.requirement("FM-TAW-007")
@pytest.mark.requirement("Q3")
def test_a_call_of_a_worker_that_was_overtaken_is_abandoned_and_its_answer_not_accepted(world: World) -> None:
    stale = a_claim(world)
    old_call = world.ledger.begin(stale, PLAN)
    world.pass_time(16)
    fresh = taken(world.runs(), stale.id)
    new_call = world.ledger.begin(fresh, PLAN)
    with pytest.raises(FenceLost):
        world.ledger.settle(old_call, ANSWER)
    world.ledger.settle(new_call, ANSWER)
    assert outcomes(world, stale.id) == ["abandoned", "accepted"]


@pytest.mark.requirement("FM-TAW-007")
@pytest.mark.requirement("Q3")
def test_an_answer_that_comes_after_the_run_was_taken_over_does_not_stand_in_its_successors_way(world: World) -> None:
    """The successor has looked for a paid answer and found none; it may pay, and its own answer must be taken."""
    stale = a_claim(world)
    old_call = world.ledger.begin(stale, PLAN)
    world.pass_time(16)
    fresh = taken(world.runs(), stale.id)
    assert world.ledger.answered(fresh.id, REQUEST) is None
    with pytest.raises(FenceLost):
        world.ledger.settle(old_call, ANSWER)
    world.ledger.settle(world.ledger.begin(fresh, PLAN), ANSWER)
    assert outcomes(world, stale.id) == ["abandoned", "accepted"]


@pytest.mark.requirement("FM-TAW-007")
@pytest.mark.requirement("Q3")
def test_a_run_cannot_be_taken_over_while_its_call_is_being_begun(postgres_world: PostgresWorld) -> None:
    """Else two attempts would both ask, and the live one's answer would be the second one, which is refused."""
    world, began, fresh = postgres_world, list[int](), list[ClaimedRun]()
    stale = a_claim(world)
    world.pass_time(16)
    asking = threading.Thread(target=lambda: began.append(world.ledger.begin(stale, PLAN)))
    taking_over = threading.Thread(target=lambda: fresh.append(taken(world.runs(), stale.id)))
    world.session.execute("INSERT INTO llm_spending (scope) VALUES ('decision:17')")
    with world.session.transaction():
        world.session.execute("SELECT FROM llm_spending FOR UPDATE")
        asking.start()
        wait_until(lambda: waiting_for_a_lock(world) == 1, "the stale one begins its call")
        taking_over.start()
        wait_until(lambda: waiting_for_a_lock(world) == 2, "its successor waits for that", 5)
    asking.join(10)
    taking_over.join(10)
    world.ledger.settle(world.ledger.begin(fresh[0], PLAN), ANSWER)
    with pytest.raises(FenceLost):
        world.ledger.settle(began[0], ANSWER)
    assert outcomes(world, stale.id) == ["abandoned", "accepted"]


@pytest.mark.requirement("FM-TAW-007")
@pytest.mark.requirement("Q3")
def test_whoever_was_overtaken_may_not_even_ask(world: World) -> None:
    stale = a_claim(world)
    world.pass_time(16)
    taken(world.runs(), stale.id)
    with pytest.raises(FenceLost, match="not asked"):
        world.ledger.begin(stale, PLAN)
    assert world.ledger.reuse(stale, PLAN, 1000) is None
    assert outcomes(world, stale.id) == []
    assert world.spending() == {}


@pytest.mark.requirement("FM-TAW-007")
def test_a_run_that_has_ended_may_not_ask_any_more(world: World) -> None:
    claim = a_claim(world)
    world.runs().complete(claim, Completed({"signal": "HOLD"}), True)
    with pytest.raises(FenceLost, match="not asked"):
        world.ledger.begin(claim, PLAN)
    assert world.spending() == {}


@pytest.mark.requirement("FM-TAW-007")
def test_a_second_answer_to_the_same_prompt_is_refused(world: World) -> None:
    claim = a_claim(world)
    first, second = world.ledger.begin(claim, PLAN), world.ledger.begin(claim, PLAN)
    world.ledger.settle(first, ANSWER)
    with pytest.raises(InvariantViolation):
        world.ledger.settle(second, ANSWER)
    with pytest.raises(InvariantViolation):
        world.ledger.settle(second, ANSWER, "no vote")
    assert outcomes(world, claim.id) == ["accepted", "pending"]


@pytest.mark.requirement("FM-TAW-007")
def test_a_run_has_one_accepted_answer_whatever_was_asked(world: World) -> None:
    claim = a_claim(world)
    first = world.ledger.begin(claim, PLAN)
    second = world.ledger.begin(claim, replace(PLAN, request=OTHER))
    world.ledger.settle(first, ANSWER)
    with pytest.raises(InvariantViolation):
        world.ledger.settle(second, ANSWER)
    world.ledger.settle(second, ANSWER, "no vote")
    assert outcomes(world, claim.id) == ["accepted", "invalid"]


@pytest.mark.requirement("FM-TAW-007")
def test_an_answer_accepted_for_an_attempt_that_died_gives_way_when_its_successor_asks_something_else(
    world: World,
) -> None:
    """The configuration was changed in between: what was paid for is not found, and what is asked now counts."""
    stale = a_claim(world)
    world.ledger.settle(world.ledger.begin(stale, PLAN), ANSWER)
    world.pass_time(16)
    fresh = taken(world.runs(), stale.id)
    call = world.ledger.begin(fresh, replace(PLAN, request=OTHER))
    world.ledger.settle(call, ANSWER)
    assert outcomes(world, stale.id) == ["abandoned", "accepted"]


@pytest.mark.requirement("FM-TAW-007")
def test_an_answer_settled_again_after_a_lost_confirmation_is_booked_once(world: World) -> None:
    claim = a_claim(world)
    call = world.ledger.begin(claim, PLAN)
    for _ in range(3):
        world.ledger.settle(call, ANSWER)
    assert outcomes(world, claim.id) == ["accepted"]
    assert {charge.tokens for charge in world.spending().values()} == {120}
    with pytest.raises(FenceLost):
        world.ledger.settle(call, replace(ANSWER, content="another answer"))


def test_a_failed_call_says_so_and_leaves_no_answer(world: World) -> None:
    claim = a_claim(world)
    call = world.ledger.begin(claim, PLAN)
    world.ledger.fail(call, TIMED_OUT, "half an ans\0wer \ud800")
    world.ledger.fail(call, REFUSED)
    assert outcomes(world, claim.id) == ["failed"]
    (told,) = world.ledger.calls(claim.id)  # type: ignore[attr-defined]
    assert (told["error_code"], told["latency_ms"]) == ("SovereignTimeout", 120_000.0)
    assert world.ledger.answered(claim.id, REQUEST) is None
    with pytest.raises(FenceLost):
        world.ledger.settle(call, ANSWER)


def test_each_run_that_reuses_an_answer_has_a_row_of_its_own_without_any_charge(world: World) -> None:
    first, second = a_claim(world), a_claim(world, "ETH/USDT")
    assert world.ledger.reuse(second, PLAN, 1000) is None
    source = world.ledger.begin(first, PLAN)
    assert world.ledger.reuse(second, PLAN, 1000) is None, "not answered yet"
    world.ledger.settle(source, ANSWER)
    spent = world.spending()
    free = replace(ANSWER, tokens_in=0, tokens_out=0, latency_ms=0.0)
    assert world.ledger.reuse(second, replace(PLAN, decision=18), 1000) == free
    assert world.ledger.answered(second.id, REQUEST) == free, "found again after a crash"
    (told,) = world.ledger.calls(second.id)  # type: ignore[attr-defined]
    assert (told["outcome"], told["cached_from"], told["tokens_in"]) == ("accepted", source, 0)
    assert world.spending() == spent


def test_only_accepted_answers_to_exactly_the_same_question_are_reused_and_only_while_young(world: World) -> None:
    first, second = a_claim(world), a_claim(world, "ETH/USDT")
    world.ledger.settle(world.ledger.begin(first, PLAN), ANSWER, "not a vote")
    assert world.ledger.reuse(second, PLAN, 1000) is None, "unusable answers are not"
    accepted = replace(PLAN, request=OTHER)
    world.ledger.settle(world.ledger.begin(first, accepted), ANSWER)
    for change in ({"model": "sovereign-7b"}, {"temperature": 0.1}, {"max_tokens": 701}, {"seed": 1}, {"system": "x"}):
        assert world.ledger.reuse(second, replace(PLAN, request=replace(OTHER, **change)), 1000) is None, change
    world.pass_time(10)
    assert world.ledger.reuse(second, accepted, 9) is None
    assert world.ledger.reuse(second, accepted, 11) is not None
    world.pass_time(10)
    third = a_claim(world, "SOL/USDT")
    assert world.ledger.reuse(third, accepted, 11) is None, "the reuse made it no younger"


def test_looking_for_an_answer_to_reuse_and_finding_none_changes_nothing(world: World) -> None:
    claim = a_claim(world)
    world.ledger.settle(world.ledger.begin(claim, PLAN), ANSWER)
    assert world.ledger.reuse(claim, replace(PLAN, request=OTHER), 1000) is None
    assert outcomes(world, claim.id) == ["accepted"]


def test_a_reused_answer_that_turns_out_unusable_does_not_keep_the_run_from_asking(world: World) -> None:
    first, second = a_claim(world), a_claim(world, "ETH/USDT")
    world.ledger.settle(world.ledger.begin(first, PLAN), ANSWER)
    assert world.ledger.reuse(second, PLAN, 1000) is not None
    better = replace(ANSWER, content='{"signal": "HOLD"}')
    world.ledger.settle(world.ledger.begin(second, PLAN), better)
    assert outcomes(world, second.id) == ["abandoned", "accepted"]
    assert world.ledger.answered(second.id, REQUEST) == better


def test_the_same_alert_within_a_minute_is_stored_once(world: World) -> None:
    for _ in range(3):
        world.alerts.raise_alert("dead_letter", "run 1 crashed", {"run": 1})
    world.alerts.raise_alert("dead_letter", "run 2 crashed", {"run": 2})
    world.alerts.raise_alert("run_left_behind", "run 1 crashed", {})
    assert world.alert_messages() == ["run 1 crashed", "run 2 crashed", "run 1 crashed"]
    world.pass_time(61)
    world.alerts.raise_alert("dead_letter", "run 1 crashed", {"run": 1})
    assert len(world.alert_messages()) == 4
