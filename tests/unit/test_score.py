from __future__ import annotations

import json
import math
import warnings
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from market_examples import candles_of, walk

from aaos.domain.market import Candles
from aaos.domain.signals import (
    Contribution,
    SignalOutput,
    SignalParams,
    generate_signal,
    signal_at,
    study_candles,
)
from aaos.domain.signals.score import direction_of, score_figures
from aaos.errors import ConfigError, InsufficientData, InvalidMarketData

PARAMS = SignalParams()
NAMES = (
    "rsi", "macd", "williams_r", "ao", "stochastic", "bollinger", "ema", "kdj", "obv",
    "divergence", "pattern", "alignment",
)  # fmt: skip
BOUND = dict(zip(NAMES, PARAMS.weights, strict=True))
FIGURES = {
    "rsi": 50.0, "macd_hist": 0.0, "williams_r": -50.0, "ao": 0.0, "stoch_d": 50.0, "bb_upper": 110.0, "bb_mid": 100.0,
    "ema_fast": 100.0, "ema_slow": 100.0, "kdj_j": 50.0, "atr": 1.0, "adx": 10.0,
}  # fmt: skip


def points(share: float | None = 0.0, close: float = 100.0, **figures: float | None) -> dict[str, float]:
    return {c.name: c.points for c in score_figures(FIGURES | figures, close, share, PARAMS)}


def contribution(output: SignalOutput, name: str) -> Contribution:
    return next(c for c in output.contributions if c.name == name)


def test_a_market_at_rest_scores_nothing() -> None:
    assert set(points().values()) == {0.0}


@pytest.mark.parametrize(
    ("figure", "name", "low", "high"),
    [
        ("rsi", "rsi", 30.0, 70.0),
        ("williams_r", "williams_r", -80.0, -20.0),
        ("stoch_d", "stochastic", 20.0, 80.0),
        ("kdj_j", "kdj", 0.0, 100.0),
    ],
)
def test_an_oscillator_gives_its_weight_for_oversold_and_against_overbought(
    figure: str, name: str, low: float, high: float
) -> None:
    middle = (low + high) / 2
    assert points(**{figure: low})[name] == BOUND[name]
    assert points(**{figure: low - 5})[name] == BOUND[name]
    assert points(**{figure: high})[name] == -BOUND[name]
    assert points(**{figure: (low + middle) / 2})[name] == pytest.approx(BOUND[name] / 2)


def test_momentum_is_measured_in_atrs() -> None:
    assert points(macd_hist=0.3)["macd"] == BOUND["macd"]
    assert points(macd_hist=0.6, atr=4.0)["macd"] == pytest.approx(BOUND["macd"] / 2)
    assert points(ao=-9.0)["ao"] == -BOUND["ao"]
    assert points(ema_fast=100.75)["ema"] == pytest.approx(BOUND["ema"] / 2)
    assert points(share=-0.25)["obv"] == pytest.approx(-BOUND["obv"] / 2)


def test_the_close_at_a_bollinger_band_speaks_for_the_way_back() -> None:
    assert points(close=110.0)["bollinger"] == -BOUND["bollinger"]
    assert points(close=95.0)["bollinger"] == pytest.approx(BOUND["bollinger"] / 2)


def test_an_oscillator_against_a_strong_trend_counts_a_fifth_and_with_it_in_full() -> None:
    uptrend = {"ema_fast": 101.0, "adx": 40.0}
    assert points(rsi=80.0, **uptrend)["rsi"] == pytest.approx(-BOUND["rsi"] * 0.2)
    assert points(rsi=80.0, ema_fast=101.0, adx=25.0)["rsi"] == pytest.approx(-BOUND["rsi"] * 0.6)
    assert points(rsi=20.0, **uptrend)["rsi"] == BOUND["rsi"]


def test_what_is_undefined_gives_no_points_and_says_so() -> None:
    nothing = dict.fromkeys(FIGURES)
    contributions = score_figures(nothing, 100.0, None, PARAMS)
    assert all(c.points == 0 and c.value is None and c.why.startswith("undefined") for c in contributions)


@pytest.mark.requirement("ENG-2")
@given(st.integers(0, 2**32), st.sampled_from([1e-12, 1e-3, 1.0, 5e4, 1e12]), st.sampled_from([1e-6, 1e-3, 0.05]))
@settings(max_examples=40, deadline=None)
def test_the_score_is_the_sum_of_its_contributions_and_within_130(seed: int, price: float, sigma: float) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        output = generate_signal(walk(120, seed, price, sigma), PARAMS)
    assert output.score == pytest.approx(math.fsum(c.points for c in output.contributions))
    assert abs(output.score) <= 130
    assert output.confidence_pct == pytest.approx(abs(output.score) / 1.3)
    assert all(abs(c.points) <= BOUND[c.name] for c in output.contributions)
    assert output.direction == direction_of(output.score, PARAMS.min_score)


@pytest.mark.requirement("ENG-2")
@given(st.integers(0, 2**32), st.integers(50, 199))
@settings(max_examples=25, deadline=None)
def test_the_signal_looks_at_no_later_candle(seed: int, t: int) -> None:
    candles = walk(200, seed)
    with_hindsight = signal_at(study_candles(candles, PARAMS), t, PARAMS)
    at_the_time = generate_signal(candles.until(int(candles.close_times_ms[t])), PARAMS)
    assert at_the_time == with_hindsight


def hostile() -> dict[str, Candles]:
    shape = walk(200).close / 100
    return {
        "flat": candles_of(np.full(200, 3.3333)),
        "no volume": candles_of(shape, volume=0.0),
        "flat at last": candles_of(np.concatenate((shape, np.full(300, shape[-1])))),
        "smallest prices": candles_of(shape * 1e-300),
        "largest prices": candles_of(shape * 1e307, volume=1e307),
        "one jump": candles_of(np.concatenate((np.full(199, 1.0), [1e9]))),
    }


@pytest.mark.requirement("ENG-2")
@pytest.mark.parametrize("name", hostile())
def test_hostile_candles_give_a_finite_score_without_warnings(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        output = generate_signal(hostile()[name], PARAMS)
    assert math.isfinite(output.score)
    json.dumps(output.to_dict(), allow_nan=False)


def test_a_flat_market_is_neutral() -> None:
    output = generate_signal(hostile()["flat"], PARAMS)
    assert (output.direction, output.score) == ("neutral", 0.0)


def test_a_steady_climb_is_long_and_its_mirror_image_short() -> None:
    up = walk(200, seed=5, sigma=2e-4, drift=2e-4)
    down = walk(200, seed=5, sigma=2e-4, drift=-2e-4)
    assert generate_signal(up, PARAMS).score > 20
    assert generate_signal(down, PARAMS).score < -20


def test_too_few_candles_are_refused_naming_how_many_are_needed() -> None:
    assert PARAMS.candles_needed == 50
    generate_signal(walk(50), PARAMS)
    with pytest.raises(InsufficientData, match=r"need 50 closed candles, there are 49"):
        generate_signal(walk(49), PARAMS)


def test_a_malformed_candle_is_refused() -> None:
    candles = walk(100)
    with pytest.raises(InvalidMarketData, match="candle 99"):
        generate_signal(replace(candles, volume=np.append(candles.volume[:-1], np.nan)), PARAMS)


def test_a_stored_signal_comes_back_the_same_even_with_more_beside_it() -> None:
    output = generate_signal(walk(100), PARAMS)
    stored = json.loads(json.dumps(output.to_dict() | {"as_of": "2022-01-01"}))
    assert SignalOutput.from_dict(stored) == output


def test_the_score_explains_itself() -> None:
    output = generate_signal(walk(200), PARAMS)
    assert [c.name for c in output.contributions] == list(BOUND)
    assert "ATR" in contribution(output, "macd").why


def test_weights_that_do_not_add_up_are_refused() -> None:
    with pytest.raises(ConfigError, match="add up to 140"):
        SignalParams(weight_rsi=20.0)


@pytest.mark.parametrize("changes", [{"ema_fast": 50}, {"williams_oversold": -20.0}, {"adx_weak": 35.0}])
def test_pairs_in_the_wrong_order_are_refused_by_name(changes: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=f"signals.{next(iter(changes))}"):
        SignalParams(**changes)  # type: ignore[arg-type]


@pytest.mark.requirement("ENG-2")
def test_obv_counts_its_window_alone_however_large_a_volume_once_was() -> None:
    calm = walk(200, seed=8)
    shock = calm.volume.copy()
    shock[100] = 1e18
    shocked, undisturbed = (generate_signal(c, PARAMS) for c in (replace(calm, volume=shock), calm))
    assert contribution(shocked, "obv").value == contribution(undisturbed, "obv").value
