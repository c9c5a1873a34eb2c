"""Agreement of independent signals: one voice a model, however often it was asked."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from market_examples import a_regime, a_signal, a_vote

from aaos.domain.decision import (
    CastVote,
    DecisionInputs,
    DecisionRules,
    agreement_with,
    consensus_multiplier,
    decide,
    distrusted,
    voices,
)
from aaos.errors import ConfigError

RULES = DecisionRules()
SHARES = st.floats(0, 1)
VOTES = st.lists(
    st.builds(
        a_vote,
        signal=st.sampled_from(["BUY", "SELL", "HOLD"]),
        confidence=SHARES,
        model=st.sampled_from(["big", "small", "third"]),
    ),
    max_size=6,
)
DIRECTIONS = st.sampled_from(["long", "short", "neutral"])
REGIMES = st.sampled_from(["trending_up", "trending_down", "ranging"])


def r_of(votes: list[CastVote], direction: str, regime: str, action: str = "BUY") -> float | None:
    return agreement_with(action, voices(a_signal(direction), a_regime(regime), votes, RULES))  # type: ignore[arg-type]


@pytest.mark.requirement("F11")
@pytest.mark.parametrize(
    ("r", "factor"),
    [
        (1.0, 1.3),
        (0.75, 1.15),
        (2 / 3, 1.1),
        (0.66, 1 + 0.6 * 0.16),
        (0.6599, 1.0),
        (0.5, 1.0),
        (1 / 3, 1.0),
        (0.33, 1.0),
        (0.32, 0.85 + 0.15 * 0.32 / 0.33),
        (0.165, 0.925),
        (0.0, 0.85),
        (None, 1.0),
    ],
)
def test_the_consensus_formula(r: float | None, factor: float) -> None:
    assert consensus_multiplier(r, RULES) == pytest.approx(factor, rel=1e-12)


@pytest.mark.requirement("F16")
@pytest.mark.parametrize(
    ("changes", "r", "factor"),
    [
        ({"consensus_high": 0.8}, 0.75, 1.0),
        ({"consensus_gain": 0.2}, 1.0, 1.1),
        ({"consensus_pivot": 0.6}, 1.0, 1.24),
        ({"consensus_low": 0.5}, 0.4, 0.85 + 0.15 * 0.4 / 0.5),
        ({"consensus_floor": 0.7}, 0.0, 0.7),
        ({"consensus_rise": 0.05}, 0.165, 0.875),
    ],
)
def test_every_number_of_the_formula_is_the_configurations(changes: dict[str, float], r: float, factor: float) -> None:
    assert consensus_multiplier(r, replace(RULES, **changes)) == pytest.approx(factor, rel=1e-12)
    assert consensus_multiplier(r, RULES) != pytest.approx(factor, rel=1e-3)


@pytest.mark.requirement("F11")
@given(SHARES, SHARES)
def test_more_agreement_never_lowers_the_factor(a: float, b: float) -> None:
    low, high = (consensus_multiplier(r, RULES) for r in (min(a, b), max(a, b)))
    assert low <= high or math.isclose(low, high)
    assert low >= 0.85
    assert high <= 1.3 + 1e-12


@pytest.mark.requirement("F11")
def test_three_votes_of_one_model_are_one_voice_and_neutral_ones_are_left_out() -> None:
    votes = [a_vote("BUY", 0.9, "a"), a_vote("BUY", 0.7, "b"), a_vote("SELL", 0.6, "c"), a_vote("HOLD", voter="d")]
    technical, regime, model = voices(a_signal("short"), a_regime("trending_up"), votes, RULES)
    assert (technical.name, technical.buy, technical.sell_confidence) == ("technical", 0, pytest.approx(0.5))
    assert (regime.name, regime.buy, regime.buy_confidence) == ("regime", 1, 0.8)
    assert (model.name, model.buy, model.buy_confidence, model.sell_confidence) == (
        "big", Fraction(2, 3), pytest.approx(0.8), 0.6,
    )  # fmt: skip
    assert voices(a_signal("neutral"), a_regime("ranging"), [a_vote("HOLD")], RULES) == ()


@pytest.mark.requirement("F11")
def test_agreement_is_the_share_of_voices_that_say_the_same() -> None:
    one = [a_vote("BUY", voter=f"v{i}") for i in range(3)]
    assert r_of(one, "short", "ranging") == 0.5
    assert r_of([*one, a_vote("SELL", voter="x", model="other")], "short", "ranging") == pytest.approx(1 / 3)
    assert r_of([a_vote("BUY", voter="a"), a_vote("SELL", voter="b")], "long", "ranging") == 0.75
    assert r_of(one, "short", "ranging", "SELL") == 0.5


@pytest.mark.requirement("F11")
def test_without_signals_or_with_hold_there_is_no_agreement_to_speak_of() -> None:
    assert r_of([], "neutral", "ranging") is None
    assert r_of([a_vote("BUY")], "long", "ranging", "HOLD") is None


@pytest.mark.requirement("F11")
@given(VOTES, DIRECTIONS, REGIMES, SHARES, st.sampled_from(["big", "small", "third", "new"]))
def test_adding_an_opposing_vote_never_raises_agreement(
    votes: list[CastVote], direction: str, regime: str, confidence: float, model: str
) -> None:
    before = r_of(votes, direction, regime)
    after = r_of([*votes, a_vote("SELL", confidence, "more", model=model)], direction, regime)
    assert after is not None
    assert before is None or after <= before


@pytest.mark.requirement("F11")
@given(VOTES, DIRECTIONS, REGIMES, st.randoms(use_true_random=False))
def test_the_order_of_votes_changes_no_bit_of_it(
    votes: list[CastVote], direction: str, regime: str, any_: object
) -> None:
    shuffled = list(votes)
    any_.shuffle(shuffled)  # type: ignore[attr-defined]
    assert r_of(votes, direction, regime) == r_of(shuffled, direction, regime)


@pytest.mark.requirement("F11")
@given(st.integers(1, 5))
def test_asking_one_model_more_often_changes_nothing(times: int) -> None:
    asked = [a_vote("BUY", 0.7, f"v{i}") for i in range(times)]
    inputs = DecisionInputs("BTC/USDT", a_signal("long"), a_regime("trending_down"), tuple(asked), (), times)
    once = DecisionInputs("BTC/USDT", a_signal("long"), a_regime("trending_down"), (asked[0],), (), 1)
    # The regime is sure of the other side; what is compared is what comes before the arbiter.
    rules = replace(RULES, conflict_confidence=1.0)
    assert decide(inputs, rules).confidence == pytest.approx(decide(once, rules).confidence)


@pytest.mark.requirement("F11")
@pytest.mark.requirement("FM-TAW-006")
def test_consensus_no_longer_undoes_distrust() -> None:
    """0.96 said by a fallback three times is 0.768; three votes and a score once made 1.00 of it."""
    trust = distrusted(0.96, True, RULES)
    votes = tuple(
        a_vote("BUY", trust.confidence, f"v{i}", model="small", fallback_used=True, original_confidence=0.96,
               trust_factor=trust.factor, trust_source="prior")
        for i in range(3)
    )  # fmt: skip
    outcome = decide(DecisionInputs("BTC/USDT", a_signal("long"), a_regime("trending_up"), votes, (), 3), RULES)
    assert (outcome.agreement, outcome.confidence) == (1.0, trust.confidence)
    assert outcome.adjustments[-1].why == (
        "100% of 3 independent signals say BUY; "
        "× 1.3 is capped at 1, since a fallback model voted: distrust is not undone"
    )


@pytest.mark.requirement("F11")
@given(VOTES.filter(bool), st.booleans(), DIRECTIONS, REGIMES)
def test_with_a_fallback_vote_consensus_only_takes_away(
    votes: list[CastVote], all_of_them: bool, direction: str, regime: str
) -> None:
    marked = [replace(vote, voter=f"v{i}", fallback_used=all_of_them or i == 0) for i, vote in enumerate(votes)]
    inputs = DecisionInputs("BTC/USDT", a_signal(direction), a_regime(regime), tuple(marked), (), len(marked))
    for step in decide(inputs, RULES).adjustments:
        assert step.after <= step.before
        assert step.factor <= 1


@pytest.mark.requirement("F11")
def test_a_single_independent_signal_is_no_consensus() -> None:
    votes = tuple(a_vote("BUY", 0.7, f"v{i}") for i in range(3))
    outcome = decide(DecisionInputs("BTC/USDT", a_signal("neutral"), a_regime(), votes, (), 3), RULES)
    [step] = outcome.adjustments
    assert (step.step, step.factor, outcome.confidence) == ("consensus", 1.0, pytest.approx(0.7))
    assert step.why == "1 independent signal, 2 make a consensus: left as it is"
    alone = replace(RULES, consensus_min_signals=1)
    assert decide(
        DecisionInputs("BTC/USDT", a_signal("neutral"), a_regime(), votes, (), 3), alone
    ).confidence == pytest.approx(0.91)


@pytest.mark.requirement("F16")
@pytest.mark.parametrize(
    "changes",
    [{"consensus_low": 0.7}, {"consensus_pivot": 0.7}, {"consensus_floor": 0.9}],
)
def test_rules_that_would_punish_agreement_are_refused_by_name(changes: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=f"decision.{next(iter(changes))}"):
        DecisionRules(**changes)  # type: ignore[arg-type]
