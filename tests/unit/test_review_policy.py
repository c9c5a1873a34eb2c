"""Decisions on distrusted votes: what counts once, who must look at it, and what no budget could pay for."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from market_examples import a_regime, a_signal, a_vote

from aaos.domain.decision import (
    AbsentVote,
    CastVote,
    Decision,
    DecisionInputs,
    DecisionRules,
    decide,
    distrusted,
    scaled,
)
from aaos.domain.llm_budget import BUDGET_REACHED
from aaos.domain.results import canonical_json
from aaos.errors import InvariantViolation

RULES = DecisionRules()
REVIEW = DecisionRules(fallback_policy="review", review_expires_s=600)
SHARES = st.floats(0, 1)


def told(
    said: float, voter: str, *, fallback: bool = False, learned: float | None = None, signal: str = "BUY"
) -> CastVote:
    """A vote as it is stored now: distrust applied, the original kept."""
    trust = distrusted(said, fallback, RULES, learned)
    return a_vote(
        signal,
        trust.confidence,
        voter,
        model="small" if fallback else "big",
        fallback_used=fallback,
        original_confidence=said,
        trust_factor=trust.factor,
        trust_source=trust.source,
    )


def inputs_of(*votes: CastVote, absent: tuple[AbsentVote, ...] = (), direction: str = "neutral") -> DecisionInputs:
    everybody = max(1, len(votes) + len(absent))
    return DecisionInputs("BTC/USDT", a_signal(direction), a_regime(), votes, absent, everybody)


@pytest.mark.requirement("FM-TAW-006")
@pytest.mark.requirement("D3")
def test_what_was_multiplied_at_the_vote_is_not_multiplied_again() -> None:
    outcome = decide(inputs_of(told(0.85, "a", fallback=True)), RULES)
    step = outcome.adjustments[0]
    assert (step.step, step.before, step.factor, step.after) == ("fallback_distrust", 0.85, 0.8, 0.68)
    assert step.why == "fallback_model_used for a: × 0.8 on each such vote"
    assert (outcome.original_confidence, outcome.degraded_inference) == (0.85, True)


@pytest.mark.requirement("D3")
@given(st.lists(st.decimals(0, 1, places=3).map(float), min_size=1, max_size=6))
def test_when_all_that_agree_are_fallbacks_exactly_08_of_their_mean_is_left(said: list[float]) -> None:
    votes = [told(each, f"v{i}", fallback=True) for i, each in enumerate(said)]
    step = decide(inputs_of(*votes), RULES).adjustments[0]
    assert (step.factor, step.after) == (0.8, scaled(step.before, 0.8))


@pytest.mark.requirement("D3")
def test_of_several_votes_only_the_fallbacks_counts_less() -> None:
    outcome = decide(inputs_of(told(0.9, "a"), told(0.5, "b", fallback=True)), RULES)
    step = outcome.adjustments[0]
    assert (step.before, step.after) == (pytest.approx(0.7), pytest.approx((0.9 + 0.4) / 2))


def test_what_was_learned_of_models_is_a_step_of_its_own() -> None:
    votes = (told(0.9, "a", learned=0.5), told(0.8, "b", fallback=True, learned=0.7), told(0.7, "c"))
    fallback, learned = decide(inputs_of(*votes), RULES).adjustments[:2]
    assert (fallback.step, fallback.why) == (
        "fallback_distrust", "fallback_model_used for b: × 0.7 (learned) on each such vote",
    )  # fmt: skip
    assert (learned.step, learned.why) == ("learned_trust", "outcomes taught for a: × 0.5 (learned) on each such vote")
    assert (learned.before, learned.after) == (fallback.after, pytest.approx((0.45 + 0.56 + 0.7) / 3))


def test_different_factors_are_told_voter_by_voter() -> None:
    votes = (told(0.9, "a", fallback=True), told(0.8, "b", fallback=True, learned=0.7))
    [step] = [each for each in decide(inputs_of(*votes), RULES).adjustments if each.step == "fallback_distrust"]
    assert step.why == "fallback_model_used for a, b: a × 0.8, b × 0.7 (learned)"
    assert step.after == pytest.approx((0.72 + 0.56) / 2)


@pytest.mark.requirement("D3")
@pytest.mark.parametrize(
    "forged",
    [
        {"confidence": 0.85},
        {"confidence": 0.69},
        {"trust_factor": None},
        {"trust_factor": 1.25},
        {"original_confidence": 1.0},
        {"trust_factor": float("nan")},
    ],
)
def test_a_vote_whose_confidence_is_not_what_its_factor_makes_of_it_cannot_be_cast(forged: dict[str, Any]) -> None:
    with pytest.raises(InvariantViolation, match="is not its original"):
        replace(told(0.85, "a", fallback=True), **forged)


@pytest.mark.requirement("D2")
def test_a_vote_stored_before_distrust_was_is_weighed_as_it_was_then() -> None:
    old = {"voter": "a", "model": "big", "signal": "BUY", "confidence": 0.85, "risk_score": 0.3, "reasoning": "so"}
    vote = CastVote.from_dict(old | {"fallback_used": True})
    assert vote.to_dict() == old | {"fallback_used": True}
    outcome = decide(inputs_of(vote, direction="long"), RULES)
    assert next((each.step, each.after) for each in outcome.adjustments) == ("fallback_distrust", 0.68)
    assert "review" not in outcome.to_dict()


# --- the policy -------------------------------------------------------------------------------------------


@pytest.mark.requirement("FM-TAW-006")
@pytest.mark.requirement("R1")
def test_with_review_a_person_must_approve_what_a_fallback_voted_on() -> None:
    inputs = inputs_of(told(0.9, "a"), told(0.9, "b", fallback=True), direction="long")
    penalized, held = decide(inputs, RULES), decide(inputs, REVIEW)
    assert (penalized.tradable, penalized.review) == (True, None)
    assert (held.tradable, held.confidence, held.signal) == (False, penalized.confidence, "BUY")
    assert held.to_dict()["review"] == {
        "required": True, "expires_after_s": 600, "why": "fallback_model_used for b (small)",
    }  # fmt: skip
    assert held.adjustments == penalized.adjustments


def test_a_fallback_that_was_outvoted_needs_the_review_all_the_same() -> None:
    votes = (told(0.9, "a"), told(0.9, "b"), told(0.7, "c", fallback=True, signal="SELL"))
    assert decide(inputs_of(*votes, direction="long"), REVIEW).review is not None


@pytest.mark.parametrize(
    "votes",
    [
        (told(0.9, "a"), told(0.9, "b")),
        (told(0.9, "a", fallback=True, signal="HOLD"),),
        (told(0.5, "a", fallback=True),),
        (told(0.9, "a", fallback=True), told(0.9, "b", signal="SELL")),
    ],
    ids=["no fallback", "HOLD", "below the minimum confidence", "no majority"],
)
def test_nobody_is_asked_to_look_at_what_would_not_be_traded_or_needs_no_distrust(votes: tuple[CastVote, ...]) -> None:
    outcome = decide(inputs_of(*votes), REVIEW)
    assert outcome.review is None
    assert outcome == decide(inputs_of(*votes), RULES)


def test_a_decision_that_waits_for_a_person_cannot_be_tradable() -> None:
    held = decide(inputs_of(told(0.9, "a", fallback=True), direction="long"), REVIEW)
    with pytest.raises(InvariantViolation, match="waits for a person and is tradable"):
        replace(held, tradable=True)


# --- budgets ----------------------------------------------------------------------------------------------


def test_a_vote_that_no_budget_could_pay_for_makes_it_hold_whatever_the_others_say() -> None:
    reason = f"{BUDGET_REACHED}: 20000000 tokens per day"
    absent = (AbsentVote("risk", "", reason), AbsentVote("gone", "", "no answer"))
    outcome = decide(inputs_of(told(0.9, "a"), told(0.9, "b"), told(0.9, "c"), absent=absent, direction="long"), RULES)
    assert (outcome.signal, outcome.tradable, outcome.confidence) == ("HOLD", False, 0.0)
    assert outcome.reasoning == f"HOLD: risk: {reason}"


def test_all_budget_reasons_are_kept() -> None:
    absent = tuple(AbsentVote(name, "", f"{BUDGET_REACHED}: for {name}") for name in ("x", "y"))
    assert decide(inputs_of(told(0.9, "a"), absent=absent), RULES).reasoning == (
        f"HOLD: x: {BUDGET_REACHED}: for x; y: {BUDGET_REACHED}: for y"
    )


# --- whatever the votes -----------------------------------------------------------------------------------

VOTES = st.lists(
    st.tuples(SHARES, st.booleans(), st.none() | SHARES, st.sampled_from(["BUY", "SELL", "HOLD"])), max_size=6
)


@pytest.mark.requirement("FM-TAW-006")
@pytest.mark.requirement("D2")
@given(VOTES, st.sampled_from(["long", "short", "neutral"]), st.sampled_from(["penalize", "review"]))
@settings(max_examples=80, deadline=None)
def test_distrust_never_raises_review_never_lets_through_and_a_replay_gives_the_same_bytes(
    spoken: list[tuple[float, bool, float | None, str]], direction: str, policy: str
) -> None:
    rules = DecisionRules(fallback_policy=policy)  # type: ignore[arg-type]
    votes = tuple(
        told(said, f"v{i}", fallback=fallback, learned=learned, signal=signal)
        for i, (said, fallback, learned, signal) in enumerate(spoken)
    )
    inputs = inputs_of(*votes, direction=direction)
    outcome, trusting = decide(inputs, rules), decide(inputs, RULES)
    for step in outcome.adjustments:
        if step.step in ("fallback_distrust", "learned_trust"):
            assert step.after <= step.before
            assert 0 <= step.factor <= 1
    assert outcome.confidence == trusting.confidence
    assert outcome.tradable <= trusting.tradable
    assert (outcome.review is not None) == (
        policy == "review" and trusting.tradable and any(vote.fallback_used for vote in votes)
    )
    stored = json.loads(canonical_json(inputs.to_dict()))
    replayed = decide(DecisionInputs.from_dict(stored), rules)
    assert canonical_json(replayed.to_dict()) == canonical_json(outcome.to_dict())
    assert Decision.from_dict(json.loads(json.dumps(outcome.to_dict()))) == outcome
