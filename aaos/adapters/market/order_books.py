"""Order books of the market in use, made from its candles: the venue's live price runs inside the forming one.

Closed candles are what an analysis may see; a venue quotes before the candle closes, so the books follow the price's
path inside it (`domain.venue.price_path`). Where candles are missing the last book stays, and ages.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

from aaos.adapters.market.played import CandleSource, PlayedSeries, SeriesBook
from aaos.domain.market import Candles, timeframe_ms, unlisted
from aaos.domain.market_clock import market_time_ms, slot_of
from aaos.domain.order_book import OrderBook
from aaos.domain.venue.book_shape import book_around
from aaos.domain.venue.price_path import CandlePath, candle_path
from aaos.domain.venue.rules import PaperRules
from aaos.errors import UnknownSymbol

MAX_BOOKS: Final = 2_000
"""That `books_between` returns at most."""
TURNS: Final = 3
"""Books per candle: where it opens and where the price turns; the next one opens where it closes."""
MS_PER_S: Final = 1_000


class CandleOrderBooks:
    """Implements `ports.OrderBooks`; equal arguments give equal books in every process."""

    def __init__(self, book: SeriesBook, source: CandleSource, rules: PaperRules) -> None:
        self._book = book
        self._source = source
        self._rules = rules

    def book(self, symbol: str, at: datetime) -> OrderBook:
        """See the port."""
        series = self._series(symbol)
        market_ms = self._market_ms(series, at)
        return self._newest(series, self._until(series, market_ms, 1), market_ms)

    def books_between(self, symbol: str, after: datetime | None, until: datetime) -> Sequence[OrderBook]:
        """See the port."""
        series, until_ms = self._series(symbol), _ms(until)
        after_ms = until_ms if after is None else min(_ms(after), until_ms)
        width_ms = timeframe_ms(series.timeframe)
        wanted = (slot_of(until_ms, width_ms) - slot_of(after_ms, width_ms)) // width_ms + 1
        candles = self._until(series, until_ms, min(wanted, MAX_BOOKS // TURNS + 1))
        last = self._newest(series, candles, until_ms)
        last_ms = _ms(last.as_of)
        turns = [(ms, path) for ms, path in self._turns(candles) if after_ms < ms < last_ms]
        return [*(self._shown(series, path, ms, ms) for ms, path in turns[1 - MAX_BOOKS :]), last]

    def market_time(self, symbol: str, at: datetime) -> datetime:
        """See the port."""
        return _instant(self._market_ms(self._series(symbol), at))

    def _until(self, series: PlayedSeries, market_ms: int, count: int) -> Candles:
        """Returns the newest candles, the one that is forming included."""
        newest_ms = slot_of(market_ms, timeframe_ms(series.timeframe))
        return self._source.candles(series.source, series.symbol, series.timeframe, newest_ms, count)

    def _turns(self, candles: Candles) -> list[tuple[int, CandlePath]]:
        """(instant, path) of every turn; a candle without a successor also shows where it closes."""
        width_ms = timeframe_ms(candles.timeframe)
        opened = set(candles.open_time_ms.tolist())
        found: list[tuple[int, CandlePath]] = []
        for index, open_ms in enumerate(candles.open_time_ms.tolist()):
            path = _path(candles, index)
            found += [(ms, path) for ms, _ in path.corners[:TURNS]]
            if open_ms + width_ms not in opened:
                found.append((self._close_ms(path), path))
        return found

    def _newest(self, series: PlayedSeries, candles: Candles, market_ms: int) -> OrderBook:
        """Returns the book at that instant, from candles that end there."""
        if not len(candles):  # the market has not begun yet
            return OrderBook(series.symbol, (), (), _instant(market_ms))
        path = _path(candles, len(candles) - 1)
        return self._shown(series, path, min(market_ms, self._close_ms(path)), market_ms)

    def _shown(self, series: PlayedSeries, path: CandlePath, shown_ms: int, read_ms: int) -> OrderBook:
        """Returns the book that was shown then, as it is read at `read_ms`."""
        as_of_ms = slot_of(shown_ms, self._rules.book_every_ms)
        opening: Decimal = path.corners[0][1]
        instrument = self._rules.on_grid(series.symbol, self._rules.grid(series.symbol, opening))
        bids, asks = book_around(path.at(as_of_ms), as_of_ms, instrument, self._rules)
        return OrderBook(series.symbol, bids, asks, _instant(as_of_ms), (read_ms - as_of_ms) / MS_PER_S)

    def _close_ms(self, path: CandlePath) -> int:
        """When a candle shows its last book."""
        return path.corners[-1][0] - self._rules.book_every_ms

    def _series(self, symbol: str) -> PlayedSeries:
        in_use = self._book.in_use()
        for series in in_use:
            if series.symbol == symbol:
                return series
        raise UnknownSymbol(unlisted(symbol, [series.symbol for series in in_use]))

    def _market_ms(self, series: PlayedSeries, at: datetime) -> int:
        return market_time_ms(self._book.anchors(series.source, series.symbol), _ms(at))


def _path(candles: Candles, index: int) -> CandlePath:
    prices = [float(column[index]) for column in (candles.open, candles.high, candles.low, candles.close)]
    return candle_path(int(candles.open_time_ms[index]), timeframe_ms(candles.timeframe), prices)


def _ms(instant: datetime) -> int:
    return round(instant.timestamp() * MS_PER_S)


def _instant(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / MS_PER_S, UTC)
