"""Candle files (CSV, Parquet) read whole, checked whole, and refused by file and line.

A CSV file starts with `timestamp_ms,open,high,low,close,volume`; the timestamp is a candle's open time.
Gaps are kept: they are what an outage looks like. Nothing is returned before every file has been checked.
"""

from __future__ import annotations

import csv
import hashlib
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from pathlib import Path
from typing import Final, Never

import numpy as np

from aaos.adapters.market.parquet_columns import read_parquet_columns
from aaos.domain.market import (
    COLUMNS,
    TIMEFRAMES_MS,
    Candles,
    FloatArray,
    check_symbol,
    first_fault,
    iso_utc,
    timeframe_ms,
)
from aaos.errors import ConfigError, InvalidMarketData, UnknownSymbol

HEADER: Final = ",".join(COLUMNS)
FORM: Final = "SYMBOL@TIMEFRAME=PATH, as in BTC/USDT@1m=candles.csv"

# BTC-USDT_1m_2022-01.csv, BTC-USDT-1m.parquet; the timeframe's case matters (1M is a month).
_NAME = re.compile(r"(?P<base>[A-Za-z0-9]+)-(?P<quote>[A-Za-z0-9]+)[-_](?P<timeframe>\d+[a-zA-Z])(?:[-_.].*)?")
_ARGUMENT = re.compile(r"(?P<symbol>[^@=]+)@(?P<timeframe>[^@=]+)=(?P<path>.+)")
_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*")
_NOT_FINITE = re.compile(r"\s*[+-]?(nan|inf|infinity)\s*", re.IGNORECASE)

# No market of ours is older than 2000, and no timestamp of it is later than 2100.
_FIRST_MS: Final = 946_684_800_000
_LAST_MS: Final = 4_102_444_800_000
_OTHER_UNITS: Final = (
    ("seconds", 1_000.0, "multiply by 1000"),
    ("microseconds", 1e-3, "divide by 1000"),
    ("nanoseconds", 1e-6, "divide by 1000000"),
)
# Orders in which exchanges send candles: KuCoin's, Coinbase's.
_FOREIGN_ORDERS: Final = (("open", "close", "high", "low"), ("low", "high", "open", "close"))
# With fewer candles, steps that are all longer than the timeframe may be an outage.
_ENOUGH_TO_TELL_STEP: Final = 10


@dataclass(frozen=True, slots=True)
class CandleFile:
    """One file's candles, and the Sha256 (hex) of its bytes."""

    path: Path
    sha256: str
    candles: Candles


@dataclass(frozen=True, slots=True)
class ReplayArgument:
    """What a person named: a file, and perhaps what is in it."""

    path: Path
    symbol: str | None = None
    timeframe: str | None = None


def load_series(args: Sequence[str]) -> list[Candles]:
    """The series of all files named by `--replay`, one per symbol and timeframe, their files joined.

    Raises:
        InvalidMarketData: one of the files is unusable, or two of one series overlap; names file and line.
    """
    files = [read_candle_file(a.path, a.symbol, a.timeframe) for a in map(parse_replay_argument, args)]

    def series(file: CandleFile) -> tuple[str, str]:
        return file.candles.symbol, file.candles.timeframe

    return [_joined(list(group)) for _, group in groupby(sorted(files, key=series), key=series)]


def parse_replay_argument(argument: str) -> ReplayArgument:
    """The parts of `PATH` or `SYMBOL@TIMEFRAME=PATH`; an existing file's name is always taken as a path.

    Raises:
        InvalidMarketData: the symbol or the timeframe is misspelled.
    """
    parts = _ARGUMENT.fullmatch(argument)
    if parts is None or Path(argument).exists():
        return ReplayArgument(Path(argument))
    symbol, timeframe = _series_named(parts["symbol"], parts["timeframe"], argument)
    return ReplayArgument(Path(parts["path"]), symbol, timeframe)


def read_candle_file(path: Path | str, symbol: str | None = None, timeframe: str | None = None) -> CandleFile:
    """One file's candles; symbol and timeframe come from the file's name where they are not given.

    Raises:
        InvalidMarketData: names file and line (in Parquet: row), what is wrong and what to do.
    """
    path = Path(path)
    content = _read_bytes(path)
    symbol, timeframe = _series_of(path, symbol, timeframe)
    columns = (read_parquet_columns if _is_parquet(path) else _csv_columns)(path, content)
    candles = _checked_candles(columns, symbol, timeframe, _places(path))
    return CandleFile(path, hashlib.sha256(content).hexdigest(), candles)


@dataclass(frozen=True, slots=True)
class _Places:
    """Where a candle stands in its file, for messages."""

    path: Path
    unit: str
    first: int

    def of(self, index: int) -> str:
        return f"{self.unit} {self.first + index}"

    def refuse(self, index: int, message: str) -> Never:
        raise InvalidMarketData(f"{self.path} {self.of(index)}: {message}")


def _is_parquet(path: Path) -> bool:
    return path.suffix.lower() == ".parquet"


def _places(path: Path) -> _Places:
    return _Places(path, "row", 1) if _is_parquet(path) else _Places(path, "line", 2)


def _series_of(path: Path, symbol: str | None, timeframe: str | None) -> tuple[str, str]:
    if symbol is None or timeframe is None:
        name = _NAME.fullmatch(path.stem)
        if name is None:
            raise InvalidMarketData(
                f"{path}: no symbol and timeframe in its name (as in BTC-USDT_1m_2022-01.csv): write {FORM}"
            )
        symbol = symbol or f"{name['base']}/{name['quote']}".upper()
        timeframe = timeframe or name["timeframe"]
    return _series_named(symbol, timeframe, str(path))


def _series_named(symbol: str, timeframe: str, named_by: str) -> tuple[str, str]:
    try:
        timeframe_ms(timeframe)
        return check_symbol(symbol), timeframe
    except (UnknownSymbol, ConfigError) as error:
        raise InvalidMarketData(f"{named_by}: {error}; the form is {FORM}") from error


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise InvalidMarketData(f"{path}: no such file; check the path (it is relative to {Path.cwd()})") from None
    except IsADirectoryError:
        raise InvalidMarketData(f"{path} is a directory: name the files in it one by one") from None
    except OSError as error:
        raise InvalidMarketData(f"{path} cannot be read: {error.strerror}; check its permissions") from error


def _csv_columns(path: Path, content: bytes) -> FloatArray:
    """The file's numbers, shape (6, n)."""
    _check_utf8(path, content)
    header, _, body = content.partition(b"\n")
    _check_header(path, header.decode("utf-8-sig").removesuffix("\r"))
    if not body.strip():
        raise InvalidMarketData(f"{path}: no candles below the header; download the file again")
    try:
        # Read line by line from the bytes: the whole text as a str would cost several times the file's size.
        lines = io.TextIOWrapper(io.BytesIO(body), encoding="utf-8")
        table = np.loadtxt(lines, delimiter=",", comments=None, ndmin=2)
    except ValueError as error:
        _refuse_bad_line(path, body, str(error))
    if table.shape != (body.rstrip(b"\r\n").count(b"\n") + 1, len(COLUMNS)):
        _refuse_bad_line(path, body, f"{table.shape[1]} columns")
    return np.ascontiguousarray(table.T)


def _check_utf8(path: Path, content: bytes) -> None:
    if not content.removeprefix(b"\xef\xbb\xbf").strip():
        raise InvalidMarketData(f"{path}: the file is empty; its first line must be {HEADER}")
    try:
        content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InvalidMarketData(f"{path} line {line}: not UTF-8 text; save the file as CSV in UTF-8") from None


def _check_header(path: Path, header: str) -> None:
    if header == HEADER:
        return
    names = [name.strip().strip('"').lower() for name in re.split(r"[,;\t|]", header)]
    if _NUMBER.fullmatch(names[0]):
        problem = "there is no header: insert it as the first line"
    elif sorted(names) == sorted(COLUMNS) and names != list(COLUMNS):
        problem = f"the columns are in another order ({header}): reorder header and values"
    else:
        problem = f"unexpected header {header[:120]!r}"
    raise InvalidMarketData(f"{path} line 1: {problem}; it must be exactly {HEADER}")


def _refuse_bad_line(path: Path, body: bytes, seen: str) -> Never:
    """Find the line that the fast parser stumbled over, and say what is wrong with it."""
    for number, line in enumerate(body.decode("utf-8").rstrip("\r\n").split("\n"), start=2):
        problem = _problem_of(line.removesuffix("\r"))
        if problem is not None:
            raise InvalidMarketData(f"{path} line {number}: {problem}")
    raise InvalidMarketData(f"{path}: cannot be read as numbers ({seen}); write plain decimal numbers")


def _problem_of(line: str) -> str | None:
    if not line.strip():
        return "the line is blank: remove it"
    cells = next(csv.reader([line]), [])
    if len(cells) != len(COLUMNS):
        return f"{len(cells)} columns instead of {len(COLUMNS)} ({HEADER}){_separator_hint(line, len(cells))}"
    for name, cell in zip(COLUMNS, line.split(",") if '"' not in line else cells, strict=True):
        if not (_NUMBER.fullmatch(cell) or _NOT_FINITE.fullmatch(cell)):
            grouped = re.search(r"\d[,' _.]\d{3}", cell)
            style = "without thousands separators" if grouped else "such as 46319.5"
            return f"{name} {cell[:40]!r} is not a number; write plain numbers {style}"
    return "the values are quoted: write them without quotation marks" if '"' in line else None


def _separator_hint(line: str, found: int) -> str:
    if found > len(COLUMNS):
        return "; if numbers have thousands separators, remove those"
    if ";" in line or "\t" in line:
        return "; separate columns by commas"
    return ""


def _checked_candles(columns: FloatArray, symbol: str, timeframe: str, place: _Places) -> Candles:
    stamps = columns[0]
    _check_time_unit(stamps, place)
    times_ms = stamps.astype(np.int64)
    prices = columns[1:]
    fault = first_fault(times_ms, tuple(prices), timeframe)
    if fault is not None:
        foreign = _foreign_order(prices)
        if foreign is not None and _is_inconsistent(prices[:, fault.index]):
            place.refuse(
                fault.index,
                f"the values are in the order timestamp_ms,{','.join(foreign)},volume: reorder them to {HEADER}",
            )
        place.refuse(fault.index, fault.message)
    _check_step(times_ms, timeframe, place)
    return Candles(symbol, timeframe, times_ms, *prices)


def _check_time_unit(stamps: FloatArray, place: _Places) -> None:
    plausible = (stamps >= _FIRST_MS) & (stamps < _LAST_MS) & (stamps == np.floor(stamps))
    if plausible.all():
        return
    index = int(np.argmin(plausible))
    stamp = float(stamps[index])
    for unit, to_ms, remedy in _OTHER_UNITS:
        if _FIRST_MS <= stamp * to_ms < _LAST_MS:
            place.refuse(index, f"timestamp {stamp:.0f} is in {unit}: {remedy}, open times are milliseconds")
    place.refuse(index, f"timestamp {stamp:.16g} is no open time in milliseconds (years 2000 to 2099)")


def _is_inconsistent(ohlcv: FloatArray) -> bool:
    o, h, lo, c, _ = ohlcv
    return bool(np.isfinite(ohlcv).all() and min(o, h, lo, c) > 0 and (h < max(o, c) or lo > min(o, c)))


def _foreign_order(prices: FloatArray) -> tuple[str, ...] | None:
    """The column order of another exchange in which all rows make sense, if there is one."""
    for order in _FOREIGN_ORDERS:
        column = dict(zip(order, prices[:4], strict=True))
        body = np.stack((column["open"], column["close"]))
        if (column["high"] >= body.max(axis=0)).all() and (column["low"] <= body.min(axis=0)).all():
            return order
    return None


def _check_step(times_ms: np.ndarray[tuple[int], np.dtype[np.int64]], timeframe: str, place: _Places) -> None:
    """Refuse hourly candles declared as 1m: every step longer than the timeframe is no series of gaps."""
    if len(times_ms) < _ENOUGH_TO_TELL_STEP:
        return
    step_ms = int(np.diff(times_ms).min())
    if step_ms > timeframe_ms(timeframe):
        actual = next((tf for tf, ms in TIMEFRAMES_MS.items() if ms == step_ms), f"{step_ms} ms")
        place.refuse(1, f"candles are {actual} apart, never {timeframe}: name the true timeframe ({FORM})")


def _joined(files: list[CandleFile]) -> Candles:
    files = sorted(files, key=lambda file: int(file.candles.open_time_ms[0]))
    for earlier, later in pairwise(files):
        _refuse_overlap(earlier, later)
    first = files[0].candles
    if len(files) == 1:
        return first
    names = ("open_time_ms", *COLUMNS[1:])
    columns = (np.concatenate([getattr(file.candles, name) for file in files]) for name in names)
    return Candles(first.symbol, first.timeframe, *columns)


def _refuse_overlap(earlier: CandleFile, later: CandleFile) -> None:
    starts_ms = int(later.candles.open_time_ms[0])
    if starts_ms > int(earlier.candles.open_time_ms[-1]):
        return
    reached = _places(earlier.path).of(int(np.searchsorted(earlier.candles.open_time_ms, starts_ms)))
    series = f"{later.candles.symbol} {later.candles.timeframe}"
    _places(later.path).refuse(
        0,
        f"{iso_utc(starts_ms)} overlaps {earlier.path}, which has reached that time by {reached} ({series}):"
        " cut one of the two, or leave one out",
    )
