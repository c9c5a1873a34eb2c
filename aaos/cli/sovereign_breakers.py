"""`aaos sovereign breakers`: which models are asked, which are left alone, and for how long."""

from __future__ import annotations

from aaos.cli.output import Json, note, print_json, show
from aaos.shell.breakers import breaker_rows
from aaos.shell.connection import connect

AWAY = "Redis is away: each worker goes by a breaker of its own now, and its changes are in `aaos audit`"


def breakers(as_json: Json = False) -> None:
    """How each model's breaker stands, as all workers see it."""
    from aaos.shell.tables import table

    rows = breaker_rows(connect())
    if as_json:
        print_json(rows)
    else:
        show(table(("model", "breaker", "failures in a row", "left alone for s"), (list(row.values()) for row in rows)))
    if any(row["state"] is None for row in rows):
        note(AWAY)
