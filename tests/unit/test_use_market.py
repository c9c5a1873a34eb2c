"""Choosing a market: all or nothing, and time that goes on where it stood."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from market_examples import MINUTE_MS, START_MS, candles_of

from aaos.domain.market import Candles, MarketSettings
from aaos.domain.market_clock import MarketAnchor, market_time_ms
from aaos.errors import InsufficientData, InvalidMarketData
from aaos.services.use_market import REPLAY, SIMULATED, use_replay, use_simulated

SETTINGS = MarketSettings(min_candles=60, history_candles=100)
# At speed 60 the slot of an hourly schedule is a minute on the wall.
WIDEST_SLOT_MS = 60_000
SLOT_MS = 1_800_000_000_000
NOW_MS = SLOT_MS + 1_000


class Shelf:
    """Implements `MarketChoiceStore` in memory."""

    def __init__(self) -> None:
        self.active: list[Any] = []
        self.series: dict[tuple[str, str, str], Any] = {}
        self.candles: dict[tuple[str, str], Candles] = {}
        self.clocks: dict[tuple[str, str], list[MarketAnchor]] = {}

    def stored(self, source: str, symbol: str, timeframe: str) -> Any:
        return self.series.get((source, symbol, timeframe))

    def anchors(self, source: str, symbol: str) -> Sequence[MarketAnchor]:
        return self.clocks.get((source, symbol), [])

    def use(
        self, series: Sequence[Any], candles: Sequence[Candles], anchors: Sequence[tuple[str, str, MarketAnchor]]
    ) -> None:
        self.active = list(series)
        self.series |= {(each.source, each.symbol, each.timeframe): each for each in series}
        self.candles |= {(each.symbol, each.timeframe): each for each in candles}
        for source, symbol, anchor in anchors:
            self.clocks.setdefault((source, symbol), []).append(anchor)

    def market_ms(self, wall_ms: int, source: str = REPLAY, symbol: str = "BTC/USDT") -> int:
        return market_time_ms(self.clocks[source, symbol], wall_ms)


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


def a_series(n: int = 300, symbol: str = "BTC/USDT", start: float = 100.0) -> Candles:
    return candles_of(start + np.arange(n, dtype=float), symbol=symbol)


def replay(shelf: Shelf, *series: Candles, speed: float = 60.0, now_ms: int = NOW_MS) -> list[Any]:
    return list(use_replay(series, speed, now_ms, WIDEST_SLOT_MS, SETTINGS, shelf))


def test_a_replay_starts_after_its_warm_up_at_the_beginning_of_the_widest_slot(shelf: Shelf) -> None:
    [chosen] = replay(shelf, a_series())
    assert (chosen.source, chosen.symbol, chosen.timeframe) == (REPLAY, "BTC/USDT", "1m")
    assert (chosen.first_open_ms, chosen.last_open_ms) == (START_MS, START_MS + 299 * MINUTE_MS)
    [anchor] = shelf.clocks[REPLAY, "BTC/USDT"]
    assert anchor == MarketAnchor(SLOT_MS, START_MS + 100 * MINUTE_MS, 60.0)
    assert len(shelf.candles["BTC/USDT", "1m"]) == 300


def test_a_short_series_warms_up_on_the_least_it_needs(shelf: Shelf) -> None:
    replay(shelf, a_series(90))
    assert shelf.clocks[REPLAY, "BTC/USDT"][0].market_ms == START_MS + 60 * MINUTE_MS


def test_a_series_with_nothing_left_to_play_is_refused_and_nothing_is_changed(shelf: Shelf) -> None:
    with pytest.raises(InsufficientData, match=r"ETH/USDT has 60 candles.*more than 60 \(market.min_candles\)"):
        replay(shelf, a_series(), a_series(60, "ETH/USDT"))
    assert (shelf.active, shelf.candles, shelf.clocks) == ([], {}, {})


def test_one_symbol_in_two_timeframes_is_refused(shelf: Shelf) -> None:
    minutes = a_series()
    columns = (minutes.open, minutes.high, minutes.low, minutes.close, minutes.volume)
    hours = Candles("BTC/USDT", "1h", minutes.open_time_ms * 60, *columns)
    with pytest.raises(InvalidMarketData, match="BTC/USDT comes as 1m and as 1h"):
        replay(shelf, minutes, hours)


def test_the_same_files_at_the_same_speed_go_on_as_if_time_had_passed(shelf: Shelf) -> None:
    replay(shelf, a_series())
    later_ms = NOW_MS + 2_000
    before = shelf.market_ms(later_ms)
    replay(shelf, a_series(), now_ms=later_ms)
    assert len(shelf.clocks[REPLAY, "BTC/USDT"]) == 1
    assert shelf.market_ms(later_ms) == before


@pytest.mark.parametrize(
    ("again", "speed"), [(a_series(), 30.0), (a_series(start=200.0), 60.0)], ids=["another speed", "other candles"]
)
def test_another_speed_or_other_candles_begin_again_and_leave_old_slots_as_they_were(
    shelf: Shelf, again: Candles, speed: float
) -> None:
    replay(shelf, a_series())
    old_ms = shelf.market_ms(NOW_MS - 1)
    replay(shelf, again, speed=speed, now_ms=NOW_MS)
    assert shelf.market_ms(NOW_MS - 1) == old_ms
    assert shelf.market_ms(NOW_MS) == START_MS + 100 * MINUTE_MS
    assert shelf.clocks[REPLAY, "BTC/USDT"][-1].speed == speed


def test_a_replay_that_ran_out_begins_again(shelf: Shelf) -> None:
    replay(shelf, a_series())
    much_later_ms = NOW_MS + 100 * WIDEST_SLOT_MS
    replay(shelf, a_series(), now_ms=much_later_ms)
    assert len(shelf.clocks[REPLAY, "BTC/USDT"]) == 2
    assert shelf.market_ms(much_later_ms - 1_000) == START_MS + 100 * MINUTE_MS


def test_the_simulated_market_starts_at_the_time_of_the_wall_and_keeps_its_clock(shelf: Shelf) -> None:
    chosen = use_simulated(60.0, NOW_MS, WIDEST_SLOT_MS, SETTINGS, shelf)
    assert [each.symbol for each in chosen] == list(SETTINGS.symbols)
    assert {each.source for each in chosen} == {SIMULATED}
    assert shelf.market_ms(SLOT_MS, SIMULATED) == SLOT_MS
    assert shelf.market_ms(SLOT_MS + 1000, SIMULATED) == SLOT_MS + 60_000
    use_simulated(60.0, NOW_MS + 5000, WIDEST_SLOT_MS, SETTINGS, shelf)
    assert len(shelf.clocks[SIMULATED, "BTC/USDT"]) == 1
    use_simulated(1.0, NOW_MS + 5000, WIDEST_SLOT_MS, SETTINGS, shelf)
    assert len(shelf.clocks[SIMULATED, "BTC/USDT"]) == 2
