"""analyze, regime, decide: request a run, watch it, show the answer."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from typing import TYPE_CHECKING, Annotated, Any

import typer

from aaos.cli.output import Json, note, print_json, say

if TYPE_CHECKING:
    from aaos.shell.handle import Handle
    from aaos.shell.results import AnalysisResult, DecisionResult, RegimeResult, Result

REASONING_SHOWN_CHARS = 600

Sym = Annotated[str, typer.Argument(metavar="SYM", help="as in BTC/USDT; `aaos symbols` lists them")]
Key = Annotated[str | None, typer.Option(metavar="KEY", help="the same key gives the same run and the same answer")]
Wait = Annotated[float, typer.Option("--wait", min=0, metavar="SECONDS", help="how long to wait for the answer")]
NoWait = Annotated[bool, typer.Option("--no-wait", help="only request it, and print the run's id")]


def add_to(app: typer.Typer) -> None:
    """Adds these commands."""
    app.command()(analyze)
    app.command()(regime)
    app.command()(decide)


def analyze(symbol: Sym, key: Key = None, wait: Wait = 60, no_wait: NoWait = False, as_json: Json = False) -> None:
    """Analyse a symbol's indicators and chart now; prints what each contributes to the score."""
    _ask("technical_analysis", symbol, key, None if no_wait else wait, as_json)


def regime(symbol: Sym, key: Key = None, wait: Wait = 60, no_wait: NoWait = False, as_json: Json = False) -> None:
    """Find a symbol's market regime now."""
    _ask("regime_detection", symbol, key, None if no_wait else wait, as_json)


def decide(symbol: Sym, key: Key = None, wait: Wait = 120, no_wait: NoWait = False, as_json: Json = False) -> None:
    """Decide on a symbol now, on fresh inputs."""
    _ask("trading_decision", symbol, key, None if no_wait else wait, as_json)


def _ask(kind: str, symbol: str, key: str | None, wait_s: float | None, as_json: bool) -> None:
    from aaos.shell.api import request
    from aaos.shell.results import Result

    handle = request(kind, symbol, key, Result)
    if handle.warning is not None:
        note(f"warning: {handle.warning}")
    if wait_s is None:
        _print_request(handle, as_json)
        return
    with _progress(handle) as watch:
        result = handle.wait(wait_s, watch)
    if as_json:
        print_json(result.to_dict())
    else:
        _print_result(result)


def _progress(handle: Handle[Any]) -> Any:
    if not sys.stderr.isatty():
        return nullcontext()
    from aaos.cli.progress import live_stages

    return live_stages(handle)


def _print_request(handle: Handle[Any], as_json: bool) -> None:
    run = handle.run
    if as_json:
        print_json(run.to_dict() | {"created": handle.created})
        return
    again = "" if handle.created else " (the key had its run already)"
    say(f"run {run.id}: {run.kind} {run.symbol}, {run.state}{again}; `aaos explain {run.id}` once it is completed")


def _print_result(result: Result) -> None:
    from aaos.shell.results import AnalysisResult, DecisionResult, RegimeResult

    say(f"{result.symbol} {result.headline}")
    if isinstance(result, DecisionResult):
        _print_decision(result)
    if isinstance(result, AnalysisResult):
        _print_contributions(result)
    if isinstance(result, RegimeResult):
        _print_events(result)
    say(f"  result {result.id}, run {result.run_id}; `aaos explain {result.run_id}` shows what it rests on")


def _print_contributions(analysis: AnalysisResult) -> None:
    from aaos.cli.output import show
    from aaos.shell.results import contributions_table

    say(f"  {analysis.read_from}")
    show(contributions_table(analysis))


def _print_events(result: RegimeResult) -> None:
    from aaos.domain.market import iso_utc

    say(f"  confidences 0…1; {result.timeframe} candles, market time {result.market_time:%Y-%m-%d %H:%M} UTC")
    for event in result.events:
        said = f"{event.name.replace('_', ' ')} at {event.price:g}, strength {event.strength:.2f}"
        later = f", known from {iso_utc(event.known_at_ms)}" if event.known_at_ms != event.time_ms else ""
        say(f"  {iso_utc(event.time_ms)} {said}{later}")


def _print_decision(decision: DecisionResult) -> None:
    from aaos.shell.lists import shortened

    for vote in decision.votes:
        say(f"  vote {vote}")
    for step in decision.adjustments:
        became = "" if step.becomes is None else f", {step.becomes}"
        say(f"  {step.step} × {step.factor:.3g}: {step.before:.3f} → {step.after:.3f}{became}, {step.why}")
    say(f"  {shortened(decision.reasoning, REASONING_SHOWN_CHARS)}")
