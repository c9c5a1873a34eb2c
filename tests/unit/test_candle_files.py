"""Candle files: what is read, and how each broken file is refused (by file and line, with the remedy)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from market_examples import MINUTE_MS, REAL_DATA, START_MS, walk

from aaos.adapters.market.candle_files import load_series, parse_replay_argument, read_candle_file
from aaos.domain.market import COLUMNS, Candles
from aaos.errors import InvalidMarketData

HEADER = "timestamp_ms,open,high,low,close,volume"
GOOD = "10,12,9,11,5"
NAME = "BTC-USDT_1m_2022-01.csv"

Write = Callable[..., Path]


def row(minute: int, values: str = GOOD) -> str:
    return f"{START_MS + minute * MINUTE_MS},{values}"


def csv_text(*rows: str) -> str:
    return "\n".join((HEADER, *rows)) + "\n"


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write_file(content: str | bytes, name: str = NAME) -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write_file


def write_parquet(path: Path, candles: Candles, **changes: object) -> Path:
    columns = dict(zip(COLUMNS, (candles.open_time_ms, *(getattr(candles, c) for c in COLUMNS[1:])), strict=True))
    pq.write_table(pa.table(columns | changes), path)
    return path


def test_a_file_is_read_with_symbol_and_timeframe_from_its_name(write: Write) -> None:
    path = write(csv_text(row(0), row(1, "11,13.5,10,12,0")))
    file = read_candle_file(path)
    assert (file.candles.symbol, file.candles.timeframe) == ("BTC/USDT", "1m")
    assert file.candles.rows() == [[START_MS, 10, 12, 9, 11, 5], [START_MS + MINUTE_MS, 11, 13.5, 10, 12, 0]]
    assert file.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_byte_order_mark_crlf_and_blank_lines_at_the_end_are_fine(write: Write) -> None:
    plain = read_candle_file(write(csv_text(row(0), row(1)))).candles
    windows = ("\ufeff" + csv_text(row(0), row(1)) + "\n\n").replace("\n", "\r\n")
    assert read_candle_file(write(windows)).candles.rows() == plain.rows()
    assert read_candle_file(write(csv_text(row(0), row(1)).rstrip("\n"))).candles.rows() == plain.rows()


def test_gaps_are_kept(write: Write) -> None:
    candles = read_candle_file(write(csv_text(row(0), row(1), row(50)))).candles
    assert np.diff(candles.open_time_ms).tolist() == [MINUTE_MS, 49 * MINUTE_MS]


@pytest.mark.parametrize(
    ("name", "symbol", "timeframe"),
    [
        ("BTC-USDT_1m_2022-01.csv", "BTC/USDT", "1m"),
        ("BTC-USD_1h_2017-2019.csv", "BTC/USD", "1h"),
        ("eth-usdt-1m.csv", "ETH/USDT", "1m"),
        ("SOL-USDT_4h.part1.csv", "SOL/USDT", "4h"),
    ],
)
def test_names_that_tell_symbol_and_timeframe(write: Write, name: str, symbol: str, timeframe: str) -> None:
    candles = read_candle_file(write(csv_text(f"1641009600000,{GOOD}"), name)).candles
    assert (candles.symbol, candles.timeframe) == (symbol, timeframe)


def test_what_the_argument_says_wins_over_the_name(write: Write) -> None:
    path = write(csv_text(row(0)))
    (candles,) = load_series([f"ETH/USDT@5m={path}"])
    assert (candles.symbol, candles.timeframe) == ("ETH/USDT", "5m")


def test_an_existing_file_is_a_path_even_if_it_looks_like_an_argument(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(csv_text(row(0)), "BTC@1m=x.csv")
    monkeypatch.chdir(tmp_path)
    assert parse_replay_argument("BTC@1m=x.csv").path == Path("BTC@1m=x.csv")


@pytest.mark.parametrize("argument", ["BTC/USDT@2m=x.csv", "btcusdt@1m=x.csv"])
def test_a_misspelled_argument_is_refused_naming_the_form(argument: str) -> None:
    with pytest.raises(InvalidMarketData, match="SYMBOL@TIMEFRAME=PATH"):
        parse_replay_argument(argument)


@pytest.mark.parametrize("name", ["BTCUSDT-1m.csv", "candles.csv", "BTC-USDT_30m.csv", "BTC-USDT_1M.csv"])
def test_a_name_that_does_not_tell_is_refused_naming_the_form(write: Write, name: str) -> None:
    with pytest.raises(InvalidMarketData, match="SYMBOL@TIMEFRAME=PATH"):
        read_candle_file(write(csv_text(row(0)), name))


BROKEN_FILES = {
    "empty": ("", "the file is empty; its first line must be " + HEADER),
    "only line ends": ("\n\n", "the file is empty"),
    "only a header": (HEADER + "\n", "no candles below the header"),
    "no header": (row(0) + "\n" + row(1), "line 1: there is no header: insert it"),
    "another column order": (
        csv_text(row(0)).replace("high,low,close", "close,high,low"),
        "line 1: the columns are in another order (timestamp_ms,open,close,high,low,volume)",
    ),
    "semicolons": (csv_text(row(0)).replace(",", ";"), "line 1: unexpected header"),
    "capital letters": (csv_text(row(0)).replace("open", "Open"), "line 1: unexpected header"),
    "values as KuCoin sends them": (
        csv_text(row(0, "10,11,11,10,5"), row(1, "10,11,12,9,5"), row(2, "11,10,12,9,5")),
        "line 2: the values are in the order timestamp_ms,open,close,high,low,volume: reorder them",
    ),
    "values as Coinbase sends them": (
        csv_text(row(0, "9,12,10,11,5"), row(1, "9,12,11,10,5")),
        "line 2: the values are in the order timestamp_ms,low,high,open,close,volume",
    ),
    "one impossible candle": (
        csv_text(row(0), row(1, "10,9,8,11,5"), row(2)),
        "line 3: high 9.0 is below open 10.0 or close 11.0",
    ),
    "unsorted": (csv_text(row(0), row(2), row(1)), f"line 4: unsorted: {START_MS + MINUTE_MS} comes after"),
    "duplicate": (csv_text(row(0), row(1), row(1)), "line 4: duplicate of the candle at"),
    "seconds": (csv_text(f"{START_MS // 1000},{GOOD}"), "line 2: timestamp 1640995200 is in seconds: multiply by 1000"),
    "microseconds": (
        csv_text(f"{START_MS}000,{GOOD}"),
        "line 2: timestamp 1640995200000000 is in microseconds: divide",
    ),
    "nanoseconds": (csv_text(f"{START_MS}000000,{GOOD}"), "is in nanoseconds: divide by 1000000"),
    "seconds from line 3 on": (csv_text(row(0), f"{START_MS // 1000 + 60},{GOOD}"), "line 3: timestamp"),
    "dates": (csv_text(f"2022-01-01,{GOOD}"), "line 2: timestamp_ms '2022-01-01' is not a number"),
    "a price as timestamp": (csv_text(f"46319,{GOOD}"), "line 2: timestamp 46319 is no open time"),
    "misaligned": (
        csv_text(row(0), f"{START_MS + 60_001},{GOOD}"),
        "line 3: open time 1640995260001 is not a multiple",
    ),
    "not a number": (csv_text(row(0), row(1, "nan,12,9,11,5")), "line 3: a value is NaN or infinite"),
    "beyond a double": (csv_text(row(0, "10,1e999,9,11,5")), "line 2: a value is NaN or infinite"),
    "a price of zero": (csv_text(row(0, "10,12,0,11,5")), "line 2: a price is not positive"),
    "negative volume": (csv_text(row(0, "10,12,9,11,-5")), "line 2: volume -5.0 is negative"),
    "too many columns": (csv_text(row(0), row(1) + ",7"), "line 3: 7 columns instead of 6"),
    "too few columns": (csv_text(row(0), row(1, "10,12,9")), "line 3: 4 columns instead of 6"),
    "too few columns everywhere": (csv_text(row(0, "10,12"), row(1, "10,12")), "line 2: 3 columns instead of 6"),
    "thousands separators": (
        csv_text(row(0, "1,000.5,1,002,999,1,001,5")),
        "if numbers have thousands separators, remove",
    ),
    "quoted thousands": (
        csv_text(row(0), row(1, '"1,000.5",12,9,11,5')),
        "line 3: open '1,000.5' is not a number; write",
    ),
    "quoted values": (csv_text(row(0, '"10",12,9,11,5')), "line 2: the values are quoted"),
    "underscores": (csv_text(row(0, "1_000,1_200,900,1_100,5")), "line 2: open '1_000' is not a number"),
    "words": (csv_text(row(0), row(1, "ten,12,9,11,5")), "line 3: open 'ten' is not a number"),
    "nothing where a number belongs": (csv_text(row(0), row(1, ",12,9,11,5")), "line 3: open '' is not a number"),
    "a blank line between": (csv_text(row(0), "", row(1)), "line 3: the line is blank: remove it"),
    "a comment": (csv_text(row(0), "# " + row(1)), "line 3: timestamp_ms"),
    "another encoding": (csv_text(row(0)).encode() + b"\xe4\n", "line 3: not UTF-8 text; save the file"),
    "hours declared as minutes": (
        csv_text(*(row(60 * i) for i in range(12))),
        "line 3: candles are 1h apart, never 1m",
    ),
}


@pytest.mark.parametrize("case", BROKEN_FILES)
def test_a_broken_file_is_refused_by_name_and_line(write: Write, case: str) -> None:
    content, message = BROKEN_FILES[case]
    path = write(content)
    with pytest.raises(InvalidMarketData, match=re.escape(message)) as refused:
        read_candle_file(path)
    assert str(path) in str(refused.value)


def test_a_missing_file_and_a_directory_are_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidMarketData, match=r"gone\.csv: no such file; check the path"):
        load_series([str(tmp_path / "gone.csv")])
    with pytest.raises(InvalidMarketData, match="is a directory: name the files in it"):
        load_series([str(tmp_path)])


def test_files_of_one_series_are_joined_in_order_of_time(write: Write) -> None:
    later = write(csv_text(row(5), row(6)), "BTC-USDT_1m_b.csv")
    earlier = write(csv_text(row(0), row(1)), "BTC-USDT_1m_a.csv")
    other = write(csv_text(row(0)), "ADA-USDT_1m.csv")
    ada, btc = load_series([str(later), str(other), str(earlier)])
    assert (ada.symbol, len(ada)) == ("ADA/USDT", 1)
    assert ((btc.open_time_ms - START_MS) // MINUTE_MS).tolist() == [0, 1, 5, 6]


def test_overlapping_files_are_refused_naming_both_and_the_line(write: Write) -> None:
    first = write(csv_text(row(0), row(1), row(2), row(3)), "BTC-USDT_1m_a.csv")
    second = write(csv_text(row(2), row(4)), "BTC-USDT_1m_b.csv")
    with pytest.raises(InvalidMarketData) as refused:
        load_series([str(second), str(first)])
    assert f"{second} line 2: 2022-01-01T00:02:00Z overlaps {first}" in str(refused.value)
    assert "by line 4" in str(refused.value)
    with pytest.raises(InvalidMarketData, match="overlaps"):
        load_series([str(first), str(first)])


def test_a_single_candle_that_two_files_share_is_an_overlap(write: Write) -> None:
    first = write(csv_text(row(0), row(1)), "BTC-USDT_1m_a.csv")
    second = write(csv_text(row(1), row(2)), "BTC-USDT_1m_b.csv")
    with pytest.raises(InvalidMarketData, match=r"line 2.*overlaps.*by line 3"):
        load_series([str(first), str(second)])


def test_one_broken_file_among_good_ones_returns_nothing(write: Write) -> None:
    good = write(csv_text(row(0)), "ETH-USDT_1m.csv")
    bad = write(csv_text(row(1), row(0)), "BTC-USDT_1m.csv")
    with pytest.raises(InvalidMarketData, match="line 3"):
        load_series([str(good), str(bad)])


def test_parquet_gives_the_same_candles_as_csv(write: Write, tmp_path: Path) -> None:
    candles = replace(walk(50), symbol="ETH/USDT")
    rows = [",".join(repr(number) for number in numbers) for numbers in candles.rows()]
    from_csv = read_candle_file(write(csv_text(*rows), "ETH-USDT_1m.csv")).candles
    from_parquet = read_candle_file(write_parquet(tmp_path / "ETH-USDT-1m.parquet", candles)).candles
    assert from_csv.content_hash() == from_parquet.content_hash() == candles.content_hash()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"open": [1.0, None, 1.0]}, r"parquet row 1: .*"),
        ({"volume": [1.0, None, 1.0]}, "row 2: a value is NaN or infinite"),
        ({"volume": ["1", "2", "3"]}, "column volume is of type string; store it as 64-bit floats"),
        ({"more": [1, 2, 3]}, "the columns are .*more; they must be, in this order, timestamp_ms, open"),
    ],
)
def test_broken_parquet_is_refused_by_name_and_row(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    path = write_parquet(tmp_path / "BTC-USDT-1m.parquet", walk(3), **changes)
    with pytest.raises(InvalidMarketData, match=message):
        read_candle_file(path)


def test_parquet_that_is_none_or_empty_is_refused(write: Write, tmp_path: Path) -> None:
    with pytest.raises(InvalidMarketData, match="not a readable Parquet file"):
        read_candle_file(write(b"timestamp_ms", "BTC-USDT-1m.parquet"))
    with pytest.raises(InvalidMarketData, match="no candles in it"):
        read_candle_file(write_parquet(tmp_path / "BTC-USDT_1m.parquet", walk(3).tail(0)))


@pytest.mark.skipif(not REAL_DATA.is_dir(), reason="the shared market data is not on this machine")
def test_all_real_files_are_read_whole() -> None:
    series = load_series([str(path) for path in sorted((REAL_DATA / "candles").glob("*.csv"))])
    assert {(c.symbol, c.timeframe): len(c) for c in series} == {
        ("BTC/USDT", "1m"): 45_031,
        ("BTC/USD", "1m"): 3_887,
        ("ETH/USD", "1m"): 2_449,
        ("LTC/USD", "1m"): 3_887,
        ("BTC/USD", "1h"): 20_111,
    }
