"""Technical analysis one closed candle at a time: what a live feed and a backtest use.

Each candle costs the same however many went before: recurrences for the indicators, and for divergences and
patterns, which look back a bounded number of candles, a window of just those. The answers are those of
`generate_signal` over all candles since the stream's first one.
"""

from __future__ import annotations

import operator
import sys
from collections import deque
from collections.abc import Sequence

import numpy as np

from aaos.domain.candle_aggregator import CandleAggregator, Row
from aaos.domain.market import (
    COLUMNS,
    Candles,
    FloatArray,
    check_candles,
    check_coverage,
    first_since_gap,
    is_sound,
    timeframe_ms,
)
from aaos.domain.signals.alignment import TimeframeTrend, coarser_timeframes, is_covered, trend_of
from aaos.domain.signals.divergence import find_divergences
from aaos.domain.signals.output import SignalOutput
from aaos.domain.signals.params import SignalParams
from aaos.domain.signals.patterns import find_patterns
from aaos.domain.signals.pivots import find_pivots
from aaos.domain.signals.read import Moment, assemble, obv_share, signed_volume
from aaos.domain.signals.score import Contribution, momentum_contributions, momentum_share, score_figures
from aaos.domain.signals.streaming import IndicatorStream, IndicatorValues
from aaos.domain.signals.study import pivots_since
from aaos.errors import InsufficientData, InvalidMarketData

# The year 9999: what a calendar can still show.
_LATEST_MS = 253_402_300_799_999
_LINES = ("rsi", "macd_line", "ao", "obv", "atr")


class SignalStream:
    """The technical reading of one series, kept up to date candle by candle.

    Args:
        symbol: the series' symbol.
        timeframe: the candles' timeframe.
        params: as for `generate_signal`.

    Raises:
        ConfigError: unknown timeframe.
    """

    def __init__(self, symbol: str, timeframe: str, params: SignalParams) -> None:
        self._symbol, self._timeframe, self._params = symbol, timeframe, params
        self._step_ms = timeframe_ms(timeframe)
        self._own = _Series(params)
        self._window = _Window(window_candles(params))
        self._first_ms: int | None = None
        coarser = coarser_timeframes(timeframe, params.alignment)
        self._coarser = [(tf, CandleAggregator(timeframe, tf), _Series(params)) for tf in coarser]

    def update(self, open_time_ms: int, open_: float, high: float, low: float, close: float, volume: float) -> None:
        """Takes in the next closed candle.

        Raises:
            InvalidMarketData: it is malformed, or not newer than the one before; nothing of it was taken in.
        """
        row = self._checked(open_time_ms, (open_, high, low, close, volume))
        if self._first_ms is None:
            self._first_ms = row[0]
        self._own.add(row)
        self._window.add(row, [getattr(self._own.values, name) for name in _LINES])
        for _, aggregator, series in self._coarser:
            for closed in aggregator.add(row):
                series.add(closed.row, closed.parts)

    def signal(self) -> SignalOutput:
        """The reading at the newest candle.

        Raises:
            InsufficientData: as `generate_signal`.
        """
        own, params = self._own, self._params
        if own.count < params.candles_needed:
            raise InsufficientData(
                f"{self._symbol} {self._timeframe}: indicators need {params.candles_needed} closed candles,"
                f" there are {own.count}: feed more candles first"
            )
        candles, (rsi, macd, ao, obv, atr) = self._window.contents(self._symbol, self._timeframe)
        check_coverage(candles, params.candles_needed, params.max_missing_share)
        at = len(candles) - 1
        figures = own.values.figures()
        indicators = score_figures(figures, own.close, own.obv_share, params)
        first = int(first_since_gap(candles, params.max_gap_candles)[-1])
        pivots = pivots_since(
            find_pivots(candles.high, candles.low, params.pivot_strength), first, params.pivot_strength
        )
        lines = {"rsi": rsi, "macd": macd, "ao": ao, "obv": obv}
        own_trend = trend_of(self._timeframe, momentum_share(indicators, params), own.newest_ms, params.alignment)
        return assemble(
            self._moment(),
            figures,
            indicators,
            (own_trend, *self._coarser_trends()),
            find_divergences(candles, lines, atr, pivots, at, params.divergence),
            find_patterns(candles, atr, pivots, at, params.patterns),
            params,
        )

    def _checked(self, open_time_ms: int, figures: Sequence[float]) -> Row:
        try:
            row: Row = (operator.index(open_time_ms), *map(float, figures))  # type: ignore[assignment]
        except (TypeError, ValueError, OverflowError):
            shown = f"{open_time_ms!r:.40} {figures!r:.120}"
            raise InvalidMarketData(
                f"{self._symbol} {self._timeframe}: not a candle: {shown}; give whole milliseconds and five numbers"
            ) from None
        if self._first_ms is not None and row[0] <= self._own.newest_ms:
            raise InvalidMarketData(
                f"{self._symbol} {self._timeframe}: the candle of {row[0]} ms is not newer than the one of"
                f" {self._own.newest_ms} ms before it: feed each candle once, the oldest first"
            )
        opened_ms, opening, high, low, closing, volume = row
        if not 0 <= opened_ms <= _LATEST_MS:
            raise InvalidMarketData(
                f"{self._symbol} {self._timeframe}: candle of {opened_ms} ms: open times are milliseconds since 1970"
            )
        if not is_sound(opening, high, low, closing, volume) or opened_ms % self._step_ms:
            check_candles(Candles.from_rows(self._symbol, self._timeframe, [row]))  # says what is wrong with it
        return row

    def _moment(self) -> Moment:
        first_ms, newest_ms = self._first_ms or 0, self._own.newest_ms
        expected = (newest_ms - first_ms) // self._step_ms + 1
        return Moment(
            self._symbol, self._timeframe, newest_ms, self._own.close, self._own.count, expected - self._own.count
        )

    def _coarser_trends(self) -> tuple[TimeframeTrend, ...]:
        params = self._params
        return tuple(
            trend_of(timeframe, momentum_share(series.momentum(), params), series.newest_ms, params.alignment)
            for timeframe, _, series in self._coarser
            if series.count >= params.candles_needed and series.is_covered(timeframe, self._timeframe)
        )


def window_candles(params: SignalParams) -> int:
    """How many of the newest candles divergences and patterns can depend on."""
    lookback = max(
        params.divergence.candles_needed(params.pivot_strength),
        params.patterns.candles_needed,
        params.candles_needed,
    )
    return lookback + 2 * params.pivot_strength + 1  # the oldest pivot needs its neighbours, too


class _Series:
    """The newest figures of one timeframe."""

    def __init__(self, params: SignalParams) -> None:
        self._params = params
        self._indicators = IndicatorStream(params)
        self._signed: deque[float] = deque(maxlen=params.obv_window)
        self._volume: deque[float] = deque(maxlen=params.obv_window)
        self._parts: deque[tuple[int, int]] = deque(maxlen=params.candles_needed)
        self.count = 0
        self.newest_ms = 0
        self.close = 0.0
        self.values: IndicatorValues

    def add(self, row: Row, parts: int = 1) -> None:
        # Volumes near the largest float add up to infinity in a coarser candle: its OBV is undefined, no more.
        self.values = self._indicators.update(*row[1:5], min(row[5], sys.float_info.max))
        self._parts.append((row[0], parts))
        self._signed.append(signed_volume(row[4], self.close, row[5]) if self.count else 0.0)
        self._volume.append(row[5])
        self.count += 1
        self.newest_ms, self.close = row[0], row[4]

    @property
    def obv_share(self) -> float | None:
        return obv_share(sum(self._signed), sum(self._volume))

    def is_covered(self, own: str, base: str) -> bool:
        span_ms = self.newest_ms + timeframe_ms(own) - self._parts[0][0]
        return is_covered(sum(parts for _, parts in self._parts), span_ms, base, self._params.max_missing_share)

    def momentum(self) -> tuple[Contribution, ...]:
        return momentum_contributions(self.values.figures(), self.close, self.obv_share, self._params)


class _Window:
    """The newest candles and the lines beside them, in columns that move up only now and then."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._times = np.empty(2 * size, dtype=np.int64)
        self._columns = np.empty((len(COLUMNS) - 1 + len(_LINES), 2 * size))
        self._end = 0

    def add(self, row: Row, lines: Sequence[float]) -> None:
        if self._end == len(self._times):
            self._times[: self._size] = self._times[self._size :]
            self._columns[:, : self._size] = self._columns[:, self._size :]
            self._end = self._size
        self._times[self._end] = row[0]
        self._columns[:, self._end] = (*row[1:], *lines)
        self._end += 1

    def contents(self, symbol: str, timeframe: str) -> tuple[Candles, FloatArray]:
        newest = slice(max(0, self._end - self._size), self._end)
        ohlcv, lines = np.split(self._columns[:, newest].copy(), [len(COLUMNS) - 1])
        return Candles(symbol, timeframe, self._times[newest].copy(), *ohlcv), lines
