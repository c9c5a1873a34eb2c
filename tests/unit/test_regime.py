from __future__ import annotations

import json
import math
import warnings
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from market_examples import MINUTE_MS, START_MS, candles_of, walk

from aaos.domain.market import Candles
from aaos.domain.regime import RegimeOutput, RegimeParams, detect_regime
from aaos.errors import ConfigError, InsufficientData, InvalidMarketData

PARAMS = RegimeParams()


def path(*legs: tuple[int, float], seed: int = 3, sigma: float = 1e-3) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Closes along legs of (candles, drift per candle in sigmas), with a little noise that turns back on itself."""
    rng = np.random.default_rng(seed)
    trend = np.cumsum(np.concatenate([np.full(n, drift * sigma) for n, drift in legs]))
    return 100 * np.exp(trend + sigma * rng.normal(size=len(trend)))


def range_after(drift: float, up_volume: float, down_volume: float) -> Candles:
    """A climb or a fall, then 60 candles of range in which rising and falling candles trade these volumes."""
    closes = path((180, drift), (60, 0.0))
    rising = np.diff(closes, prepend=closes[0]) > 0
    return candles_of(closes, np.where(rising, up_volume, down_volume))


def test_a_steady_climb_is_trending_up_and_markup() -> None:
    output = detect_regime(candles_of(path((240, 0.8))), PARAMS)
    assert (output.regime, output.wyckoff_phase) == ("trending_up", "markup")
    assert output.confidence > 0.8


def test_a_steady_fall_is_trending_down_and_markdown() -> None:
    output = detect_regime(candles_of(path((240, -0.8))), PARAMS)
    assert (output.regime, output.wyckoff_phase) == ("trending_down", "markdown")


def test_back_and_forth_is_ranging_with_an_unknown_phase() -> None:
    output = detect_regime(candles_of(path((240, 0.0))), PARAMS)
    assert (output.regime, output.wyckoff_phase) == ("ranging", "unknown")


def test_a_burst_of_noise_without_direction_is_volatile() -> None:
    closes = path((240, 0.0))
    closes[-25:] = 100 * (1 + 0.01 * np.where(np.arange(25) % 2, 1, -1))
    output = detect_regime(candles_of(closes), PARAMS)
    assert (output.regime, output.wyckoff_phase) == ("volatile", "unknown")


def test_a_range_after_a_fall_that_buyers_carry_is_accumulation() -> None:
    assert detect_regime(range_after(-0.5, up_volume=12, down_volume=10), PARAMS).wyckoff_phase == "accumulation"


def test_a_range_after_a_rise_that_sellers_carry_is_distribution() -> None:
    assert detect_regime(range_after(0.5, up_volume=10, down_volume=12), PARAMS).wyckoff_phase == "distribution"


@pytest.mark.parametrize(("drift", "up", "down"), [(-0.5, 5, 20), (0.5, 20, 5), (0.5, 0, 0)])
def test_a_range_whose_volume_contradicts_its_past_is_unknown(drift: float, up: float, down: float) -> None:
    assert detect_regime(range_after(drift, up, down), PARAMS).wyckoff_phase == "unknown"


@pytest.mark.parametrize(
    ("newest", "expected"), [(13.0, "rising"), (10.0, "flat"), (7.0, "declining"), (0.0, "declining")]
)
def test_the_volume_trend_compares_the_newest_window_with_the_one_before(newest: float, expected: str) -> None:
    volume = np.full(200, 10.0)
    volume[-20:] = newest
    output = detect_regime(candles_of(path((200, 0.0)), volume), PARAMS)
    assert output.volume_trend == expected
    assert output.evidence["volume_ratio"] == pytest.approx(newest / 10)


def test_without_volume_the_volume_trend_is_flat() -> None:
    assert detect_regime(candles_of(path((200, 0.0)), 0.0), PARAMS).volume_trend == "flat"


def test_staying_in_a_trend_takes_less_than_entering_it() -> None:
    candles = candles_of(path((240, 0.8)))
    adx = detect_regime(candles, PARAMS).evidence["adx"]
    assert isinstance(adx, float)
    between = replace(PARAMS, adx_enter=adx + 1, adx_leave=adx - 1)
    assert detect_regime(candles, between).regime == "ranging"
    assert detect_regime(candles, between, previous="trending_up").regime == "trending_up"
    assert detect_regime(candles, between, previous="trending_down").regime == "ranging"


def test_staying_volatile_takes_less_than_becoming_it() -> None:
    closes = path((240, 0.0))
    closes[-25:] = 100 * (1 + 0.01 * np.where(np.arange(25) % 2, 1, -1))
    rank = detect_regime(candles_of(closes), PARAMS).evidence["volatility_rank"]
    assert isinstance(rank, float)
    between = replace(PARAMS, volatile_enter=min(1.0, rank + 0.001), volatile_leave=rank - 0.001)
    assert detect_regime(candles_of(closes), between).regime == "ranging"
    assert detect_regime(candles_of(closes), between, previous="volatile").regime == "volatile"


@given(st.integers(0, 2**32), st.integers(170, 299), st.floats(0.1, 10))
@settings(max_examples=25, deadline=None)
def test_the_regime_looks_at_no_later_candle(seed: int, t: int, factor: float) -> None:
    candles = walk(300, seed)
    instant = int(candles.close_times_ms[t])
    later = candles.open_time_ms > candles.open_time_ms[t]
    bend = np.where(later, factor, 1.0)
    other = Candles(
        candles.symbol,
        candles.timeframe,
        candles.open_time_ms,
        *(column * bend for column in (candles.open, candles.high, candles.low, candles.close, candles.volume)),
    )
    rewritten = detect_regime(other.until(instant), PARAMS)
    at_the_time = detect_regime(Candles.from_rows("BTC/USDT", "1m", candles.rows()[: t + 1]), PARAMS)
    assert rewritten == at_the_time
    assert max(v for k, v in rewritten.evidence.items() if k.endswith("_ms")) == candles.open_time_ms[t]  # type: ignore[type-var]


@given(st.integers(0, 2**32), st.sampled_from([1e-12, 1.0, 1e12]), st.sampled_from([1e-6, 1e-3, 0.05]))
@settings(max_examples=30, deadline=None)
def test_every_figure_is_finite_and_the_confidence_within_bounds(seed: int, price: float, sigma: float) -> None:
    output = detect_regime(walk(200, seed, price, sigma), PARAMS)
    assert 0 <= output.confidence <= 1
    json.dumps(output.to_dict(), allow_nan=False)


@pytest.mark.parametrize(
    "candles",
    [
        candles_of(np.full(200, 3.3333), 0.0),
        candles_of(np.exp(np.linspace(0, 1, 200))),
        candles_of(walk(200).close * 1e-302),
        candles_of(walk(200).close * 1e305, 1e308),
        candles_of(np.concatenate((np.full(199, 1.0), [1e9]))),
    ],
    ids=["flat", "perfectly even climb", "smallest prices", "largest figures", "one jump"],
)
def test_hostile_candles_give_a_finite_answer_without_warnings(candles: Candles) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        output = detect_regime(candles, PARAMS)
    assert math.isfinite(output.confidence)
    json.dumps(output.to_dict(), allow_nan=False)


def test_a_flat_market_is_ranging() -> None:
    output = detect_regime(candles_of(np.full(200, 3.3333)), PARAMS)
    assert (output.regime, output.wyckoff_phase, output.volume_trend) == ("ranging", "unknown", "flat")


def test_the_evidence_names_the_candles_it_comes_from() -> None:
    evidence = detect_regime(walk(200), PARAMS, previous="volatile").evidence
    assert evidence["newest_candle_ms"] == START_MS + 199 * MINUTE_MS
    assert evidence["slope_from_ms"] == START_MS + 150 * MINUTE_MS
    assert evidence["range_from_ms"] == START_MS + 160 * MINUTE_MS
    assert evidence["prior_from_ms"] == START_MS + 60 * MINUTE_MS
    assert evidence["previous_regime"] == "volatile"


def test_too_few_candles_are_refused_naming_how_many_are_needed() -> None:
    detect_regime(walk(PARAMS.candles_needed), PARAMS)
    with pytest.raises(InsufficientData, match="needs 170 closed candles, there are 169"):
        detect_regime(walk(PARAMS.candles_needed - 1), PARAMS)


def test_a_malformed_candle_is_refused() -> None:
    candles = walk(200)
    with pytest.raises(InvalidMarketData, match="candle 0"):
        detect_regime(replace(candles, volume=-candles.volume), PARAMS)


def test_a_stored_regime_comes_back_the_same_even_with_more_beside_it() -> None:
    output = detect_regime(walk(200), PARAMS)
    assert RegimeOutput.from_dict(json.loads(json.dumps(output.to_dict() | {"as_of": "x"}))) == output


def test_leaving_thresholds_above_the_entering_ones_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"regime.adx_leave is 30"):
        RegimeParams(adx_leave=30.0)
