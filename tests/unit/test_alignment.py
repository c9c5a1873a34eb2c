from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from market_examples import MINUTE_MS, START_MS, candles_of, walk

from aaos.domain.market import Candles, resample
from aaos.domain.signals import AlignmentParams, SignalOutput, SignalParams, generate_signal, signal_at, study_candles
from aaos.domain.signals.alignment import (
    TimeframeTrend,
    aligned_share,
    candles_for_alignment,
    coarser_timeframes,
    trend_of,
    verdict_of,
)
from aaos.errors import ConfigError

PARAMS = SignalParams()
SHORT = replace(PARAMS, alignment=AlignmentParams(timeframes=("1m", "5m")))


def trends(*directions: str) -> list[TimeframeTrend]:
    return [TimeframeTrend(f"{i}m", each, 0.0, 0) for i, each in enumerate(directions)]  # type: ignore[arg-type]


@pytest.mark.requirement("ENG-2")
@pytest.mark.parametrize(
    ("directions", "verdict", "share"),
    [
        (("long", "long", "long"), "full", 1.0),
        (("short", "short"), "full", -1.0),
        (("long", "neutral"), "partial", 0.5),
        (("neutral", "neutral"), "partial", 0.0),
        (("long", "short"), "divergent", 0.0),
        (("long", "long", "neutral", "short"), "divergent", 0.25),
        (("long",), None, None),
        ((), None, None),
    ],
)
def test_timeframes_agree_in_full_in_part_or_not(
    directions: tuple[str, ...], verdict: str | None, share: float | None
) -> None:
    assert verdict_of(trends(*directions)) == verdict
    assert aligned_share(trends(*directions)) == share


def test_a_timeframe_has_a_direction_from_the_least_momentum_on() -> None:
    rules = AlignmentParams(min_momentum=0.25)
    assert [trend_of("1m", m, 0, rules).direction for m in (0.25, 0.24, -0.24, -0.25)] == [
        "long", "neutral", "neutral", "short",
    ]  # fmt: skip


def test_coarser_timeframes_are_the_configured_multiples() -> None:
    assert coarser_timeframes("1m", AlignmentParams()) == ("5m", "15m", "1h")
    assert coarser_timeframes("15m", AlignmentParams()) == ("1h",)
    assert coarser_timeframes("1h", AlignmentParams()) == ()


@pytest.mark.parametrize("names", [("5m", "1m"), ("1m", "1m"), ("1m", "2m")])
def test_timeframes_out_of_order_twice_or_unknown_are_refused(names: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match="timeframe"):
        AlignmentParams(timeframes=names)


def climb(candles: int, per_candle: float) -> Candles:
    rng = np.random.default_rng(4)
    return candles_of(100 * np.exp(np.cumsum(per_candle + 2e-4 * rng.normal(size=candles))))


@pytest.mark.requirement("ENG-2")
def test_a_steady_climb_is_fully_aligned_and_a_fall_against_it_is_divergent() -> None:
    up, params = climb(2_000, 2e-4), replace(PARAMS, alignment=AlignmentParams(timeframes=("1m", "5m", "15m")))
    output = generate_signal(up, params)
    assert [t.timeframe for t in output.timeframes] == ["1m", "5m", "15m"]
    assert (output.alignment, {t.direction for t in output.timeframes}) == ("full", {"long"})
    turned = candles_of(np.concatenate((up.close, up.close[-1] * np.exp(-8e-4 * np.arange(1, 40)))))
    output = generate_signal(turned, params)
    assert output.timeframes[0].direction == "short"
    assert output.timeframes[2].direction == "long"
    assert output.alignment == "divergent"


@pytest.mark.requirement("ENG-2")
def test_with_one_timeframe_known_there_is_no_verdict_and_no_points() -> None:
    output = generate_signal(walk(120), PARAMS)
    contribution = next(c for c in output.contributions if c.name == "alignment")
    assert output.alignment is None
    assert (contribution.value, contribution.points) == (None, 0.0)
    assert "too few candles yet for 5m, 15m, 1h" in contribution.why


@pytest.mark.requirement("ENG-2")
@given(st.integers(0, 2**32), st.integers(0, 14), st.integers(300, 499))
@settings(max_examples=25, deadline=None)
def test_a_coarser_timeframe_counts_closed_candles_only(seed: int, start: int, t: int) -> None:
    candles = Candles.from_rows("BTC/USDT", "1m", walk(500, seed).rows()[start:])
    t -= start
    with_hindsight = signal_at(study_candles(candles, SHORT), t, SHORT)
    at_the_time = generate_signal(Candles.from_rows("BTC/USDT", "1m", candles.rows()[: t + 1]), SHORT)
    assert at_the_time == with_hindsight
    now_ms = int(candles.close_times_ms[t])
    for trend in at_the_time.timeframes[1:]:
        assert trend.newest_candle_ms + 5 * MINUTE_MS <= now_ms
        assert trend.newest_candle_ms == resample(candles.until(now_ms), "5m").open_time_ms[-1]


def test_enough_candles_for_alignment_are_enough_wherever_the_first_one_begins() -> None:
    needed = candles_for_alignment("1m", PARAMS.candles_needed, PARAMS.alignment)
    assert needed == 52 * 60
    for start in (0, 1, 59):
        candles = Candles.from_rows("BTC/USDT", "1m", walk(needed + 60).rows()[start : start + needed])
        assert [t.timeframe for t in generate_signal(candles, PARAMS).timeframes] == ["1m", "5m", "15m", "1h"]


def test_the_output_says_when_it_became_known_and_what_was_missing() -> None:
    rows = walk(300).rows()
    output = generate_signal(Candles.from_rows("BTC/USDT", "1m", rows[:200] + rows[205:]), PARAMS)
    assert output.candles_missing == 5
    assert output.timestamp == "2022-01-01T05:00:00Z"
    assert output.newest_candle_ms == START_MS + 299 * MINUTE_MS
    assert SignalOutput.from_dict(output.to_dict()) == output
