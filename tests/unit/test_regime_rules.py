"""Each rule of regime and volume trend by itself: what it does at its threshold, and in a market without moves."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
from market_examples import candles_of, walk
from test_regime import NARROW, PARAMS, held, path
from wyckoff_examples import mirrored, rough

from aaos.domain.market import Candles
from aaos.domain.regime import EventParams, Regime, RegimeOutput, RegimeParams, detect_regime


def test_a_regime_changes_only_when_all_of_the_newest_candles_call_for_it() -> None:
    """Not when only the oldest and the newest do; the share that still calls for the old one is its confidence."""
    restless = replace(NARROW, confirm_candles=5, volatile_enter=0.6, volatile_leave=0.5)
    torn = sum(
        _torn(rough(seed, NARROW.window), restless, previous) for seed in range(4) for previous in get_args(Regime)
    )
    assert torn > 0


def _torn(candles: Candles, params: RegimeParams, previous: Regime) -> int:
    """How many outputs keep to `previous` only for a candle between those that agree; checks all of them."""
    k = params.confirm_candles
    outputs = [
        detect_regime(candles.until(int(candles.close_times_ms[end - 1])), params, held(previous))
        for end in range(params.candles_needed, len(candles) + 1)
    ]
    says = [output.evidence["regime"]["newest_candle_says"] for output in outputs]
    found = 0
    for i in range(k - 1, len(outputs)):
        newest = says[i - k + 1 : i + 1]
        agreed = len(set(newest)) == 1
        assert outputs[i].regime == (newest[-1] if agreed else previous)
        if not agreed and newest[-1] != previous:
            assert outputs[i].confidence == pytest.approx(0.5 * newest.count(previous) / k)
        found += newest[0] == newest[-1] != previous and not agreed
    return found


def test_a_volatile_market_stays_so_down_to_its_own_threshold() -> None:
    candles = walk(240, seed=4)
    trendless = replace(PARAMS, confirm_candles=1, adx_enter=100.0, adx_leave=100.0)
    rank = detect_regime(candles, trendless).evidence["regime"]["volatility_rank"]
    assert 0.1 < rank < 0.9
    between = replace(trendless, volatile_enter=rank + 0.01, volatile_leave=rank - 0.01)
    assert detect_regime(candles, between, held("volatile")).regime == "volatile"
    assert detect_regime(candles, between, held("ranging")).regime == "ranging"
    assert detect_regime(candles, between).regime == "ranging"
    above = replace(between, volatile_leave=rank + 0.01)
    assert detect_regime(candles, above, held("volatile")).regime == "ranging"


def test_volatility_that_never_changes_ranks_in_the_middle() -> None:
    """Ties count half: all alike is neither the calmest nor the wildest."""
    even = candles_of(np.resize([128.0, 256.0], 240))
    assert detect_regime(even, PARAMS).evidence["regime"]["volatility_rank"] == pytest.approx(0.5)


def test_without_any_move_there_is_no_trend_even_where_none_is_demanded() -> None:
    undemanding = replace(PARAMS, adx_enter=0.0, adx_leave=0.0, drift_enter_sigmas=0.0, drift_leave_sigmas=0.0)
    flat = candles_of(np.full(200, 3.3333))
    assert detect_regime(flat, undemanding).regime == detect_regime(mirrored(flat), undemanding).regime == "ranging"


@pytest.mark.parametrize("before", [0.0, 1e-310, 1e-200])
def test_beside_next_to_nothing_a_volume_is_not_rising(before: float) -> None:
    volume = np.where(np.arange(200) < 200 - PARAMS.volume_window, before, 5.0)
    output = detect_regime(candles_of(path((200, 0.0)), volume), PARAMS)
    assert output.evidence["volume"]["ratio"] is None
    assert (output.volume_trend, output.volume_confidence) == ("flat", 0.0)


@pytest.mark.parametrize(
    ("ratio", "confidence"), [(1.0, 1.0), (1.25, 0.5), (1.5, 1.0), (0.8, 0.5), (0.6, 1.0), (1.125, 0.75)]
)
def test_the_volumes_confidence_is_even_at_the_threshold(ratio: float, confidence: float) -> None:
    volume = np.where(np.arange(200) < 200 - PARAMS.volume_window, 8.0, 8.0 * ratio)
    output = detect_regime(candles_of(path((200, 0.0)), volume), PARAMS)
    assert output.volume_confidence == pytest.approx(confidence)


def test_a_volume_trend_held_by_hysteresis_alone_is_below_even() -> None:
    volume = np.where(np.arange(200) < 200 - PARAMS.volume_window, 10.0, 11.0)
    candles = candles_of(path((200, 0.0)), volume)
    kept = detect_regime(candles, PARAMS, held("ranging", volume="rising"))
    assert (kept.volume_trend, kept.volume_confidence) == ("rising", pytest.approx(0.2))


def test_an_output_names_the_same_events_upside_down_and_counts_those_it_leaves_out() -> None:
    """Also where events of both sides are known at one candle, and more of them than are named."""
    undemanding = EventParams(
        baseline=5, lookback=5, climax_volume=0.1, climax_range_atrs=0.5, climax_move_atrs=0.5, climax_close=0.0,
        spring_gap=1, spring_close=0.0, spring_bounce_atrs=0.1, sign_volume=0.1, sign_move_atrs=1.0,
    )  # fmt: skip
    loose = replace(NARROW, events=undemanding)
    left_out = 0
    for seed in range(30):
        upright, upside_down = (detect_regime(each, loose) for each in (rough(seed, 120), mirrored(rough(seed, 120))))
        assert _shown(upright, {}) == _shown(upside_down, {"demand": "supply", "supply": "demand"})
        assert upright.events_left_out == upside_down.events_left_out
        left_out += upright.events_left_out > 0
    assert left_out > 0


def _shown(output: RegimeOutput, sides: dict[str, str]) -> list[tuple[str, int, int]]:
    return sorted((sides.get(event.side, event.side), event.time_ms, event.known_at_ms) for event in output.events)
