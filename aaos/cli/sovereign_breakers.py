"""`aaos sovereign breakers`: which models are asked, which are left alone, and for how long."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from aaos.cli.output import Json, note, print_json, show
from aaos.shell.connection import connect

if TYPE_CHECKING:
    from aaos.domain.breakers import BreakerView

AWAY = "Redis is away: each worker goes by a breaker of its own now, and its changes are in `aaos audit`"


def breakers(as_json: Json = False) -> None:
    """How each model's breaker stands, as all workers see it."""
    from aaos.shell.tables import table

    container = connect()
    chosen = container.settings
    fallback = chosen.sovereign.fallback_model
    models = [voter.model for voter in chosen.voters.values()] + ([] if fallback is None else [fallback])
    rows = [_row(container.breakers.view(model)) for model in dict.fromkeys(models)]
    if as_json:
        print_json(rows)
    else:
        show(table(("model", "breaker", "failures in a row", "left alone for s"), (list(row.values()) for row in rows)))
    if any(row["state"] is None for row in rows):
        note(AWAY)


def _row(seen: BreakerView) -> dict[str, Any]:
    """Returns the figures; none where Redis is away, since this process's own breaker has seen nothing."""
    row = asdict(seen)
    if row.pop("local"):
        return {name: value if name == "model" else None for name, value in row.items()}
    return {**row, "state": seen.state.value.replace("_", "-")}
