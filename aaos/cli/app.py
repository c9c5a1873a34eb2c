"""The commands in one table, and errors as one line and an exit status."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from aaos.cli import (
    approving,
    asking,
    auditing,
    chart,
    looking,
    market,
    paper,
    portfolio,
    serving,
    sovereign,
    stack,
    trading,
    vetoes,
)
from aaos.cli.arguments import split_state, spread_replay
from aaos.errors import AaosError, RunFailed, WaitTimeout
from aaos.shell import environment

ERROR, TIMEOUT, FAILED, INTERRUPTED = 1, 3, 4, 130

EPILOG = (
    "--state DIR may also stand after the command. "
    "Exit status: 0 done, 1 error, 2 wrong usage, 3 waiting took too long (the run goes on), "
    "4 the run failed or was skipped."
)

app = typer.Typer(
    name="aaos",
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,  # rich costs 0.1 s, which `aaos --help` need not take
    pretty_exceptions_enable=False,
    epilog=EPILOG,
)
COMMANDS = (
    *(stack, serving, market, asking, chart, looking, approving),
    *(trading, portfolio, paper, vetoes, auditing, sovereign),
)
for module in COMMANDS:
    module.add_to(app)


@app.callback()
def root(
    state: Annotated[
        Path | None, typer.Option("--state", metavar="DIR", help="use the stack of this state directory")
    ] = None,
) -> None:
    """Distributed trading analysis: runs, results, decisions. Addresses: environment, else DIR/env of a stack."""
    if state is not None:
        environment.choose_state(state)


def main(words: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    arguments = split_state(sys.argv[1:] if words is None else words)
    environment.leave()
    try:
        if arguments.state is not None:
            environment.choose_state(Path(arguments.state))
        app(args=spread_replay(arguments.rest), prog_name="aaos")
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else ERROR
    except AaosError as error:
        return _report(error)
    except BrokenPipeError:
        # The reader (`| head`) has seen enough; Python would complain once more while it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    return 0


def _report(error: AaosError) -> int:
    from aaos.logs import redact

    text = " ".join(str(environment.with_remedy(error)).split())
    print(f"error: {redact(text)}", file=sys.stderr)
    if isinstance(error, WaitTimeout):
        return TIMEOUT
    return FAILED if isinstance(error, RunFailed) else ERROR
