"""audit: the log of what was changed, by whom and why, and whether anybody has touched it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from aaos.cli.output import Json, Limit, print_json, say, show
from aaos.errors import InputError, InvariantViolation
from aaos.shell.connection import connect

if TYPE_CHECKING:
    from aaos.ports import AuditRecord

DETAILS_SHOWN_CHARS = 300

Action = Annotated[str | None, typer.Option("--action", metavar="ACTION", help="only these, as in vote.degraded")]
Subject = Annotated[str | None, typer.Option("--subject", metavar="SUBJECT", help="only about this, as in run:17")]
Verify = Annotated[bool, typer.Option("--verify", help="compute every hash anew; exit status 1 names the first break")]


def add_to(app: typer.Typer) -> None:
    """Adds this command."""
    app.command()(audit)


def audit(
    limit: Limit = 20, action: Action = None, subject: Subject = None, verify: Verify = False, as_json: Json = False
) -> None:
    """What was changed, by whom and why, newest first; appended to and never changed."""
    if verify and (action or subject):
        raise InputError("--verify checks the whole log: leave out --action and --subject")
    log = connect().audit
    if verify:
        _verify(as_json)
        return
    found = log.entries(limit, action, subject)
    if as_json:
        print_json([_plain(each) for each in found])
    elif found:
        _show(found)
    else:
        say("no such audit entries" if action or subject else "no audit entries")


def _verify(as_json: bool) -> None:
    check = connect().audit.verify()
    if as_json:
        print_json(asdict(check) | {"intact": check.intact})
    if not check.intact:
        raise InvariantViolation(
            f"the audit log is broken at entry {check.broken_id}: {check.why};"
            f" the {check.entries} before it are as written"
        )
    if not as_json:
        say(f"{check.entries} audit entries, every one as it was written")


def _show(found: Sequence[AuditRecord]) -> None:
    from aaos.shell.lists import HASH_SHOWN_CHARS, shortened
    from aaos.shell.runs import instant
    from aaos.shell.tables import table

    headers = ("entry", "time", "action", "subject", "actor", "hash", "details")
    show(table(headers, ([
        each.id, instant(each.at), each.action, each.subject, shortened(each.actor, DETAILS_SHOWN_CHARS),
        each.hash[:HASH_SHOWN_CHARS], shortened(_details(each), DETAILS_SHOWN_CHARS),
    ] for each in found)))  # fmt: skip


def _details(entry: AuditRecord) -> str:
    spelled = ((name, json.dumps(value, ensure_ascii=False)) for name, value in entry.details.items())
    return ", ".join(f"{name} {value}" for name, value in spelled)


def _plain(entry: AuditRecord) -> dict[str, Any]:
    return {**asdict(entry), "at": entry.at.isoformat()}
