"""sovereign calibration: how far each model can be believed, and whether that is used."""

from __future__ import annotations

from typing import Annotated

import typer

import aaos
from aaos.cli.output import Json, print_json, say, show


def calibration(
    model: Annotated[str | None, typer.Option("--model", metavar="NAME", help="only this model")] = None,
    regime: Annotated[
        str | None, typer.Option("--regime", metavar="NAME", help="only votes in this regime, as in ranging")
    ] = None,
    as_json: Json = False,
) -> None:
    """How often each model was right beside how sure it was, what that teaches, and what is in force."""
    found = aaos.calibration(model, regime)
    if as_json:
        print_json(found.to_dict())
        return
    if found.rows:
        show(found)
    else:
        say("no votes yet")
    say("\n".join(found.notes()))
