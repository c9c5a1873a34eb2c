from __future__ import annotations

import itertools

import pytest
from market_examples import a_regime, a_signal, a_vote

from aaos.domain.decision import Decision, DecisionInputs, DecisionRules, check_hidden_hand, decide

RULES = DecisionRules()
SIGNALS = ("BUY", "SELL", "HOLD")
PHASES = ("accumulation", "markup", "distribution", "markdown", "unknown")
VOLUMES = ("rising", "declining", "flat")
TABLE = {
    ("distribution", "BUY", "declining"): 0.5,
    ("distribution", "BUY", "rising"): 0.8,
    ("distribution", "BUY", "flat"): 0.8,
    ("accumulation", "SELL", "declining"): 0.5,
    ("accumulation", "SELL", "rising"): 0.8,
    ("accumulation", "SELL", "flat"): 0.8,
}


def decision(signal: str, phase: str, volume: str, direction: str, confidence: float = 0.9) -> Decision:
    regime = a_regime("ranging", phase, volume)
    inputs = DecisionInputs("BTC/USDT", a_signal(direction), regime, (a_vote(signal, confidence),), (), 1)
    return decide(inputs, RULES)


@pytest.mark.requirement("FM-TAW-012")
@pytest.mark.parametrize(("phase", "signal", "volume"), list(itertools.product(PHASES, SIGNALS, VOLUMES)))
def test_every_row_of_the_table(phase: str, signal: str, volume: str) -> None:
    check = check_hidden_hand(phase, signal, volume, RULES)  # type: ignore[arg-type]
    assert check.multiplier == TABLE.get((phase, signal, volume), 1.0)
    assert check.conflict == (check.multiplier < 1)
    assert (check.warning is not None) == check.conflict


@pytest.mark.requirement("FM-TAW-012")
@pytest.mark.requirement("D5")
def test_buy_in_distribution_with_declining_volume_halves_confidence() -> None:
    outcome = decision("BUY", "distribution", "declining", "long")
    step = outcome.adjustments[0]
    assert (step.step, step.before, step.factor, step.after) == ("hidden_hand", 0.9, 0.5, 0.45)
    assert outcome.phase_signal_conflict
    assert outcome.hidden_hand_warning == "BUY in distribution on declining volume: potential upthrust"


@pytest.mark.requirement("FM-TAW-012")
@pytest.mark.requirement("D5")
def test_sell_in_accumulation_with_declining_volume_warns_of_a_spring() -> None:
    outcome = decision("SELL", "accumulation", "declining", "short")
    assert outcome.adjustments[0].after == 0.45
    assert "potential spring" in (outcome.hidden_hand_warning or "")


@pytest.mark.requirement("FM-TAW-012")
def test_a_conflict_without_agreement_becomes_hold_with_the_reason() -> None:
    outcome = decision("BUY", "distribution", "rising", "short")
    assert (outcome.signal, outcome.tradable, outcome.agreement) == ("HOLD", False, 0.5)
    assert outcome.phase_signal_conflict
    assert outcome.reasoning.startswith("HOLD: BUY in distribution on rising volume; only 50% of 2 independent signals")
    steps = [(a.step, a.becomes) for a in outcome.adjustments]
    assert steps == [("hidden_hand", None), ("hidden_hand_override", "HOLD")]
    assert outcome.refusal is not None
    assert (outcome.refusal.code, outcome.refusal.action) == ("HIDDEN_HAND", "BUY")


@pytest.mark.requirement("FM-TAW-012")
def test_a_conflict_with_agreement_is_overridden_and_says_why() -> None:
    outcome = decision("BUY", "distribution", "rising", "long")
    assert (outcome.signal, outcome.agreement) == ("BUY", 1.0)
    assert [a.step for a in outcome.adjustments] == ["hidden_hand", "hidden_hand_override", "consensus"]
    assert outcome.confidence == pytest.approx(0.9 * 0.8 * 1.3)
    assert all(a.why for a in outcome.adjustments)
    assert outcome.adjustments[1].why == "100% of 2 independent signals agree; an override needs 66% of at least 2"


@pytest.mark.requirement("FM-TAW-012")
@pytest.mark.requirement("F11")
def test_one_model_that_agrees_with_itself_three_times_overrides_no_phase() -> None:
    votes = tuple(a_vote("BUY", 0.99, f"v{i}") for i in range(3))
    phase = a_regime("ranging", "distribution", "rising")
    inputs = DecisionInputs("BTC/USDT", a_signal("neutral"), phase, votes, (), 3)
    outcome = decide(inputs, RULES)
    assert (outcome.signal, outcome.tradable, outcome.agreement, outcome.independent_signals) == ("HOLD", False, 1.0, 1)


@pytest.mark.requirement("FM-TAW-012")
def test_without_conflict_there_is_no_warning_and_no_step() -> None:
    outcome = decision("BUY", "accumulation", "declining", "long")
    assert outcome.hidden_hand_warning is None
    assert not outcome.phase_signal_conflict
    assert [a.step for a in outcome.adjustments] == ["consensus"]
