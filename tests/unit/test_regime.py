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
from wyckoff_examples import mirrored, rough

from aaos.domain.market import Candles
from aaos.domain.regime import (
    EventParams,
    Labels,
    PhaseParams,
    Regime,
    RegimeOutput,
    RegimeParams,
    RegimeStream,
    VolumeTrend,
    WyckoffPhase,
    detect_regime,
    regimes_over,
)
from aaos.errors import ConfigError, InsufficientData, InvalidMarketData

PARAMS = RegimeParams()
# Everything about four times as short, so that short series slide through the window and have every label.
NARROW = RegimeParams(
    window=120,
    min_window=70,
    slope_window=20,
    volatility_window=8,
    volume_window=16,
    confirm_candles=3,
    events=EventParams(baseline=16, lookback=24, climax_move_atrs=4, rally_window=8, test_window=18, spring_gap=4),
    phase=PhaseParams(level_candles=8, stop_candles_low=3, stop_candles_full=12, trend_window=30, fresh_candles=18),
)


def path(*legs: tuple[int, float], seed: int = 3, sigma: float = 1e-3) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Closes along legs of (candles, drift per candle in sigmas), with a little noise that turns back on itself."""
    rng = np.random.default_rng(seed)
    trend = np.cumsum(np.concatenate([np.full(n, drift * sigma) for n, drift in legs]))
    return 100 * np.exp(trend + sigma * rng.normal(size=len(trend)))


def held(regime: Regime, phase: WyckoffPhase = "unknown", volume: VolumeTrend = "flat") -> Labels:
    return Labels(regime, phase, volume)


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
    assert detect_regime(candles_of(closes), PARAMS).regime == "volatile"


@pytest.mark.parametrize(
    ("newest", "expected"), [(13.0, "rising"), (10.0, "flat"), (7.0, "declining"), (0.0, "declining")]
)
def test_the_volume_trend_compares_the_newest_window_with_the_one_before(newest: float, expected: str) -> None:
    volume = np.full(200, 10.0)
    volume[-PARAMS.volume_window :] = newest
    output = detect_regime(candles_of(path((200, 0.0)), volume), PARAMS)
    assert output.volume_trend == expected
    assert output.evidence["volume"]["ratio"] == pytest.approx(newest / 10)


def test_a_volume_trend_lasts_until_its_ratio_is_nearer_to_one() -> None:
    volume = np.full(200, 10.0)
    volume[-PARAMS.volume_window :] = 11.0
    candles = candles_of(path((200, 0.0)), volume)
    assert detect_regime(candles, PARAMS).volume_trend == "flat"
    assert detect_regime(candles, PARAMS, held("ranging", volume="rising")).volume_trend == "rising"
    assert detect_regime(candles, PARAMS, held("ranging", volume="declining")).volume_trend == "flat"


def test_without_volume_the_volume_trend_is_flat_and_means_nothing() -> None:
    output = detect_regime(candles_of(path((200, 0.0)), 0.0), PARAMS)
    assert (output.volume_trend, output.volume_confidence) == ("flat", 0.0)


def test_staying_in_a_trend_takes_less_than_entering_it() -> None:
    candles = candles_of(path((240, 0.8)))
    adx = detect_regime(candles, PARAMS).evidence["regime"]["adx"]
    between = replace(PARAMS, adx_enter=adx + 10, adx_leave=adx - 10)
    assert detect_regime(candles, between).regime == "ranging"
    assert detect_regime(candles, between, held("trending_up")).regime == "trending_up"
    assert detect_regime(candles, between, held("trending_down")).regime == "ranging"


def test_staying_volatile_takes_less_than_becoming_it() -> None:
    closes = path((240, 0.0))
    closes[-25:] = 100 * (1 + 0.01 * np.where(np.arange(25) % 2, 1, -1))
    rank = detect_regime(candles_of(closes), PARAMS).evidence["regime"]["volatility_rank"]
    between = replace(PARAMS, volatile_enter=1.0, volatile_leave=rank - 0.1)
    ranked = replace(between, volatile_enter=min(1.0, rank + 0.001))
    closes[-1] = closes[-2]  # so that the newest window is not the most volatile one
    assert detect_regime(candles_of(closes), ranked).regime == "ranging"
    assert detect_regime(candles_of(closes), ranked, held("volatile")).regime == "volatile"


def test_a_new_regime_waits_until_enough_newest_candles_call_for_it() -> None:
    """The previous label stands meanwhile, with less than even confidence."""
    candles = candles_of(path((170, 0.0), (50, 1.0)))
    outputs = list(regimes_over(candles, PARAMS, held("ranging")))
    wanted = [output.evidence["regime"]["newest_candle_says"] for output in outputs]
    asked, entered = wanted.index("trending_up"), [output.regime for output in outputs].index("trending_up")
    assert entered - asked >= PARAMS.confirm_candles - 1
    assert set(wanted[entered - PARAMS.confirm_candles + 1 : entered + 1]) == {"trending_up"}
    assert all(0 <= output.confidence <= 0.5 for output in outputs[asked:entered] if output.regime != "trending_up")
    assert outputs[entered].confidence >= 0.5


@given(st.integers(0, 2**32), st.integers(70, 129), st.floats(0.1, 10))
@settings(max_examples=25, deadline=None)
@pytest.mark.requirement("ENG-2")
def test_no_label_event_or_figure_looks_at_a_later_candle(seed: int, t: int, factor: float) -> None:
    candles = rough(seed, 130)
    bend = np.where(np.arange(130) > t, factor, 1.0)
    other = Candles(
        candles.symbol,
        candles.timeframe,
        candles.open_time_ms,
        *(column * bend for column in (candles.open, candles.high, candles.low, candles.close, candles.volume)),
    )
    until_t = Candles.from_rows("BTC/USDT", "1m", candles.rows()[: t + 1])
    at_the_time = list(regimes_over(until_t, NARROW))
    assert list(regimes_over(other, NARROW))[: len(at_the_time)] == at_the_time
    newest = at_the_time[-1]
    assert max(_times_in(newest.to_dict())) == candles.open_time_ms[t]


@given(st.integers(0, 2**32), st.integers(72, 125))
@settings(max_examples=25, deadline=None)
@pytest.mark.requirement("ENG-2")
def test_candle_by_candle_over_a_history_and_at_once_are_the_same(seed: int, n: int) -> None:
    candles = rough(seed, n)
    stream = RegimeStream("BTC/USDT", "1m", NARROW)
    streamed = [output for output in map(stream.update, candles.rows()) if output is not None]
    assert streamed == list(regimes_over(candles, NARROW))
    assert streamed[-1] == detect_regime(candles, NARROW, streamed[-2].labels)
    assert len(streamed) == n - NARROW.candles_needed + 1


def test_nothing_older_than_the_window_counts() -> None:
    candles = walk(900, sigma=5e-3)
    assert detect_regime(candles, PARAMS) == detect_regime(candles.tail(PARAMS.window), PARAMS)


def test_a_stream_leaves_a_malformed_candle_out_and_goes_on() -> None:
    candles = walk(200)
    stream = RegimeStream("BTC/USDT", "1m", PARAMS)
    rows = candles.rows()
    for row in rows[:-1]:
        stream.update(row)
    with pytest.raises(InvalidMarketData, match="duplicate"):
        stream.update(rows[-2])
    with pytest.raises(InvalidMarketData, match="not positive"):
        stream.update([rows[-1][0], 0.0, 1.0, 0.0, 1.0, 1.0])
    assert stream.update(rows[-1]) == list(regimes_over(candles, PARAMS))[-1]


@given(st.integers(0, 2**32), st.integers(-30, 30), st.integers(-30, 30))
@settings(max_examples=25, deadline=None)
def test_prices_and_volumes_times_a_power_of_two_change_nothing(seed: int, price: int, volume: int) -> None:
    candles = walk(520, seed, sigma=5e-3)
    prices = (np.ldexp(c, price) for c in (candles.open, candles.high, candles.low, candles.close))
    scaled = Candles("BTC/USDT", "1m", candles.open_time_ms, *prices, np.ldexp(candles.volume, volume))
    upright, other = detect_regime(candles, PARAMS), detect_regime(scaled, PARAMS)
    assert (other.labels, other.evidence) == (upright.labels, upright.evidence)
    assert (other.confidence, other.phase_confidence) == (upright.confidence, upright.phase_confidence)


MIRROR = {"trending_up": "trending_down", "markup": "markdown", "accumulation": "distribution"}
MIRROR |= {other: one for one, other in MIRROR.items()}


@given(st.integers(0, 2**32))
@settings(max_examples=25, deadline=None)
@pytest.mark.requirement("ENG-2")
def test_a_market_upside_down_has_the_mirrored_labels(seed: int) -> None:
    candles = rough(seed, 130)
    pairs = zip(regimes_over(candles, NARROW), regimes_over(mirrored(candles), NARROW), strict=True)
    for upright, other in pairs:
        assert other.regime == MIRROR.get(upright.regime, upright.regime)
        assert other.wyckoff_phase == MIRROR.get(upright.wyckoff_phase, upright.wyckoff_phase)
        assert other.volume_trend == upright.volume_trend
        assert other.phase_confidence == pytest.approx(upright.phase_confidence, abs=1e-9)


def test_rough_markets_show_every_label() -> None:
    """Else the properties above would hold of nothing."""
    said: set[str] = set()
    for seed in range(60):
        for output in regimes_over(rough(seed, 180), NARROW):
            said |= {output.regime, output.wyckoff_phase, output.volume_trend}
        if len(said) == 4 + 5 + 3:
            return
    raise AssertionError(f"only {sorted(said)}")


def _times_in(value: object, name: str = "") -> list[int]:
    if isinstance(value, dict):
        return [time for key, each in value.items() for time in _times_in(each, key)]
    if isinstance(value, list):
        return [time for each in value for time in _times_in(each)]
    return [value] if name.endswith("_ms") and isinstance(value, int) else []


@given(st.integers(0, 2**32), st.sampled_from([1e-12, 1.0, 1e12]), st.sampled_from([1e-6, 1e-3, 0.05]))
@settings(max_examples=25, deadline=None)
def test_every_figure_is_finite_and_the_confidence_within_bounds(seed: int, price: float, sigma: float) -> None:
    output = detect_regime(walk(200, seed, price, sigma), PARAMS)
    for confidence in (output.confidence, output.phase_confidence, output.volume_confidence):
        assert 0 <= confidence <= 1
    json.dumps(output.to_dict(), allow_nan=False)


@pytest.mark.parametrize(
    "candles",
    [
        candles_of(np.full(200, 3.3333), 0.0),
        candles_of(np.exp(np.linspace(0, 1, 200))),
        candles_of(walk(200).close * 1e-302),
        candles_of(walk(200).close * 1e305, 1e308),
        candles_of(np.concatenate((np.full(199, 1.0), [1e9]))),
        candles_of(np.geomspace(5e-324, 1e308, 200)),
        candles_of(walk(200).close, np.where(np.arange(200) % 50, 1e-300, 1e300)),
        candles_of(np.resize([1.0, 1e308], 520), np.resize([0.0, 1e308, 5e-324], 520)),
    ],
    ids=[
        "flat",
        "perfectly even climb",
        "smallest prices",
        "largest figures",
        "one jump",
        "from smallest to largest",
        "rare giant trades",
        "to and fro between extremes",
    ],
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


def test_the_evidence_of_each_label_names_the_candles_and_figures_it_comes_from() -> None:
    previous = held("volatile", "markup", "rising")
    evidence = detect_regime(walk(600), PARAMS, previous).evidence
    at = {name: START_MS + (600 - n) * MINUTE_MS for name, n in (("slope", 50), ("newest", 48), ("before", 96))}
    assert set(evidence) == {"regime", "phase", "volume"}
    assert evidence["regime"]["slope_from_ms"] == at["slope"]
    assert evidence["regime"]["volatility_from_ms"] == START_MS + (600 - 450 - 24 + 1) * MINUTE_MS
    assert evidence["volume"]["newest_from_ms"] == at["newest"]
    assert evidence["volume"]["before_from_ms"] == at["before"]
    assert evidence["phase"]["window_from_ms"] == START_MS + 100 * MINUTE_MS
    assert [evidence[name]["previous"] for name in ("regime", "phase", "volume")] == ["volatile", "markup", "rising"]
    assert set(evidence["phase"]["scores"]) == {"accumulation", "markup", "distribution", "markdown"}


def test_too_few_candles_are_refused_naming_how_many_are_needed() -> None:
    detect_regime(walk(PARAMS.candles_needed), PARAMS)
    with pytest.raises(InsufficientData, match="needs 170 closed candles, there are 169"):
        detect_regime(walk(PARAMS.candles_needed - 1), PARAMS)


def test_a_phase_seen_in_fewer_candles_is_less_certain() -> None:
    climb = candles_of(path((500, 0.8)))
    whole, part = detect_regime(climb, PARAMS), detect_regime(climb.tail(200), PARAMS)
    assert whole.wyckoff_phase == part.wyckoff_phase == "markup"
    assert part.phase_confidence == pytest.approx(0.4 * whole.phase_confidence, rel=0.1)


def test_a_malformed_candle_is_refused() -> None:
    candles = walk(200)
    with pytest.raises(InvalidMarketData, match="candle 0"):
        detect_regime(replace(candles, volume=-candles.volume), PARAMS)


def test_a_stored_regime_comes_back_the_same_even_with_more_beside_it() -> None:
    output = detect_regime(walk(200), PARAMS)
    assert RegimeOutput.from_dict(json.loads(json.dumps(output.to_dict() | {"as_of": "x"}))) == output


def test_a_regime_stored_before_it_had_events_still_comes_back() -> None:
    old = {
        "symbol": "BTC/USDT", "timeframe": "1m", "regime": "ranging", "confidence": 0.8, "wyckoff_phase": "unknown",
        "volume_trend": "flat", "evidence": {"adx": 12.0}, "candles_used": 500, "newest_candle_ms": START_MS,
    }  # fmt: skip
    output = RegimeOutput.from_dict(old)
    assert (output.regime, output.evidence, output.events, output.close) == ("ranging", {"adx": 12.0}, (), None)
    assert output.labels == held("ranging")


def test_labels_are_read_from_a_stored_body_only_when_they_are_labels() -> None:
    body = {"regime": "volatile", "wyckoff_phase": "markup", "volume_trend": "rising", "confidence": 1}
    assert Labels.of_body(body) == held("volatile", "markup", "rising")
    assert Labels.of_body(body | {"wyckoff_phase": "sideways"}) is None
    assert Labels.of_body({"regime": "volatile"}) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"adx_leave": 30.0}, r"regime.adx_leave is 30"),
        ({"min_window": 600}, r"regime.min_window is 600"),
        ({"volume_stay": 1.26}, r"regime.volume_stay is 1.26.*1 to 1.25"),
        ({"slope_window": 600}, r"regime.window is 500.*606 candles"),
    ],
)
def test_parameters_that_contradict_each_other_are_refused(change: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(PARAMS, **change)  # type: ignore[arg-type]


def test_contradictions_inside_a_group_are_refused_by_its_name() -> None:
    with pytest.raises(ConfigError, match=r"regime.phase.leave is 0.9"):
        replace(PARAMS.phase, leave=0.9)
    with pytest.raises(ConfigError, match=r"regime.events.spring_gap is 200"):
        replace(PARAMS.events, spring_gap=200)
    with pytest.raises(ConfigError, match="every weight of a phase is 0"):
        replace(PARAMS.phase, weight_drift=0.0, weight_position=0.0, weight_fresh=0.0)
