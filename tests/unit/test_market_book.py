"""Which series are in use: what was chosen, else what is configured; asked for once in a while."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from market_examples import START_MS, candles_of

from aaos.adapters.market.book import CACHE_S, CandleSwitch, MarketBook
from aaos.adapters.market.played import PlayedSeries
from aaos.domain.market import Candles, MarketSettings
from aaos.domain.market_clock import MarketAnchor
from aaos.errors import ConfigError

SETTINGS = MarketSettings(symbols=("BTC/USDT", "ETH/USDT"))
ANCHOR = MarketAnchor(0, START_MS, 60.0)


@dataclass(frozen=True, slots=True)
class Stored:
    source: str
    symbol: str
    timeframe: str
    last_open_ms: int


class Store:
    def __init__(self) -> None:
        self.active: list[Stored] = []
        self.clock: list[MarketAnchor] = []
        self.reads = 0

    def active_series(self) -> Sequence[Stored]:
        self.reads += 1
        return self.active

    def anchors(self, source: str, symbol: str) -> Sequence[MarketAnchor]:
        self.reads += 1
        return self.clock

    def candles(self, source: str, symbol: str, timeframe: str, last_open_ms: int, limit: int) -> Candles:
        return candles_of(np.arange(1.0, 11.0), symbol=symbol).tail(limit)


class Stopwatch:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def stopwatch() -> Stopwatch:
    return Stopwatch()


def a_book(store: Store, stopwatch: Stopwatch, settings: MarketSettings = SETTINGS, speed: float = 1.0) -> MarketBook:
    return MarketBook(store, settings, speed, stopwatch)


def test_without_a_choice_the_configured_simulated_symbols_are_in_use(store: Store, stopwatch: Stopwatch) -> None:
    book = a_book(store, stopwatch)
    assert book.in_use() == [PlayedSeries("simulated", "BTC/USDT", "1m"), PlayedSeries("simulated", "ETH/USDT", "1m")]
    assert book.anchors("simulated", "BTC/USDT") == [MarketAnchor(0, 0, 1.0)]


def test_a_choice_is_used_and_a_replay_knows_its_end(store: Store, stopwatch: Stopwatch) -> None:
    store.active = [Stored("replay", "LTC/USDT", "1m", 99), Stored("simulated", "SOL/USDT", "1m", 0)]
    store.clock = [ANCHOR]
    book = a_book(store, stopwatch, speed=60.0)
    assert book.in_use() == [PlayedSeries("replay", "LTC/USDT", "1m", 99), PlayedSeries("simulated", "SOL/USDT", "1m")]
    assert book.anchors("replay", "LTC/USDT") == [ANCHOR]


def test_the_database_is_asked_once_in_a_while_and_a_new_choice_is_seen_then(
    store: Store, stopwatch: Stopwatch
) -> None:
    book = a_book(store, stopwatch)
    for _ in range(5):
        book.in_use()
        book.anchors("simulated", "BTC/USDT")
    assert store.reads == 2
    store.active = [Stored("replay", "LTC/USDT", "1m", 99)]
    store.clock = [ANCHOR]
    stopwatch.now += CACHE_S - 0.01
    assert [series.symbol for series in book.in_use()] == ["BTC/USDT", "ETH/USDT"]
    stopwatch.now += 0.01
    assert [series.symbol for series in book.in_use()] == ["LTC/USDT"]
    assert book.anchors("simulated", "BTC/USDT") == [ANCHOR], "clocks are read again, too"


def test_a_speed_without_a_clock_is_refused_with_what_to_do(store: Store, stopwatch: Stopwatch) -> None:
    with pytest.raises(ConfigError, match="aaos market use --speed 60"):
        a_book(store, stopwatch, speed=60.0).anchors("simulated", "BTC/USDT")


def test_a_replay_without_candles_is_refused_with_what_to_do(store: Store, stopwatch: Stopwatch) -> None:
    configured = MarketSettings(source="replay")
    with pytest.raises(ConfigError, match="aaos market use --replay FILE"):
        a_book(store, stopwatch, configured).in_use()


def test_stored_candles_come_from_the_store_and_simulated_ones_are_computed(store: Store) -> None:
    switch = CandleSwitch(store, SETTINGS)
    assert switch.candles("replay", "LTC/USDT", "1m", START_MS, 5).close.tolist() == [6, 7, 8, 9, 10]
    computed = switch.candles("simulated", "BTC/USDT", "1m", START_MS, 50)
    assert len(computed) == 50
    assert int(computed.open_time_ms[-1]) == START_MS
    again = CandleSwitch(store, SETTINGS).candles("simulated", "BTC/USDT", "1m", START_MS, 50)
    assert again.content_hash() == computed.content_hash()
