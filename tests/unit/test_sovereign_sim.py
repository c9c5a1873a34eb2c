"""The simulated model: its votes follow from the figures, and it misbehaves exactly as told."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aaos.domain.prompts import DATA_CLOSE, DATA_OPEN, STANCES
from aaos.domain.sovereign import parse_vote
from aaos.local.sovereign_behaviour import MODES, Behaviour, Conduct, Transcript
from aaos.local.sovereign_rules import vote
from aaos.local.sovereign_sim import SovereignSim
from aaos.local.tiny_http import HttpRequest

ASK = b'{"model": "m", "messages": [{"role": "user", "content": "hm"}]}'


def prompt(score: float = 0.0, drift: float = 0.0, rsi: float | None = None, **regime: Any) -> str:
    rows = [[99 - n, 100.0, 100.2 + drift * n, 99.8 + drift * n, 100.0 + drift * n, 1.0] for n in range(100)]
    technical = {"score": score, "indicators": {"rsi_14": rsi}}
    figures = {"symbol": "X", "candles": {"rows": rows}, "technical": technical, "regime": regime}
    return f"{DATA_OPEN}{json.dumps(figures)}{DATA_CLOSE}"


def ballot(stance: str, seed: int = 0, **figures: Any) -> dict[str, Any]:
    return vote(f"Stance: {stance}. Be brief.", prompt(**figures), seed)


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


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=50)
@given(
    st.sampled_from(sorted(STANCES)),
    st.dictionaries(st.sampled_from(["technical", "regime", "candles", "symbol"]), json_values),
    st.lists(st.lists(st.floats() | st.integers(), min_size=5, max_size=6), max_size=4),
)
def test_any_figures_get_a_valid_vote(stance, figures, rows):
    for said in (figures, figures | {"candles": {"rows": rows}}):
        user = f"{DATA_OPEN}{json.dumps(said)}{DATA_CLOSE}"
        parse_vote(json.dumps(vote(f"Stance: {stance}.", user, 0)))


class Answered:
    """Keeps what a request would have been answered."""

    status = 0
    body: object = b""

    async def __call__(self, status: int, body: object, headers: Any = None) -> None:
        self.status, self.body = status, body


@pytest.mark.parametrize(
    ("peer", "status"), [("127.0.0.1", 200), ("127.8.8.8", 200), ("::1", 200), ("10.0.0.7", 403), ("", 403)]
)
def test_only_this_machine_may_steer_it(peer, status):
    sim = SovereignSim(Conduct(Behaviour()), seed=0, models=("m",), transcript=Transcript(1))
    answered = Answered()
    asyncio.run(sim.handle(HttpRequest("POST", "/sim/behaviour", {}, b'{"mode": "500"}', peer), answered))
    assert answered.status == status
    asyncio.run(sim.handle(HttpRequest("POST", "/v1/chat/completions", {}, ASK, "10.0.0.7"), answered))
    assert answered.status == (500 if status == 200 else 200)


def modes(conduct: Conduct, n: int, model: str = "m") -> list[str]:
    return [conduct.next_mode(model) for _ in range(n)]


def test_a_share_is_spread_evenly_and_exactly():
    conduct = Conduct(Behaviour(mode="500", share=0.1))
    assert [modes(conduct, 10).count("500") for _ in range(20)] == [1] * 20


def test_share_zero_never_and_share_one_always_misbehaves():
    assert modes(Conduct(Behaviour(mode="500", share=0.0)), 50) == ["ok"] * 50
    assert modes(Conduct(Behaviour(mode="500")), 50) == ["500"] * 50


def test_after_its_count_the_mode_is_ok_again_and_the_latency_stays():
    conduct = Conduct(Behaviour(latency_ms=5, mode="nan", count=2))
    assert modes(conduct, 4) == ["nan", "nan", "ok", "ok"]
    assert conduct.behaviour == Behaviour(latency_ms=5)


def test_a_mode_for_one_model_leaves_the_others_alone():
    conduct = Conduct(Behaviour(mode="hang", model="big"))
    assert (modes(conduct, 1, "big"), modes(conduct, 1, "small")) == (["hang"], ["ok"])


def test_a_new_mode_begins_afresh_and_other_changes_add_to_what_is():
    conduct = Conduct(Behaviour(latency_ms=5, mode="500", share=0.5, count=9))
    assert conduct.change({"count": 3}) == Behaviour(latency_ms=5, mode="500", share=0.5, count=3)
    assert conduct.change({"mode": "429"}) == Behaviour(latency_ms=5, mode="429")


@pytest.mark.parametrize(
    "change",
    [
        {"mode": "angry"},
        {"mode": None},
        {"share": 1.1},
        {"share": float("nan")},
        {"share": True},
        {"latency_ms": -1},
        {"latency_ms": "5"},
        {"count": 0},
        {"count": 1.5},
        {"model": 5},
        {"speed": 1},
    ],
)
def test_a_behaviour_that_makes_no_sense_is_refused_by_name(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        Behaviour().changed(change)


def test_every_mode_has_a_meaning():
    assert {
        "ok",
        "429",
        "500",
        "garbage",
        "nan",
        "unknown_fields",
        "oversized",
        "hang",
        "slow_drip",
        "prose",
    } <= set(MODES)


def test_the_transcript_is_bounded_and_its_totals_are_not():
    transcript = Transcript(capacity=3)
    for n in range(5):
        transcript.finish(transcript.begin(f"hash {n}", "m"), "ok", 200)
    said = json.loads(transcript.to_json(since=0, limit=10))
    assert (said["total"], said["charged"], said["forgotten"]) == (5, 5, 2)
    assert [call["number"] for call in said["calls"]] == [3, 4, 5]
    assert [call["number"] for call in json.loads(transcript.to_json(since=3, limit=1))["calls"]] == [4]


@pytest.mark.parametrize(("outcome", "status"), [("abandoned", None), ("500", 500), ("429", 429)])
def test_only_complete_answers_are_charged(outcome, status):
    transcript = Transcript(capacity=3)
    transcript.finish(transcript.begin("h", "m"), outcome, status)
    assert json.loads(transcript.to_json(0, 10))["charged"] == 0
