"""What calls may cost: prices, reservations and caps, as arithmetic."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from aaos.adapters.memory import MemoryDatabase, MemoryRunStore, MemorySovereignLedger, MovableClock
from aaos.domain.error_envelope import ErrorEnvelope
from aaos.domain.llm_budget import (
    NOTHING,
    BudgetRules,
    Charge,
    ModelCard,
    charge_of,
    check_prices,
    cost_of,
    day_scope,
    decision_scope,
    is_free_code,
    is_free_of_charge,
    reservation,
    scopes,
)
from aaos.domain.model_request import ModelAnswer, ModelRequest
from aaos.domain.runs import ClaimedRun, NewRun, RunRules
from aaos.errors import BudgetReached, ConfigError, SovereignCancelled, SovereignTimeout, SovereignUnavailable
from aaos.ports import CallPlan
from aaos.settings import load_settings

CARD = ModelCard(Decimal("0.4"), Decimal("1.6"))
ANSWER = ModelAnswer("m", "{}", 900, 100, 1.0, "stop", "")
PRICE = st.decimals(0, 10_000, places=4)
COUNT = st.integers(0, 10**6)


def test_a_cost_is_exact_to_the_last_digit() -> None:
    assert cost_of(CARD, 1, 0) == Decimal("0.0000004")
    assert sum((cost_of(CARD, 1, 1) for _ in range(500_000)), Decimal(0)) == Decimal(1)
    assert charge_of(CARD, ANSWER) == Charge(1000, Decimal("0.00052"))


@given(PRICE, PRICE, COUNT, st.integers(16, 32_768), st.data())
def test_an_answer_within_its_limits_never_costs_more_than_was_reserved(
    price_in: Decimal, price_out: Decimal, prompt: int, most: int, data: st.DataObject
) -> None:
    card = ModelCard(price_in, price_out)
    took = charge_of(
        card, replace(ANSWER, tokens_in=data.draw(st.integers(0, prompt)), tokens_out=data.draw(st.integers(0, most)))
    )
    reserved = reservation(card, prompt, most)
    assert took.tokens <= reserved.tokens
    assert took.cost <= reserved.cost


class Books:
    """A ledger in memory under small caps, one run per call."""

    def __init__(self, caps: BudgetRules) -> None:
        self.clock = MovableClock(datetime(2026, 1, 1, 23, 59, tzinfo=UTC))
        self.database = MemoryDatabase(self.clock)
        self.runs = MemoryRunStore(self.database, RunRules(max_concurrent_tasks=1000))
        self.ledger = MemorySovereignLedger(self.database, {"m": CARD}, caps)
        self.number = 0

    def claim(self) -> ClaimedRun:
        self.number += 1
        spec = NewRun("trading_analysis", "BTC/USDT", timeout_s=3600, start_within_s=3600, request_key=f"{self.number}")
        run_id, _ = self.runs.insert_request(spec)
        claim = self.runs.claim(run_id, "worker", 1000)
        assert isinstance(claim, ClaimedRun)
        return claim

    def begin(self, decision: int, prompt_tokens: int, max_tokens: int = 100) -> int:
        request = ModelRequest("m", "system", "user", max_tokens=max_tokens)
        plan = CallPlan(request, decision, "primary", "vote", 1, "full", "vote-3", prompt_tokens)
        return self.ledger.begin(self.claim(), plan)

    def spent(self, scope: str) -> Charge:
        return self.database.tables.spending.get(scope, NOTHING)

    def booked(self) -> dict[str, Charge]:
        found: dict[str, Charge] = {}
        for call in self.database.tables.calls.values():
            for scope in scopes(call.plan.decision, call.began_at.date(), BudgetRules()):
                found[scope.name] = found.get(scope.name, NOTHING) + call.booked
        return found


STEP = st.tuples(
    st.sampled_from(["begin", "settle", "refuse", "time out", "midnight"]),
    st.integers(0, 2),  # decision, or which open call
    st.integers(0, 2000),  # prompt tokens, or tokens counted
)


@settings(max_examples=150, deadline=None)
@given(st.lists(STEP, max_size=40))
def test_whatever_happens_the_books_equal_the_calls_never_fall_below_zero_and_no_begin_passes_a_cap(
    steps: list[tuple[str, int, int]],
) -> None:
    caps = BudgetRules(tokens_per_decision=4000, tokens_per_day=6000, cost_per_day=Decimal("0.004"))
    books, open_calls = Books(caps), list[int]()
    for what, number, tokens in steps:
        if what == "midnight":
            books.clock.advance(3600)
        elif what == "begin":
            try:
                open_calls.append(books.begin(number, tokens))
            except BudgetReached:
                continue
            day = books.spent(day_scope(books.clock.now().date()))
            assert books.spent(decision_scope(number)).tokens <= 4000
            assert day.tokens <= 6000
            assert day.cost <= Decimal("0.004")
        elif open_calls:
            call = open_calls.pop(number % len(open_calls))
            if what == "settle":
                books.ledger.settle(call, replace(ANSWER, tokens_in=tokens, tokens_out=7))
            else:
                error = SovereignTimeout("late") if what == "time out" else SovereignUnavailable("refused")
                books.ledger.fail(call, ErrorEnvelope.of(error, "m", 1, 1.0))
        assert all(charge.tokens >= 0 and charge.cost >= 0 for charge in books.database.tables.spending.values())
        assert books.database.tables.spending == books.booked()


def test_a_new_day_has_a_budget_of_its_own_and_an_answer_after_midnight_counts_for_the_day_it_was_asked_on() -> None:
    books = Books(BudgetRules(tokens_per_decision=None, tokens_per_day=2000))
    late = books.begin(1, 1900)
    with pytest.raises(BudgetReached, match="2026-01-01"):
        books.begin(1, 0)
    books.clock.advance(120)
    books.begin(1, 1900)
    books.ledger.settle(late, ANSWER)
    assert (books.spent("day:2026-01-01").tokens, books.spent("day:2026-01-02").tokens) == (1000, 2000)


def test_what_may_have_been_charged_stays_reserved_even_for_errors_nobody_foresaw() -> None:
    assert is_free_code("SovereignUnavailable")
    assert not is_free_code("SovereignTimeout")
    assert not is_free_code("SomethingNew")
    assert is_free_of_charge(SovereignUnavailable("429", 429))
    assert is_free_of_charge(SovereignUnavailable("no connection", safe_to_retry=True))
    assert not is_free_of_charge(SovereignUnavailable("reset while it was answering", safe_to_retry=False))
    assert not is_free_of_charge(SovereignTimeout("late"))
    assert not is_free_of_charge(SovereignCancelled("the client was closed"))


def test_what_never_reached_the_service_was_not_charged() -> None:
    """A host that is dead for nine hours would otherwise book a day's budget with trials that were never sent."""
    assert is_free_of_charge(SovereignTimeout("no connection", sent=False))
    assert is_free_of_charge(SovereignCancelled("no place", sent=False))


def test_a_currency_is_three_capital_letters() -> None:
    for wrong in ("usd", "US$", "", "EURO", "EUR\n"):
        with pytest.raises((ValueError, ValidationError), match="three capital letters"):
            TypeAdapter(BudgetRules).validate_python({"currency": wrong})
    assert BudgetRules(currency="EUR").currency == "EUR"


@pytest.mark.parametrize("value", ["-1", "NaN", "Infinity", "10001"])
def test_a_price_is_a_number_within_reason(value: str) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(ModelCard).validate_python({"input_per_million": value})


@pytest.mark.parametrize("cap", ["cost_per_day", "cost_per_decision"])
def test_a_cap_in_money_needs_a_price_of_every_model_that_may_be_asked(cap: str) -> None:
    rules = TypeAdapter(BudgetRules).validate_python({cap: 5})
    check_prices(rules, {"m": CARD}, ["m"])
    check_prices(BudgetRules(), {}, ["m", "n"])
    with pytest.raises(ConfigError, match=rf"sovereign\.budget\.{cap} .* no price for n, o; add it there"):
        check_prices(rules, {"m": CARD, "n": ModelCard(Decimal(1))}, ["o", "m", "n"])


def test_the_fallback_needs_a_price_too_and_the_configuration_says_so_when_it_is_loaded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    load_settings()
    monkeypatch.setenv("AAOS_SOVEREIGN__BUDGET__COST_PER_DAY", "5")
    assert load_settings().sovereign.budget.cost_per_day == Decimal(5)
    monkeypatch.setenv("AAOS_SOVEREIGN__FALLBACK_MODEL", "someone-elses-70b")
    with pytest.raises(ConfigError, match=r"models\.yaml has no price for someone-elses-70b"):
        load_settings()


def test_the_shipped_prices_cover_the_shipped_models() -> None:
    shipped = yaml.safe_load((Path(__file__).parents[2] / "config" / "models.yaml").read_text(encoding="utf-8"))
    loaded = load_settings()
    asked = {voter.model for voter in loaded.voters.values()} | {loaded.sovereign.fallback_model}
    assert asked <= set(shipped) == set(loaded.models)
