"""The simulated models: their votes follow from the figures, each in its own way."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aaos.domain.prompts import DATA_CLOSE, DATA_OPEN, STANCES
from aaos.domain.sovereign import parse_vote
from aaos.local.sovereign_models import CHARACTERS, vote


def prompt(score: float = 0.0, drift: float = 0.0, rsi: float | None = None, **regime: Any) -> str:
    rows = [[99 - n, 100.0, 100.2 + drift * n, 99.8 + drift * n, 100.0 + drift * n, 1.0] for n in range(100)]
    technical = {"score": score, "indicators": {"rsi_14": rsi}}
    figures = {"symbol": "X", "candles": {"rows": rows}, "technical": technical, "regime": regime}
    return f"{DATA_OPEN}{json.dumps(figures)}{DATA_CLOSE}"


def ballot(stance: str, seed: int = 0, model: str = "sovereign-32b", **figures: Any) -> dict[str, Any]:
    return vote(f"Stance: {stance}. Be brief.", prompt(**figures), seed, CHARACTERS[model])


def test_a_strong_score_in_a_rising_market_makes_the_trend_voter_buy():
    said = ballot("trend", score=90, drift=0.05, regime="trending_up", confidence=0.9, wyckoff_phase="markup")
    assert said["signal"] == "BUY"
    assert said["confidence"] > 0.8


def test_the_mirror_image_makes_it_sell():
    said = ballot("trend", score=-90, drift=-0.05, regime="trending_down", confidence=0.9, wyckoff_phase="markdown")
    assert said["signal"] == "SELL"


def test_an_overbought_market_makes_the_reversal_voter_sell():
    assert ballot("reversal", rsi=85, drift=0.05, regime="ranging")["signal"] == "SELL"


def test_distribution_makes_the_risk_voter_hold_back():
    calm = ballot("risk", score=60, wyckoff_phase="markup")
    wary = ballot("risk", score=60, wyckoff_phase="distribution", volume_trend="declining", regime="volatile")
    assert (calm["signal"], wary["signal"]) == ("BUY", "HOLD")
    assert wary["risk_score"] > calm["risk_score"] + 0.3


def test_no_evidence_is_a_hold():
    assert {ballot(stance)["signal"] for stance in STANCES} == {"HOLD"}


def test_a_prompt_without_figures_is_a_hold():
    assert vote("", "What do you think?", 0)["signal"] == "HOLD"


def test_the_same_prompt_and_seed_give_the_same_vote_and_another_seed_another():
    assert ballot("trend", seed=1, score=50) == ballot("trend", seed=1, score=50)
    assert len({ballot("trend", seed=seed, score=50)["confidence"] for seed in range(5)}) > 1


def test_the_reasoning_names_the_figures():
    said = ballot("trend", score=42, regime="trending_up", confidence=0.5)["reasoning"]
    assert "score 42 of 130 (+0.23)" in said
    assert "regime trending_up (+0.15)" in said


RISING = {"score": 90, "drift": 0.05, "regime": "trending_up", "confidence": 0.9, "wyckoff_phase": "markup"}
WARY = {"score": 60, "wyckoff_phase": "distribution", "volume_trend": "declining", "regime": "volatile"}


def test_the_contrarian_does_the_opposite_of_the_careful_one():
    careful, contrarian = (ballot("trend", model=name, **RISING) for name in ("sovereign-32b", "sovereign-contrarian"))
    assert (careful["signal"], contrarian["signal"]) == ("BUY", "SELL")


def test_the_momentum_chaser_follows_the_newest_candles_against_score_and_phase():
    said = ballot("risk", model="sovereign-momentum", score=-90, drift=0.05, wyckoff_phase="distribution")
    assert said["signal"] == "BUY"
    assert said["risk_score"] < 0.3


def test_the_mute_one_holds_whatever_it_is_shown():
    assert {ballot(stance, model="sovereign-mute", **RISING)["signal"] for stance in STANCES} == {"HOLD"}


def test_the_hasty_one_acts_where_the_careful_one_holds_and_is_surer_and_sees_less_risk():
    careful, hasty = (ballot("risk", model=name, **WARY) for name in ("sovereign-32b", "sovereign-7b"))
    assert (careful["signal"], hasty["signal"]) == ("HOLD", "BUY")
    assert hasty["confidence"] >= 0.8
    assert hasty["risk_score"] < careful["risk_score"]


@pytest.mark.parametrize("score", range(-130, 131, 26))
def test_what_the_hasty_one_acts_on_it_is_never_less_than_80_percent_sure_of(score):
    said = ballot("trend", model="sovereign-7b", score=score)
    assert said["signal"] == "HOLD" or said["confidence"] >= 0.8


def test_the_careful_ones_confidence_grows_with_the_evidence():
    sure = [ballot("trend", score=score)["confidence"] for score in (40, 60, 80, 100, 120)]
    assert sure == sorted(sure)
    assert sure[0] < 0.7 < sure[-1]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=50)
@given(
    st.sampled_from(sorted(STANCES)),
    st.sampled_from(sorted(CHARACTERS)),
    st.dictionaries(st.sampled_from(["technical", "regime", "candles", "symbol"]), json_values),
    st.lists(st.lists(st.floats() | st.integers(), min_size=5, max_size=6), max_size=4),
)
def test_any_figures_get_a_valid_vote_of_any_model(stance, character, figures, rows):
    for said in (figures, figures | {"candles": {"rows": rows}}):
        user = f"{DATA_OPEN}{json.dumps(said)}{DATA_CLOSE}"
        parse_vote(json.dumps(vote(f"Stance: {stance}.", user, 0, CHARACTERS[character])))
