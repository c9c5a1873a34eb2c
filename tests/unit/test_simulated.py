from __future__ import annotations

import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from market_examples import MINUTE_MS, START_MS

from aaos.adapters.market.simulated import SimulatedMarket
from aaos.domain.market import check_candles, resample
from aaos.domain.regime import RegimeParams, detect_regime
from aaos.domain.signals import SignalParams, generate_signal
from aaos.errors import ConfigError, InputError, UnknownSymbol

SYMBOLS = ("BTC/USDT", "ETH/USDT", "SOL/USDT", "NEW/USDT")
MARKET = SimulatedMarket(1, SYMBOLS)
# What this market was when it was first written: a stored decision must find the same candles for ever.
KNOWN_HASH = "ab7c66b2a3e8969ff7dd5b795967faaf85465d1853f83cea833693c270830a28"


def test_the_market_is_the_same_for_ever_on_every_machine() -> None:
    assert MARKET.candles("BTC/USDT", "1m", START_MS, 500).content_hash() == KNOWN_HASH


def test_another_process_sees_the_same_market() -> None:
    code = (
        "from aaos.adapters.market.simulated import SimulatedMarket;"
        f"print(SimulatedMarket(1, ['BTC/USDT']).candles('BTC/USDT', '1m', {START_MS}, 500).content_hash())"
    )
    other = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env={"PYTHONHASHSEED": "7"},
    )
    assert other.stdout.strip() == KNOWN_HASH


def test_seeds_and_symbols_differ() -> None:
    other_seed = SimulatedMarket(2, SYMBOLS)
    hashes = {m.candles(s, "1m", START_MS, 50).content_hash() for m in (MARKET, other_seed) for s in SYMBOLS}
    assert len(hashes) == 2 * len(SYMBOLS)
    closes = [MARKET.candles(s, "1m", START_MS, 500).close for s in SYMBOLS[:2]]
    assert abs(np.corrcoef(np.diff(np.log(closes)))[0, 1]) < 0.3


@given(
    st.integers(0, 4_000_000_000_000), st.integers(1, 80), st.sampled_from(SYMBOLS), st.sampled_from(["1m", "5m", "1h"])
)
@settings(max_examples=60, deadline=None)
def test_candles_are_sound_continuous_closed_and_as_many_as_asked_for(
    until_ms: int, limit: int, symbol: str, timeframe: str
) -> None:
    candles = MARKET.candles(symbol, timeframe, until_ms, limit)
    check_candles(candles)
    assert len(candles) == limit
    width_ms = int(candles.close_times_ms[0] - candles.open_time_ms[0])
    assert candles.last_close_time_ms <= until_ms < candles.last_close_time_ms + width_ms
    assert set(np.diff(candles.open_time_ms).tolist()) <= {width_ms}
    np.testing.assert_array_equal(candles.open[1:], candles.close[:-1])


@given(st.integers(1, 300), st.integers(0, 300))
@settings(max_examples=30, deadline=None)
def test_a_candle_never_depends_on_when_and_with_how_many_others_it_is_asked_for(limit: int, later: int) -> None:
    now = MARKET.candles("ETH/USDT", "1m", START_MS, limit)
    afterwards = MARKET.candles("ETH/USDT", "1m", START_MS + later * MINUTE_MS, 700)
    assert afterwards.until(START_MS).tail(limit).content_hash() == now.content_hash()


@pytest.mark.parametrize("timeframe", ["5m", "15m", "1h", "4h"])
def test_longer_candles_are_the_minutes_put_together(timeframe: str) -> None:
    minutes = MARKET.candles("SOL/USDT", "1m", START_MS, 1_440)
    expected = resample(minutes, timeframe)
    assert MARKET.candles("SOL/USDT", timeframe, START_MS, len(expected)).content_hash() == expected.content_hash()


def test_volume_goes_with_the_size_of_the_move() -> None:
    candles = MARKET.candles("BTC/USDT", "1m", START_MS, 3_000)
    moves = np.abs(np.diff(np.log(candles.close)))
    assert np.corrcoef(moves, candles.volume[1:])[0, 1] > 0.5
    assert (candles.volume > 0).all()


def test_trends_and_ranges_longs_and_shorts_and_every_phase_occur() -> None:
    regimes, directions, phases, volumes = (Counter[str]() for _ in range(4))
    whole = MARKET.candles("BTC/USDT", "1m", START_MS, 20_000)
    for end in range(300, len(whole), 100):
        window = whole.until(int(whole.close_times_ms[end])).tail(250)
        regime = detect_regime(window, RegimeParams())
        regimes[regime.regime] += 1
        phases[regime.wyckoff_phase] += 1
        volumes[regime.volume_trend] += 1
        directions[generate_signal(window, SignalParams()).direction] += 1
    assert set(regimes) == {"trending_up", "trending_down", "ranging", "volatile"}
    assert set(phases) == {"accumulation", "markup", "distribution", "markdown", "unknown"}
    assert set(volumes) == {"rising", "declining", "flat"}
    assert set(directions) == {"long", "short", "neutral"}
    assert max(regimes.values()) < 0.8 * regimes.total()


def test_prices_stay_near_their_level_for_years() -> None:
    starts = range(START_MS, START_MS + 5 * 365 * 86_400_000, 30 * 86_400_000)
    closes = [float(MARKET.candles("BTC/USDT", "1m", ms, 1).close[0]) for ms in starts]
    assert min(closes) > 10_000
    assert max(closes) < 360_000


def test_a_symbol_it_does_not_list_is_refused_naming_those_it_does() -> None:
    with pytest.raises(UnknownSymbol, match=r"'XRP/USDT' is not listed here.*BTC/USDT, ETH/USDT"):
        MARKET.candles("XRP/USDT", "1m", START_MS, 10)


def test_a_misspelled_symbol_timeframe_or_limit_is_refused() -> None:
    with pytest.raises(UnknownSymbol, match="BTC/USDT"):
        SimulatedMarket(1, ["BTC-USDT"])
    with pytest.raises(ConfigError, match="allowed are 1m"):
        MARKET.candles("BTC/USDT", "7m", START_MS, 10)
    with pytest.raises(InputError, match="at least 1"):
        MARKET.candles("BTC/USDT", "1m", START_MS, 0)
