from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from market_examples import MINUTE_MS, START_MS, candles_of, walk

from aaos.domain.market import (
    Candles,
    MarketSettings,
    check_candles,
    check_coverage,
    check_symbol,
    missing_candles,
    resample,
    timeframe_ms,
    unlisted,
)
from aaos.errors import ConfigError, InsufficientData, InvalidMarketData, MarketGap, StaleInput, UnknownSymbol


def broken(column: str, index: int, value: float) -> Candles:
    candles = walk(20)
    values = getattr(candles, column).copy()
    values[index] = value
    return replace(candles, **{column: values})


def test_columns_cannot_be_changed_by_a_holder_and_the_caller_keeps_its_own_array() -> None:
    mine = np.array([1.0, 2.0])
    candles = Candles("BTC/USDT", "1m", np.array([0, MINUTE_MS]), mine, mine, mine, mine, mine)
    with pytest.raises(ValueError, match="read-only"):
        candles.close[0] = 5.0
    mine[0] = 7.0


def test_columns_of_different_length_are_refused() -> None:
    with pytest.raises(InvalidMarketData, match="differ in shape"):
        replace(walk(5), close=np.ones(4))


def test_until_gives_the_candles_closed_at_or_before_the_instant() -> None:
    candles = walk(10)
    third_close = START_MS + 3 * MINUTE_MS
    assert len(candles.until(third_close)) == 3
    assert len(candles.until(third_close - 1)) == 2
    assert len(candles.until(START_MS)) == 0
    assert candles.until(third_close).last_close_time_ms == third_close


def test_tail_gives_the_newest_candles_or_all_of_them() -> None:
    candles = walk(10)
    assert candles.tail(3).open_time_ms.tolist() == candles.open_time_ms[-3:].tolist()
    assert len(candles.tail(99)) == 10
    assert len(candles.tail(0)) == 0


def test_an_empty_series_has_no_last_close_time() -> None:
    with pytest.raises(InvalidMarketData, match="no candle"):
        _ = walk(3).tail(0).last_close_time_ms


@given(st.integers(0, 2**32), st.integers(0, 30))
@settings(max_examples=30, deadline=None)
def test_rows_restore_every_bit(seed: int, n: int) -> None:
    candles = walk(30, seed).tail(n)
    again = Candles.from_rows(candles.symbol, candles.timeframe, candles.rows())
    assert again.content_hash() == candles.content_hash()


def test_rows_of_another_width_are_refused() -> None:
    with pytest.raises(InvalidMarketData, match="six numbers"):
        Candles.from_rows("BTC/USDT", "1m", [[1, 2.0, 3.0]])


def test_the_content_hash_knows_symbol_timeframe_and_the_last_bit() -> None:
    candles = walk(20)
    others = [
        replace(candles, symbol="ETH/USDT"),
        replace(candles, timeframe="5m"),
        candles.tail(19),
        broken("volume", 3, np.nextafter(candles.volume[3], 99)),
    ]
    hashes = {c.content_hash() for c in [candles, walk(20), *others]}
    assert len(hashes) == 1 + len(others)


def test_timeframes_are_named_when_one_is_unknown() -> None:
    assert timeframe_ms("4h") == 4 * 3_600_000
    with pytest.raises(ConfigError, match=r"'2m'.*1m, 5m, 15m, 1h, 4h, 1d"):
        timeframe_ms("2m")


@pytest.mark.parametrize("symbol", ["BTC/USDT", "1INCH/USDT", "BTC/USDT:USDT", "BTC/USDT:USDT-220325"])
def test_ccxt_spellings_are_symbols(symbol: str) -> None:
    assert check_symbol(symbol) == symbol


@pytest.mark.parametrize(
    ("symbol", "hint"),
    [("btc/usdt", "BTC/USDT"), ("BTC-USDT", "BTC/USDT"), ("BTCUSDT", "BASE/QUOTE"), ("", "BASE/QUOTE"), ("*", "BASE")],
)
def test_another_spelling_is_refused_with_a_hint(symbol: str, hint: str) -> None:
    with pytest.raises(UnknownSymbol, match=hint):
        check_symbol(symbol)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("close", float("nan"), "NaN or infinite"),
        ("volume", float("inf"), "NaN or infinite"),
        ("low", 0.0, "not positive"),
        ("high", 1.0, "high 1.0 is below"),
        ("low", 900.0, "low 900.0 is above"),
        ("volume", -1.0, "volume -1.0 is negative"),
        ("open_time_ms", START_MS + 6 * MINUTE_MS, "duplicate"),
        ("open_time_ms", START_MS, "unsorted"),
        ("open_time_ms", START_MS + 7 * MINUTE_MS + 1, "not a multiple of 1m"),
    ],
)
def test_a_broken_candle_is_named(column: str, value: float, message: str) -> None:
    check_candles(walk(20))
    with pytest.raises(InvalidMarketData, match=rf"BTC/USDT 1m candle 7 \(2022-01-01T00:0.*{message}"):
        check_candles(broken(column, 7, value))


def test_the_first_broken_candle_is_the_one_named() -> None:
    candles = broken("volume", 4, -1.0)
    closes = candles.close.copy()
    closes[9] = np.nan
    with pytest.raises(InvalidMarketData, match="candle 4 "):
        check_candles(replace(candles, close=closes))


def test_resampling_keeps_first_open_extremes_last_close_and_total_volume() -> None:
    candles = walk(10)
    five = resample(candles, "5m")
    first, second = slice(0, 5), slice(5, 10)
    assert five.open_time_ms.tolist() == [START_MS, START_MS + 5 * MINUTE_MS]
    assert five.open.tolist() == [candles.open[0], candles.open[5]]
    assert five.high.tolist() == [candles.high[first].max(), candles.high[second].max()]
    assert five.low.tolist() == [candles.low[first].min(), candles.low[second].min()]
    assert five.close.tolist() == [candles.close[4], candles.close[9]]
    assert five.volume == pytest.approx([candles.volume[first].sum(), candles.volume[second].sum()])


def test_resampling_leaves_out_buckets_without_a_beginning_or_an_end() -> None:
    candles = walk(20)
    late = candles.tail(18)  # begins at minute 2, within the first bucket
    assert resample(late, "5m").open_time_ms[0] == START_MS + 5 * MINUTE_MS
    assert len(resample(candles.until(START_MS + 14 * MINUTE_MS), "5m")) == 2
    assert len(resample(candles.until(START_MS + 4 * MINUTE_MS), "5m")) == 0
    assert len(resample(candles.tail(0), "5m")) == 0


def test_resampling_keeps_a_gap_as_a_gap() -> None:
    rows = walk(30).rows()
    with_gap = Candles.from_rows("BTC/USDT", "1m", rows[:7] + rows[20:])
    assert resample(with_gap, "5m").open_time_ms.tolist() == [START_MS + m * MINUTE_MS for m in (0, 5, 20, 25)]


@given(st.integers(0, 60))
@settings(max_examples=30, deadline=None)
def test_resampling_never_changes_a_candle_afterwards(n: int) -> None:
    candles = walk(60)
    early, late = resample(candles.until(START_MS + n * MINUTE_MS), "15m"), resample(candles, "15m")
    assert early.rows() == late.rows()[: len(early)]


def test_resampling_to_a_timeframe_that_is_no_multiple_is_refused() -> None:
    with pytest.raises(ConfigError, match="not a multiple"):
        resample(replace(walk(5), timeframe="1h"), "15m")


def test_candles_without_wicks_are_sound() -> None:
    check_candles(candles_of([1.0, 2.0, 1.5]))


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"timeframe": "3m"}, "3m"),
        ({"min_candles": 600}, "market.min_candles is 600"),
        ({"symbols": ("btc-usdt",)}, "market.symbols.*BTC/USDT"),
        ({"symbols": ("BTC/USDT", "BTC/USDT")}, "twice"),
    ],
)
def test_unusable_market_settings_are_refused_by_name(changes: dict[str, object], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        MarketSettings(**changes)  # type: ignore[arg-type]


def test_the_age_limit_of_the_newest_candle_counts_timeframes() -> None:
    assert MarketSettings(timeframe="5m", max_candle_age_timeframes=2.5).max_candle_age_ms == 750_000


@pytest.mark.parametrize("slip", ["btc/usdt", "BTCUSDT", "BTC-USDT", "btc usdt"])
def test_a_symbol_spelt_otherwise_is_recognised(slip: str) -> None:
    assert "did you mean BTC/USDT?" in unlisted(slip, ("BTC/USDT", "ETH/USDT"))
    assert unlisted("XRP/USDT", ("BTC/USDT",)) == "no symbol 'XRP/USDT' in this market; it has: BTC/USDT"


def test_a_series_holds_a_candle_with_its_close_and_no_other() -> None:
    candles = walk(5)
    opened_ms, close = int(candles.open_time_ms[3]), float(candles.close[3])
    assert candles.holds(opened_ms, close)
    assert not candles.holds(opened_ms, close + 1)
    assert not candles.holds(opened_ms + 1, close)
    assert not candles.holds(opened_ms + 10 * MINUTE_MS, close)


def test_candles_missing_in_gaps_are_counted() -> None:
    rows = walk(20).rows()
    assert missing_candles(Candles.from_rows("BTC/USDT", "1m", rows)) == 0
    assert missing_candles(Candles.from_rows("BTC/USDT", "1m", rows[:5] + rows[8:])) == 3
    assert missing_candles(Candles.from_rows("BTC/USDT", "1m", [])) == 0


@pytest.mark.requirement("ENG-2")
def test_too_wide_a_gap_among_the_newest_candles_is_refused_by_name_and_an_old_one_is_not() -> None:
    rows = walk(200).rows()
    gap = Candles.from_rows("BTC/USDT", "1m", rows[:100] + rows[150:])
    check_coverage(gap, 50, 0.2)  # all 50 newest are after it
    with pytest.raises(
        MarketGap,
        match=r"50 of the newest 101 candles are missing, 20% .* between 2022-01-01T01:39:00Z and 2022-01-01T02:30:00Z:"
        " it goes on by itself at 2022-01-01T03:21:00Z",
    ):
        check_coverage(gap, 51, 0.2)
    few = Candles.from_rows("BTC/USDT", "1m", rows[:100] + rows[110:])
    check_coverage(few, 100, 0.2)


def test_a_gap_in_the_market_ends_a_run_as_stale_input_does_skipped_and_not_failed() -> None:
    assert issubclass(MarketGap, StaleInput)
    assert issubclass(MarketGap, InsufficientData)
