"""chart: the technical reading as a picture, to be checked by eye."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from aaos.cli.output import say
from aaos.shell.chart import CANDLES, CANDLES_MAX, CANDLES_MIN

Sym = Annotated[
    str | None, typer.Argument(metavar="SYM", help="as in BTC/USDT; with --file the file's name may say it")
]
Output = Annotated[
    Path | None, typer.Option("--output", "-o", metavar="FILE", help="ends in .html or .png; default BTC-USDT-1m.html")
]
Drawn = Annotated[
    int, typer.Option("--candles", min=CANDLES_MIN, max=CANDLES_MAX, metavar="N", help="how many are drawn, the newest")
]
File = Annotated[
    Path | None, typer.Option("--file", metavar="CANDLES", help="chart this .csv or .parquet; no stack is needed")
]
Timeframe = Annotated[
    str | None, typer.Option("--timeframe", metavar="TF", help="of the file, where its name does not say: 1m, 1h …")
]
Until = Annotated[
    str | None, typer.Option("--until", metavar="TIME", help="of the file: only candles closed by then (UTC)")
]


def add_to(app: typer.Typer) -> None:
    """Adds this command."""
    app.command()(chart)


def chart(
    symbol: Sym = None,
    output: Output = None,
    candles: Drawn = CANDLES,
    file: File = None,
    timeframe: Timeframe = None,
    until: Until = None,
) -> None:
    """Draw candles, indicators, pivots, divergences and patterns to an HTML page or a PNG."""
    from aaos.shell.chart import chart as draw

    say(str(draw(symbol, output, candles=candles, file=file, timeframe=timeframe, until=until)))
