"""One function behind `aaos chart` and `aaos.chart`: candles of the market in use, or of a file, drawn to a file."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from aaos.errors import InputError, InsufficientData, InvalidMarketData
from aaos.shell.connection import configuration, connect, helpful_errors

if TYPE_CHECKING:
    from aaos.domain.market import Candles
    from aaos.settings import Settings

# Drawn by default: about five pixels each. Below the least there is nothing to judge, beyond the most a candle is
# far less than a pixel.
CANDLES, CANDLES_MIN, CANDLES_MAX = 240, 20, 10_000
MS_PER_S = 1000
# How a series is named here, in place of how a replay names it.
_FORM = "SYM and --timeframe, as in: aaos chart BTC/USDT --timeframe 1m --file candles.csv"
# As in BTC-USDT_1m_2022-01.csv.
_SYMBOL_IN_NAME = re.compile(r"(?P<base>[A-Za-z0-9]+)-(?P<quote>[A-Za-z0-9]+)[-_]\d+[a-zA-Z](?![A-Za-z0-9])")


@helpful_errors()
def chart(
    symbol: str | None = None,
    output: Path | str | None = None,
    *,
    candles: int = CANDLES,
    file: Path | str | None = None,
    timeframe: str | None = None,
    until: datetime | str | None = None,
) -> Path:
    """Draws what `analyze` sees of a symbol now, or what it would see at the end of a file; returns the file written.

    Args:
        symbol: as `symbols()` lists it; with `file` it may be left to the file's name.
        output: a name ending in .html or .png; by default BTC-USDT-1m.html in the current directory.
        candles: how many are drawn, the newest ones.
        file: a candle file (CSV, Parquet) to be charted instead of the market in use; needs no running stack.
        timeframe: of the file's candles, where its name does not say.
        until: the instant (UTC) at which the file's candles are cut off: no later one is looked at.

    Raises:
        UnknownSymbol: names the known ones.
        InvalidMarketData: the file is unusable; names the line.
        InsufficientData, StaleInput: the market has not enough candles, or no fresh ones.
        InputError: the output cannot be written, or the arguments do not fit together.
    """
    from aaos.adapters.charts.reading import read_candles
    from aaos.adapters.charts.render import check_output, write_chart

    if not CANDLES_MIN <= candles <= CANDLES_MAX:
        raise InputError(f"candles is {candles}: draw {CANDLES_MIN} to {CANDLES_MAX}")
    place = None if output is None else _expanded(output)
    if place is not None:
        check_output(place)
    if file is not None:
        settings = configuration()
        series = _candles_of_file(_expanded(file), symbol, timeframe, until, settings.signals.candles_needed)
    elif symbol is None:
        raise InputError("name a symbol, as in BTC/USDT, or a file of candles")
    elif timeframe is not None or until is not None:
        raise InputError("timeframe and until belong to a file: name one, or leave them out")
    else:
        settings, series = connect().settings, _candles_of_market(symbol, candles)
    analysed = _analysed(settings, series.timeframe)
    reading = read_candles(series.tail(candles + analysed), settings.signals, candles, analysed)
    return write_chart(reading, _default_output(series) if place is None else place)


def _expanded(given: Path | str) -> Path:
    try:
        return Path(given).expanduser()
    except RuntimeError:  # what a ~ of nobody raises
        raise InputError(f"{given}: no user of that name has a home here; write the path from / on") from None


def _candles_of_market(symbol: str, drawn: int) -> Candles:
    """The drawn candles, and before the first of them as many as `analyze` reads, as far as they exist."""
    container = connect()
    market = container.market
    wanted = drawn + _analysed(container.settings, market.timeframe(symbol))
    return market.candles(symbol, container.database.now(), wanted)


def _analysed(settings: Settings, timeframe: str) -> int:
    """How many candles `analyze` reads."""
    from aaos.domain.signals import candles_to_read

    return candles_to_read(timeframe, settings.market.history_candles, settings.signals)


def _candles_of_file(
    path: Path, symbol: str | None, timeframe: str | None, until: datetime | str | None, needed: int
) -> Candles:
    """The candles of a file that had closed by then; at least as many as indicators need."""
    from aaos.adapters.market.candle_files import FORM, read_candle_file
    from aaos.domain.market import iso_utc

    instant = None if until is None else _instant(until)
    _check_symbol_in_name(path, symbol)
    try:
        series = read_candle_file(path, symbol, timeframe).candles
    except InvalidMarketData as error:  # its remedy is that of a replay
        raise InvalidMarketData(str(error).replace(FORM, _FORM)) from None
    if instant is None:
        return series
    cut = series.until(round(instant.timestamp() * MS_PER_S))
    if len(cut) < needed <= len(series):
        first_ms, enough_ms = int(series.open_time_ms[0]), int(series.close_times_ms[needed - 1])
        raise InsufficientData(
            f"{path}: indicators need {needed} closed candles, by {instant:%Y-%m-%dT%H:%M} there are {len(cut)}"
            f" (the first opens at {iso_utc(first_ms)}): name {iso_utc(enough_ms)} or later with --until"
        )
    return cut


def _check_symbol_in_name(path: Path, symbol: str | None) -> None:
    """None, unless the file's name says another symbol than the one that the chart would bear."""
    name = _SYMBOL_IN_NAME.match(path.stem)
    if name is None or symbol is None:
        return
    said = f"{name['base']}/{name['quote']}".upper()
    if said != symbol.partition(":")[0].upper():  # a derivative's candles may be in a file named by the pair alone
        raise InputError(f"{path} holds {said} by its name, not {symbol}: leave the symbol out, or rename the file")


def _instant(given: datetime | str) -> datetime:
    """The instant; one without a time zone is in UTC, as candle files are."""
    if isinstance(given, str):
        try:
            given = datetime.fromisoformat(given)
        except ValueError:
            raise InputError(f"{given!r} is no time: write it as in 2022-01-03T09:30") from None
    return given.replace(tzinfo=UTC) if given.tzinfo is None else given


def _default_output(series: Candles) -> Path:
    # The colon of a derivative's symbol (BTC/USDT:USDT) is no good in a file's name.
    return Path(f"{series.symbol}-{series.timeframe}.html".replace("/", "-").replace(":", "-"))
