"""One vote: asked once, paid once, believed as far as it deserves, and nothing unusable believed."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from market_examples import a_regime, a_signal
from support.examples import StillMarket, shipped_settings
from support.worlds import SLOT, MemoryWorld, analysis, taken

from aaos.adapters.memory import ScriptedSovereign
from aaos.adapters.memory.breakers import LocalModelBreakers
from aaos.adapters.memory.ledger import MemorySovereignLedger
from aaos.adapters.memory.limiter import LocalCallLimiter
from aaos.domain.call_limits import CallLimits
from aaos.domain.llm_budget import BUDGET_REACHED
from aaos.domain.model_request import ModelAnswer, ModelRequest
from aaos.domain.runs import ClaimedRun, Completed, NewRun
from aaos.errors import (
    BudgetReached,
    ContextTooLarge,
    FenceLost,
    InputError,
    InvariantViolation,
    SovereignInvalidResponse,
    SovereignTimeout,
)
from aaos.services.cast_vote import cast_vote
from aaos.services.questions import SovereignAccess

SETTINGS = shipped_settings()
SAID: dict[str, Any] = {"signal": "BUY", "confidence": 0.85, "risk_score": 0.25, "reasoning": "rising", "mood": "fine"}
VOTE = json.dumps(SAID)


class Untaught:
    """Implements `ports.LearnedTrust`: knows nothing, unless told a factor."""

    def __init__(self, factor: float | None = None) -> None:
        self._factor = factor
        self.asked: list[tuple[str, str, bool]] = []

    def factor(self, model: str, regime: str, fallback_used: bool = False) -> float | None:
        self.asked.append((model, regime, fallback_used))
        return self._factor


def a_vote(key: str, params: dict[str, Any]) -> NewRun:
    limit_s = SETTINGS.kind("trading_analysis").timeout_seconds
    return analysis("trading_analysis", request_key=key, params=params, timeout_s=limit_s)


class Ballot:
    """A frozen context and one vote to be cast on it."""

    def __init__(self) -> None:
        self.world = MemoryWorld()
        self.runs = self.world.runs()
        self.settings = SETTINGS
        self.trust = Untaught()
        instant = {"as_of": SLOT.isoformat(), "market_time": SLOT.isoformat()}
        candles = StillMarket().candles("BTC/USDT", SLOT, 100)
        body = {
            "symbol": "BTC/USDT",
            **instant,
            "candles": {"timeframe": "1m", "rows": candles.rows()},
            "technical": a_signal().to_dict() | instant,
            "regime": a_regime().to_dict() | instant,
        }
        self.context, _ = self.runs.insert_request(analysis("trading_context", request_key="context"))
        self.runs.complete(taken(self.runs, self.context), Completed(body), publish=False)
        params = {"context_run": self.context, "voter": "risk"}
        self.run_id, _ = self.runs.insert_request(a_vote("vote", params))

    def claim(self) -> ClaimedRun:
        return taken(self.runs, self.run_id)

    def cast(self, sovereign: ScriptedSovereign, claim: ClaimedRun | None = None) -> Completed:
        world, asking = self.world, self.settings.sovereign
        access = SovereignAccess(
            sovereign,
            MemorySovereignLedger(world.database, {}, asking.budget),
            LocalModelBreakers(asking.breaker, 130),
            LocalCallLimiter(CallLimits()),
            asking,
            sleep=lambda _: None,
        )
        return cast_vote(claim or self.claim(), world.results, access, self.trust, self.settings)

    def change(self, **sovereign: Any) -> None:
        self.settings = self.settings.model_copy(update={"sovereign": replace(self.settings.sovereign, **sovereign)})

    def outcomes(self) -> list[object]:
        return [call["outcome"] for call in self.world.ledger.calls(self.run_id)]


@pytest.fixture
def ballot() -> Ballot:
    return Ballot()


def test_a_vote_says_what_was_said_who_said_it_and_on_what(ballot: Ballot) -> None:
    sovereign = ScriptedSovereign(VOTE)
    vote = ballot.cast(sovereign)
    kept = ("signal", "confidence", "risk_score", "reasoning")
    assert {key: vote.body[key] for key in kept} == {key: SAID[key] for key in kept}
    assert (vote.body["voter"], vote.body["stance"], vote.body["model"]) == ("risk", "risk", "sovereign-32b")
    assert vote.body["regime"] == a_regime().regime
    assert (vote.body["primary_model"], vote.body["served_as"]) == ("sovereign-32b", "sovereign-32b")
    assert vote.body["extras"] == {"mood": "fine"}
    assert vote.body["content"] == VOTE
    assert vote.body["prompt_hash"] == sovereign.asked[0].prompt_hash
    [lineage] = vote.inputs
    context = ballot.world.results.result(lineage.result_id or 0)
    assert (lineage.name, lineage.content_hash) == ("context", context.content_hash)
    assert ballot.outcomes() == ["accepted"]


@pytest.mark.requirement("FM-TAW-009")
def test_a_vote_says_how_much_context_it_was_made_on(ballot: Ballot) -> None:
    body = ballot.cast(ScriptedSovereign(VOTE)).body
    assert body["context_tier"] == "full"
    assert body["tokens_saved"] == 0
    assert 0 < body["prompt_tokens"] <= SETTINGS.sovereign.context_budget_tokens


@pytest.mark.requirement("FM-TAW-009")
def test_a_smaller_budget_is_met_with_less_context_and_none_that_fits_is_an_error(ballot: Ballot) -> None:
    whole = ballot.cast(ScriptedSovereign(VOTE)).body["prompt_tokens"]
    ballot.world.pass_time(16)
    ballot.change(context_budget_tokens=whole // 2)
    sovereign = ScriptedSovereign(VOTE)
    body = ballot.cast(sovereign).body
    assert body["context_tier"] == "indicators"
    assert body["prompt_tokens"] + body["tokens_saved"] == whole
    ballot.world.pass_time(16)
    ballot.change(context_budget_tokens=256)
    with pytest.raises(ContextTooLarge):
        ballot.cast(ScriptedSovereign(VOTE))


@pytest.mark.requirement("FM-003")
@pytest.mark.requirement("FM-TAW-006")
@pytest.mark.requirement("D3")
def test_the_fallbacks_vote_counts_four_fifths_is_flagged_and_audited_with_what_it_said(ballot: Ballot) -> None:
    vote = ballot.cast(ScriptedSovereign(SovereignTimeout("no answer within 75 s"), VOTE))
    body = vote.body
    assert (body["confidence"], body["original_confidence"], body["trust_factor"]) == (0.68, 0.85, 0.8)
    assert (body["fallback_used"], body["degraded_inference"]) == (True, True)
    assert body["degradation_reason"] == "fallback_model_used"
    assert (body["model"], body["primary_model"]) == ("sovereign-7b", "sovereign-32b")
    assert "no answer within 75 s" in body["fallback_why"]
    assert [each["code"] for each in body["failed_attempts"]] == ["SovereignTimeout"]
    [entry] = vote.audit
    assert (entry.action, entry.subject) == ("vote.degraded", f"run:{ballot.run_id}")
    assert (entry.details["original_confidence"], entry.details["confidence"]) == (0.85, 0.68)


@pytest.mark.requirement("FM-003")
def test_the_primarys_vote_counts_whole_and_needs_no_audit(ballot: Ballot) -> None:
    vote = ballot.cast(ScriptedSovereign(VOTE))
    body = vote.body
    assert (body["confidence"], body["original_confidence"], body["trust_source"]) == (0.85, 0.85, "none")
    assert (body["fallback_used"], body["degraded_inference"], body["degradation_reason"]) == (False, False, None)
    assert (body["fallback_why"], body["failed_attempts"], vote.audit) == (None, [], [])


@pytest.mark.requirement("FM-003")
def test_a_gateway_that_puts_the_fallback_in_by_itself_is_distrusted_all_the_same(ballot: Ballot) -> None:
    class Gateway(ScriptedSovereign):
        def ask(self, request: ModelRequest, timeout_s: float | None = None) -> ModelAnswer:
            return replace(super().ask(request, timeout_s), model="sovereign-7b")

    body = ballot.cast(Gateway(VOTE)).body
    assert (body["confidence"], body["original_confidence"], body["fallback_used"]) == (0.68, 0.85, True)
    assert "without a word" in body["fallback_why"]
    assert (body["model"], body["primary_model"]) == ("sovereign-7b", "sovereign-32b")


def test_what_a_service_calls_the_model_is_kept_but_nothing_goes_by_it(ballot: Ballot) -> None:
    class Aliased(ScriptedSovereign):
        def ask(self, request: ModelRequest, timeout_s: float | None = None) -> ModelAnswer:
            return replace(super().ask(request, timeout_s), model="/models/qwen-32b.gguf")

    body = ballot.cast(Aliased(VOTE)).body
    assert (body["model"], body["served_as"]) == ("sovereign-32b", "/models/qwen-32b.gguf")
    assert (body["confidence"], body["fallback_used"]) == (0.85, False)


def test_a_learned_factor_is_asked_for_the_model_that_answered_in_its_regime_and_says_so(ballot: Ballot) -> None:
    ballot.trust = Untaught(0.5)
    body = ballot.cast(ScriptedSovereign(SovereignTimeout("late"), VOTE)).body
    assert ballot.trust.asked == [("sovereign-7b", a_regime().regime, True)]
    assert (body["confidence"], body["trust_factor"], body["trust_source"]) == (0.425, 0.5, "learned")
    assert body["fallback_used"] is True


def test_a_spent_budget_asks_nobody_alerts_and_says_so_in_the_words_the_decision_looks_for(ballot: Ballot) -> None:
    ballot.change(budget=replace(SETTINGS.sovereign.budget, tokens_per_decision=10))
    sovereign = ScriptedSovereign(VOTE)
    with pytest.raises(BudgetReached) as caught:
        ballot.cast(sovereign)
    assert str(caught.value).startswith(BUDGET_REACHED)
    assert sovereign.asked == []
    [alert] = ballot.world.alert_messages()
    assert alert == str(caught.value)


@pytest.mark.requirement("FM-TAW-007")
def test_an_answer_that_an_earlier_attempt_paid_for_is_not_asked_for_again(ballot: Ballot) -> None:
    sovereign = ScriptedSovereign(VOTE, json.dumps(SAID | {"signal": "SELL"}))
    first = ballot.cast(sovereign)
    ballot.world.pass_time(16)  # the worker dies before it can store its vote
    second = ballot.cast(sovereign)
    assert second == first
    assert len(sovereign.asked) == 1
    assert ballot.outcomes() == ["accepted"]


@pytest.mark.requirement("FM-TAW-007")
@pytest.mark.requirement("Q3")
def test_a_worker_overtaken_while_sovereign_thought_has_its_answer_refused(ballot: Ballot) -> None:
    stale = ballot.claim()

    def overtaken(request: ModelRequest) -> str:
        ballot.world.pass_time(16)
        ballot.cast(ScriptedSovereign(json.dumps(SAID | {"signal": "SELL"})), ballot.claim())
        return VOTE

    with pytest.raises(FenceLost):
        ballot.cast(ScriptedSovereign(overtaken), stale)
    assert ballot.outcomes() == ["abandoned", "accepted"]


@pytest.mark.requirement("FM-TAW-007")
def test_a_worker_that_was_overtaken_does_not_ask_at_all(ballot: Ballot) -> None:
    stale = ballot.claim()
    ballot.world.pass_time(16)
    ballot.claim()
    sovereign = ScriptedSovereign(VOTE)
    with pytest.raises(FenceLost, match="not asked"):
        ballot.cast(sovereign, stale)
    assert sovereign.asked == []


@pytest.mark.requirement("F14")
def test_failed_calls_are_in_the_ledger_and_the_next_attempt_asks_again(ballot: Ballot) -> None:
    late = SovereignTimeout("no answer within 120 s")
    with pytest.raises(SovereignTimeout, match=r"sovereign-32b: .*sovereign-7b: "):
        ballot.cast(ScriptedSovereign(late))
    ballot.world.pass_time(16)
    assert ballot.cast(ScriptedSovereign(VOTE)).body["signal"] == "BUY"
    assert ballot.outcomes() == ["failed", "failed", "accepted"]


@pytest.mark.requirement("D4")
@pytest.mark.parametrize("content", ["no idea", '{"signal": "BUY"}', json.dumps(SAID | {"confidence": 85})])
def test_answers_that_are_no_votes_fail_the_run(ballot: Ballot, content: str) -> None:
    sovereign = ScriptedSovereign(content)
    with pytest.raises(SovereignInvalidResponse):
        ballot.cast(sovereign)
    assert ballot.outcomes() == ["invalid"] * 4, "both models, asked and asked to repair"


def test_a_vote_without_a_context_breaks_an_invariant(ballot: Ballot) -> None:
    params = {"context_run": 4711, "voter": "risk"}
    run_id, _ = ballot.runs.insert_request(a_vote("other", params))
    with pytest.raises(InvariantViolation, match="4711 has no result"):
        ballot.cast(ScriptedSovereign("{}"), taken(ballot.runs, run_id))


def test_voters_are_asked_different_things(ballot: Ballot) -> None:
    sovereign = ScriptedSovereign(VOTE)
    for voter in SETTINGS.voters:
        spec = a_vote(voter, {"context_run": ballot.context, "voter": voter})
        run_id, _ = ballot.runs.insert_request(spec)
        ballot.cast(sovereign, taken(ballot.runs, run_id))
    assert len({request.prompt_hash for request in sovereign.asked}) == len(SETTINGS.voters)


def test_what_an_answer_took_and_what_it_answered_is_told_of_the_call_that_gave_it(ballot: Ballot) -> None:
    sovereign = ScriptedSovereign("no idea", VOTE)
    body = ballot.cast(sovereign).body
    assert body["prompt_hash"] == sovereign.asked[1].prompt_hash != sovereign.asked[0].prompt_hash
    answer = ballot.world.ledger.answered(ballot.run_id, sovereign.asked[1])
    assert answer is not None
    told = (body["tokens_in"], body["tokens_out"], body["latency_ms"])
    assert told == (answer.tokens_in, answer.tokens_out, answer.latency_ms)
    assert answer.tokens_in > 0


def test_calls_are_booked_on_the_decision_they_are_about_with_what_they_may_take(ballot: Ballot) -> None:
    body = ballot.cast(ScriptedSovereign(VOTE)).body
    with ballot.world.database.transaction() as tables:
        [call] = tables.calls.values()
    assert (call.plan.decision, call.plan.tier) == (ballot.context, body["context_tier"])
    assert (call.plan.template, call.plan.prompt_tokens) == (body["prompt_version"], body["prompt_tokens"])


def test_asking_leaves_the_run_time_to_store_the_answer(ballot: Ballot) -> None:
    sovereign = ScriptedSovereign(VOTE)
    ballot.change(fallback_model=None)
    claim = ballot.claim()
    ballot.cast(sovereign, claim)
    margin_s = min(5.0, 0.1 * claim.time_left_s)
    assert sovereign.time_limits_s == [pytest.approx(min(120.0, claim.time_left_s - margin_s), abs=0.5 * margin_s)]


def test_a_voter_whose_own_model_is_the_fallback_is_not_distrusted_for_it(ballot: Ballot) -> None:
    ballot.change(fallback_model="sovereign-32b")
    body = ballot.cast(ScriptedSovereign(VOTE)).body
    assert (body["confidence"], body["fallback_used"], body["fallback_why"]) == (0.85, False, None)


def test_the_audit_log_hears_which_factor_and_where_it_comes_from(ballot: Ballot) -> None:
    [entry] = ballot.cast(ScriptedSovereign(SovereignTimeout("late"), VOTE)).audit
    told = {key: entry.details[key] for key in ("voter", "model", "degradation_reason", "trust_factor", "trust_source")}
    assert told == {
        "voter": "risk",
        "model": "sovereign-7b",
        "degradation_reason": "fallback_model_used",
        "trust_factor": 0.8,
        "trust_source": "prior",
    }


def test_a_voter_that_was_taken_out_meanwhile_is_named(ballot: Ballot) -> None:
    others = {name: voter for name, voter in SETTINGS.voters.items() if name != "risk"}
    ballot.settings = ballot.settings.model_copy(update={"voters": others})
    sovereign = ScriptedSovereign(VOTE)
    with pytest.raises(InputError, match=r"voters\.yaml names no 'risk' any more, only trend, reversal"):
        ballot.cast(sovereign)
    assert sovereign.asked == []
