"""Correlation of returns: measured on common candles, and never silently passed where it cannot be."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from market_examples import candles_of
from risk_examples import calm, candles_from, returns

from aaos.domain.market import Candles, resample
from aaos.domain.risk.correlation import correlation

N = 240


def without(candles: Candles, *places: int) -> Candles:
    keep = np.setdiff1d(np.arange(len(candles)), places)
    columns = (getattr(candles, name)[keep] for name in ("open_time_ms", "open", "high", "low", "close", "volume"))
    return Candles(candles.symbol, candles.timeframe, *columns)


@pytest.mark.requirement("ENG-3")
def test_it_is_that_of_log_returns() -> None:
    one, other = returns(1), returns(2)
    mixed = 0.8 * one + 0.6 * other
    found = correlation(candles_from(one), candles_from(mixed), N)
    assert float(found.value) == pytest.approx(np.corrcoef(one, mixed)[0, 1], abs=1e-6)
    assert found.undefined is None
    assert found.returns == 239


def test_a_market_moves_with_itself_and_against_its_mirror() -> None:
    moves = returns(1)
    assert correlation(candles_from(moves), candles_from(moves), N).value == 1
    assert correlation(candles_from(moves), candles_from(-moves), N).value == -1


def test_only_common_candles_count_and_a_gap_spans_the_same_time_in_both() -> None:
    moves = returns(1)
    one, other = candles_from(moves), candles_from(moves)
    found = correlation(without(one, 10, 11, 100), without(other, 50), N)
    assert found.returns == 235
    assert found.value == 1


def test_the_newest_candles_are_the_ones_it_is_measured_on() -> None:
    old, new = returns(1, 200), returns(2, 200)
    one, other = candles_from(np.concatenate((old, new))), candles_from(np.concatenate((-old, new)))
    assert correlation(one, other, 200).value == 1
    assert correlation(one, other, 401).value < 1


@pytest.mark.requirement("ENG-3")
@pytest.mark.parametrize(
    ("other", "why"),
    [
        (None, "no candles"),
        (candles_of(np.full(N, 100.0)), "flat"),
        (calm().tail(100), "99 common returns, 120 needed"),
        (replace(calm(), open_time_ms=calm().open_time_ms + 10**9 * 60), "0 common returns"),
        (resample(calm(), "5m"), "do not compare"),
    ],
)
def test_what_cannot_be_measured_counts_as_one_and_says_so(other: Candles | None, why: str) -> None:
    found = correlation(calm(), other, N)
    assert found.value == 1
    assert why in (found.undefined or "")
    assert correlation(other, calm(), N).value == 1


@given(st.integers(0, 50), st.integers(0, 50), st.floats(0.5, 2000))
def test_it_is_symmetric_bounded_and_knows_no_price_level(one: int, other: int, price: float) -> None:
    left, right = calm(seed=one), calm(seed=other)
    found = correlation(left, right, N).value
    assert -1 <= found <= 1
    assert found == correlation(right, left, N).value
    scaled = candles_from(returns(other), price=price)
    assert abs(found - correlation(left, scaled, N).value) <= Decimal("0.000001")


def test_a_price_of_nothing_has_no_return() -> None:
    broken = replace(calm(), close=np.where(np.arange(N) == 100, 0.0, calm().close))
    assert correlation(calm(), broken, N).undefined == "a price is not positive"
