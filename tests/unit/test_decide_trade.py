"""The decision as a run: from the stored context and votes, with its lineage."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from arbiter_examples import a_ruling, no_ruling
from market_examples import a_regime, a_signal
from support.examples import changed_settings

from aaos.domain.decision import Arbitration, DecisionRules
from aaos.domain.execution.rules import ExecutionRules
from aaos.domain.llm_budget import BUDGET_REACHED
from aaos.domain.results import canonical_json, content_hash
from aaos.domain.runs import ClaimedRun, Completed, Dependency, State
from aaos.domain.vetoes import NewVeto
from aaos.errors import InvariantViolation
from aaos.services.arbitrate_decision import Case
from aaos.services.decide_trade import Arbitrate, decide_again, decide_trade, decision_inputs

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
RULES = DecisionRules()
PRICE, OPENED_MS, MINUTE_MS = 100.5, 1_640_995_200_000, 60_000
RUN = ClaimedRun(
    id=99,
    kind="trading_decision",
    symbol="BTC/USDT",
    slot=NOW,
    attempt=1,
    fence=7,
    deadline=NOW,
    dependent=True,
    scheduled=True,
    params={},
    created_at=NOW,
    time_left_s=30.0,
)


def a_context(
    phase: str = "markup", volume: str = "rising", direction: str = "long", trend: str = "trending_up"
) -> Dependency:
    regime = a_regime(trend, phase, volume)
    body = {
        "symbol": "BTC/USDT",
        "as_of": NOW.isoformat(),
        "market_time": NOW.isoformat(),
        "candles": {"timeframe": "1m", "rows": [[OPENED_MS, 99, 101, 98, PRICE, 7]]},
        "technical": a_signal(direction).to_dict(),
        "regime": regime.to_dict(),
    }
    return done(1, "trading_context", body)


def done(run_id: int, kind: str, body: Any, required: bool = True) -> Dependency:
    stored = json.loads(canonical_json(body))
    return Dependency(
        run_id, kind, "BTC/USDT", required, State.COMPLETED, None, run_id + 1000, NOW, content_hash(stored), stored
    )


def a_ballot(voter: str, signal: str = "BUY", confidence: float = 0.8, **more: Any) -> Dependency:
    body = {"voter": voter, "model": "big", "signal": signal, "confidence": confidence, "risk_score": 0.3}
    run_id = 10 + sum(map(ord, voter)) % 80
    body |= {"reasoning": f"{voter} thinks so", "fallback_used": False} | more
    return done(run_id, "trading_analysis", body, required=False)


def not_cast(run_id: int, reason: str | None = "no answer") -> Dependency:
    dependency = done(run_id, "trading_analysis", {}, required=False)
    return replace(
        dependency, state=State.FAILED, reason=reason, result_id=None, analyzed_at=None, content_hash=None, body=None
    )


def nobody(case: Case) -> Arbitration:
    raise AssertionError(f"nothing is in dispute, and an arbiter is asked about {case.dispute}")


def outcome_of(*dependencies: Dependency, rules: DecisionRules = RULES, arbiter: Arbitrate = nobody) -> Completed:
    return decide_trade(RUN, dependencies, arbiter, changed_settings(decision=rules))


def decided(*dependencies: Dependency) -> dict[str, Any]:
    return dict(outcome_of(*dependencies).body)


def test_three_votes_for_a_rising_market_make_a_tradable_buy() -> None:
    body = decided(a_context(), a_ballot("trend"), a_ballot("reversal"), a_ballot("risk"))
    assert (body["signal"], body["tradable"], body["symbol"], body["timeframe"]) == ("BUY", True, "BTC/USDT", "1m")
    assert body["original_confidence"] == pytest.approx(0.8)
    assert body["confidence"] == pytest.approx(1.0)
    assert (body["task_id"], body["as_of"], body["schema_version"]) == ("99", NOW.isoformat(), 1)
    assert [vote["voter"] for vote in body["votes"]] == ["trend", "reversal", "risk"]


@pytest.mark.requirement("FM-TAW-012")
def test_buying_into_distribution_on_declining_volume_halves_the_confidence() -> None:
    votes = [a_ballot(voter, confidence=0.9) for voter in ("trend", "reversal", "risk")]
    body = decided(a_context("distribution", "declining"), *votes)
    [step] = [step for step in body["adjustments"] if step["step"] == "hidden_hand"]
    assert (step["factor"], step["before"], step["after"]) == (0.5, pytest.approx(0.9), pytest.approx(0.45))
    assert body["phase_signal_conflict"]


def test_a_vote_that_failed_is_absent_and_no_hold() -> None:
    body = decided(a_context(), a_ballot("trend"), a_ballot("risk"), not_cast(50))
    assert body["signal"] == "BUY"
    assert body["votes"][2] == {"run": 50, "absent": "no answer"}


def test_below_the_quorum_it_is_a_hold_with_the_reason() -> None:
    body = decided(a_context(), a_ballot("trend"), not_cast(50), not_cast(51, None))
    assert (body["signal"], body["tradable"]) == ("HOLD", False)
    assert "HOLD" in body["reasoning"]
    assert body["votes"][2] == {"run": 51, "absent": "failed"}


def test_without_any_vote_it_is_a_hold() -> None:
    body = decided(a_context(), not_cast(50), not_cast(51), not_cast(52))
    assert (body["signal"], body["confidence"]) == ("HOLD", 0)


@pytest.mark.requirement("D2")
def test_the_same_stored_inputs_give_the_same_bytes() -> None:
    dependencies = [a_context(), a_ballot("trend"), a_ballot("risk", "SELL", 0.7), a_ballot("reversal")]
    stored = json.loads(canonical_json(decided(*dependencies)))
    assert canonical_json(decide_again(RUN.id, stored, dependencies)) == canonical_json(stored)


@pytest.mark.requirement("D2")
def test_a_decision_is_recomputed_by_its_own_rules_and_its_own_arbitration() -> None:
    rules = DecisionRules(min_confidence=0.3, consensus_gain=0.1, arbiter_entry_band=0.01, consensus_high=1)
    dependencies = [a_context(trend="trending_down"), a_ballot("trend")]
    changed = a_ruling("modify", leverage=2.0)
    stored = json.loads(canonical_json(outcome_of(*dependencies, rules=rules, arbiter=lambda _: changed).body))
    assert stored["arbitration"]["leverage"] == 2
    assert canonical_json(decide_again(RUN.id, stored, dependencies)) == canonical_json(stored)


def test_a_decision_stored_without_its_rules_can_be_read_and_not_recomputed() -> None:
    with pytest.raises(InvariantViolation, match="stored without its rules"):
        decide_again(9, {"signal": "BUY"}, [a_context()])


@pytest.mark.requirement("D1")
def test_lineage_names_every_input_that_has_a_result_with_its_hash() -> None:
    context, trend, risk = a_context(), a_ballot("trend"), a_ballot("risk")
    outcome = outcome_of(context, trend, risk, not_cast(50))
    assert [(each.name, each.result_id, each.content_hash) for each in outcome.inputs] == [
        ("trading_context", context.result_id, context.content_hash),
        ("trend", trend.result_id, trend.content_hash),
        ("risk", risk.result_id, risk.content_hash),
    ]


@pytest.mark.requirement("D1")
def test_inputs_of_another_symbol_break_an_invariant() -> None:
    context = a_context()
    assert context.body is not None
    foreign = dict(context.body) | {"technical": a_signal(symbol="ETH/USDT").to_dict()}
    with pytest.raises(InvariantViolation, match="ETH/USDT"):
        decision_inputs(foreign, [])


def test_a_decision_without_a_context_breaks_an_invariant() -> None:
    with pytest.raises(InvariantViolation, match="no stored context"):
        decided(a_ballot("trend"))


def test_a_stored_decision_survives_its_way_through_json() -> None:
    body = decided(a_context(), a_ballot("trend"), a_ballot("risk"), a_ballot("reversal"))
    assert canonical_json(json.loads(canonical_json(body))) == canonical_json(body)


# --- distrust, review, budgets ----------------------------------------------------------------------------

FALLBACK = {
    "model": "small",
    "confidence": 0.72,
    "original_confidence": 0.9,
    "trust_factor": 0.8,
    "trust_source": "prior",
    "fallback_used": True,
}


@pytest.mark.requirement("FM-TAW-006")
@pytest.mark.requirement("FM-003")
@pytest.mark.requirement("D3")
def test_a_fallback_vote_counts_what_its_run_stored_and_the_record_shows_both_figures() -> None:
    body = decided(a_context(), a_ballot("trend", **FALLBACK))
    assert body["votes"] == [
        {"run": 71, "voter": "trend", "model": "small", "signal": "BUY", "confidence": 0.72, "original_confidence": 0.9,
         "fallback_used": True},
    ]  # fmt: skip
    assert (body["adjustments"][0]["before"], body["adjustments"][0]["after"]) == (0.9, 0.72)
    assert (body["degraded_inference"], body["degradation_reason"]) == (True, "fallback_model_used")


@pytest.mark.requirement("FM-TAW-006")
@pytest.mark.requirement("A1")
def test_a_decision_held_for_review_comes_with_its_alert_and_its_audit_entry() -> None:
    held = outcome_of(a_context(), a_ballot("trend", **FALLBACK), rules=DecisionRules(fallback_policy="review"))
    assert (held.body["tradable"], held.body["review"]["required"], held.body["review"]["expires_after_s"]) == (
        False, True, 900,
    )  # fmt: skip
    [alert], [entry] = held.alerts, held.audit
    assert alert.kind == "approval_needed"
    assert "decision 99, BUY BTC/USDT, waits for a person for 900 s" in alert.message
    assert "aaos approve 99" in alert.message
    assert (entry.action, entry.actor, entry.subject) == ("decision.held_for_review", "run:99", "run:99")
    assert entry.details["why"] == "fallback_model_used for trend (small)"


def test_a_decision_that_waits_for_nobody_alerts_nobody() -> None:
    plain = outcome_of(a_context(), a_ballot("trend", **FALLBACK))
    assert ("review" in plain.body, plain.alerts, plain.audit) == (False, (), ())


def test_an_absent_vote_is_named_by_its_runs_voter() -> None:
    gone = replace(not_cast(50, "the model timed out"), params={"voter": "risk", "context_run": 1})
    body = decided(a_context(), a_ballot("trend"), gone)
    assert body["votes"][1] == {"run": 50, "voter": "risk", "absent": "the model timed out"}
    assert "(risk: the model timed out)" in decided(a_context(), gone)["reasoning"]


def test_a_vote_that_no_budget_could_pay_for_makes_a_hold_of_two_buys() -> None:
    reason = f"{BUDGET_REACHED}: 500000 tokens per decision"
    gone = replace(not_cast(50, reason), params={"voter": "risk"})
    body = decided(a_context(), a_ballot("trend"), a_ballot("reversal"), gone)
    assert (body["signal"], body["tradable"]) == ("HOLD", False)
    assert body["reasoning"] == f"HOLD: risk: {reason}"


def test_votes_stored_before_distrust_was_are_still_decided_on() -> None:
    old = [a_context(), a_ballot("trend"), a_ballot("reversal", "SELL", 0.61), a_ballot("risk", "BUY", 0.77)]
    body = decided(*old)
    assert (body["signal"], body["original_confidence"]) == ("BUY", pytest.approx(0.785))


# --- what follows -----------------------------------------------------------------------------------------


def test_what_may_be_traded_starts_its_one_risk_assessment() -> None:
    outcome = outcome_of(a_context(), a_ballot("trend"), a_ballot("risk"))
    [started] = outcome.starts
    assert (started.kind, started.symbol, started.request_key) == ("risk_assessment", "BTC/USDT", "risk:decision:99")
    assert started.params == {"source": "decision:99"}
    assert (started.start_within_s, started.timeout_s) == (300, 60)
    granted_at = RUN.deadline - timedelta(seconds=RUN.time_left_s)
    assert started.not_after == granted_at + timedelta(seconds=300)
    assert outcome.veto is None


def test_while_execution_is_switched_off_a_decision_is_assessed_all_the_same() -> None:
    off = changed_settings(execution=ExecutionRules(enabled=False))
    outcome = decide_trade(RUN, [a_context(), a_ballot("trend")], nobody, off)
    assert (outcome.body["tradable"], [each.kind for each in outcome.starts]) == (True, ["risk_assessment"])


def refused(*dependencies: Dependency, **more: Any) -> NewVeto:
    outcome = outcome_of(*dependencies, **more)
    assert outcome.starts == ()
    assert outcome.veto is not None
    assert not outcome.body["tradable"]
    assert outcome.veto.code == outcome.body["refusal"]["code"]
    return outcome.veto


def test_a_refused_direction_is_a_veto_at_the_newest_candles_close() -> None:
    veto = refused(a_context(), a_ballot("trend", confidence=0.4))
    assert (veto.source, veto.stage, veto.code, veto.side) == ("decision:99", "decision", "CONFIDENCE", "buy")
    assert (veto.price, veto.market_ms) == (Decimal("100.5"), OPENED_MS + MINUTE_MS)
    assert veto.reason == "0.5200 is below the 0.6 that trading needs"
    assert veto.quantity is None


@pytest.mark.requirement("F14")
@pytest.mark.requirement("FM-TAW-012")
def test_each_gate_has_its_code() -> None:
    unsure = a_ballot("trend", "SELL")
    phase = a_context("accumulation", "rising", "long", "ranging")
    assert (refused(phase, unsure).code, refused(phase, unsure).side) == ("HIDDEN_HAND", "sell")
    opposed = a_context(trend="trending_down")
    assert refused(opposed, a_ballot("trend"), arbiter=lambda _: a_ruling("hold")).code == "CONFLICT"
    assert refused(opposed, a_ballot("trend"), arbiter=lambda _: no_ruling()).code == "ARBITER_FAILED"
    assert refused(a_context(), a_ballot("trend"), not_cast(50), not_cast(51)).code == "QUORUM"
    capped = not_cast(50, f"{BUDGET_REACHED}: 500000 tokens per decision")
    assert refused(a_context(), a_ballot("trend"), capped).code == "BUDGET"


@pytest.mark.parametrize(
    "ballots",
    [
        [a_ballot("trend", "HOLD")],
        [a_ballot("trend"), a_ballot("risk", "SELL")],
        [not_cast(50)],
    ],
    ids=["a majority for HOLD", "no majority", "no vote"],
)
def test_without_a_direction_nothing_was_refused(ballots: list[Dependency]) -> None:
    outcome = outcome_of(a_context(), *ballots)
    assert (outcome.veto, outcome.starts, "refusal" in outcome.body) == (None, (), False)


def test_what_waits_for_a_person_starts_nothing_and_is_no_veto_yet() -> None:
    held = outcome_of(a_context(), a_ballot("trend", **FALLBACK), rules=DecisionRules(fallback_policy="review"))
    assert (held.starts, held.veto) == ((), None)


@pytest.mark.requirement("F14")
def test_a_conflict_is_put_to_the_arbiter_with_all_that_it_needs() -> None:
    asked: list[Case] = []

    def arbiter(case: Case) -> Arbitration:
        asked.append(case)
        return a_ruling("modify", size_fraction=0.5)

    outcome = outcome_of(a_context(trend="trending_down"), a_ballot("trend"), arbiter=arbiter)
    [case] = asked
    assert (case.context_run, case.market_price, case.dispute.action) == (1, PRICE, "BUY")
    assert [vote.voter for vote in case.votes] == ["trend"]
    assert (outcome.body["tradable"], outcome.body["arbitration"]["size_fraction"]) == (True, 0.5)
    assert len(outcome.starts) == 1


@pytest.mark.requirement("FM-TAW-006")
@pytest.mark.requirement("A1")
def test_a_fallback_arbiter_leaves_an_audit_entry() -> None:
    ruled = replace(a_ruling(), model="small", fallback_used=True, asked={"fallback_why": "HTTP 500"})
    outcome = outcome_of(a_context(trend="trending_down"), a_ballot("trend", confidence=0.95), arbiter=lambda _: ruled)
    [entry] = outcome.audit
    assert (entry.action, entry.subject, entry.details["why"]) == ("arbitration.degraded", "run:99", "HTTP 500")
    assert outcome.body["degraded_inference"]


@pytest.mark.requirement("D1")
def test_a_context_of_another_symbol_breaks_an_invariant() -> None:
    with pytest.raises(InvariantViolation, match="was given a context of"):
        decide_trade(replace(RUN, symbol="ETH/USDT"), [a_context(), a_ballot("trend")], nobody, changed_settings())
