"""runs, results, explain, replay, dead-letters, alerts, symbols: what happened, and why."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

import aaos
from aaos.cli.output import ID_MAX, LIMIT_MAX, Json, Kind, Limit, Symbol, note, print_json, say, show
from aaos.errors import UnknownRun
from aaos.shell.connection import connect

if TYPE_CHECKING:
    from aaos.shell.runs import Run

CRASHED = "agent_crash"
DECISION = "trading_decision"


def add_to(app: typer.Typer) -> None:
    """Adds these commands."""
    app.command()(runs)
    app.command()(results)
    app.command()(explain)
    app.command()(replay)
    app.command("dead-letters")(dead_letters)
    app.command()(alerts)
    app.command()(symbols)


def runs(
    kind: Kind = None,
    symbol: Symbol = None,
    state: Annotated[
        str | None, typer.Option(metavar="STATE", help="pending, running, completed, failed or skipped")
    ] = None,
    limit: Limit = 20,
    everything: Annotated[bool, typer.Option("--all", help="missed slots, too (JSON has them anyway)")] = False,
    as_json: Json = False,
) -> None:
    """The newest runs, with what became of each."""
    if as_json:
        print_json([run.to_dict() for run in aaos.runs(limit, kind, symbol, state)])
        return
    if everything:
        _show_runs(aaos.runs(limit, kind, symbol, state))
        return
    shown, hidden = _without_missed(limit, kind, symbol, state)
    _show_runs(shown)
    if hidden:
        note(f"{hidden} missed slots are not shown; --all shows them")


def results(kind: Kind = None, symbol: Symbol = None, limit: Limit = 20, as_json: Json = False) -> None:
    """The newest results."""
    found = aaos.results(symbol, kind, limit)
    if as_json:
        print_json([each.to_dict() for each in found])
    elif found:
        show(found)
    else:
        say("no results")


def explain(
    run_id: Annotated[int | None, typer.Argument(metavar="[RUN]", min=1, max=ID_MAX, help="a run's id")] = None,
    result_id: Annotated[
        int | None, typer.Option("--result", metavar="ID", min=1, max=ID_MAX, help="a result's id instead")
    ] = None,
    symbol: Annotated[str | None, typer.Option(metavar="SYM", help="its newest decision")] = None,
    last: Annotated[bool, typer.Option("--last", help="the newest decision (also without any argument)")] = False,
    as_json: Json = False,
) -> None:
    """From candles to the decision: every step, its figures, and whether each input is still what it was."""
    if sum((run_id is not None, result_id is not None, symbol is not None, last)) > 1:
        raise typer.BadParameter("name one of: a run's id, --result ID, --symbol SYM, --last")
    explained = aaos.explain(_run_to_explain(run_id, result_id, symbol))
    if as_json:
        print_json(explained.to_dict())
    else:
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
        say("\n".join(explained.lines(width)))


def replay(
    run_id: Annotated[int, typer.Argument(metavar="DECISION", min=1, max=ID_MAX, help="a decision's run id")],
    without_fallback: Annotated[
        bool, typer.Option("--without-fallback", help="as it would have been, had no fallback model answered")
    ] = False,
    as_json: Json = False,
) -> None:
    """Make a stored decision again from what it rested on; exit status 1 unless it is the same to the byte."""
    again = aaos.replay(run_id, without_fallback=without_fallback)
    if as_json:
        print_json(again.to_dict())
    else:
        say("\n".join(again.lines()))
    if not (again.same or without_fallback):
        raise typer.Exit(1)


def dead_letters(limit: Limit = 20, as_json: Json = False) -> None:
    """Runs that crashed their worker in every attempt; `aaos analyze SYM` and the like ask anew."""
    crashed, _ = _scan(limit, lambda n: aaos.runs(n, state="failed"), lambda run: run.failure_source == CRASHED)
    found = aaos.RunList(crashed)
    if as_json:
        print_json([run.to_dict() for run in found])
    elif found:
        show(found)
    else:
        say("no dead letters")


def alerts(limit: Limit = 20, as_json: Json = False) -> None:
    """What an operator should see, newest first."""
    from aaos.shell.runs import instant
    from aaos.shell.tables import table

    found = connect().alerts.recent(limit)
    if as_json:
        print_json([_plain(alert) for alert in found])
    elif found:
        rows = ([instant(each["created_at"]), each["kind"], each["message"]] for each in found)
        show(table(("time", "kind", "message"), rows))
    else:
        say("no alerts")


def symbols(as_json: Json = False) -> None:
    """The symbols of the market in use."""
    found = list(aaos.symbols())
    if as_json:
        print_json(found)
    else:
        say("\n".join(found))


def _show_runs(found: aaos.RunList) -> None:
    if found:
        show(found)
    else:
        say("no runs")


def _without_missed(limit: int, kind: str | None, symbol: str | None, state: str | None) -> tuple[aaos.RunList, int]:
    found, passed = _scan(limit, lambda n: aaos.runs(n, kind, symbol, state), lambda run: not run.missed)
    return aaos.RunList(found), passed


def _scan(limit: int, newest: Callable[[int], Sequence[Run]], wanted: Callable[[Run], bool]) -> tuple[list[Run], int]:
    """Returns up to `limit` wanted runs and how many others stood among them, looking further back as needed."""
    size = limit
    while True:
        found = newest(size)
        kept = [run for run in found if wanted(run)]
        if len(kept) >= limit or len(found) < size or size == LIMIT_MAX:
            last = kept[:limit][-1].id if len(kept) >= limit else 0
            return kept[:limit], sum(not wanted(run) and run.id > last for run in found)
        size = min(size * 4, LIMIT_MAX)


def _run_to_explain(run_id: int | None, result_id: int | None, symbol: str | None) -> int:
    if run_id is not None:
        return run_id
    if result_id is not None:
        return connect().results.result(result_id).run_id
    found = aaos.results(symbol, DECISION, 1)
    if not found:
        whose = "" if symbol is None else f" on {symbol}"
        raise UnknownRun(f"there is no decision{whose} yet; ask for one with `aaos decide {symbol or 'SYMBOL'}`")
    return found[0].run_id


def _plain(alert: Mapping[str, Any]) -> dict[str, Any]:
    from aaos.shell.runs import plain

    return {name: plain(value) for name, value in alert.items()}
