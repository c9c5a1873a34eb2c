from __future__ import annotations

import json
import math
from dataclasses import replace

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
)
from aaos.domain.results import canonical_json
from aaos.errors import InvariantViolation, ModelOutputError

RULES = DecisionRules()
SHARES = st.floats(0, 1)


def inputs_of(
    *votes: CastVote, configured: int | None = None, direction: str = "neutral", regime: str = "ranging"
) -> DecisionInputs:
    """Votes that came; whoever else is configured is absent."""
    missing = 0 if configured is None else configured - len(votes)
    absent = tuple(AbsentVote(f"gone{i}", "big", "timed out") for i in range(missing))
    return DecisionInputs(
        "BTC/USDT", a_signal(direction), a_regime(regime), votes, absent, max(1, configured or len(votes))
    )


def three(*signals: str, confidence: float = 0.8) -> tuple[CastVote, ...]:
    return tuple(a_vote(signal, confidence, voter=f"v{i}") for i, signal in enumerate(signals))


def test_the_majority_gives_the_action_and_its_mean_confidence() -> None:
    votes = (a_vote("BUY", 0.9, "a"), a_vote("BUY", 0.7, "b"), a_vote("SELL", 1.0, "c"))
    outcome = decide(inputs_of(*votes), RULES)
    assert outcome.signal == "BUY"
    assert outcome.original_confidence == pytest.approx(0.8)
    assert "a thinks so" in outcome.reasoning
    assert "c thinks so" not in outcome.reasoning


@pytest.mark.parametrize(
    "signals", [("BUY", "SELL"), ("BUY", "SELL", "HOLD"), ("BUY", "HOLD"), ("BUY", "BUY", "SELL", "HOLD")]
)
def test_without_a_majority_it_is_hold_with_the_reason(signals: tuple[str, ...]) -> None:
    outcome = decide(inputs_of(*three(*signals)), RULES)
    assert (outcome.signal, outcome.tradable, outcome.confidence) == ("HOLD", False, 0.0)
    assert outcome.reasoning.startswith("HOLD: no majority: the votes are 1 BUY") or "2 BUY" in outcome.reasoning


def test_a_majority_for_hold_keeps_its_confidence_and_trades_nothing() -> None:
    outcome = decide(inputs_of(*three("HOLD", "HOLD", "BUY"), direction="long"), RULES)
    assert (outcome.signal, outcome.confidence, outcome.tradable) == ("HOLD", 0.8, False)
    assert outcome.agreement is None
    assert outcome.adjustments == ()


@pytest.mark.parametrize(
    ("came", "configured", "signal"), [(1, 2, "HOLD"), (2, 3, "BUY"), (3, 6, "HOLD"), (4, 6, "BUY"), (1, 1, "BUY")]
)
def test_quorum_is_more_than_half_of_the_configured_voters(came: int, configured: int, signal: str) -> None:
    outcome = decide(inputs_of(*three(*["BUY"] * came), configured=configured), RULES)
    assert outcome.signal == signal


def test_below_quorum_the_reason_names_who_was_absent_and_why() -> None:
    outcome = decide(inputs_of(a_vote(), configured=3), RULES)
    assert outcome.reasoning == (
        "HOLD: no quorum: 1 of 3 votes came, more than 50% must vote (gone0: timed out; gone1: timed out)"
    )


def test_an_absent_vote_is_not_a_hold() -> None:
    assert decide(inputs_of(*three("BUY", "BUY"), configured=3), RULES).signal == "BUY"


def test_without_any_vote_it_is_hold_at_the_highest_risk() -> None:
    outcome = decide(inputs_of(configured=2), RULES)
    assert (outcome.signal, outcome.confidence, outcome.risk_score) == ("HOLD", 0.0, 1.0)


@pytest.mark.requirement("FM-TAW-006")
@pytest.mark.requirement("D3")
@pytest.mark.requirement("FM-003")
def test_a_fallback_models_confidence_is_multiplied_by_exactly_08_and_flagged() -> None:
    outcome = decide(inputs_of(a_vote("BUY", 0.85, fallback_used=True)), RULES)
    step = outcome.adjustments[0]
    assert (step.step, step.before, step.factor, step.after) == ("fallback_distrust", 0.85, 0.8, 0.68)
    assert outcome.original_confidence == 0.85
    assert outcome.degraded_inference
    assert outcome.degradation_reason == "fallback_model_used"


@pytest.mark.requirement("FM-TAW-006")
@pytest.mark.requirement("D3")
def test_only_the_fallback_vote_of_several_is_trusted_less() -> None:
    votes = (a_vote("BUY", 0.9, "a"), a_vote("BUY", 0.5, "b", fallback_used=True))
    outcome = decide(inputs_of(*votes), RULES)
    assert outcome.original_confidence == pytest.approx(0.7)
    assert outcome.adjustments[0].after == pytest.approx((0.9 + 0.4) / 2)
    assert "for b" in outcome.adjustments[0].why


@pytest.mark.requirement("FM-TAW-006")
def test_a_fallback_vote_that_lost_still_marks_the_decision_as_degraded() -> None:
    votes = (*three("BUY", "BUY"), a_vote("SELL", voter="x", fallback_used=True))
    outcome = decide(inputs_of(*votes), RULES)
    assert outcome.degraded_inference
    assert [a.step for a in outcome.adjustments] == ["consensus"]


def test_without_fallback_nothing_is_degraded() -> None:
    outcome = decide(inputs_of(a_vote()), RULES)
    assert not outcome.degraded_inference
    assert outcome.degradation_reason is None


@pytest.mark.requirement("F11")
def test_full_agreement_raises_the_confidence_by_30_percent() -> None:
    outcome = decide(inputs_of(a_vote("BUY", 0.6), direction="long", regime="trending_up"), RULES)
    assert outcome.agreement == 1.0
    assert outcome.confidence == pytest.approx(0.78)


@pytest.mark.requirement("F11")
def test_analyses_that_disagree_leave_the_confidence_as_it_is() -> None:
    outcome = decide(inputs_of(a_vote("BUY", 0.9), direction="short", regime="trending_down"), RULES)
    assert outcome.agreement == pytest.approx(1 / 3)
    assert outcome.confidence == 0.9


@pytest.mark.requirement("F11")
def test_the_confidence_is_capped_at_one() -> None:
    assert decide(inputs_of(a_vote("SELL", 0.95), direction="short"), RULES).confidence == 1.0


def test_below_the_minimum_confidence_the_signal_stays_but_is_not_tradable() -> None:
    below = decide(inputs_of(a_vote("BUY", 0.59), direction="short"), RULES)
    at = decide(inputs_of(a_vote("BUY", 0.6), direction="short"), RULES)
    assert (below.signal, below.confidence, below.tradable) == ("BUY", 0.59, False)
    assert at.tradable


@pytest.mark.requirement("D4")
@pytest.mark.parametrize(
    "broken",
    [
        {"confidence": math.nan},
        {"confidence": math.inf},
        {"confidence": 1.0001},
        {"risk_score": -0.1},
        {"risk_score": math.nan},
        {"signal": "STRONG BUY"},
    ],
)
def test_a_vote_that_breaks_the_contract_cannot_be_cast(broken: dict[str, object]) -> None:
    with pytest.raises(ModelOutputError, match="vote of v1"):
        replace(a_vote(), **broken)  # type: ignore[arg-type]


@pytest.mark.requirement("D1")
@pytest.mark.parametrize("stranger", ["technical", "regime"])
def test_inputs_of_another_symbol_are_an_invariant_violation(stranger: str) -> None:
    other = {"technical": a_signal(symbol="ETH/USDT"), "regime": a_regime(symbol="ETH/USDT")}[stranger]
    with pytest.raises(InvariantViolation, match="ETH/USDT"):
        replace(inputs_of(a_vote()), **{stranger: other})  # type: ignore[arg-type]


def test_a_voter_who_votes_twice_is_an_invariant_violation() -> None:
    with pytest.raises(InvariantViolation, match="twice"):
        inputs_of(a_vote(), a_vote())


def test_more_votes_than_voters_are_an_invariant_violation() -> None:
    with pytest.raises(InvariantViolation, match="2 voters on BTC/USDT, 1 configured"):
        replace(inputs_of(*three("BUY", "BUY")), voters_configured=1)


VOTES = st.lists(
    st.builds(
        CastVote,
        voter=st.uuids().map(str),
        model=st.just("m"),
        signal=st.sampled_from(["BUY", "SELL", "HOLD"]),
        confidence=SHARES,
        risk_score=SHARES,
        reasoning=st.text(max_size=5),
        fallback_used=st.booleans(),
    ),
    max_size=6,
    unique_by=lambda vote: vote.voter,
)


@st.composite
def decision_inputs(draw: st.DrawFn) -> DecisionInputs:
    votes = tuple(draw(VOTES))
    return DecisionInputs(
        "BTC/USDT",
        a_signal(draw(st.sampled_from(["long", "short", "neutral"]))),
        a_regime(
            draw(st.sampled_from(["trending_up", "trending_down", "ranging", "volatile"])),
            draw(st.sampled_from(["accumulation", "distribution", "markup", "unknown"])),
            draw(st.sampled_from(["rising", "declining", "flat"])),
        ),
        votes,
        (),
        draw(st.integers(max(1, len(votes)), 6)),
    )


@given(decision_inputs())
@settings(max_examples=60, deadline=None)
def test_everything_stays_finite_and_within_bounds_and_the_chain_of_adjustments_holds(inputs: DecisionInputs) -> None:
    outcome = decide(inputs, RULES)
    assert 0 <= outcome.confidence <= 1
    assert 0 <= outcome.original_confidence <= 1
    assert 0 <= outcome.risk_score <= 1
    chain = [outcome.original_confidence]
    for step in outcome.adjustments:
        assert step.before == chain[-1]
        assert step.after == pytest.approx(min(1.0, step.before * step.factor))
        chain.append(step.after)
    assert outcome.confidence == chain[-1]
    assert outcome.tradable == (outcome.signal != "HOLD" and outcome.confidence >= 0.6)
    assert outcome.degraded_inference == any(v.fallback_used for v in inputs.votes)


@pytest.mark.requirement("D2")
@given(decision_inputs())
@settings(max_examples=60, deadline=None)
def test_a_replay_from_stored_inputs_gives_the_same_bytes(inputs: DecisionInputs) -> None:
    stored = json.loads(canonical_json(inputs.to_dict()))
    outcome = decide(inputs, RULES)
    replayed = decide(DecisionInputs.from_dict(stored), RULES)
    assert canonical_json(replayed.to_dict()) == canonical_json(outcome.to_dict())
    assert Decision.from_dict(json.loads(json.dumps(outcome.to_dict() | {"task_id": "1"}))) == outcome
