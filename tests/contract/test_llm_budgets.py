"""The LLM budget: what a call may take is reserved before it is made, trued up after it, and never beyond a cap."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from decimal import Decimal

import pytest
from support.worlds import PostgresWorld, World, born, taken

from aaos.domain.error_envelope import ErrorEnvelope
from aaos.domain.llm_budget import BUDGET_REACHED, BudgetRules, Charge, ModelCard, day_scope, is_free_of_charge
from aaos.domain.model_request import ModelAnswer, ModelRequest
from aaos.domain.runs import ClaimedRun
from aaos.errors import (
    AaosError,
    BudgetReached,
    FenceLost,
    SovereignCancelled,
    SovereignInvalidResponse,
    SovereignModelMissing,
    SovereignRequestRefused,
    SovereignTimeout,
    SovereignUnavailable,
)
from aaos.ports import CallPlan, SovereignLedger

REQUEST = ModelRequest("sovereign-32b", "system", "user", max_tokens=700)
# May take 1,000 tokens: 300 of prompt, 700 of answer.
PLAN = CallPlan(REQUEST, 17, "primary", "vote", 1, "full", "vote-3", 300)
ANSWER = ModelAnswer("what the service calls it", '{"signal": "BUY"}', 250, 50, 12.5, "stop", "req-1")
PRICES = {"sovereign-32b": ModelCard(Decimal("2.5"), Decimal(10))}
UNCAPPED = BudgetRules(tokens_per_decision=None, tokens_per_day=None)
# May cost 300 × 2.50 + 700 × 10.00 a million, and did cost 250 × 2.50 + 50 × 10.00.
AT_MOST, ACTUALLY = Decimal("0.00775"), Decimal("0.001125")


def a_claim(world: World, symbol: str = "BTC/USDT") -> ClaimedRun:
    runs = world.runs()
    return taken(runs, born(runs, symbol))


def another(plan: CallPlan, number: int) -> CallPlan:
    """The same plan with another prompt, as another voter has."""
    return replace(plan, request=replace(plan.request, user=f"user {number}"))


def day(world: World) -> str:
    return day_scope(world.now().date())


def test_what_a_call_may_take_is_reserved_on_decision_and_day_and_trued_up_by_its_answer(world: World) -> None:
    ledger = world.ledger_under(UNCAPPED, PRICES)
    call = ledger.begin(a_claim(world), PLAN)
    assert world.spending() == {"decision:17": Charge(1000, AT_MOST), day(world): Charge(1000, AT_MOST)}
    ledger.settle(call, ANSWER)
    took = Charge(300, ACTUALLY)
    assert world.spending() == {"decision:17": took, day(world): took} == world.booked()


def test_a_service_that_counts_more_than_was_reserved_is_booked_with_what_it_counts(world: World) -> None:
    ledger = world.ledger_under(replace(UNCAPPED, tokens_per_day=1000), PRICES)
    claim = a_claim(world)
    ledger.settle(ledger.begin(claim, PLAN), replace(ANSWER, tokens_in=5000))
    assert world.spending()[day(world)].tokens == 5050
    with pytest.raises(BudgetReached, match="5050 are spent"):
        ledger.begin(claim, another(PLAN, 1))


@pytest.mark.parametrize(("tokens_in", "booked"), [(-5, 50), (10**15, 10**12 + 50)])
def test_a_service_that_counts_nonsense_cannot_break_the_books(world: World, tokens_in: int, booked: int) -> None:
    ledger = world.ledger_under(UNCAPPED, PRICES)
    ledger.settle(ledger.begin(a_claim(world), PLAN), replace(ANSWER, tokens_in=tokens_in))
    assert world.spending()["decision:17"].tokens == booked
    assert world.spending() == world.booked()


@pytest.mark.parametrize(
    ("error", "kept"),
    [
        (SovereignUnavailable("no connection", safe_to_retry=True), 0),
        (SovereignUnavailable("429", 429, 5.0), 0),
        (SovereignUnavailable("reset while it was answering", safe_to_retry=False), 1000),
        (SovereignRequestRefused("400"), 0),
        (SovereignModelMissing("404"), 0),
        (SovereignTimeout("120 s"), 1000),
        (SovereignCancelled("the worker stops"), 1000),
        (SovereignInvalidResponse("no chat completion"), 1000),
    ],
)
def test_a_call_that_failed_frees_its_reservation_unless_it_may_have_been_charged(
    world: World, error: AaosError, kept: int
) -> None:
    ledger = world.ledger_under(UNCAPPED, PRICES)
    call = ledger.begin(a_claim(world), PLAN)
    for _ in range(2):
        ledger.fail(call, ErrorEnvelope.of(error, "sovereign-32b", 1, 3.0), free=is_free_of_charge(error))
    assert world.spending()["decision:17"] == Charge(kept, AT_MOST if kept else Decimal(0))
    assert world.spending() == world.booked()


def test_where_nobody_says_whether_a_failed_call_was_charged_its_error_does(world: World) -> None:
    ledger = world.ledger_under(UNCAPPED, PRICES)
    claim = a_claim(world)
    for number, error in enumerate((SovereignUnavailable("503", 503), SovereignTimeout("120 s"))):
        call = ledger.begin(claim, another(PLAN, number))
        ledger.fail(call, ErrorEnvelope.of(error, "sovereign-32b", 1, 3.0))
    assert world.spending()["decision:17"].tokens == 1000


def test_an_abandoned_call_stays_booked_for_it_may_have_been_charged(world: World) -> None:
    ledger = world.ledger_under(UNCAPPED, PRICES)
    stale = a_claim(world)
    old = ledger.begin(stale, PLAN)
    world.pass_time(16)
    ledger.begin(taken(world.runs(), stale.id), PLAN)
    with pytest.raises(FenceLost):
        ledger.settle(old, ANSWER)
    assert world.spending()["decision:17"].tokens == 2000
    assert world.spending() == world.booked()


@pytest.mark.parametrize(
    ("budget", "spent", "wanted", "remedy"),
    [
        ({"tokens_per_decision": 2500}, 2000, 1000, "raise sovereign.budget.tokens_per_decision"),
        ({"tokens_per_day": 2500}, 2000, 1000, "raise sovereign.budget.tokens_per_day, or wait until 00:00 UTC"),
        ({"cost_per_decision": Decimal("0.02")}, 2 * AT_MOST, AT_MOST, "raise sovereign.budget.cost_per_decision"),
        (
            {"cost_per_day": Decimal("0.02")},
            2 * AT_MOST,
            AT_MOST,
            "raise sovereign.budget.cost_per_day, or wait until 00:00 UTC",
        ),
    ],
)
def test_a_call_over_a_cap_is_refused_by_name_with_the_figures_and_the_remedy_and_reserves_nothing(
    world: World, budget: dict[str, int | Decimal], spent: int | Decimal, wanted: int | Decimal, remedy: str
) -> None:
    ledger = world.ledger_under(replace(UNCAPPED, **budget), PRICES)
    claim = a_claim(world)
    for number in range(2):
        ledger.begin(claim, another(PLAN, number))
    before = world.spending()
    with pytest.raises(BudgetReached) as refused:
        ledger.begin(claim, another(PLAN, 2))
    (cap,) = budget
    error = refused.value
    assert str(error).startswith(f"{BUDGET_REACHED}: {cap} = ")
    assert str(error).endswith(remedy)
    assert (error.cap, error.spent, error.wanted) == (cap, spent, wanted)
    assert error.scope == (day(world) if cap.endswith("day") else "decision:17")
    assert world.spending() == before == world.booked()
    assert len(ledger.calls(claim.id)) == 2, "nothing was asked, so nothing is told"  # type: ignore[attr-defined]


def test_a_cap_is_reached_only_by_more_than_it(world: World) -> None:
    ledger = world.ledger_under(replace(UNCAPPED, tokens_per_day=2000, cost_per_day=2 * AT_MOST), PRICES)
    claim = a_claim(world)
    for number in range(2):
        ledger.begin(claim, another(PLAN, number))
    with pytest.raises(BudgetReached):
        ledger.begin(claim, another(PLAN, 2))


def test_a_decision_that_has_reached_its_cap_leaves_the_day_to_the_others(world: World) -> None:
    ledger = world.ledger_under(replace(UNCAPPED, tokens_per_decision=1500, tokens_per_day=10_000), PRICES)
    claim = a_claim(world)
    ledger.begin(claim, PLAN)
    with pytest.raises(BudgetReached):
        ledger.begin(claim, another(PLAN, 1))
    ledger.begin(claim, another(replace(PLAN, decision=18), 2))
    assert {scope: charge.tokens for scope, charge in world.spending().items() if charge.tokens} == {
        "decision:17": 1000, "decision:18": 1000, day(world): 2000
    }  # fmt: skip


def test_a_budget_that_is_reached_is_told_once_per_cap_and_scope(world: World) -> None:
    ledger = world.ledger_under(replace(UNCAPPED, tokens_per_decision=999), PRICES)
    for number, decision in enumerate((17, 17, 18, 17)):
        with pytest.raises(BudgetReached):
            ledger.begin(a_claim(world, f"A{number}/USDT"), replace(PLAN, decision=decision))
        world.pass_time(61)
    told = world.alert_messages()
    assert [message.split(";")[0] for message in told] == [
        f"{BUDGET_REACHED}: tokens_per_decision = 999 tokens",
        f"{BUDGET_REACHED}: tokens_per_decision = 999 tokens",
    ]
    assert "the decision on context 17" in told[0]
    assert "the decision on context 18" in told[1]


def test_twenty_racers_for_the_last_of_a_budget_get_exactly_what_is_left(postgres_world: PostgresWorld) -> None:
    """Three calls more fit; each racer has a run and a connection of its own, as on several workers."""
    world = postgres_world
    for attempt in range(5):
        caps = replace(UNCAPPED, tokens_per_day=(attempt + 1) * 3999)
        ledger = world.ledger_under(caps, PRICES)
        claims = [a_claim(world, f"R{attempt}-{number}/USDT") for number in range(20)]
        room = (caps.tokens_per_day or 0) - _today(world)
        won = _race(ledger, claims, lambda number, attempt=attempt: another(replace(PLAN, decision=attempt), number))
        assert won == room // 1000
        assert _today(world) <= (caps.tokens_per_day or 0)
        assert world.spending() == world.booked()


def test_racers_of_one_decision_never_overshoot_its_money(postgres_world: PostgresWorld) -> None:
    world = postgres_world
    caps = replace(UNCAPPED, cost_per_decision=5 * AT_MOST)
    ledger = world.ledger_under(caps, PRICES)
    claims = [a_claim(world, f"M{number}/USDT") for number in range(20)]
    assert _race(ledger, claims, lambda number: another(PLAN, number)) == 5
    assert world.spending()["decision:17"].cost == 5 * AT_MOST


def test_calls_that_begin_settle_and_fail_at_once_leave_books_that_add_up(postgres_world: PostgresWorld) -> None:
    """Same answers, same prompts' parts, two decisions, one day: what would deadlock if locks were taken any way."""
    world = postgres_world
    ledger = world.ledger_under(UNCAPPED, PRICES)
    claims = [a_claim(world, f"D{number}/USDT") for number in range(20)]

    def work(number: int) -> None:
        for turn in range(6):
            plan = replace(another(PLAN, turn), decision=(number + turn) % 2)
            call = ledger.begin(claims[number], plan)
            if turn % 3 == 0:
                ledger.fail(call, ErrorEnvelope.of(SovereignUnavailable("503", 503), "m", 1, 1.0), "busy")
            else:
                ledger.settle(call, ANSWER, "no vote")

    with ThreadPoolExecutor(20) as pool:
        list(pool.map(work, range(20)))
    assert world.spending() == world.booked()
    assert _today(world) == 20 * 4 * 300


def _today(world: World) -> int:
    return world.spending().get(day(world), Charge()).tokens


def _race(ledger: SovereignLedger, claims: list[ClaimedRun], plan_of: object) -> int:
    """Returns how many of the claims could begin a call, all at once."""
    gate = threading.Barrier(len(claims))

    def begin(number: int) -> bool:
        gate.wait(10)
        try:
            ledger.begin(claims[number], plan_of(number))  # type: ignore[operator]
        except BudgetReached:
            return False
        return True

    with ThreadPoolExecutor(len(claims)) as pool:
        return sum(pool.map(begin, range(len(claims))))
