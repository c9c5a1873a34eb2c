from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from aaos.domain.signals import Divergence, Pattern, PatternPoint, SignalParams, TimeframeTrend
from aaos.domain.signals.structure import alignment_contribution, divergence_contribution, pattern_contribution

PARAMS = SignalParams()


def divergence(side: str = "bullish", strength: float = 0.5, **more: Any) -> Divergence:
    fields: dict[str, Any] = {
        "indicator": "rsi",
        "kind": "regular",
        "side": side,
        "strength": strength,
        "known_at_ms": 9,
    }
    times = {"first_ms": 1, "second_ms": 5, "first_value_ms": 1, "second_value_ms": 5}
    figures = {"first_price": 2.0, "second_price": 1.0, "first_value": 20.0, "second_value": 30.0}
    return Divergence(**fields | times | figures | more)


def pattern(
    side: str = "bullish", quality: float = 0.8, status: str = "confirmed", name: str = "double_bottom"
) -> Pattern:
    points = (PatternPoint("first bottom", 1, 1.0),)
    fields: dict[str, Any] = {"name": name, "side": side, "status": status, "quality": quality}
    return Pattern(points=points, known_at_ms=9, level=2.0, **fields)


@pytest.mark.requirement("ENG-2")
def test_divergences_at_several_turns_add_up_to_the_full_weight_and_not_beyond() -> None:
    weight = PARAMS.weight_divergence
    assert divergence_contribution([divergence()], PARAMS).points == pytest.approx(weight / 2)
    assert divergence_contribution([divergence("bearish")], PARAMS).points == pytest.approx(-weight / 2)
    assert divergence_contribution([divergence(second_ms=i) for i in (5, 6, 7)], PARAMS).points == weight
    opposed = [divergence(), divergence("bearish", second_ms=9)]
    assert divergence_contribution(opposed, PARAMS).points == 0


@pytest.mark.requirement("ENG-2")
def test_indicators_that_diverge_at_the_same_turn_are_one_witness() -> None:
    witnesses = [
        divergence(strength=0.3),
        divergence(strength=0.5, indicator="macd"),
        divergence(indicator="ao", strength=0.1),
    ]
    assert divergence_contribution(witnesses, PARAMS).points == pytest.approx(PARAMS.weight_divergence / 2)


@pytest.mark.requirement("ENG-2")
def test_a_hidden_divergence_counts_half() -> None:
    hidden = divergence_contribution([divergence(kind="hidden")], PARAMS)
    assert hidden.points == pytest.approx(PARAMS.weight_divergence / 4)


@pytest.mark.requirement("ENG-2")
def test_the_best_pattern_of_each_side_counts_and_a_forming_one_less() -> None:
    weight = PARAMS.weight_pattern
    assert pattern_contribution([pattern(), pattern(quality=0.3)], PARAMS).points == pytest.approx(0.8 * weight)
    forming = pattern("bearish", 0.5, "forming", "double_top")
    assert pattern_contribution([forming], PARAMS).points == pytest.approx(-0.5 * 0.3 * weight)
    assert pattern_contribution([pattern(), forming], PARAMS).points == pytest.approx((0.8 - 0.15) * weight)
    neutral = pattern("neutral", 1.0, "forming", "symmetrical_triangle")
    assert pattern_contribution([neutral], PARAMS).points == 0


@pytest.mark.requirement("ENG-2")
def test_nothing_in_sight_gives_no_points_and_says_so() -> None:
    assert divergence_contribution([], PARAMS).why == "none between the newest pivots"
    assert pattern_contribution([], PARAMS).why == "none in sight"
    assert {c.points for c in (divergence_contribution([], PARAMS), pattern_contribution([], PARAMS))} == {0.0}


def test_contributions_name_what_they_rest_on() -> None:
    both = [divergence(), divergence(indicator="obv", strength=0.25), divergence("bearish", kind="hidden")]
    assert divergence_contribution(both, PARAMS).why == "regular bullish: rsi 0.50, obv 0.25; hidden bearish: rsi 0.50"
    assert pattern_contribution([pattern()], PARAMS).why == "confirmed double bottom (bullish, quality 0.80)"


@pytest.mark.requirement("ENG-2")
def test_alignment_gives_its_weight_when_all_timeframes_point_the_same_way() -> None:
    trends = [TimeframeTrend("1m", "short", -0.5, 0), TimeframeTrend("5m", "short", -0.9, 0)]
    full = alignment_contribution(trends, (), PARAMS)
    assert (full.points, full.why) == (-PARAMS.weight_alignment, "full: 1m short, 5m short")
    half = alignment_contribution([*trends, TimeframeTrend("15m", "neutral", 0, 0)], ("1h",), PARAMS)
    assert half.points == pytest.approx(-PARAMS.weight_alignment / 2)
    assert half.why == "partial: 1m short, 5m short, 15m neutral; too few candles yet for 1h"


@pytest.mark.requirement("ENG-2")
def test_as_long_as_a_timeframe_is_unknown_agreement_is_not_full() -> None:
    trends = [TimeframeTrend("1m", "long", 0.5, 0), TimeframeTrend("5m", "long", 0.9, 0)]
    early = alignment_contribution(trends, ("15m", "1h"), PARAMS)
    assert early.points == PARAMS.weight_alignment / 2
    assert early.why.startswith("partial: 1m long, 5m long; too few candles yet for 15m, 1h")


def test_a_weight_of_zero_switches_a_contribution_off() -> None:
    off = replace(PARAMS, weight_divergence=0.0, weight_rsi=PARAMS.weight_rsi + PARAMS.weight_divergence)
    assert divergence_contribution([divergence()], off).points == 0
