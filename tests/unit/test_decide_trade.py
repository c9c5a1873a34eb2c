"""The decision as a run: from the stored context and votes, with its lineage."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from market_examples import a_regime, a_signal

from aaos.domain.decision import DecisionRules
from aaos.domain.llm_budget import BUDGET_REACHED
from aaos.domain.results import canonical_json, content_hash
from aaos.domain.runs import ClaimedRun, Dependency, State
from aaos.errors import InvariantViolation
from aaos.services.decide_trade import decide_trade, decision_inputs

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
RULES = DecisionRules()
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


def a_context(phase: str = "markup", volume: str = "rising", direction: str = "long") -> Dependency:
    regime = a_regime("trending_up", phase, volume)
    body = {
        "symbol": "BTC/USDT",
        "as_of": NOW.isoformat(),
        "market_time": NOW.isoformat(),
        "candles": {"timeframe": "1m", "rows": []},
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


def decided(*dependencies: Dependency) -> dict[str, Any]:
    return dict(decide_trade(RUN, dependencies, RULES).body)


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
    assert canonical_json(decided(*dependencies)) == canonical_json(decided(*dependencies))


@pytest.mark.requirement("D1")
def test_lineage_names_every_input_that_has_a_result_with_its_hash() -> None:
    context, trend, risk = a_context(), a_ballot("trend"), a_ballot("risk")
    outcome = decide_trade(RUN, [context, trend, risk, not_cast(50)], RULES)
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
    held = decide_trade(RUN, [a_context(), a_ballot("trend", **FALLBACK)], DecisionRules(fallback_policy="review"))
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
    plain = decide_trade(RUN, [a_context(), a_ballot("trend", **FALLBACK)], RULES)
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


# What the release before stored for these inputs, byte for byte.
STORED_BEFORE = "2449ded56596f6b0ded8be8f84955a6bdb40d410a81b2185a4f4221280bd08c4"


@pytest.mark.requirement("D2")
def test_inputs_stored_before_distrust_was_replay_to_the_bytes_of_then() -> None:
    old = [a_context(), a_ballot("trend"), a_ballot("reversal", "SELL", 0.61), a_ballot("risk", "BUY", 0.77)]
    assert content_hash(decided(*old)) == STORED_BEFORE
