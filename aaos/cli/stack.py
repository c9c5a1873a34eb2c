"""up, down, status, sovereign-sim, shell: the stack of this machine."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

import aaos
from aaos.cli.output import Json, print_json, say, show
from aaos.shell import environment

ReplayFiles = Annotated[
    list[str] | None, typer.Option("--replay", metavar="FILE", help="candles to play (CSV or Parquet); repeatable")
]
Speed = Annotated[
    float | None, typer.Option("--speed", min=0.1, max=10_000, metavar="N", help="play N minutes of candles in one")
]


def add_to(app: typer.Typer) -> None:
    """Adds these commands."""
    app.command()(up)
    app.command()(down)
    app.command()(status)
    app.command("sovereign-sim", context_settings=_VERBATIM, add_help_option=False)(sovereign_sim)
    app.command()(shell)


_VERBATIM = {"allow_extra_args": True, "ignore_unknown_options": True}


def up(
    replay: ReplayFiles = None,
    speed: Speed = None,
    flower_port: Annotated[int | None, typer.Option(metavar="PORT", help="where Flower listens")] = None,
    fresh_ports: Annotated[bool, typer.Option("--fresh-ports", help="forget remembered ports, pick free ones")] = False,
) -> None:
    """Start everything here and supervise it; Ctrl-C stops it."""
    words = ["-m", "aaos.local", "up", "--state", str(environment.state_dir())]
    words += [word for path in replay or () for word in ("--replay", path)]
    words += [] if speed is None else ["--speed", f"{speed:g}"]
    words += [] if flower_port is None else ["--flower-port", str(flower_port)]
    words += ["--fresh-ports"] if fresh_ports else []
    # In place of this process: the supervisor runs for long, and without the command line it is smaller.
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, *words])


def down() -> None:
    """Stop the stack of a state directory; its data is kept."""
    from aaos.local.up import down as stop

    say(stop(environment.state_dir()))


def status(as_json: Json = False) -> None:
    """Processes with their memory, servers, queues, runs, alerts."""
    found = aaos.status()
    if as_json:
        print_json(found.to_dict())
    else:
        show(found)


def sovereign_sim(context: typer.Context) -> None:
    """Serve the model service's API from rules; --help shows its options."""
    from aaos.local.sovereign_sim import main

    raise typer.Exit(main(context.args))


def shell() -> None:
    """Open a Python shell with aaos imported."""
    from aaos.shell.connection import connect

    connect()
    banner = (
        f"Python {sys.version.split()[0]}, aaos imported; servers: {_where()}\n"
        'try  h = aaos.decide("BTC/USDT")   h.wait(120)   aaos.explain(h)   aaos.runs()   aaos.results("BTC/USDT")'
    )
    try:
        from IPython import start_ipython  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        _plain_shell(banner, {"aaos": aaos})
    else:
        print(banner)
        start_ipython(argv=["--no-banner"], user_ns={"aaos": aaos})


def _where() -> str:
    servers = environment.enter()
    return "named in the environment" if servers.origin == "environment" else str(servers.state_dir)


def _plain_shell(banner: str, names: dict[str, object]) -> None:
    import code

    try:
        import readline
        import rlcompleter

        readline.set_completer(rlcompleter.Completer(names).complete)
        readline.parse_and_bind("tab: complete")
    except ImportError:
        banner += "\n(no line editing: this Python has no readline)"
    code.interact(banner, local=names, exitmsg="")
