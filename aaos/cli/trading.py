"""positions, orders, fills, pnl, risk, trading: what was traded, what came of it, and the stop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

import aaos
from aaos.cli.approving import By, Reason
from aaos.cli.output import ID_MAX, Json, Limit, Symbol, note, print_json, say, show, show_rows

Account = Annotated[
    str | None, typer.Option("--account", metavar="NAME", help="only this one: paper (decisions), paper-portfolio")
]
Source = Annotated[
    str | None, typer.Option("--source", metavar="SOURCE", help="only of this decision (its run, as in 17) or trade:4")
]

if TYPE_CHECKING:
    from aaos.ports import Switch

orders_group = typer.Typer(name="orders", rich_markup_mode=None)
trading_group = typer.Typer(name="trading", rich_markup_mode=None)


def add_to(app: typer.Typer) -> None:
    """Adds these commands."""
    app.command()(positions)
    app.add_typer(orders_group)
    app.command()(fills)
    app.command()(pnl)
    app.command()(risk)
    app.add_typer(trading_group)


def positions(
    account: Account = None,
    closed: Annotated[bool, typer.Option("--closed", help="the closed ones instead, newest first")] = False,
    limit: Limit = 20,
    as_json: Json = False,
) -> None:
    """Open positions with their profit at the market's price now, and their stops."""
    found = aaos.positions(account, closed=closed, limit=limit)
    if as_json:
        print_json(found.to_dicts())
    elif found:
        show(found)
        for line in found.notes():
            note(line)
    else:
        say(repr(found))


@orders_group.callback(invoke_without_command=True)
def orders(
    context: typer.Context,
    symbol: Symbol = None,
    state: Annotated[
        str | None,
        typer.Option(
            metavar="STATE",
            help="intent, working, unknown, filled, canceled, rejected, expired, withdrawn or quarantined",
        ),
    ] = None,
    source: Source = None,
    limit: Limit = 20,
    as_json: Json = False,
) -> None:
    """Orders and how each stands; `aaos orders release ID` lets entries through after a quarantine."""
    if context.invoked_subcommand is not None:
        return
    found = aaos.orders(limit, symbol, state, source)
    show_rows(found, as_json=as_json)


@orders_group.command()
def release(
    order_id: Annotated[
        int,
        typer.Argument(metavar="ID", min=1, max=ID_MAX, help="as `aaos orders --state quarantined` lists it"),
    ],
    reason: Reason,
    by: By = None,
    as_json: Json = False,
) -> None:
    """Let entries of a quarantined order's symbol through again: after a look at the venue, on your word."""
    from aaos.shell.figures import json_form

    released = aaos.release_order(order_id, reason, by)
    if as_json:
        print_json(json_form(released))
    else:
        say(f"order {released.id} released: entries of {released.symbol} go through again unless something else holds")


def fills(account: Account = None, symbol: Symbol = None, limit: Limit = 20, as_json: Json = False) -> None:
    """The newest fills, each with its order's leg and what it cost."""
    found = aaos.fills(limit, account, symbol)
    show_rows(found, as_json=as_json)


def pnl(
    account: Account = None,
    days: Annotated[int, typer.Option(metavar="N", help="the equity curve goes back so far")] = 7,
    as_json: Json = False,
) -> None:
    """Profit and loss of each account: realised, unrealised, fees, funding, equity, drawdown, and its curve."""
    found = aaos.pnl(account, days)
    if as_json:
        print_json(found.to_dicts())
    else:
        show(found)


def risk(
    source: Annotated[
        str | None, typer.Argument(metavar="[SOURCE]", help="a decision's run, as in 17, or trade:4: every check")
    ] = None,
    limit: Limit = 20,
    as_json: Json = False,
) -> None:
    """What risk let through or refused; of one trade every check with its figure and its limit."""
    found = aaos.risk(source, limit)
    if as_json:
        print_json(found.to_dict() if isinstance(found, aaos.Assessed) else found.to_dicts())
    elif isinstance(found, aaos.Assessed) or found:
        show(found)
    else:
        say(repr(found))


@trading_group.callback(invoke_without_command=True)
def trading(context: typer.Context, as_json: Json = False) -> None:
    """Whether entries are sent, and what holds them back; `stop` and `resume` change it."""
    if context.invoked_subcommand is not None:
        return
    found = aaos.trading()
    if as_json:
        print_json(found.to_dict())
    else:
        show(found)


@trading_group.command()
def stop(reason: Reason, by: By = None, as_json: Json = False) -> None:
    """Stop all entries now; exits and protective stops go on."""
    _changed(aaos.stop_trading(reason, by), reason, as_json)


@trading_group.command()
def resume(reason: Reason, by: By = None, as_json: Json = False) -> None:
    """Let entries through again; what was approved before the stop is not sent any more."""
    _changed(aaos.resume_trading(reason, by), reason, as_json)


def _changed(switch: Switch, reason: str, as_json: bool) -> None:
    from aaos.shell.figures import json_form
    from aaos.shell.trading import switch_line

    if as_json:
        print_json(json_form(switch))
    else:
        say(switch_line(switch))
        if switch.reason != " ".join(reason.split()):
            note("it stood so already: nothing was changed, and this reason is not kept")
