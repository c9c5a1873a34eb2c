"""Indicators over made-up markets: walks, stretches without a move or a trade, jumps, gaps, any price, any periods."""

from __future__ import annotations

import warnings
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from market_examples import MINUTE_MS, START_MS, walk

from aaos.domain.market import Candles
from aaos.domain.signals import IndicatorColumns, SignalParams, compute_indicators
from aaos.domain.signals.indicators import window_deviations, window_means
from aaos.domain.signals.streaming import IndicatorStream

NAMES = tuple(field.name for field in fields(IndicatorColumns))
# Functions of the newest candles alone, summed in one order by the batch and the stream: equal to the last bit.
WINDOWED = ("williams_r", "ao", "stoch_k", "stoch_d", "bb_upper", "bb_mid", "bb_lower", "kdj_k", "kdj_d", "kdj_j")
PRICE_LIKE = ("macd_line", "macd_signal", "macd_hist")
# Wilder's means and EMAs are multiplied and added with one rounding in TA-Lib, with two in Python: 1e-16 a step,
# which never adds up to more than this. MACD and DX are differences: their error stands beside what was subtracted.
FUSED = 1e-12


@st.composite
def periods(draw: st.DrawFn, most: int = 60) -> SignalParams:
    def pair() -> tuple[int, int]:
        fast = draw(st.integers(2, most - 1))
        return fast, draw(st.integers(fast + 1, most))

    one: dict[str, Any] = {
        name: draw(st.integers(2, most))
        for name in (
            "rsi_period", "macd_signal", "williams_period", "stoch_period", "bollinger_period", "kdj_period",
            "atr_period", "adx_period",
        )
    }  # fmt: skip
    smoothing = ("stoch_smooth_k", "stoch_smooth_d", "kdj_smooth_k", "kdj_smooth_d")
    one |= {name: draw(st.integers(1, 10)) for name in smoothing}
    for name in ("macd", "ao", "ema"):
        one[f"{name}_fast"], one[f"{name}_slow"] = pair()
    return replace(SignalParams(), **one)


@st.composite
def markets(draw: st.DrawFn, most: int = 260) -> Candles:
    n = draw(st.integers(1, most))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    sigma = draw(st.sampled_from([0.0, 1e-9, 1e-3, 0.3]))
    moves, wicks, volume = sigma * rng.normal(size=n), 1 + sigma * rng.uniform(size=n), rng.uniform(1, 20, size=n)
    places = st.integers(0, n - 1)
    for jump in draw(st.lists(places, max_size=2)):
        moves[jump] += draw(st.sampled_from([-9.0, 0.5, 9.0]))
    for start in draw(st.lists(places, max_size=2)):
        still = slice(start, start + draw(st.integers(1, 80)))
        moves[still], wicks[still] = 0, 1
    for start in draw(st.lists(places, max_size=2)):
        volume[start : start + draw(st.integers(1, 80))] = 0
    close = 10.0 ** draw(st.integers(-12, 12)) * np.exp(np.cumsum(moves))
    opened = np.concatenate((close[:1], close[:-1]))
    times = START_MS + MINUTE_MS * np.cumsum(np.where(rng.uniform(size=n) < 0.05, 30, 1))
    high, low = np.maximum(opened, close) * wicks, np.minimum(opened, close) / wicks
    return Candles("BTC/USDT", "1m", times, opened, high, low, close, volume)


@pytest.mark.requirement("ENG-2")
@given(markets(), periods())
@example(walk(200), SignalParams())
@settings(max_examples=60, deadline=None)
def test_candle_by_candle_the_stream_gives_what_the_batch_gives(candles: Candles, params: SignalParams) -> None:
    stream = IndicatorStream(params)
    streamed = [stream.update(*row[1:]) for row in candles.rows()]
    batch = compute_indicators(candles, params)
    highest_so_far = np.maximum.accumulate(candles.close)
    for name in NAMES:
        ours, theirs = np.array([getattr(values, name) for values in streamed]), getattr(batch, name)
        if name in (*WINDOWED, "obv"):
            np.testing.assert_array_equal(ours, theirs, err_msg=name)
            continue
        np.testing.assert_array_equal(np.isnan(ours), np.isnan(theirs), err_msg=name)
        beside = highest_so_far if name in PRICE_LIKE else np.full(len(candles), 100.0 * (name == "adx"))
        known = ~np.isnan(theirs)
        off = np.abs(ours - theirs)[known] - FUSED * np.maximum(np.abs(theirs), beside)[known]
        assert not off.size or off.max() <= 0, name


@pytest.mark.requirement("ENG-2")
@given(markets(), periods(), st.data())
@settings(max_examples=60, deadline=None)
def test_no_indicator_of_any_market_looks_ahead(candles: Candles, params: SignalParams, data: st.DataObject) -> None:
    t = data.draw(st.integers(0, len(candles) - 1))
    whole = compute_indicators(candles, params)
    early = compute_indicators(candles.until(int(candles.close_times_ms[t])), params)
    for name in NAMES:
        np.testing.assert_array_equal(getattr(early, name), getattr(whole, name)[: t + 1], err_msg=name)


@given(markets(), periods(20))
@settings(max_examples=40, deadline=None)
def test_what_has_left_the_window_has_no_say(candles: Candles, params: SignalParams) -> None:
    whole = compute_indicators(candles, params)
    newest = compute_indicators(candles.tail(40), params)  # 20 for a range, twice 10 of smoothing
    for name in WINDOWED:
        np.testing.assert_array_equal(getattr(newest, name)[-1], getattr(whole, name)[-1], err_msg=name)


@given(markets(), periods())
@settings(max_examples=60, deadline=None)
def test_indicators_of_any_market_stay_within_their_bounds_without_a_warning(
    candles: Candles, params: SignalParams
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        columns = compute_indicators(candles, params)
    bounds = {"rsi": (0, 100), "stoch_k": (0, 100), "stoch_d": (0, 100), "williams_r": (-100, 0), "adx": (0, 100)}
    for name in NAMES:
        column = getattr(columns, name)
        low, high = bounds.get(name, (-1e300, 1e300))
        assert column.shape == (len(candles),)
        rounding = 1e-12 if name == "adx" else 0  # a mean of hundreds by fused steps may end an ulp above
        known = column[~np.isnan(column)]
        assert ((low <= known) & (known <= high + rounding)).all(), name
    known = ~np.isnan(columns.bb_mid)
    assert (columns.bb_lower[known] <= columns.bb_mid[known]).all()
    assert (columns.bb_mid[known] <= columns.bb_upper[known]).all()
    assert not (columns.atr < 0).any()


@given(st.integers(1, 300), st.integers(1, 500), st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_window_means_and_deviations_are_those_of_each_window(n: int, period: int, seed: int) -> None:
    values = np.random.default_rng(seed).uniform(1, 2, size=n)
    means = window_means(values, period)
    deviations = window_deviations(values, means, period)
    for t in range(n):
        if t + 1 < period:
            assert np.isnan(means[t])
            assert np.isnan(deviations[t])
        else:
            window = values[t + 1 - period : t + 1]
            assert means[t] == pytest.approx(window.mean(), rel=1e-14)
            assert deviations[t] == pytest.approx(window.std(), rel=1e-12, abs=1e-15)


def test_deviations_over_a_long_history_are_those_over_its_end() -> None:
    # More windows than are held at once, so that some of them are computed apart from their neighbours.
    close = walk(3_000).close
    for period in (20, 34, 130):
        whole = window_deviations(close, window_means(close, period), period)
        for end in range(1_000, 3_000, 9):
            newest = close[end - period : end]
            assert window_deviations(newest, window_means(newest, period), period)[-1] == whole[end - 1]
