"""The formulas of SPEC 9, with its own examples, long and short."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from market_examples import candles_of, walk
from risk_examples import a_book, an_instrument, calm

from aaos.domain.market import resample
from aaos.domain.order_book import Side
from aaos.domain.risk.formulas import (
    break_even_roi_percent,
    drawdown_percent,
    hourly_atr_percent,
    leverage_limit,
    liquidation_buffer_percent,
    liquidation_price,
    margin_percent,
    roi_percent,
    stop_price,
    take_profit_price,
    volatility_leverage,
)
from aaos.domain.risk.sizing import entry_price
from aaos.domain.signals.ta_lib import talib

D = Decimal
prices = st.decimals("0.0001", "100000", places=4)
leverages = st.integers(1, 125).map(Decimal)
rois = st.decimals("0.01", "100", places=2)


@pytest.mark.requirement("ENG-3")
def test_break_even_pays_both_fees_and_the_buffer() -> None:
    assert break_even_roi_percent(D("0.0006"), D(50), D("0.05")) == D("6.05")


@pytest.mark.requirement("ENG-3")
@pytest.mark.parametrize(("leverage", "percent"), [(50, "1.0"), (25, "2.0"), (5, "10")])
def test_the_margin_shrinks_as_leverage_grows_so_that_the_notional_stays(leverage: int, percent: str) -> None:
    assert margin_percent(D("0.5"), D(leverage)) == D(percent)
    assert margin_percent(D("0.5"), D(leverage)) * leverage == 50


@pytest.mark.requirement("ENG-3")
@pytest.mark.parametrize(("side", "stop"), [("buy", "99.99"), ("sell", "100.01")])
def test_the_stop_stands_where_the_margin_has_lost_so_much(side: Side, stop: str) -> None:
    assert stop_price(D(100), D("0.5"), D(50), side) == D(stop)


@pytest.mark.parametrize(("side", "profit"), [("buy", "100.04"), ("sell", "99.96")])
def test_the_profit_is_taken_where_the_margin_has_gained_so_much(side: Side, profit: str) -> None:
    assert take_profit_price(D(100), D(2), D(50), side) == D(profit)


def test_a_short_cannot_gain_more_than_its_price() -> None:
    assert take_profit_price(D(100), D(200), D(1), "sell") < 0


@given(prices, rois, leverages)
def test_a_short_mirrors_a_long(price: Decimal, roi: Decimal, leverage: Decimal) -> None:
    for formula in (stop_price, take_profit_price):
        up, down = formula(price, roi, leverage, "buy"), formula(price, roi, leverage, "sell")
        assert abs((up + down) / 2 - price) < D("1e-15") * price
    assert abs(roi_percent(price, stop_price(price, roi, leverage, "sell"), leverage, "sell") + roi) < D("1e-15")


@pytest.mark.parametrize(
    ("leverage", "side", "liquidated"), [(10, "buy", "90.4522613"), (10, "sell", "109.4527363"), (1, "buy", "0")]
)
def test_liquidation_is_where_margin_and_loss_leave_the_maintenance_margin(
    leverage: int, side: Side, liquidated: str
) -> None:
    assert round(liquidation_price(D(100), D(leverage), D("0.005"), side), 7) == D(liquidated)


@given(prices, st.integers(2, 125).map(Decimal), st.decimals(0, "0.007", places=4), st.sampled_from(["buy", "sell"]))
def test_at_the_liquidation_price_exactly_the_maintenance_margin_is_left(
    price: Decimal, leverage: Decimal, maintenance: Decimal, side: Side
) -> None:
    liquidated = liquidation_price(price, leverage, maintenance, side)
    profit = liquidated - price if side == "buy" else price - liquidated
    assert abs(price / leverage + profit - maintenance * liquidated) < D("1e-15") * price


def test_the_buffer_is_what_lies_between_stop_and_liquidation() -> None:
    assert liquidation_buffer_percent(D(100), D(99), D(90), "buy") == 9
    assert liquidation_buffer_percent(D(100), D(101), D(110), "sell") == 9
    assert liquidation_buffer_percent(D(100), D(89), D(90), "buy") == -1


@pytest.mark.requirement("ENG-3")
@pytest.mark.parametrize(
    ("atr", "limit"), [("0.5", 5), ("0.25", 10), ("1", 2), ("0.01", 10), ("0.3", 8), ("2.4", 1), ("50", 1)]
)
def test_twice_the_volatility_is_half_the_leverage_within_its_bounds(atr: str, limit: int) -> None:
    assert leverage_limit(D(atr), D("0.5"), D(5), D(10), D(50)) == limit


def test_the_venue_may_allow_less_than_the_volatility() -> None:
    assert leverage_limit(D("0.1"), D("0.5"), D(5), D(10), D(3)) == 3


@pytest.mark.parametrize("atr", [None, D(0)])
def test_a_market_without_measurable_volatility_allows_no_leverage(atr: Decimal | None) -> None:
    assert leverage_limit(atr, D("0.5"), D(5), D(10), D(50)) == 1


@given(st.decimals("0.0001", "100", places=4), st.decimals("0.0001", "100", places=4))
def test_more_volatility_never_allows_more_leverage(one: Decimal, other: Decimal) -> None:
    calmer, wilder = sorted((one, other))
    terms = (D("0.5"), D(5), D(10), D(50))
    assert leverage_limit(calmer, *terms) >= leverage_limit(wilder, *terms)
    assert volatility_leverage(calmer, D("0.5"), D(5)) >= volatility_leverage(wilder, D("0.5"), D(5))


def test_the_atr_is_wilders_scaled_to_an_hour() -> None:
    candles = walk(240, seed=3)
    expected = talib.ATR(candles.high, candles.low, candles.close, 14)[-1] / candles.close[-1] * 100 * 60**0.5
    measured = hourly_atr_percent(candles)
    assert measured is not None
    assert float(measured) == pytest.approx(expected, abs=2e-6)


def test_one_market_has_nearly_one_atr_whatever_its_candles() -> None:
    minutes = walk(240 * 15, seed=5)
    fine, coarse = hourly_atr_percent(minutes), hourly_atr_percent(resample(minutes, "15m"))
    assert fine is not None
    assert coarse is not None
    assert float(fine) == pytest.approx(float(coarse), rel=0.35)


def test_too_few_or_flat_candles_have_no_atr() -> None:
    assert hourly_atr_percent(calm().tail(14)) is None
    assert hourly_atr_percent(calm().tail(15)) is not None
    assert hourly_atr_percent(candles_of(np.full(60, 100.0))) is None


def test_a_drawdown_is_measured_from_its_reference_and_never_negative() -> None:
    assert drawdown_percent(D(95), D(100)) == 5
    assert drawdown_percent(D(105), D(100)) == 0
    assert drawdown_percent(D(95), None) == 0
    assert drawdown_percent(D(-5), D(0)) == 100


def test_an_entry_is_expected_at_the_ninth_level_of_its_own_side() -> None:
    assert entry_price(a_book(), "buy", 9, None) == D("99.91")
    assert entry_price(a_book(), "sell", 9, None) == D("100.09")
    assert entry_price(a_book(levels=3), "buy", 9, None) == D("99.97")


def test_a_limit_only_ever_makes_the_entry_better() -> None:
    assert entry_price(a_book(), "buy", 9, D(98)) == 98
    assert entry_price(a_book(), "buy", 9, D(105)) == D("99.91")
    assert entry_price(a_book(), "sell", 9, D(102)) == 102
    assert entry_price(a_book(), "sell", 9, D(95)) == D("100.09")


def test_the_examples_instrument_is_on_its_own_grid() -> None:
    coarse = replace(an_instrument(), price_step=D("0.5"))
    assert coarse.price(D("99.91"), "buy") == D("99.5")
