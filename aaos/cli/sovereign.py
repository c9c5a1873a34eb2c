"""`aaos sovereign …`: what the language models were asked, said and cost."""

from __future__ import annotations

import json
from typing import Annotated

import typer

import aaos
from aaos.cli.calibration import calibration
from aaos.cli.output import ID_MAX, Json, Limit, note, print_json, say, show
from aaos.cli.sovereign_breakers import breakers

group = typer.Typer(name="sovereign", no_args_is_help=True, rich_markup_mode=None)


def add_to(app: typer.Typer) -> None:
    """Adds these commands."""
    group.command()(calibration)
    group.command()(breakers)
    app.add_typer(group)


@group.callback()
def sovereign() -> None:
    """The language-model service: every call, what it said and what it cost."""


@group.command()
def calls(
    run: Annotated[int | None, typer.Option(metavar="N", min=1, max=ID_MAX, help="only those of this run")] = None,
    model: Annotated[str | None, typer.Option(metavar="M", help="only those to this model")] = None,
    outcome: Annotated[
        str | None, typer.Option(metavar="O", help="pending, accepted, invalid, failed or abandoned")
    ] = None,
    limit: Limit = 20,
    as_json: Json = False,
) -> None:
    """The newest calls, with what became of each."""
    found = aaos.sovereign_calls(run, model, outcome, limit)
    if as_json:
        print_json([call.to_dict() for call in found])
    elif found:
        show(found)
    else:
        say("no calls")


@group.command()
def cost(
    days: Annotated[int, typer.Option(metavar="N", help="of the last so many days (UTC), today included")] = 7,
    by: Annotated[str, typer.Option(metavar="BY", help="add up by day, model or decision")] = "day",
    as_json: Json = False,
) -> None:
    """Tokens, money and latency, and what is left of today's budget."""
    found = aaos.sovereign_cost(days, by)
    if as_json:
        print_json(found.to_dict())
        return
    if found.rows:
        show(found)
    else:
        say("no calls")
    note(found.left_today)


@group.command("show")
def show_call(
    call: Annotated[int, typer.Argument(metavar="CALL", min=1, max=ID_MAX, help="as `aaos sovereign calls` lists it")],
    as_json: Json = False,
) -> None:
    """One call in full: prompt, answer as received, error. Unprintable characters are spelled out."""
    found = aaos.sovereign_call(call)
    # Escaped throughout: what a model said must not reach a terminal as it is, not even as JSON.
    say(json.dumps(found.to_dict(), indent=1) if as_json else str(found))
