from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from market_examples import candles_of, walk

from aaos.domain.signals.pivots import Pivot, find_pivots

ZIGZAG = np.array([1, 2, 3, 4, 3, 2, 1, 2, 3, 5, 4, 3, 2], dtype=float)


def test_a_pivot_is_the_extreme_of_its_neighbourhood_and_known_strength_candles_later() -> None:
    assert find_pivots(ZIGZAG, ZIGZAG, 3) == (
        Pivot(3, "high", 4.0, 6),
        Pivot(6, "low", 1.0, 9),
        Pivot(9, "high", 5.0, 12),
    )


def test_of_equal_highs_the_first_is_the_pivot_and_a_flat_market_has_none() -> None:
    top = np.array([1, 2, 4, 4, 4, 2, 1], dtype=float)
    assert [p.index for p in find_pivots(top, np.zeros(7), 2)] == [2]
    assert find_pivots(np.full(50, 7.0), np.full(50, 7.0), 3) == ()


def test_too_short_a_series_has_no_pivot() -> None:
    assert find_pivots(ZIGZAG[:6], ZIGZAG[:6], 3) == ()


@pytest.mark.requirement("ENG-2")
@given(st.integers(0, 2**32), st.integers(0, 199), st.integers(1, 8))
@settings(max_examples=60, deadline=None)
def test_pivots_known_at_a_candle_are_those_found_without_any_later_candle(seed: int, t: int, strength: int) -> None:
    c = walk(200, seed)
    with_hindsight = tuple(p for p in find_pivots(c.high, c.low, strength) if p.known_at <= t)
    at_the_time = find_pivots(c.high[: t + 1], c.low[: t + 1], strength)
    assert with_hindsight == at_the_time


@given(st.integers(0, 2**32), st.integers(1, 20), st.integers(0, 3))
@settings(max_examples=40, deadline=None)
def test_every_pivot_is_an_extreme_and_every_extreme_a_pivot(seed: int, k: int, decimals: int) -> None:
    c = walk(120, seed)
    high, low = c.high.round(decimals), c.low.round(decimals)  # rounded, so that many are equal
    pivots = find_pivots(high, low, k)
    found = {side: {p.index for p in pivots if p.side == side} for side in ("high", "low")}
    for i in range(k, len(c) - k):
        a_high = high[i] > high[i - k : i].max() and high[i] >= high[i + 1 : i + k + 1].max()
        a_low = low[i] < low[i - k : i].min() and low[i] <= low[i + 1 : i + k + 1].min()
        assert (i in found["high"], i in found["low"]) == (a_high, a_low)
    assert all(k <= p.index < len(c) - k and p.known_at == p.index + k for p in pivots)
    assert all(p.price == (high if p.side == "high" else low)[p.index] for p in pivots)


def test_a_candle_that_is_high_and_low_at_once_gives_its_high_first() -> None:
    high, low = np.array([1, 1, 5, 1, 1], dtype=float), np.array([1, 1, 0.5, 1, 1], dtype=float)
    assert find_pivots(high, low, 2) == (Pivot(2, "high", 5.0, 4), Pivot(2, "low", 0.5, 4))


@pytest.mark.parametrize("hole", [3, 4, 5])
def test_an_undefined_price_keeps_its_neighbours_from_being_pivots(hole: int) -> None:
    torn = ZIGZAG.copy()
    torn[hole] = np.nan
    assert [p.index for p in find_pivots(torn, torn, 3)] == [9]


def test_candles_without_movement_have_no_pivots() -> None:
    c = candles_of(np.full(30, 2.0))
    assert find_pivots(c.high, c.low, 2) == ()
