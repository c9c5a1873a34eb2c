"""Conflicts and what an arbiter can make of them: the same, less, or nothing; never more, never the other way."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from arbiter_examples import BOUNDS, a_dispute, a_ruling, no_ruling
from hypothesis import given, settings
from hypothesis import strategies as st
from market_examples import a_regime, a_signal, a_vote

from aaos.domain.decision import (
    Arbitration,
    Bounds,
    CastVote,
    Decision,
    DecisionInputs,
    DecisionRules,
    Opponent,
    decide,
    dispute,
    opponents,
    scaled,
    voices,
)
from aaos.domain.results import canonical_json
from aaos.errors import InvariantViolation

RULES = DecisionRules()


def against(*votes: CastVote, direction: str = "neutral", regime: str = "ranging") -> tuple[Opponent, ...]:
    return opponents("BUY", voices(a_signal(direction), a_regime(regime), votes, RULES), RULES)


def decided(ruled: Arbitration | None, rules: DecisionRules = RULES) -> Decision:
    return decide(a_dispute(arbitration=ruled), rules)


def becomes(outcome: Decision) -> list[tuple[str, str]]:
    return [(each.step, each.becomes) for each in outcome.adjustments if each.becomes is not None]


# --- what is a conflict -----------------------------------------------------------------------------------


def test_a_sure_regime_for_the_other_side_is_a_conflict() -> None:
    assert against(regime="trending_down") == (Opponent("regime", "SELL", 0.8),)
    assert against(regime="trending_up") == against(regime="volatile") == ()


def test_a_score_is_as_sure_as_its_share_of_the_most_possible() -> None:
    assert against(direction="short") == ()  # 65 of 130: 0.5
    sure = replace(a_signal("short"), confidence_pct=60.0)
    assert opponents("BUY", voices(sure, a_regime(), (), RULES), RULES) == (Opponent("technical", "SELL", 0.6),)


def test_a_model_opposes_with_the_mean_of_its_opposing_votes_distrust_applied() -> None:
    two = (a_vote("SELL", 0.9, "a", model="small"), a_vote("SELL", 0.5, "b", model="small"))
    assert against(*two) == (Opponent("small", "SELL", pytest.approx(0.7)),)
    assert against(a_vote("SELL", 0.9, "a", model="small", fallback_used=True))[0].confidence == 0.72
    assert against(a_vote("SELL", 0.7, "a", model="small", fallback_used=True)) == ()


def test_a_model_that_is_mostly_for_it_or_undecided_does_not_oppose() -> None:
    buys = (a_vote("BUY", 0.9, "a"), a_vote("BUY", 0.9, "b"))
    assert against(*buys, a_vote("SELL", 0.99, "c")) == ()
    assert against(buys[0], a_vote("SELL", 0.99, "c")) == ()
    assert against(a_vote("HOLD", 0.99, "h")) == ()


def test_what_would_not_be_traded_anyway_is_no_dispute() -> None:
    weak = a_dispute(a_vote("BUY", 0.4, "a", model="big"), a_vote("BUY", 0.4, "b", model="other"))
    assert dispute(weak, RULES) is None
    outcome = decide(weak, RULES)
    assert (outcome.signal, outcome.arbitration, becomes(outcome)) == (
        "BUY",
        None,
        [("min_confidence", "not tradable")],
    )
    assert outcome.conflicts == (Opponent("regime", "SELL", 0.8),)
    assert dispute(a_dispute(a_vote("HOLD", 0.9, "a")), RULES) is None
    assert dispute(a_dispute(regime="ranging"), RULES) is None


def test_a_dispute_names_the_trade_and_who_is_against_it() -> None:
    found = dispute(a_dispute(), RULES)
    assert found is not None
    assert (found.action, found.against) == ("BUY", (Opponent("regime", "SELL", 0.8),))
    assert found.confidence == pytest.approx(0.7 * 1.15)


# --- what an arbiter makes of it --------------------------------------------------------------------------


def test_proceed_leaves_everything_as_it_is_and_says_so() -> None:
    outcome = decided(a_ruling())
    assert (outcome.signal, outcome.tradable, outcome.refusal) == ("BUY", True, None)
    step = outcome.adjustments[-1]
    assert (step.step, step.factor, step.before, step.after) == (
        "arbitration",
        1.0,
        outcome.confidence,
        outcome.confidence,
    )
    assert step.why == "conflict: regime says SELL (0.80); the arbiter big says proceed"
    assert "arbiter: the trend is young" in outcome.reasoning


def test_what_it_modifies_is_in_the_record_for_risk() -> None:
    outcome = decided(a_ruling("modify", leverage=2.0, size_fraction=0.5, entry_price=99.5))
    stored = json.loads(canonical_json(outcome.to_dict()))["arbitration"]
    assert (stored["verdict"], stored["leverage"], stored["size_fraction"], stored["entry_price"]) == (
        "modify", 2, 0.5, 99.5,
    )  # fmt: skip
    assert outcome.tradable
    assert outcome.adjustments[-1].why.endswith("says modify: leverage at most 2, size × 0.5, entry at 99.5")


@pytest.mark.requirement("F14")
def test_an_arbiter_that_holds_makes_it_hold() -> None:
    outcome = decided(a_ruling("hold"))
    assert (outcome.signal, outcome.tradable) == ("HOLD", False)
    assert becomes(outcome) == [("arbitration", "HOLD")]
    assert outcome.refusal is not None
    assert (outcome.refusal.code, outcome.refusal.action) == ("CONFLICT", "BUY")


@pytest.mark.requirement("F14")
@pytest.mark.parametrize("ruled", [no_ruling(), None], ids=["no model answered", "nobody was asked"])
def test_without_a_ruling_it_is_hold(ruled: Arbitration | None) -> None:
    outcome = decided(ruled)
    assert (outcome.signal, outcome.tradable) == ("HOLD", False)
    assert outcome.refusal is not None
    assert outcome.refusal.code == "ARBITER_FAILED"


@pytest.mark.requirement("F14")
def test_the_errors_of_both_models_are_in_the_record() -> None:
    stored = decided(no_ruling()).to_dict()["arbitration"]
    assert stored["error"] == "no model gave a usable answer: big: timed out; small: HTTP 500"
    assert [each["model"] for each in stored["asked"]["failed_attempts"]] == ["big", "small"]


@pytest.mark.requirement("FM-TAW-006")
def test_a_fallback_arbiter_is_believed_as_far_as_its_vote_would_be_and_flagged() -> None:
    sure = (a_vote("BUY", 0.8, "a", model="big"), a_vote("BUY", 0.8, "b", model="other"))
    ruled = replace(a_ruling(), model="small", fallback_used=True)
    outcome = decide(a_dispute(*sure, arbitration=ruled), RULES)
    step = outcome.adjustments[-1]
    assert (step.step, step.factor, step.after) == ("arbitration", 0.8, pytest.approx(0.92 * 0.8))
    assert (outcome.degraded_inference, outcome.degradation_reason) == (True, "fallback_model_used")
    assert outcome.tradable
    held = decide(a_dispute(*sure, arbitration=ruled), replace(RULES, fallback_policy="review"))
    assert held.review is not None
    assert (held.tradable, held.review.why) == (False, "fallback_model_used for the arbiter (small)")


def test_a_fallback_arbiters_doubtful_word_is_not_enough() -> None:
    votes = (a_vote("BUY", 0.63, "a", model="big"), a_vote("BUY", 0.63, "b", model="other"))
    outcome = decide(a_dispute(*votes, arbitration=replace(a_ruling(), fallback_used=True)), RULES)
    assert becomes(outcome) == [("min_confidence", "not tradable")]
    assert outcome.refusal is not None
    assert outcome.refusal.code == "CONFIDENCE"


def test_a_ruling_about_nothing_breaks_an_invariant() -> None:
    with pytest.raises(InvariantViolation, match="nothing is in dispute"):
        decide(a_dispute(regime="ranging", arbitration=a_ruling()), RULES)


@pytest.mark.requirement("D4")
@pytest.mark.parametrize(
    "beyond",
    [
        {"leverage": 10.5},
        {"leverage": 0.9},
        {"leverage": float("nan")},
        {"size_fraction": 0.0},
        {"size_fraction": 1.01},
        {"size_fraction": float("inf")},
        {"entry_price": 94.9},
        {"entry_price": 105.1},
        {"entry_price": float("nan")},
    ],
)
def test_nobody_can_build_a_ruling_beyond_its_bounds(beyond: dict[str, float]) -> None:
    with pytest.raises(InvariantViolation, match="beyond its bounds"):
        a_ruling("modify", **beyond)


@pytest.mark.parametrize(
    "odd",
    [
        {"verdict": "reverse"},
        {"verdict": "modify"},
        {"leverage": 2.0},
        {"model": None},
        {"error": "timed out"},
        {"model": None, "error": "timed out", "verdict": "proceed"},
    ],
)
def test_a_ruling_that_contradicts_itself_breaks_an_invariant(odd: dict[str, Any]) -> None:
    with pytest.raises(InvariantViolation, match="arbit"):
        replace(a_ruling(), **odd)


def test_the_bounds_are_what_a_prompt_can_show_and_never_wider() -> None:
    narrow = Bounds.around(0.00001234567891, 0.05, Decimal(3))
    assert 0.00001234567891 * 0.95 <= narrow.entry_from == float(f"{narrow.entry_from:.8g}")
    assert 0.00001234567891 * 1.05 >= narrow.entry_to == float(f"{narrow.entry_to:.8g}")
    assert (BOUNDS.entry_from, BOUNDS.entry_to, BOUNDS.max_leverage) == (95.0, 105.0, 10.0)


# --- whatever the inputs ----------------------------------------------------------------------------------

SHARES = st.floats(0, 1)
CAST = st.lists(
    st.builds(
        CastVote,
        voter=st.uuids().map(str),
        model=st.sampled_from(["big", "small", "third"]),
        signal=st.sampled_from(["BUY", "SELL", "HOLD"]),
        confidence=SHARES,
        risk_score=SHARES,
        reasoning=st.text(max_size=5),
        fallback_used=st.booleans(),
    ),
    max_size=6,
    unique_by=lambda vote: vote.voter,
)
RULINGS = st.one_of(
    st.none(),
    st.just(no_ruling()),
    st.builds(
        replace,
        st.one_of(
            st.sampled_from([a_ruling("proceed"), a_ruling("hold")]),
            st.builds(a_ruling, st.just("modify"), leverage=st.floats(1, 10)),
            st.builds(a_ruling, st.just("modify"), size_fraction=st.floats(0.01, 1), entry_price=st.floats(95, 105)),
        ),
        fallback_used=st.booleans(),
    ),
)


@st.composite
def any_inputs(draw: st.DrawFn) -> DecisionInputs:
    votes = tuple(draw(CAST))
    technical = replace(
        a_signal(draw(st.sampled_from(["long", "short", "neutral"]))), confidence_pct=draw(st.floats(0, 100))
    )
    regime = a_regime(
        draw(st.sampled_from(["trending_up", "trending_down", "ranging", "volatile"])),
        draw(st.sampled_from(["accumulation", "distribution", "markup", "unknown"])),
        draw(st.sampled_from(["rising", "declining", "flat"])),
    )
    asked = draw(st.integers(max(1, len(votes)), 6))
    inputs = DecisionInputs("BTC/USDT", technical, replace(regime, confidence=draw(SHARES)), votes, (), asked)
    return inputs if dispute(inputs, RULES) is None else replace(inputs, arbitration=draw(RULINGS))


@pytest.mark.requirement("D4")
@pytest.mark.requirement("F14")
@given(any_inputs())
@settings(max_examples=150, deadline=None)
def test_no_way_leads_from_hold_to_a_trade_and_none_to_the_other_side(inputs: DecisionInputs) -> None:
    outcome = decide(inputs, RULES)
    held = [each for each in outcome.adjustments if each.becomes is not None]
    assert len(held) <= 1
    assert not held or held == [outcome.adjustments[-1]] or held[0].step == "votes"
    assert outcome.tradable == (outcome.signal != "HOLD" and not held)
    majority = [s for s in ("BUY", "SELL") if 2 * sum(v.signal == s for v in inputs.votes) > len(inputs.votes)]
    assert outcome.signal in (*majority, "HOLD")
    if outcome.conflicts and outcome.tradable:
        assert inputs.arbitration is not None
        assert inputs.arbitration.verdict != "hold"
    if outcome.refusal is not None:
        assert (not outcome.tradable, outcome.refusal.action) == (True, majority[0])


@pytest.mark.requirement("F11")
@given(any_inputs())
@settings(max_examples=150, deadline=None)
def test_the_confidence_stays_a_share_and_its_chain_has_no_gap(inputs: DecisionInputs) -> None:
    outcome = decide(inputs, RULES)
    chain = outcome.original_confidence
    assert 0 <= chain <= 1
    for step in outcome.adjustments:
        assert (step.before, bool(step.why)) == (chain, True)
        assert 0 <= step.after <= 1
        assert step.after == pytest.approx(min(1.0, step.before * step.factor))
        chain = step.after
    assert outcome.confidence == chain


@pytest.mark.requirement("F14")
@given(any_inputs())
@settings(max_examples=100, deadline=None)
def test_an_arbiter_never_makes_a_decision_surer(inputs: DecisionInputs) -> None:
    for step in decide(inputs, RULES).adjustments:
        assert step.step != "arbitration" or step.after <= step.before


@pytest.mark.requirement("D2")
@given(any_inputs())
@settings(max_examples=100, deadline=None)
def test_a_replay_with_its_arbitration_gives_the_same_bytes(inputs: DecisionInputs) -> None:
    outcome = decide(inputs, RULES)
    replayed = decide(DecisionInputs.from_dict(json.loads(canonical_json(inputs.to_dict()))), RULES)
    assert canonical_json(replayed.to_dict()) == canonical_json(outcome.to_dict())
    assert Decision.from_dict(json.loads(json.dumps(outcome.to_dict()))) == outcome


def scaled_in_turn(confidence: float, factors: Sequence[float]) -> float:
    for factor in factors:
        confidence = min(1.0, scaled(confidence, factor))
    return confidence


@given(SHARES, st.permutations([0.8, 0.5, 0.8, 0.925]))
def test_factors_that_only_take_away_commute(confidence: float, factors: list[float]) -> None:
    """Distrust, Hidden Hand, dissent and an arbiter's × 0.8 are such."""
    assert scaled_in_turn(confidence, factors) == pytest.approx(scaled_in_turn(confidence, [0.8, 0.5, 0.8, 0.925]))


def test_only_the_cap_makes_an_order_matter_and_so_agreement_comes_after_distrust() -> None:
    assert scaled_in_turn(0.9, (0.5, 1.3)) == pytest.approx(0.585)
    assert scaled_in_turn(0.9, (1.3, 0.5)) == 0.5  # what was above 1 is lost, and then halved


# --- what was stored before -------------------------------------------------------------------------------


def test_a_decision_stored_before_there_were_arbiters_is_read_as_it_was() -> None:
    old = {
        "symbol": "BTC/USDT", "signal": "BUY", "confidence": 1.0, "original_confidence": 0.77, "risk_score": 0.3,
        "reasoning": "v1: so", "wyckoff_phase": "markup", "degraded_inference": False, "degradation_reason": None,
        "hidden_hand_warning": None, "phase_signal_conflict": False, "agreement": 1.0, "tradable": True,
        "adjustments": [{"step": "consensus", "factor": 1.3, "before": 0.77, "after": 1.0, "why": "100% of 4 …"}],
    }  # fmt: skip
    read = Decision.from_dict(old | {"task_id": "9", "votes": []})
    assert (read.independent_signals, read.conflicts, read.arbitration, read.refusal) == (None, (), None, None)
    assert read.to_dict() == old
