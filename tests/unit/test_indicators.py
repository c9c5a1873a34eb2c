from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from market_examples import REAL_DATA, START_MS, candles_of, walk

from aaos.domain.market import Candles, FloatArray
from aaos.domain.signals import IndicatorColumns, SignalParams, compute_indicators

PARAMS = SignalParams()
REFERENCE = REAL_DATA / "indicator_reference"
# Where another project's smoothing starts differently, what is left of the start is below 1e-9 from here on.
WARM = 300
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
    start = WARM if name == "adx" else int(np.argmax(np.isfinite(ours)))
    np.testing.assert_allclose(ours[start:], theirs[start:], rtol=1e-9)


def test_indicators_warm_up_as_nan_and_stay_defined_afterwards() -> None:
    columns = compute_indicators(walk(120), PARAMS)
    first = {f.name: int(np.argmax(np.isfinite(getattr(columns, f.name)))) for f in fields(IndicatorColumns)}
    assert first["rsi"] == 14
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


@pytest.mark.parametrize("exponent", [-1000, -60, 60, 1000])
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
