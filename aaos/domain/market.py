"""Candles as the whole project knows them: closed, ascending, read-only columns of one series."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import Ge, Gt, Le, MinLen
from numpy.typing import NDArray

from aaos.errors import ConfigError, InvalidMarketData, MarketGap, UnknownSymbol

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

TIMEFRAMES_MS: dict[str, int] = {
    "1m": 60_000,
    "5m": 300_000,
    "15m": 900_000,
    "1h": 3_600_000,
    "4h": 14_400_000,
    "1d": 86_400_000,
}
COLUMNS = ("timestamp_ms", "open", "high", "low", "close", "volume")

# ccxt's unified spelling: BASE/QUOTE, with the settle currency (and expiry) of a derivative after a colon.
_SYMBOL = re.compile(r"[A-Z0-9]{1,20}/[A-Z0-9]{1,20}(:[A-Z0-9]{1,20}(-\d{6})?)?")
_NEARLY_A_SYMBOL = re.compile(r"([A-Za-z0-9]{1,20})[-_/ ]([A-Za-z0-9]{1,20})")


@dataclass(frozen=True, slots=True)
class MarketSettings:
    """Where candles come from and how many an analysis reads (`config/market.yaml`)."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    source: Literal["simulated", "replay"] = "simulated"
    symbols: Annotated[tuple[str, ...], MinLen(1)] = ("BTC/USDT", "ETH/USDT", "SOL/USDT")
    timeframe: str = "1m"
    seed: Annotated[int, Ge(0), Le(2**63 - 1)] = 1
    history_candles: Annotated[int, Ge(60), Le(10_000)] = 500
    min_candles: Annotated[int, Ge(60), Le(10_000)] = 200
    max_candle_age_timeframes: Annotated[float, Gt(0), Le(1_000)] = 3.0

    def __post_init__(self) -> None:
        timeframe_ms(self.timeframe)
        if self.min_candles > self.history_candles:
            raise ConfigError(
                f"market.min_candles is {self.min_candles}: allowed are 60 to history_candles ({self.history_candles})"
            )
        for symbol in self.symbols:
            try:
                check_symbol(symbol)
            except UnknownSymbol as error:
                raise ConfigError(f"market.symbols: {error}") from error
        if len(set(self.symbols)) != len(self.symbols):
            raise ConfigError(f"market.symbols names a symbol twice: {', '.join(self.symbols)}")

    @property
    def max_candle_age_ms(self) -> int:
        """The age, in market time, past which the newest candle is stale."""
        return round(self.max_candle_age_timeframes * timeframe_ms(self.timeframe))


@dataclass(frozen=True, slots=True, eq=False)
class Candles:
    """Closed candles of one series, oldest first; every column has shape (n,) and is read-only.

    Raises:
        InvalidMarketData: when the columns differ in length or are not one-dimensional.
    """

    symbol: str
    timeframe: str
    open_time_ms: IntArray
    open: FloatArray = field(repr=False)
    high: FloatArray = field(repr=False)
    low: FloatArray = field(repr=False)
    close: FloatArray = field(repr=False)
    volume: FloatArray = field(repr=False)

    def __post_init__(self) -> None:
        _freeze(self, "open_time_ms", np.int64)
        for name in COLUMNS[1:]:
            _freeze(self, name, np.float64)
        shapes = {getattr(self, name).shape for name in ("open_time_ms", *COLUMNS[1:])}
        if len(shapes) != 1 or len(self.open_time_ms.shape) != 1:
            raise InvalidMarketData(f"{self.symbol} {self.timeframe}: columns differ in shape: {sorted(shapes)}")

    def __len__(self) -> int:
        return len(self.open_time_ms)

    @property
    def close_times_ms(self) -> IntArray:
        """Close instants (n,), in ms: the first instant at which each candle counts."""
        return self.open_time_ms + timeframe_ms(self.timeframe)

    @property
    def last_close_time_ms(self) -> int:
        """The newest candle's close instant in ms.

        Raises:
            InvalidMarketData: when there is no candle.
        """
        if not len(self):
            raise InvalidMarketData(f"{self.symbol} {self.timeframe}: no candle, so no last close time")
        return int(self.open_time_ms[-1]) + timeframe_ms(self.timeframe)

    def tail(self, n: int) -> Candles:
        """The newest `n` candles, or all when there are fewer."""
        return self._cut(max(0, len(self) - max(0, n)), len(self))

    def until(self, close_time_ms: int) -> Candles:
        """The candles that had closed at or before that instant."""
        newest_open_ms = close_time_ms - timeframe_ms(self.timeframe)
        return self._cut(0, int(np.searchsorted(self.open_time_ms, newest_open_ms, side="right")))

    def holds(self, open_time_ms: int, close: float) -> bool:
        """Whether the candle that opened then is among these, with that close: so they are the same market's."""
        at = int(np.searchsorted(self.open_time_ms, open_time_ms))
        return at < len(self) and int(self.open_time_ms[at]) == open_time_ms and float(self.close[at]) == close

    def content_hash(self) -> str:
        """Sha256 (hex) over symbol, timeframe and the exact little-endian bytes of all columns."""
        digest = hashlib.sha256(f"{self.symbol}\n{self.timeframe}\n{len(self)}\n".encode())
        digest.update(self.open_time_ms.astype("<i8", copy=False).tobytes())
        for name in COLUMNS[1:]:
            digest.update(getattr(self, name).astype("<f8", copy=False).tobytes())
        return digest.hexdigest()

    def rows(self) -> list[list[int | float]]:
        """JSON-able rows [open_time_ms, open, high, low, close, volume]; `from_rows` restores every bit."""
        columns = (getattr(self, name).tolist() for name in ("open_time_ms", *COLUMNS[1:]))
        return [list(row) for row in zip(*columns, strict=True)]

    @classmethod
    def from_rows(cls, symbol: str, timeframe: str, rows: Sequence[Sequence[int | float]]) -> Candles:
        """The candles that `rows()` (or an exchange) spelled out.

        Raises:
            InvalidMarketData: when a row has not six numbers.
        """
        if any(len(row) != len(COLUMNS) for row in rows):
            raise InvalidMarketData(
                f"{symbol} {timeframe}: a candle row must have the six numbers {', '.join(COLUMNS)}"
            )
        times = np.array([row[0] for row in rows], dtype=np.int64)
        prices = np.array([row[1:] for row in rows], dtype=np.float64).reshape(len(rows), len(COLUMNS) - 1)
        return cls(symbol, timeframe, times, *prices.T)

    def _cut(self, start: int, end: int) -> Candles:
        columns = (getattr(self, name)[start:end] for name in ("open_time_ms", *COLUMNS[1:]))
        return Candles(self.symbol, self.timeframe, *columns)


def timeframe_ms(tf: str) -> int:
    """A timeframe's length in ms.

    Raises:
        ConfigError: for any other spelling; names the allowed ones.
    """
    try:
        return TIMEFRAMES_MS[tf]
    except KeyError:
        raise ConfigError(f"timeframe {tf!r} is not known: allowed are {', '.join(TIMEFRAMES_MS)}") from None


def check_symbol(symbol: str) -> str:
    """The symbol itself, when it is spelled as ccxt spells it (`BTC/USDT`).

    Raises:
        UnknownSymbol: otherwise, with the probable spelling.
    """
    if _SYMBOL.fullmatch(symbol):
        return symbol
    near = _NEARLY_A_SYMBOL.fullmatch(symbol.strip())
    hint = f"did you mean {near[1].upper()}/{near[2].upper()}?" if near else "write BASE/QUOTE, as in BTC/USDT"
    raise UnknownSymbol(f"{symbol!r} is not a symbol: {hint}")


def unlisted(symbol: str, listed: Sequence[str]) -> str:
    """What to say of a symbol that a market does not list: `btc/usdt` and `BTCUSDT` probably mean BTC/USDT."""
    meant = [each for each in listed if _letters(each) == _letters(symbol)]
    hint = f"did you mean {meant[0]}? " if meant else ""
    return f"no symbol {symbol!r} in this market; {hint}it has: {', '.join(listed)}"


def _letters(symbol: str) -> str:
    return re.sub(r"[^A-Z0-9]", "", symbol.upper())


@dataclass(frozen=True, slots=True)
class CandleFault:
    """The first thing wrong with a series: which candle, what, and what to do about it."""

    index: int
    message: str


def first_fault(times_ms: IntArray, ohlcv: Sequence[FloatArray], tf: str) -> CandleFault | None:
    """The earliest candle that breaks a rule of the market, or None.

    Args:
        times_ms: open times, shape (n,).
        ohlcv: open, high, low, close, volume, each of shape (n,).
        tf: the series' timeframe.
    """
    step_ms = timeframe_ms(tf)
    o, h, lo, c, v = ohlcv
    later = np.diff(times_ms, prepend=times_ms[:1] - 1)
    rules: tuple[tuple[NDArray[Any], str], ...] = (
        (np.equal(later, 0), "duplicate of the candle at {t}: keep one of them"),
        (np.less(later, 0), "unsorted: {t} comes after {before}; sort by time, oldest first"),
        (
            np.not_equal(times_ms % step_ms, 0),
            "open time {t} is not a multiple of {tf} ({step_ms} ms): use open times",
        ),
        (
            ~np.logical_and.reduce(np.isfinite((o, h, lo, c, v))),
            "a value is NaN or infinite: remove the candle",
        ),
        (np.stack((o, h, lo, c)).min(axis=0) <= 0, "a price is not positive: remove the candle"),
        (h < np.maximum(o, c), "high {h} is below open {o} or close {c}: correct the candle"),
        (lo > np.minimum(o, c), "low {lo} is above open {o} or close {c}: correct the candle"),
        (v < 0, "volume {v} is negative: correct the candle"),
    )
    found = [(int(np.argmax(broken)), order) for order, (broken, _) in enumerate(rules) if broken.any()]
    if not found:
        return None
    i, order = min(found)
    figures = {"o": o[i], "h": h[i], "lo": lo[i], "c": c[i], "v": v[i], "tf": tf, "step_ms": step_ms}
    text = rules[order][1].format(t=times_ms[i], before=times_ms[max(0, i - 1)], **figures)
    return CandleFault(i, text)


def is_sound(open_: float, high: float, low: float, close: float, volume: float) -> bool:
    """Whether one candle's figures keep the market's rules; `first_fault` says which one they break."""
    # A NaN fails every comparison, an infinity one of them.
    return 0 < low <= open_ <= high < math.inf and low <= close <= high and 0 <= volume < math.inf


def first_since_gap(c: Candles, max_gap: int) -> IntArray:
    """For each candle (n,) the index of the first one since the newest gap of more than `max_gap` missing candles."""
    steps = np.diff(c.open_time_ms, prepend=c.open_time_ms[:1])
    after_gap = steps > (max_gap + 1) * timeframe_ms(c.timeframe)
    return np.maximum.accumulate(np.where(after_gap, np.arange(len(c)), 0))


def check_candles(c: Candles) -> None:
    """None, when every candle is sound.

    Raises:
        InvalidMarketData: NaN or infinity, non-positive price, high or low inside the body, negative volume,
            unsorted, duplicate or misaligned open times; names the first such candle.
    """
    fault = first_fault(c.open_time_ms, (c.open, c.high, c.low, c.close, c.volume), c.timeframe)
    if fault is not None:
        at = iso_utc(int(c.open_time_ms[fault.index]))
        raise InvalidMarketData(f"{c.symbol} {c.timeframe} candle {fault.index} ({at}): {fault.message}")


def missing_candles(c: Candles) -> int:
    """How many candles the gaps between the first and the newest one lack."""
    return 0 if not len(c) else int(c.open_time_ms[-1] - c.open_time_ms[0]) // timeframe_ms(c.timeframe) + 1 - len(c)


def check_coverage(c: Candles, newest: int, max_missing_share: float, at: int = -1) -> None:
    """None, when the newest candles lie close enough together to be read as one market.

    Args:
        c: sound candles.
        newest: how many of the newest ones matter.
        max_missing_share: 0…1 of their span may be gaps.
        at: index of the candle that counts as the newest.

    Raises:
        MarketGap: more is missing; names the widest gap, and when there will be enough candles after it.
    """
    end = at % len(c) + 1
    times_ms = c.open_time_ms[max(0, end - newest) : end]
    span = int(times_ms[-1] - times_ms[0]) // timeframe_ms(c.timeframe) + 1
    share = 1 - len(times_ms) / span
    if share <= max_missing_share:
        return
    widest = int(np.argmax(np.diff(times_ms)))
    before_ms, after_ms = int(times_ms[widest]), int(times_ms[widest + 1])
    again = iso_utc(after_ms + newest * timeframe_ms(c.timeframe))
    raise MarketGap(
        f"{c.symbol} {c.timeframe}: {span - len(times_ms)} of the newest {span} candles are missing,"
        f" {max_missing_share:.0%} may be; the widest gap lies between {iso_utc(before_ms)} and {iso_utc(after_ms)}:"
        f" it goes on by itself at {again} (market time), when {newest} candles have followed; or load the missing ones"
    )


def resample(c: Candles, tf: str) -> Candles:
    """The same series in a coarser timeframe; only candles that are complete and closed.

    A first bucket without its beginning and a last bucket that has not ended are left out; gaps inside stay.

    Raises:
        ConfigError: when `tf` is not a multiple of the candles' own timeframe.
    """
    source_ms, target_ms = timeframe_ms(c.timeframe), timeframe_ms(tf)
    if target_ms % source_ms:
        raise ConfigError(f"{c.timeframe} candles cannot be resampled to {tf}: it is not a multiple")
    if not len(c):
        return Candles(c.symbol, tf, c.open_time_ms, c.open, c.high, c.low, c.close, c.volume)
    bucket_ms = c.open_time_ms - c.open_time_ms % target_ms
    starts = np.flatnonzero(np.diff(bucket_ms, prepend=bucket_ms[0] - 1))
    if c.open_time_ms[0] != bucket_ms[0]:
        starts = starts[1:]
    ends = np.append(starts[1:], len(c)) - 1
    closed = bucket_ms[starts] + target_ms <= c.last_close_time_ms
    return _aggregate(c, tf, bucket_ms, starts[closed], ends[closed])


def iso_utc(instant_ms: int) -> str:
    """An instant as ISO 8601 in UTC, or the bare number when no calendar has it."""
    try:
        return datetime.fromtimestamp(instant_ms / 1000, tz=UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):
        return f"{instant_ms} ms"


def _aggregate(c: Candles, tf: str, bucket_ms: IntArray, starts: NDArray[np.intp], ends: NDArray[np.intp]) -> Candles:
    if not len(starts):
        return Candles(c.symbol, tf, bucket_ms[:0], c.open[:0], c.high[:0], c.low[:0], c.close[:0], c.volume[:0])
    upto = slice(0, int(ends[-1]) + 1)  # buckets are contiguous, so each ends where the next one starts
    high = np.maximum.reduceat(c.high[upto], starts)
    low = np.minimum.reduceat(c.low[upto], starts)
    with np.errstate(over="ignore"):  # volumes near the largest float add up to infinity, without a warning
        volume = np.add.reduceat(c.volume[upto], starts)
    return Candles(c.symbol, tf, bucket_ms[starts], c.open[starts], high, low, c.close[ends], volume)


def _freeze(candles: Candles, name: str, dtype: type[np.generic]) -> None:
    """Store the column as a read-only view, so that no holder of a frozen series can change it."""
    column = np.ascontiguousarray(getattr(candles, name), dtype=dtype).view()
    column.flags.writeable = False
    object.__setattr__(candles, name, column)
