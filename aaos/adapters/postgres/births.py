"""How runs come into the tables of PostgreSQL: one per slot, one per request key, dependencies with them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from aaos.adapters.postgres import runs_sql as sql
from aaos.domain.runs import NewRun, State

ALL = 2**31 - 1
NONE = 0


def insert_parameters(spec: NewRun, symbols: Sequence[str], slot: datetime | None, hint_first: int) -> dict[str, Any]:
    """Returns what INSERT_RUNS asks for; the first `hint_first` are hinted."""
    return {
        "kind": spec.kind,
        "slot": slot,
        "symbols": list(symbols),
        "request_keys": [spec.request_key] * len(symbols),
        "dependent": spec.dependent,
        "timeout_s": spec.timeout_s,
        "start_within_s": spec.start_within_s,
        "not_after": spec.not_after,
        "hint_first": NONE if spec.dependent else hint_first,
        "params": json.dumps(spec.params),
    }


def ensure_runs(
    connection: Connection, spec: NewRun, symbols: Sequence[str], slot: datetime | None
) -> list[tuple[str, int, str]]:
    """Inserts the runs that are not there yet; returns (symbol, id, state) of all of them."""
    born = connection.execute(sql.INSERT_RUNS, insert_parameters(spec, symbols, slot, ALL)).all()
    known = [(row.symbol, row.id, State.PENDING.value) for row in born]
    missing = sorted(set(symbols) - {symbol for symbol, _, _ in known})
    if missing and spec.request_key is not None:
        found = connection.execute(sql.FIND_REQUESTED_RUNS, {"request_keys": [spec.request_key]}).all()
    elif missing:
        found = connection.execute(sql.FIND_SLOT_RUNS, {"kind": spec.kind, "slot": slot, "symbols": missing}).all()
    else:
        found = []
    return known + [(row.symbol, row.id, row.state) for row in found]


def depend(connection: Connection, pairs: Sequence[tuple[int, int]], required: bool = True) -> None:
    """Makes the first run of each pair wait for the second."""
    connection.execute(
        sql.INSERT_DEPENDENCIES,
        {"run_ids": [a for a, _ in pairs], "depends_on_ids": [b for _, b in pairs], "required": required},
    )


def start_runs(connection: Connection, starts: Sequence[NewRun]) -> list[tuple[int, str]]:
    """Inserts the runs that a result or a verdict starts; nobody waits for them. Returns (id, kind)."""
    return [(ensure_runs(connection, spec, [spec.symbol], None)[0][1], spec.kind) for spec in starts]
