"""Where a reading is at its limits: outages, standstills, figures near the largest float, answers stored long ago."""

from __future__ import annotations

import math
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from market_examples import MINUTE_MS, START_MS, candles_of, walk
from test_signal_stream import assert_same, streamed

from aaos.domain.market import Candles
from aaos.domain.signals import (
    AlignmentParams,
    Contribution,
    Divergence,
    DivergenceParams,
    IndicatorColumns,
    Pattern,
    PatternParams,
    PatternPoint,
    SignalOutput,
    SignalParams,
    SignalStream,
    candles_to_read,
    compute_indicators,
    generate_signal,
    signal_at,
    study_candles,
)
from aaos.domain.signals.score import direction_of, momentum_share, score_figures
from aaos.errors import ConfigError, InsufficientData, InvalidMarketData

PARAMS = SignalParams()
SHORT = replace(PARAMS, alignment=AlignmentParams(timeframes=("1m", "5m")))


def torn(candles: Candles, at: int, missing: int) -> Candles:
    """The candles with an outage in which the market went on: from index `at` on, so many candles later."""
    late = np.arange(len(candles)) >= at
    return replace(candles, open_time_ms=candles.open_time_ms + late * missing * MINUTE_MS)


def ticked(seed: int, n: int = 500, tick: float = 1e-4) -> Candles:
    """A quiet market in ticks: every other close is the one before."""
    rng = np.random.default_rng(seed)
    moves = rng.normal(size=n) * 2e-4 * (rng.random(n) < 0.5)
    plain = candles_of(np.round(0.3 * np.exp(np.cumsum(moves)) / tick) * tick, rng.exponential(10, n))
    high = np.round((plain.high + tick * rng.integers(0, 2, n)) / tick) * tick
    low = np.round((plain.low - tick * rng.integers(0, 2, n)) / tick) * tick
    body = plain.open, np.maximum(high, plain.high), np.minimum(low, plain.low), plain.close, plain.volume
    return Candles(plain.symbol, plain.timeframe, plain.open_time_ms, *body)


@pytest.mark.requirement("ENG-2")
@pytest.mark.parametrize("seed", range(8))
def test_standing_prices_give_a_stream_and_a_batch_the_same_divergences(seed: int) -> None:
    candles = ticked(seed)
    study, stream = study_candles(candles, SHORT), SignalStream("BTC/USDT", "1m", SHORT)
    for i, row in enumerate(candles.rows()):
        stream.update(*row)  # type: ignore[arg-type]
        if i >= 150 and i % 5 == 0:
            assert_same(stream.signal(), signal_at(study, i, SHORT))


@pytest.mark.requirement("ENG-2")
@given(st.integers(0, 2**32), st.integers(51, 399), st.integers(1, 900), st.integers(52, 400))
@settings(max_examples=40, deadline=None)
def test_over_an_outage_a_stream_and_a_batch_say_the_same(seed: int, at: int, missing: int, n: int) -> None:
    candles = torn(walk(400, seed), at, missing)
    candles = Candles.from_rows("BTC/USDT", "1m", candles.rows()[:n])
    refused = ""
    try:
        expected = generate_signal(candles, SHORT)
    except InsufficientData as error:
        refused = str(error)
    if refused:
        with pytest.raises(InsufficientData, match="candles are missing") as streams:
            streamed(candles, SHORT).signal()
        assert str(streams.value) == refused
    else:
        assert_same(streamed(candles, SHORT).signal(), expected)


@pytest.mark.requirement("ENG-2")
@pytest.mark.parametrize(
    "params",
    [
        replace(SHORT, divergence=DivergenceParams(max_distance=400, spread_window=450, max_age=60)),
        replace(SHORT, patterns=PatternParams(max_span=200, max_wait=100, max_age=90, min_quality=0.0)),
        replace(SHORT, ema_slow=330, pivot_strength=2),
        replace(SHORT, pivot_strength=20),
    ],
    ids=["long divergences", "long patterns", "long averages", "strong pivots"],
)
def test_a_stream_remembers_as_much_as_the_parameters_ask_for(params: SignalParams) -> None:
    candles = walk(1_100, seed=5)
    study, stream = study_candles(candles, params), SignalStream("BTC/USDT", "1m", params)
    told = 0
    for i, row in enumerate(candles.rows()):
        stream.update(*row)  # type: ignore[arg-type]
        if i >= 400 and i % 9 == 0:
            expected = signal_at(study, i, params)
            told += len(expected.divergences) + len(expected.patterns)
            assert_same(stream.signal(), expected)
    assert told


@pytest.mark.requirement("ENG-2")
@pytest.mark.parametrize("timeframe", ["5m", "15m", "1h", "4h", "1d"])
def test_candles_of_every_timeframe_are_read_alike_in_a_stream(timeframe: str) -> None:
    plain, width = walk(300, seed=6), {"5m": 5, "15m": 15, "1h": 60, "4h": 240, "1d": 1440}[timeframe]
    candles = replace(plain, timeframe=timeframe, open_time_ms=START_MS + width * MINUTE_MS * np.arange(300))
    params = replace(PARAMS, alignment=AlignmentParams(timeframes=("1m", "5m", "15m", "1h", "4h", "1d")))
    assert_same(streamed(candles, params).signal(), generate_signal(candles, params))


@pytest.mark.requirement("ENG-2")
def test_a_timeframe_full_of_holes_has_no_direction() -> None:
    whole = walk(900, seed=3)
    assert [t.timeframe for t in generate_signal(whole, SHORT).timeframes] == ["1m", "5m"]
    outage = torn(whole, 700, 60 * 24 * 56)  # eight weeks ago by the clock, inside the window of 50 × 5 minutes
    assert [t.timeframe for t in generate_signal(outage, SHORT).timeframes] == ["1m"]
    # Every 5 minutes traded, but four of five minutes missing a while ago: 30 buckets of one candle each.
    thin = [row for i, row in enumerate(whole.rows()) if not 650 <= i < 800 or i % 5 == 0]
    output = generate_signal(Candles.from_rows("BTC/USDT", "1m", thin), SHORT)
    assert [t.timeframe for t in output.timeframes] == ["1m"]
    assert "too few candles yet for 5m" in next(c.why for c in output.contributions if c.name == "alignment")


@pytest.mark.requirement("ENG-2")
def test_too_wide_a_gap_among_the_newest_candles_is_refused_and_later_on_read_over() -> None:
    candles = torn(walk(300), 200, 30)
    with pytest.raises(InsufficientData, match="30 of the newest 80 candles are missing, 20% may be"):
        generate_signal(Candles.from_rows("BTC/USDT", "1m", candles.rows()[:240]), PARAMS)
    assert generate_signal(candles, PARAMS).candles_missing == 30


@pytest.mark.requirement("ENG-2")
def test_reading_history_refuses_what_reading_at_the_time_refused() -> None:
    study = study_candles(torn(walk(300), 200, 30), PARAMS)
    with pytest.raises(InsufficientData, match="there are 49"):
        signal_at(study, 48, PARAMS)
    with pytest.raises(InsufficientData, match="candles are missing"):
        signal_at(study, 239, PARAMS)
    for index in (-1, 300):
        with pytest.raises(IndexError, match="there are candles 0 … 299"):
            signal_at(study, index, PARAMS)


@pytest.mark.requirement("ENG-2")
def test_volumes_near_the_largest_float_leave_only_the_coarser_obv_undefined() -> None:
    volume = walk(400).volume.copy()
    volume[300:303] = 9e307
    candles = replace(walk(400), volume=volume)
    assert_same(streamed(candles, SHORT).signal(), generate_signal(candles, SHORT))


@pytest.mark.parametrize(
    "bad",
    [
        (math.nan, 1.0, 1.0, 1.0, 1.0, 1.0),
        (60_000.9, 1.0, 1.0, 1.0, 1.0, 1.0),
        ("60000", 1.0, 1.0, 1.0, 1.0, 1.0),
        (2**63, 1.0, 1.0, 1.0, 1.0, 1.0),
        (-60_000, 1.0, 1.0, 1.0, 1.0, 1.0),
        (START_MS + 60 * MINUTE_MS, None, 1.0, 1.0, 1.0, 1.0),
        (START_MS + 60 * MINUTE_MS, 1.0, 1.0, 1.0, "x", 1.0),
        (START_MS + 60 * MINUTE_MS, 10**400, 1.0, 1.0, 1.0, 1.0),
    ],
    ids=["NaN time", "half a millisecond", "text", "no calendar has it", "before 1970", "None", "word", "too large"],
)
def test_what_is_no_candle_at_all_is_refused_by_a_stream_and_not_taken_in(bad: tuple[float, ...]) -> None:
    stream = streamed(walk(60), PARAMS)
    before = stream.signal()
    with pytest.raises(InvalidMarketData):
        stream.update(*bad)  # type: ignore[arg-type]
    assert stream.signal() == before


WIDE = {
    "rsi_period": 90, "williams_period": 90, "ao_slow": 90, "bollinger_period": 90, "ema_slow": 90, "stoch_period": 90,
    "stoch_smooth_k": 60, "stoch_smooth_d": 60, "kdj_period": 90, "kdj_smooth_k": 60, "kdj_smooth_d": 60,
    "obv_window": 90, "atr_period": 90, "adx_period": 45, "macd_slow": 90, "macd_signal": 60,
}  # fmt: skip


@pytest.mark.requirement("ENG-2")
@pytest.mark.parametrize("name", WIDE)
def test_with_as_many_candles_as_needed_every_figure_is_defined_and_with_one_less_one_is_missing(name: str) -> None:
    params = replace(PARAMS, **{name: WIDE[name]})  # type: ignore[arg-type]
    needed = params.candles_needed
    assert needed > PARAMS.candles_needed
    output = generate_signal(walk(needed), params)
    assert None not in output.indicators.values()
    assert all(
        c.value is not None for c in output.contributions if c.name not in {"divergence", "pattern", "alignment"}
    )
    columns = compute_indicators(walk(needed - 1), params)
    undefined = [f.name for f in fields(IndicatorColumns) if not math.isfinite(getattr(columns, f.name)[-1])]
    assert undefined or name == "obv_window"


def test_a_timeframes_momentum_leaves_the_oscillators_out() -> None:
    figures = compute_indicators(walk(200), PARAMS).newest()
    contributions = score_figures(figures, 100.0, 0.25, PARAMS)
    of_momentum = [c for c in contributions if c.name in {"macd", "ao", "ema", "obv"}]
    assert momentum_share(contributions, PARAMS) == momentum_share(of_momentum, PARAMS)
    assert momentum_share(of_momentum, PARAMS) == pytest.approx(math.fsum(c.points for c in of_momentum) / 60)


def test_the_direction_begins_with_the_least_score() -> None:
    assert [direction_of(score, 40.0) for score in (40.0, 39.9, -39.9, -40.0)] == [
        "long",
        "neutral",
        "neutral",
        "short",
    ]


def test_timeframes_without_momentum_weights_cannot_be_compared() -> None:
    weights = {"weight_macd": 0.0, "weight_ema": 0.0, "weight_ao": 0.0, "weight_obv": 0.0, "weight_rsi": 70.0}
    with pytest.raises(ConfigError, match="weight_alignment"):
        replace(PARAMS, **weights)
    replace(PARAMS, **weights | {"weight_alignment": 0.0, "weight_rsi": 80.0})


def test_an_analysis_reads_what_the_longest_timeframe_needs() -> None:
    assert candles_to_read("1m", 500, PARAMS) == 52 * 60
    assert candles_to_read("1h", 500, PARAMS) == 500


def test_signals_are_told_in_words_the_newest_first() -> None:
    older = Divergence("rsi", "regular", "bullish", 1, 5, 2.0, 1.0, 20.0, 30.0, 0.5, 9, 1, 5)
    newer = Pattern("double_top", "bearish", "forming", (PatternPoint("first_top", 1, 2.0),), 0.5, 11, 1.0)
    output = replace(generate_signal(walk(60), PARAMS), divergences=(older,), patterns=(newer,))
    assert output.signals == ("forming double top", "regular bullish divergence of rsi")
    assert output.to_dict()["signals"] == list(output.signals)


def test_an_output_stored_by_an_older_or_a_newer_version_is_read() -> None:
    output = generate_signal(walk(60), PARAMS)
    stored = output.to_dict()
    old = {name: stored[name] for name in stored if name not in {"divergences", "patterns", "alignment", "timeframes"}}
    assert SignalOutput.from_dict(old) == replace(output, divergences=(), patterns=(), alignment=None, timeframes=())
    newer = stored | {"contributions": [each | {"news": 1} for each in stored["contributions"]]}
    assert SignalOutput.from_dict(newer) == output
    assert isinstance(output.contributions[0], Contribution)
