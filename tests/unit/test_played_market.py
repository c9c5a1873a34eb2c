"""A played market: closed candles only, the same for the same instant, stale ones refused."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np
import pytest
from market_examples import MINUTE_MS, START_MS, candles_of

from aaos.adapters.market.played import PlayedMarket, PlayedSeries
from aaos.domain.calibration import SeriesNow
from aaos.domain.market import Candles, MarketSettings
from aaos.domain.market_clock import MarketAnchor
from aaos.errors import InsufficientData, StaleInput, UnknownSymbol

SETTINGS = MarketSettings(min_candles=60, history_candles=100)
N = 300
WALL_MS = 1_800_000_000_000
SPEED = 60.0


class Book:
    def __init__(self, last_open_ms: int | None) -> None:
        self.series = [PlayedSeries("replay", "BTC/USDT", "1m", last_open_ms)]

    def in_use(self) -> Sequence[PlayedSeries]:
        return self.series

    def anchors(self, source: str, symbol: str) -> Sequence[MarketAnchor]:
        return [MarketAnchor(WALL_MS, START_MS + 100 * MINUTE_MS, SPEED)]


class Shelf:
    def __init__(self, candles: Candles) -> None:
        self.stored = candles

    def candles(self, source: str, symbol: str, timeframe: str, last_open_ms: int, limit: int) -> Candles:
        return self.stored.until(last_open_ms + MINUTE_MS).tail(limit)


def market(candles: Candles | None = None, endless: bool = False) -> PlayedMarket:
    stored = candles_of(100 + np.arange(N, dtype=float)) if candles is None else candles
    return PlayedMarket(Book(None if endless else int(stored.open_time_ms[-1])), Shelf(stored), SETTINGS)


def wall(market_minutes: float) -> datetime:
    """The wall-clock instant at which so many minutes of market time have passed since the series began."""
    return datetime.fromtimestamp((WALL_MS + (market_minutes - 100) * MINUTE_MS / SPEED) / 1000, UTC)


def test_market_time_runs_as_fast_as_the_anchor_says() -> None:
    played = market()
    assert played.market_time("BTC/USDT", wall(100)) == datetime.fromtimestamp(START_MS / 1000 + 6000, UTC)
    assert played.market_time("BTC/USDT", wall(160)) == datetime.fromtimestamp(START_MS / 1000 + 9600, UTC)
    assert (played.symbols(), played.timeframe("BTC/USDT")) == (["BTC/USDT"], "1m")


@pytest.mark.parametrize(("minutes", "newest"), [(100, 99), (100.9, 99), (101, 100), (299.5, 298), (300, 299)])
def test_a_candle_counts_once_it_is_closed(minutes: float, newest: int) -> None:
    candles = market().candles("BTC/USDT", wall(minutes), 50 + SETTINGS.min_candles)
    assert int(candles.open_time_ms[-1]) == START_MS + newest * MINUTE_MS


def test_the_same_instant_gives_the_same_candles_whatever_came_later() -> None:
    whole = candles_of(100 + np.arange(N, dtype=float))
    early = market(whole.until(START_MS + 150 * MINUTE_MS)).candles("BTC/USDT", wall(150), 100)
    late = market(whole).candles("BTC/USDT", wall(150), 100)
    assert early.content_hash() == late.content_hash()
    assert len(late) == 100


def test_too_few_candles_are_refused_with_how_many_there_are() -> None:
    with pytest.raises(InsufficientData, match=r"BTC/USDT has 50 candles closed by .* 60 are needed"):
        market().candles("BTC/USDT", wall(100), 50)


def test_after_the_last_candle_a_replay_is_stale_and_says_that_it_has_ended() -> None:
    played = market()
    assert len(played.candles("BTC/USDT", wall(N + 3), 100)) == 100
    with pytest.raises(StaleInput, match="the replay has ended"):
        played.candles("BTC/USDT", wall(N + 3.1), 100)


def test_a_gap_is_stale_too_and_is_called_a_gap() -> None:
    whole = candles_of(100 + np.arange(N, dtype=float))
    early, late = whole.until(START_MS + 150 * MINUTE_MS), whole.tail(100)
    gappy = Candles.from_rows("BTC/USDT", "1m", early.rows() + late.rows())
    with pytest.raises(StaleInput, match="a gap in the data"):
        market(gappy).candles("BTC/USDT", wall(170), 100)
    assert len(market(gappy).candles("BTC/USDT", wall(220), 100)) == 100


def test_an_endless_market_never_says_that_it_has_ended() -> None:
    with pytest.raises(StaleInput, match="a gap in the data"):
        market(endless=True).candles("BTC/USDT", wall(N + 10), 100)


@pytest.mark.parametrize("ask", ["candles", "timeframe", "market_time"])
def test_an_unknown_symbol_is_refused_with_the_known_ones(ask: str) -> None:
    arguments = {"candles": (wall(100), 100), "timeframe": (), "market_time": (wall(100),)}[ask]
    with pytest.raises(UnknownSymbol, match="'XRP/USDT' in this market; it has: BTC/USDT"):
        getattr(market(), ask)("XRP/USDT", *arguments)


@pytest.mark.parametrize(
    ("minutes", "asked", "newest"), [(150, 120, 120), (150, 149, 149), (150, 200, 149), (150.9, 150, 149)]
)
def test_looking_back_never_shows_a_candle_that_has_not_closed_whatever_is_asked_for(
    minutes: float, asked: int, newest: int
) -> None:
    found = market().candles_until("BTC/USDT", wall(minutes), START_MS + asked * MINUTE_MS, 10)
    assert (len(found), int(found.open_time_ms[-1])) == (10, START_MS + newest * MINUTE_MS)


def test_looking_back_minds_neither_few_candles_nor_old_ones() -> None:
    played = market()
    assert len(played.candles_until("BTC/USDT", wall(150), START_MS + 2 * MINUTE_MS, 10)) == 3
    assert len(played.candles_until("BTC/USDT", wall(150), START_MS - MINUTE_MS, 10)) == 0
    assert (
        int(played.candles_until("BTC/USDT", wall(5_000), 2**53, 1).open_time_ms[0]) == START_MS + (N - 1) * MINUTE_MS
    )
    with pytest.raises(UnknownSymbol):
        played.candles_until("ETH/USDT", wall(150), START_MS, 10)


def test_each_series_in_use_stands_at_its_newest_closed_candle() -> None:
    assert market().in_use(wall(150.9)) == [SeriesNow("BTC/USDT", "1m", START_MS + 149 * MINUTE_MS)]
