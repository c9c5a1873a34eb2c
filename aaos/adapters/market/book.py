"""Which series the pipeline works on: what `aaos market use` chose, else the simulated market of the configuration."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from aaos.adapters.market.played import CandleSource, PlayedSeries
from aaos.adapters.market.simulated import SimulatedMarket
from aaos.domain.market import Candles, MarketSettings, timeframe_ms
from aaos.domain.market_clock import MarketAnchor
from aaos.errors import ConfigError

SIMULATED = "simulated"
REPLAY = "replay"
# A choice made with `aaos market use` reaches every worker within this time.
CACHE_S = 2.0


class StoredSeries(Protocol):
    """A series as the database keeps it."""

    @property
    def source(self) -> str:
        """`simulated` or `replay`."""
        ...

    @property
    def symbol(self) -> str:
        """Its symbol."""
        ...

    @property
    def timeframe(self) -> str:
        """Its timeframe."""
        ...

    @property
    def last_open_ms(self) -> int:
        """When its last candle opened."""
        ...


class MarketStore(Protocol):
    """The stored choice of series and their clocks."""

    def active_series(self) -> Sequence[StoredSeries]:
        """Returns the series in use."""
        ...

    def anchors(self, source: str, symbol: str) -> Sequence[MarketAnchor]:
        """Returns the clock anchors of a series."""
        ...

    def candles(self, source: str, symbol: str, timeframe: str, last_open_ms: int, limit: int) -> Candles:
        """Returns stored candles."""
        ...


class MarketBook:
    """Implements `played.SeriesBook`; answers are cached for a moment, since every run asks."""

    def __init__(
        self,
        store: MarketStore,
        settings: MarketSettings,
        speed: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._settings = settings
        self._speed = speed
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._read_at = -CACHE_S
        self._series: Sequence[PlayedSeries] = ()
        self._anchors: dict[tuple[str, str], Sequence[MarketAnchor]] = {}

    def in_use(self) -> Sequence[PlayedSeries]:
        """See the protocol."""
        with self._lock:
            self._refresh()
            return self._series

    def anchors(self, source: str, symbol: str) -> Sequence[MarketAnchor]:
        """See the protocol."""
        with self._lock:
            self._refresh()
            if (source, symbol) not in self._anchors:
                self._anchors[source, symbol] = self._store.anchors(source, symbol) or self._real_time(source, symbol)
            return self._anchors[source, symbol]

    def _refresh(self) -> None:
        if self._monotonic() - self._read_at < CACHE_S:
            return
        stored = self._store.active_series()
        self._series = [_played(each) for each in stored] or self._configured()
        self._anchors.clear()
        self._read_at = self._monotonic()

    def _configured(self) -> list[PlayedSeries]:
        if self._settings.source == REPLAY:
            raise ConfigError("market.source is replay, but no candles are loaded; run `aaos market use --replay FILE`")
        return [PlayedSeries(SIMULATED, symbol, self._settings.timeframe) for symbol in self._settings.symbols]

    def _real_time(self, source: str, symbol: str) -> Sequence[MarketAnchor]:
        if self._speed != 1:
            raise ConfigError(
                f"{source} {symbol} has no clock anchor, which speed {self._speed:g} needs; "
                f"run `aaos market use --speed {self._speed:g}` first"
            )
        return [MarketAnchor(0, 0, 1.0)]


class CandleSwitch:
    """Implements `played.CandleSource`: stored candles for a replay, computed ones for the simulated market."""

    def __init__(self, store: CandleSource, settings: MarketSettings) -> None:
        self._store = store
        self._settings = settings
        self._simulated: SimulatedMarket | None = None

    def candles(self, source: str, symbol: str, timeframe: str, last_open_ms: int, limit: int) -> Candles:
        """See the protocol."""
        if source != SIMULATED:
            return self._store.candles(source, symbol, timeframe, last_open_ms, limit)
        if self._simulated is None:
            self._simulated = SimulatedMarket(self._settings.seed, self._settings.symbols)
        return self._simulated.candles(symbol, timeframe, last_open_ms + timeframe_ms(timeframe), limit)


def _played(stored: StoredSeries) -> PlayedSeries:
    last = None if stored.source == SIMULATED else stored.last_open_ms
    return PlayedSeries(stored.source, stored.symbol, stored.timeframe, last)
