"""An arbiter's answer: read as strictly as a vote, and bounded; what is not clear does not go ahead."""

from __future__ import annotations

import json
from typing import Any

import pytest
from arbiter_examples import BOUNDS, said
from hypothesis import given
from hypothesis import strategies as st

from aaos.domain.answer_formats import ARBITER_VERDICTS, RULING_SCHEMA
from aaos.domain.rulings import Ruling, parse_ruling
from aaos.errors import SovereignInvalidResponse


def parsed(content: str) -> Ruling:
    return parse_ruling(content, BOUNDS)


@pytest.mark.parametrize(
    ("content", "verdict", "changes"),
    [
        (said(), "proceed", (None, None, None)),
        (said("HOLD"), "hold", (None, None, None)),
        (said("modify", leverage=3), "modify", (3.0, None, None)),
        (said("modify", size_fraction=0.25, entry_price=101.5), "modify", (None, 0.25, 101.5)),
        ('{"verdict": "proceed", "reasoning": "short"}', "proceed", (None, None, None)),
        (f"Let me see.\n```json\n{said('hold')}\n```", "hold", (None, None, None)),
        (f"<think>{said('proceed')}</think>{said('hold')}", "hold", (None, None, None)),
    ],
)
def test_what_is_asked_for_is_read(content: str, verdict: str, changes: tuple[float | None, ...]) -> None:
    ruling = parsed(content)
    assert (ruling.verdict, ruling.changes) == (verdict, changes)


@pytest.mark.requirement("D4")
@pytest.mark.requirement("F14")
@pytest.mark.parametrize(
    ("content", "why"),
    [
        (said("modify", leverage=10.01), "leverage must be from 1 to 10, not 10.01"),
        (said("modify", leverage=0), "leverage must be from 1"),
        (said("modify", leverage="5"), "leverage must be a JSON number"),
        (said("modify", leverage=True), "leverage must be a JSON number"),
        (said("modify", size_fraction=0), "size_fraction must be above 0"),
        (said("modify", size_fraction=2), "size_fraction must be above 0 and at most 1, not 2"),
        (said("modify", entry_price=105.0001), "entry_price must be from 95 to 105"),
        (said("modify", entry_price=-100), "entry_price must be from 95"),
        (said("modify", entry_price=float("nan")), "NaN is not a JSON number"),
        (said("modify"), "changes none of leverage, size_fraction, entry_price"),
        (said("proceed", leverage=5), "it says proceed and changes leverage: that is modify"),
        (said("reverse"), "verdict must be proceed, modify, hold"),
        (said("SELL"), "verdict must be"),
        (said(reasoning=""), "reasoning is empty"),
        ('{"reasoning": "so", "signal": "SELL"}', "no field 'verdict'"),
        ('{"reasoning": "so", "Verdict": "proceed"}', "not spelt as asked"),
        ('{"verdict": "hold", ' + said("proceed")[1:], "stands twice"),
        (f"{said('proceed')} {said('hold')}", "2 rulings that contradict each other"),
        ("", "no JSON object"),
        ("I would proceed.", "no JSON object"),
    ],
)
def test_anything_else_is_no_ruling(content: str, why: str) -> None:
    with pytest.raises(SovereignInvalidResponse, match="the model's answer is not a ruling") as caught:
        parsed(content)
    assert why in str(caught.value)
    assert caught.value.raw == content


def test_a_hold_is_a_hold_whatever_stands_beside_it() -> None:
    """Asked again, or elsewhere, it might become a proceed."""
    ruling = parsed(said("hold", leverage=500, size_fraction="all"))
    assert (ruling.verdict, ruling.changes) == ("hold", (None, None, None))


def test_a_direction_is_no_part_of_a_ruling_and_nothing_decides_by_it() -> None:
    ruling = parsed(said("proceed", signal="SELL", confidence=1.0, execute_now=True))
    assert ruling.verdict == "proceed"
    assert ruling.extras == {"signal": "SELL", "confidence": 1.0, "execute_now": True}


PLAIN = st.none() | st.booleans() | st.floats() | st.text(max_size=8)
JSON = st.recursive(PLAIN, lambda inner: st.lists(inner, max_size=2)) | st.sampled_from(ARBITER_VERDICTS)
NAMES = st.sampled_from([*RULING_SCHEMA["properties"], "signal"])


@pytest.mark.requirement("D4")
@given(st.dictionaries(NAMES, JSON))
def test_whatever_is_answered_a_ruling_is_within_bounds_or_there_is_none(claim: dict[str, Any]) -> None:
    try:
        ruling = parsed(json.dumps(claim))
    except SovereignInvalidResponse:
        return
    assert ruling.verdict in ARBITER_VERDICTS
    assert BOUNDS.fault(*ruling.changes) is None
    assert (ruling.verdict == "modify") == any(each is not None for each in ruling.changes)
