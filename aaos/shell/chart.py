"""One function behind `aaos chart` and `aaos.chart`: candles of the market in use, or of a file, drawn to a file."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from aaos.errors import InputError
from aaos.shell.connection import configuration, connect, helpful_errors

if TYPE_CHECKING:
    from aaos.domain.market import Candles
    from aaos.settings import Settings

# Drawn by default: about five pixels each. Below the least there is nothing to judge, beyond the most a candle is
# far less than a pixel.
CANDLES, CANDLES_MIN, CANDLES_MAX = 240, 20, 10_000
MS_PER_S = 1000


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
    if output is not None:
        check_output(Path(output).expanduser())
    if file is not None:
        settings = configuration()
        series = _candles_of_file(Path(file).expanduser(), symbol, timeframe, until)
    elif symbol is None:
        raise InputError("name a symbol, as in BTC/USDT, or a file of candles")
    elif timeframe is not None or until is not None:
        raise InputError("timeframe and until belong to a file: name one, or leave them out")
    else:
        settings, series = connect().settings, _candles_of_market(symbol, candles)
    analysed = _analysed(settings, series.timeframe)
    series = series.tail(max(analysed, candles + settings.signals.candles_needed))
    reading = read_candles(series, settings.signals, candles, analysed)
    return write_chart(reading, _default_output(series) if output is None else Path(output).expanduser())


def _candles_of_market(symbol: str, drawn: int) -> Candles:
    """What `analyze` would read now, and more where more is to be drawn."""
    container = connect()
    settings, market = container.settings, container.market
    wanted = max(_analysed(settings, market.timeframe(symbol)), drawn + settings.signals.candles_needed)
    return market.candles(symbol, container.database.now(), wanted)


def _analysed(settings: Settings, timeframe: str) -> int:
    """How many candles `analyze` reads."""
    from aaos.domain.signals import candles_to_read

    return candles_to_read(timeframe, settings.market.history_candles, settings.signals)


def _candles_of_file(path: Path, symbol: str | None, timeframe: str | None, until: datetime | str | None) -> Candles:
    from aaos.adapters.market.candle_files import read_candle_file

    series = read_candle_file(path, symbol, timeframe).candles
    return series if until is None else series.until(round(_instant(until).timestamp() * MS_PER_S))


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
