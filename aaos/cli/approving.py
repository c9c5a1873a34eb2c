"""approve, approvals: a person's word on decisions that wait for one."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

import aaos
from aaos.cli.output import ID_MAX, Json, Limit, print_json, say, show_rows

Run = Annotated[
    int, typer.Argument(metavar="RUN", min=1, max=ID_MAX, help="the decision's run; `aaos approvals` lists it")
]
Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="why; it goes into the audit log")]
Refuse = Annotated[bool, typer.Option("--refuse", help="it must not be traded")]
By = Annotated[str | None, typer.Option("--by", metavar="NAME", help="who says so; default: your user name here")]


def add_to(app: typer.Typer) -> None:
    """Adds these commands."""
    app.command()(approve)
    app.command()(approvals)


def approve(run_id: Run, reason: Reason, refuse: Refuse = False, by: By = None, as_json: Json = False) -> None:
    """Let risk see a decision that waits for a person, or refuse it; a verdict is final."""
    given = aaos.approve(run_id, reason, refuse=refuse, by=by)
    if as_json:
        print_json({**asdict(given), "at": given.at.isoformat()})
    else:
        say(f"decision {run_id} {given.verdict} by {given.by}: {given.reason}; `aaos explain {run_id}` shows it")


def approvals(limit: Limit = 20, as_json: Json = False) -> None:
    """Decisions that wait for a person's approval, the most urgent first."""
    found = aaos.approvals(limit)
    show_rows(found, as_json=as_json)
