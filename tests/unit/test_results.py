from __future__ import annotations

import hashlib
import json
import math
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from market_examples import a_regime, a_signal, a_vote

from aaos.domain.decision import DecisionInputs, DecisionRules, decide
from aaos.domain.results import TradingAnalysisResult, canonical_json, content_hash, risk_label
from aaos.errors import InputError

NOW = datetime(2026, 11, 20, 13, 30, tzinfo=UTC)


def a_result(phase: str = "distribution") -> TradingAnalysisResult:
    vote = a_vote("BUY", 0.85, risk_score=0.75, fallback_used=True)
    inputs = DecisionInputs("BTC/USDT", a_signal("long"), a_regime("ranging", phase, "flat"), (vote,), (), 1)
    return TradingAnalysisResult.from_decision(decide(inputs, DecisionRules()), "42", "1m", NOW)


def test_the_result_carries_the_adjusted_confidence_the_phase_and_the_warning() -> None:
    result = a_result()
    assert result.confidence == pytest.approx(0.85 * 0.8 * 0.8)  # a fallback voted: consensus gives nothing back
    assert (result.task_id, result.timeframe, result.schema_version) == ("42", "1m", 1)
    assert result.wyckoff_phase == "distribution"
    assert result.hidden_hand_warning == "BUY in distribution on flat volume"
    assert result.degraded_inference


def test_an_unknown_phase_is_left_out() -> None:
    assert a_result("unknown").wyckoff_phase is None


def test_the_sidebar_shows_percent_and_a_risk_label() -> None:
    assert a_result().to_sidebar() == {
        "symbol": "BTC/USDT",
        "signal": "BUY",
        "confidence_pct": 54.4,
        "risk": "HIGH",
        "warning": "BUY in distribution on flat volume",
        "degraded": True,
    }


@pytest.mark.parametrize(
    ("score", "label"), [(0.71, "HIGH"), (0.7, "MEDIUM"), (0.41, "MEDIUM"), (0.4, "LOW"), (0.0, "LOW")]
)
def test_risk_labels(score: float, label: str) -> None:
    assert risk_label(score) == label


def test_a_stored_result_comes_back_the_same() -> None:
    result = a_result()
    assert TradingAnalysisResult.from_dict(json.loads(json.dumps(result.to_dict()))) == result


def test_analyzed_at_is_stored_in_utc_and_must_have_a_zone() -> None:
    stored = a_result().to_dict() | {"analyzed_at": NOW.astimezone(timezone(timedelta(hours=2))).isoformat()}
    assert TradingAnalysisResult.from_dict(stored).to_dict()["analyzed_at"] == "2026-11-20T13:30:00+00:00"
    with pytest.raises(InputError, match="no time zone"):
        TradingAnalysisResult.from_dict(stored | {"analyzed_at": "2026-11-20T13:30:00"})


def test_canonical_json_sorts_keys_is_compact_and_ascii() -> None:
    assert canonical_json({"b": [1, 2.5, None, True], "a": "é"}) == b'{"a":"\\u00e9","b":[1,2.5,null,true]}'


def test_a_number_is_spelled_by_its_value_alone() -> None:
    assert canonical_json([1.0, -0.0, 0.1, 1e22, 10**22, 2**53, True]) == (
        b"[1,0,0.1,1e+22,1e+22,9007199254740992.0,true]"
    )


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ({"a": [1, math.nan]}, r"\$\.a\[1\]"),
        ({"x": math.inf}, r"\$\.x"),
        ({1: 2}, "the key 1"),
        ({"t": NOW}, r"datetime at \$\.t"),
        ([10**400], r"\$\[0\]"),
    ],
)
def test_what_json_cannot_carry_is_refused_naming_the_place(value: object, place: str) -> None:
    with pytest.raises(InputError, match=place):
        canonical_json(value)


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**80), 2**80)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(VALUES)
def test_the_hash_survives_a_trip_through_json(value: object) -> None:
    data = canonical_json(value)
    assert canonical_json(json.loads(data)) == data
    assert content_hash(value) == hashlib.sha256(data).hexdigest()


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_no_number_loses_a_bit(value: float) -> None:
    assert float(json.loads(canonical_json(value))) == value
