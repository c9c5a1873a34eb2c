from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from market_examples import a_regime, a_vote

from aaos.domain.decision import DecisionRules, agreement_with, consensus_multiplier, stances
from aaos.errors import ConfigError

RULES = DecisionRules()


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


@pytest.mark.requirement("F11")
@given(st.floats(0, 1), st.floats(0, 1))
def test_more_agreement_never_lowers_the_factor(a: float, b: float) -> None:
    low, high = (consensus_multiplier(r, RULES) for r in (min(a, b), max(a, b)))
    assert low <= high or math.isclose(low, high)
    assert low >= 0.85
    assert high <= 1.3 + 1e-12


@pytest.mark.requirement("F11")
def test_every_signal_counts_once_and_neutral_ones_are_left_out() -> None:
    votes = [a_vote("BUY", voter="a"), a_vote("SELL", voter="b"), a_vote("HOLD", voter="c")]
    assert stances("long", a_regime("trending_down"), votes) == ("BUY", "SELL", "BUY", "SELL")
    assert stances("neutral", a_regime("ranging"), votes) == ("BUY", "SELL")
    assert stances("short", a_regime("volatile"), []) == ("SELL",)


@pytest.mark.requirement("F11")
def test_agreement_is_the_share_that_says_the_same() -> None:
    assert agreement_with("BUY", ("BUY", "SELL", "BUY", "BUY")) == 0.75
    assert agreement_with("SELL", ("BUY", "BUY")) == 0.0


@pytest.mark.requirement("F11")
def test_without_signals_or_with_hold_there_is_no_agreement_to_speak_of() -> None:
    assert agreement_with("BUY", ()) is None
    assert agreement_with("HOLD", ("BUY", "SELL")) is None


@pytest.mark.requirement("F16")
@pytest.mark.parametrize(
    "changes",
    [{"consensus_low": 0.7}, {"consensus_pivot": 0.7}, {"consensus_floor": 0.9}],
)
def test_rules_that_would_punish_agreement_are_refused_by_name(changes: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=f"decision.{next(iter(changes))}"):
        DecisionRules(**changes)
