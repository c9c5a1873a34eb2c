"""`aaos portfolio …`: what is held against what shall be held, and the trades between the two."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from aaos.cli.output import ID_MAX, Json, Limit, note, print_json, say, show, show_rows

if TYPE_CHECKING:
    from aaos.shell.results import RebalanceResult

group = typer.Typer(name="portfolio", rich_markup_mode=None)

Key = Annotated[str | None, typer.Option(metavar="KEY", help="the same key gives the same run and the same answer")]
Wait = Annotated[float, typer.Option("--wait", min=0, metavar="SECONDS", help="how long to wait for the answer")]
NoWait = Annotated[bool, typer.Option("--no-wait", help="only request it, and print the run's id")]
Rebalance = Annotated[
    int | None,
    typer.Option("--rebalance", metavar="RUN", min=1, max=ID_MAX, help="only those this run planned"),
]


def add_to(app: typer.Typer) -> None:
    """Adds these commands."""
    app.add_typer(group)


@group.callback(invoke_without_command=True)
def portfolio(context: typer.Context, as_json: Json = False) -> None:
    """Holdings against targets at the prices of now, and trades not yet over."""
    if context.invoked_subcommand is not None:
        return
    import aaos

    found = aaos.portfolio()
    if as_json:
        print_json(found.to_dict())
        return
    show(found)
    for line in found.notes():
        say(line)
    if found.trades:
        say("")
        show(found.trades)


@group.command()
def targets(as_json: Json = False) -> None:
    """What shall be held, as configured."""
    import aaos

    found = aaos.portfolio_targets()
    if as_json:
        print_json(found.to_dict())
        return
    if found.rules.targets:
        show(found)
        say("\n".join(found.notes()))
    else:
        say(repr(found))


@group.command()
def trades(limit: Limit = 20, rebalance_run: Rebalance = None, as_json: Json = False) -> None:
    """Planned trades, and what became of earlier ones."""
    import aaos

    found = aaos.portfolio_trades(limit, rebalance_run)
    show_rows(found, as_json=as_json)


@group.command()
def rebalance(key: Key = None, wait: Wait = 60, no_wait: NoWait = False, as_json: Json = False) -> None:
    """Compare holdings with targets now, and plan the trades."""
    from aaos.domain.schedules import ALL_SYMBOLS
    from aaos.shell.api import request
    from aaos.shell.portfolio import REBALANCE
    from aaos.shell.results import RebalanceResult

    handle = request(REBALANCE, ALL_SYMBOLS, key, RebalanceResult)
    if handle.warning is not None:
        note(f"warning: {handle.warning}")
    if no_wait:
        run = handle.run
        if as_json:
            print_json(run.to_dict() | {"created": handle.created})
        else:
            again = "" if handle.created else " (the key had its run already)"
            say(
                f"run {run.id}: {run.kind}, {run.state}{again}; `aaos portfolio trades --rebalance {run.id}` follows it"
            )
        return
    result = handle.wait(wait)
    if as_json:
        print_json(result.to_dict())
    else:
        _print_rebalance(result)


def _print_rebalance(result: RebalanceResult) -> None:
    say(f"{result.account}: {result.headline}")
    for line in result.lines:
        traded = f"trade {line['trade']}" if line["note"] is None else f"{line['note']}: {line['detail']}"
        say(f"  {line['symbol']} drift {float(line['drift']):+.2%}: {traded}")
    say(f"  result {result.id}, run {result.run_id}; `aaos portfolio trades --rebalance {result.run_id}` follows them")
