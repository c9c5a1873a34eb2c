"""vetoes: what was refused, and what it saved or cost."""

from __future__ import annotations

from typing import Annotated

import typer

import aaos
from aaos.cli.output import Json, Limit, Symbol, print_json, say, show


def add_to(app: typer.Typer) -> None:
    """Adds this command."""
    app.command()(vetoes)


def vetoes(
    by: Annotated[
        str | None, typer.Option("--by", metavar="code", help="add up by stage and code: saved, missed, mean outcome")
    ] = None,
    stage: Annotated[
        str | None, typer.Option(metavar="STAGE", help="only refused there: decision, review, risk or execution")
    ] = None,
    code: Annotated[str | None, typer.Option(metavar="CODE", help="only under this code, as in RISK_DRAWDOWN")] = None,
    symbol: Symbol = None,
    limit: Limit = 20,
    as_json: Json = False,
) -> None:
    """Refused trades, and what each would have become on the candles that came."""
    found = aaos.vetoes(limit, stage, code, symbol, by=by)
    if as_json:
        print_json(found.to_dict() if isinstance(found, aaos.VetoTotals) else found.to_dicts())
        return
    empty = not (found.rows if isinstance(found, aaos.VetoTotals) else found)
    if empty:
        say(repr(found))
        return
    show(found)
    if isinstance(found, aaos.VetoTotals):
        say("\n".join(found.notes()))
