"""A market played back: a source of candles seen through a virtual clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from aaos.domain.calibration import SeriesNow
from aaos.domain.market import Candles, MarketSettings, timeframe_ms, unlisted
from aaos.domain.market_clock import MarketAnchor, last_closed_open_ms, market_time_ms
from aaos.errors import InsufficientData, StaleInput, UnknownSymbol


@dataclass(frozen=True, slots=True)
class PlayedSeries:
    """A series in use; `last_open_ms` is None where the source never ends."""

    source: str
    symbol: str
    timeframe: str
    last_open_ms: int | None = None


class SeriesBook(Protocol):
    """Which series are in use, and the clock of each."""

    def in_use(self) -> Sequence[PlayedSeries]:
        """Returns the series in use, in a stable order."""
        ...

    def anchors(self, source: str, symbol: str) -> Sequence[MarketAnchor]:
        """Returns the clock anchors of a series."""
        ...


class CandleSource(Protocol):
    """Candles by market time."""

    def candles(self, source: str, symbol: str, timeframe: str, last_open_ms: int, limit: int) -> Candles:
        """Returns up to `limit` candles that opened at or before `last_open_ms`, oldest first."""
        ...


class PlayedMarket:
    """Implements `ports.MarketData` and `ports.MarketHistory`: replayed files and the simulated market, as if now."""

    def __init__(self, book: SeriesBook, source: CandleSource, settings: MarketSettings) -> None:
        self._book = book
        self._source = source
        self._settings = settings

    def symbols(self) -> Sequence[str]:
        """See the port."""
        return [series.symbol for series in self._book.in_use()]

    def timeframe(self, symbol: str) -> str:
        """See the port."""
        return self._series(symbol).timeframe

    def market_time(self, symbol: str, at: datetime) -> datetime:
        """See the port."""
        series = self._series(symbol)
        return _instant(self._market_ms(series, at))

    def candles(self, symbol: str, at: datetime, limit: int) -> Candles:
        """See the port."""
        series = self._series(symbol)
        market_ms = self._market_ms(series, at)
        newest_open_ms = last_closed_open_ms(market_ms, series.timeframe)
        candles = self._source.candles(series.source, symbol, series.timeframe, newest_open_ms, limit)
        if len(candles) < self._settings.min_candles:
            raise InsufficientData(
                f"{symbol} has {len(candles)} candles closed by {_instant(market_ms):%Y-%m-%d %H:%M:%S}, "
                f"{self._settings.min_candles} are needed (market.min_candles)"
            )
        self._refuse_stale(series, candles, market_ms)
        return candles

    def in_use(self, at: datetime) -> Sequence[SeriesNow]:
        """See the port."""
        return [SeriesNow(each.symbol, each.timeframe, self._newest_ms(each, at)) for each in self._book.in_use()]

    def candles_until(self, symbol: str, at: datetime, last_open_ms: int, limit: int) -> Candles:
        """See the port."""
        series = self._series(symbol)
        newest_ms = min(last_open_ms, self._newest_ms(series, at))
        return self._source.candles(series.source, symbol, series.timeframe, newest_ms, limit)

    def _newest_ms(self, series: PlayedSeries, at: datetime) -> int:
        return last_closed_open_ms(self._market_ms(series, at), series.timeframe)

    def _series(self, symbol: str) -> PlayedSeries:
        in_use = self._book.in_use()
        for series in in_use:
            if series.symbol == symbol:
                return series
        raise UnknownSymbol(unlisted(symbol, [series.symbol for series in in_use]))

    def _market_ms(self, series: PlayedSeries, at: datetime) -> int:
        return market_time_ms(self._book.anchors(series.source, series.symbol), round(at.timestamp() * 1000))

    def _refuse_stale(self, series: PlayedSeries, candles: Candles, market_ms: int) -> None:
        age_ms = market_ms - candles.last_close_time_ms
        limit_ms = self._settings.max_candle_age_timeframes * timeframe_ms(series.timeframe)
        if age_ms <= limit_ms:
            return
        ended = series.last_open_ms is not None and candles.open_time_ms[-1] >= series.last_open_ms
        why = "a gap in the data, it goes on by itself"
        if ended:
            why = "the replay has ended: play another with `aaos market use`, or draw this one with `aaos chart --file`"
        raise StaleInput(
            f"{series.symbol}: the newest candle closed {age_ms / 1000:.0f} s of market time ago, "
            f"{limit_ms / 1000:.0f} s are allowed ({why}; market time {_instant(market_ms):%Y-%m-%d %H:%M:%S})"
        )


def _instant(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)
