"""How far one answer is believed: × 0.8 to the digit, what was learned instead, and never more than was said."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aaos.domain.decision import (
    DecisionRules,
    Distrust,
    distrusted,
    scaled,
)
from aaos.errors import InvariantViolation

RULES = DecisionRules()
SHARES = st.floats(0, 1)
DECIMALS = st.decimals(0, 1, places=4).map(float)


@pytest.mark.requirement("FM-TAW-006")
@pytest.mark.requirement("FM-003")
@pytest.mark.requirement("D3")
def test_a_fallbacks_085_counts_068_and_says_so() -> None:
    assert distrusted(0.85, True, RULES).to_dict() == {
        "confidence": 0.68,
        "original_confidence": 0.85,
        "trust_factor": 0.8,
        "trust_source": "prior",
        "fallback_used": True,
        "degraded_inference": True,
        "degradation_reason": "fallback_model_used",
    }


def test_the_voters_own_model_is_believed_as_it_speaks() -> None:
    assert distrusted(0.85, False, RULES).to_dict() == {
        "confidence": 0.85,
        "original_confidence": 0.85,
        "trust_factor": 1.0,
        "trust_source": "none",
        "fallback_used": False,
        "degraded_inference": False,
        "degradation_reason": None,
    }


@pytest.mark.requirement("FM-TAW-006")
@pytest.mark.requirement("D3")
@pytest.mark.parametrize(
    ("said", "counts"), [(0.7, 0.56), (0.9, 0.72), (0.35, 0.28), (1.0, 0.8), (0.0, 0.0), (0.1, 0.08)]
)
def test_the_product_is_the_one_on_paper(said: float, counts: float) -> None:
    assert distrusted(said, True, RULES).confidence == counts


@pytest.mark.requirement("D3")
@given(DECIMALS)
def test_of_every_figure_with_four_decimals_exactly_08_is_left(said: float) -> None:
    exact = (Decimal(repr(said)) * Decimal("0.8")).quantize(Decimal("0.00001"), ROUND_HALF_EVEN)
    assert distrusted(said, True, RULES).confidence == float(exact)


@pytest.mark.requirement("D3")
@given(SHARES, SHARES)
def test_the_product_is_rounded_once_whatever_the_figures(said: float, factor: float) -> None:
    exact = Fraction(Decimal(repr(said))) * Fraction(Decimal(repr(factor)))
    assert scaled(said, factor) == exact.numerator / exact.denominator


@pytest.mark.requirement("FM-TAW-006")
@given(SHARES, st.booleans(), st.none() | SHARES, st.floats(0.01, 1))
def test_distrust_never_raises_a_confidence(
    said: float, fallback: bool, learned: float | None, multiplier: float
) -> None:
    trust = distrusted(said, fallback, DecisionRules(fallback_multiplier=multiplier), learned)
    assert 0 <= trust.confidence <= trust.original_confidence == said
    assert trust.degraded_inference == trust.fallback_used == fallback
    assert (trust.degradation_reason == "fallback_model_used") == fallback


def test_what_was_learned_takes_the_place_of_the_prior() -> None:
    assert distrusted(0.8, True, RULES, 0.5) == Distrust(0.4, 0.8, 0.5, "learned", True)
    assert distrusted(0.8, False, RULES, 0.9) == Distrust(0.72, 0.8, 0.9, "learned", False)


@pytest.mark.parametrize("learned", [1.01, -0.1, float("nan"), float("inf")])
def test_a_learned_factor_that_could_raise_a_confidence_breaks_an_invariant(learned: float) -> None:
    with pytest.raises(InvariantViolation, match="learned factor"):
        distrusted(0.8, False, RULES, learned)
