from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import fields, replace
from fractions import Fraction

import numpy as np
import pytest
import talib
from hypothesis import given, settings
from hypothesis import strategies as st
from market_examples import REAL_DATA, START_MS, candles_of, walk

from aaos.domain.market import Candles, FloatArray
from aaos.domain.signals import IndicatorColumns, SignalParams, compute_indicators
from aaos.domain.signals.indicators import window_deviations, window_means

PARAMS = SignalParams()
REFERENCE = REAL_DATA / "indicator_reference"
REFERENCE_FIGURES = {
    "rsi": ("rsi", "rsi"),
    "macd_line": ("macd", "macd"),
    "macd_signal": ("macd", "signal"),
    "macd_hist": ("macd", "histogram"),
    "williams_r": ("willr", "williamsR"),
    "ao": ("awesome", "oscillator"),
    "stoch_k": ("stoch", "k"),
    "stoch_d": ("stoch", "d"),
    "kdj_k": ("stoch", "k"),
    "kdj_d": ("stoch", "d"),
    "kdj_j": ("stoch", "j"),
    "bb_upper": ("bb", "upperBand"),
    "bb_mid": ("bb", "sma"),
    "bb_lower": ("bb", "lowerBand"),
    "ema_fast": ("ema", "ema"),
    "obv": ("obv", "obv"),
    "atr": ("atr", "atr"),
    "adx": ("adx", "adx"),
}


def reference_quotes() -> Candles:
    lines = (REFERENCE / "quotes.csv").read_text().splitlines()[1:]
    table = np.array([[float(cell) for cell in line.split(",")[1:]] for line in lines])
    days = START_MS + 86_400_000 * np.arange(len(table))
    return Candles("SPY/USD", "1d", days, *table.T)


def reference(file: str, figure: str) -> FloatArray:
    rows = json.loads((REFERENCE / f"{file}.json").read_text())
    return np.array([np.nan if row[figure] is None else row[figure] for row in rows], dtype=float)


@pytest.mark.requirement("ENG-2")
@pytest.mark.skipif(not REFERENCE.is_dir(), reason="the shared reference data is not on this machine")
@pytest.mark.parametrize("name", REFERENCE_FIGURES)
def test_indicators_agree_with_another_projects_results(name: str) -> None:
    ours = getattr(compute_indicators(reference_quotes(), PARAMS), name)
    theirs = reference(*REFERENCE_FIGURES[name])
    start = int(np.argmax(np.isfinite(ours)))
    assert start == int(np.argmax(np.isfinite(theirs)))
    np.testing.assert_allclose(ours[start:], theirs[start:], rtol=1e-11)


@pytest.mark.requirement("ENG-2")
@pytest.mark.skipif(not REFERENCE.is_dir(), reason="the shared reference data is not on this machine")
def test_adx_differs_from_the_librarys_by_its_first_move_only() -> None:
    quotes = reference_quotes()
    ours = compute_indicators(quotes, PARAMS).adx
    librarys = talib.ADX(quotes.high, quotes.low, quotes.close, PARAMS.adx_period)
    differences = np.abs(ours / librarys - 1)
    assert differences[27] > 0.04
    np.testing.assert_allclose(ours[300:], librarys[300:], rtol=1e-9)


# The worked example of StockCharts' ChartSchool, "Relative Strength Index (RSI)"; to eight digits as PyAlgoTrade gives
# its figures (testcases/rsi_test.py).
CHART_SCHOOL_CLOSES = (
    44.3389, 44.0902, 44.1497, 43.6124, 44.3278, 44.8264, 45.0955, 45.4245, 45.8433, 46.0826, 45.8931, 46.0328, 45.6140,
    46.2820, 46.2820, 46.0028, 46.0328, 46.4116, 46.2222, 45.6439, 46.2122, 46.2521, 45.7137, 46.4515, 45.7835, 45.3548,
    44.0288, 44.1783, 44.2181, 44.5672, 43.4205, 42.6628, 43.1314,
)  # fmt: skip


@pytest.mark.requirement("ENG-2")
def test_rsi_agrees_with_the_worked_example_of_chart_school() -> None:
    rsi = compute_indicators(candles_of(CHART_SCHOOL_CLOSES), PARAMS).rsi
    np.testing.assert_allclose(rsi[14:18], [70.53, 66.32, 66.55, 69.41], atol=0.005)
    assert rsi[14] == pytest.approx(70.53278948, abs=5e-9)
    assert rsi[32] == pytest.approx(37.77295211, abs=5e-9)


@pytest.mark.requirement("ENG-2")
def test_indicators_agree_with_the_test_figures_of_tulip_indicators() -> None:
    # Given the fifteen candles of Tulip Indicators' tests/untest.txt, and its figures for the newest one.
    high = [82.15, 81.89, 83.03, 83.30, 83.85, 83.90, 83.33, 84.30, 84.84, 85.00, 85.90, 86.58, 86.98, 88.00, 87.87]
    low = [81.29, 80.64, 81.31, 82.65, 83.07, 83.11, 82.49, 82.30, 84.15, 84.11, 84.03, 85.39, 85.76, 87.17, 87.01]
    close = [81.59, 81.06, 82.87, 83.00, 83.61, 83.15, 82.84, 83.99, 84.55, 84.36, 85.53, 86.54, 86.89, 87.77, 87.29]
    volume = [5653100, 6447400, 7690900, 3831400, 4455100, 3798000, 3936200, 4732000, 4841300, 3915300, 6830800]
    volume += [6694100, 5293600, 7985800, 4807900]
    days = START_MS + 86_400_000 * np.arange(15)
    columns = (np.array(column, dtype=float) for column in (close, high, low, close, volume))
    candles = Candles("TEST/USD", "1d", days, *columns)
    # When computed with a period of 5 each.
    params = replace(PARAMS, rsi_period=5, williams_period=5, stoch_period=5, bollinger_period=5)
    newest = compute_indicators(candles, params).newest()
    # Then they agree to the printed digit.
    theirs = {"rsi": 78.498, "williams_r": -17.884, "stoch_k": 91.091, "stoch_d": 94.359}
    theirs |= {"bb_lower": 85.289, "bb_mid": 86.804, "bb_upper": 88.319, "obv": 29450200}
    assert {name: newest[name] for name in theirs} == pytest.approx(theirs, abs=0.0005)


def test_indicators_warm_up_as_nan_and_stay_defined_afterwards() -> None:
    columns = compute_indicators(walk(120), PARAMS)
    first = {f.name: int(np.argmax(np.isfinite(getattr(columns, f.name)))) for f in fields(IndicatorColumns)}
    assert first["rsi"] == 14
    assert first["stoch_k"] == first["kdj_k"] == 15
    assert first["stoch_d"] == first["kdj_j"] == 17
    assert first["ao"] == 33
    assert first["macd_line"] == 25
    assert first["macd_signal"] == 33
    assert first["ema_slow"] == 49
    assert first["adx"] == 27
    for name, start in first.items():
        assert np.isfinite(getattr(columns, name)[start:]).all(), name


@pytest.mark.requirement("ENG-2")
@given(st.integers(0, 2**32), st.integers(55, 199))
@settings(max_examples=25, deadline=None)
def test_no_indicator_looks_ahead(seed: int, t: int) -> None:
    candles = walk(200, seed)
    whole = compute_indicators(candles, PARAMS)
    early = compute_indicators(candles.until(int(candles.close_times_ms[t])), PARAMS)
    for field in fields(IndicatorColumns):
        expected = getattr(whole, field.name)[: t + 1]
        np.testing.assert_array_equal(getattr(early, field.name), expected, err_msg=field.name)


@pytest.mark.parametrize("exponent", [-300, -60, 60, 300])
def test_indicators_of_a_price_scaled_by_a_power_of_two_are_the_same_but_scaled(exponent: int) -> None:
    plain = walk(120)
    scale = 2.0**exponent
    prices = (column * scale for column in (plain.open, plain.high, plain.low, plain.close))
    scaled = Candles(plain.symbol, plain.timeframe, plain.open_time_ms, *prices, plain.volume)
    ours, theirs = compute_indicators(scaled, PARAMS), compute_indicators(plain, PARAMS)
    np.testing.assert_array_equal(ours.rsi, theirs.rsi)
    np.testing.assert_array_equal(ours.adx, theirs.adx)
    np.testing.assert_array_equal(ours.bb_upper, theirs.bb_upper * scale)
    np.testing.assert_array_equal(ours.atr, theirs.atr * scale)


def a_coin_that_fell_to_a_hundred_millionth() -> FloatArray:
    rng = np.random.default_rng(1)
    before = 100 * np.exp(np.cumsum(0.01 * rng.normal(size=300)))
    after = 1e-6 * np.exp(np.cumsum(0.02 * rng.normal(size=100)))
    return np.concatenate((before, np.geomspace(before[-1], after[0], 50), after))


def a_stablecoin() -> FloatArray:
    return 1 + 1e-6 * np.random.default_rng(2).normal(size=300)


def exact_mean(window: FloatArray) -> Fraction:
    return sum(map(Fraction, window.tolist()), Fraction()) / len(window)


@pytest.mark.parametrize("close", [a_coin_that_fell_to_a_hundred_millionth(), a_stablecoin()], ids=["crash", "stable"])
def test_window_means_and_deviations_are_exact_to_the_last_digits(close: FloatArray) -> None:
    means = window_means(close, 20)
    deviations = window_deviations(close, means, 20)
    for t in range(19, len(close), 7):
        window = close[t - 19 : t + 1]
        mean = exact_mean(window)
        variance = sum((Fraction(price) - mean) ** 2 for price in window.tolist()) / 20
        assert means[t] == pytest.approx(float(mean), rel=1e-15)
        # Scaled, since the square of a hundred-millionth is far below one.
        assert deviations[t] == pytest.approx(math.sqrt(variance * 4**40) / 2.0**40, rel=1e-15)


def test_awesome_oscillator_after_a_crash_is_free_of_what_was_before_it() -> None:
    close = a_coin_that_fell_to_a_hundred_millionth()
    columns = compute_indicators(candles_of(close), PARAMS)
    body = (close + np.concatenate((close[:1], close[:-1]))) / 2  # the median price of candles without wicks
    for t in range(400, len(close), 7):
        exact = exact_mean(body[t - 4 : t + 1]) - exact_mean(body[t - 33 : t + 1])
        assert abs(columns.ao[t] - float(exact)) < 1e-12 * columns.atr[t]


def test_obv_of_trillions_keeps_its_digits_over_thousands_of_candles() -> None:
    candles = walk(5_000)
    volume = 1e12 * candles.volume
    obv = compute_indicators(candles_of(candles.close, volume), PARAMS).obv
    signed = np.sign(np.diff(candles.close)) * volume[1:]
    assert obv[-1] == pytest.approx(math.fsum(signed), rel=1e-11)


def test_a_price_that_stands_still_keeps_its_rsi_until_nothing_is_left_of_the_last_move() -> None:
    moving = walk(100).close
    rsi = compute_indicators(candles_of(np.concatenate((moving, np.full(900, moving[-1])))), PARAMS).rsi
    np.testing.assert_allclose(rsi[100:400], rsi[99], rtol=1e-11)
    assert math.isnan(rsi[-1])


def test_a_trend_that_stands_still_for_long_has_no_strength_left() -> None:
    risen = np.concatenate((np.linspace(100, 150, 100), np.full(2_000, 150.0)))
    adx = compute_indicators(candles_of(risen), PARAMS).adx
    assert adx[99] == pytest.approx(100)
    assert adx[-1] == pytest.approx(0, abs=1e-9)


def test_a_range_of_a_few_units_in_the_last_place_is_a_range() -> None:
    close = np.full(40, 1.0)
    close[30:] = np.nextafter(1, 2)
    close[39] = 1.0
    columns = compute_indicators(candles_of(close), PARAMS)
    assert columns.williams_r[38] == 0
    assert columns.williams_r[39] == -100


def test_oscillators_over_a_range_of_zero_are_undefined() -> None:
    newest = compute_indicators(candles_of(np.full(100, 3.3333)), PARAMS).newest()
    undefined = {name for name, value in newest.items() if value is None}
    assert undefined == {"rsi", "williams_r", "stoch_k", "stoch_d", "kdj_k", "kdj_d", "kdj_j"}
    assert newest["atr"] == 0


def test_smoothed_oscillators_stay_undefined_until_the_flat_range_has_left_them() -> None:
    close = np.concatenate((np.full(60, 5.0), [5.1, 5.2, 5.3, 5.2]))
    columns = compute_indicators(candles_of(close), PARAMS)
    assert np.isnan(columns.stoch_k[:62]).all()
    assert np.isfinite(columns.stoch_k[62:]).all()
    assert np.isnan(columns.stoch_d[:64]).all()


def test_obv_adds_volume_on_rises_takes_it_off_on_falls_and_starts_at_zero() -> None:
    candles = candles_of([10, 11, 11, 9, 12], volume=[5, 1, 2, 4, 8])
    assert compute_indicators(candles, PARAMS).obv.tolist() == [0, 1, 1, -3, 5]


def test_importing_the_domain_does_not_load_the_indicator_library() -> None:
    code = (
        "import sys, aaos.domain.signals, aaos.domain.regime, aaos.domain.decision, aaos.domain.results;"
        "sys.exit(bool({'talib', 'pyarrow', 'pydantic', 'sqlalchemy', 'celery'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
