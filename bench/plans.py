"""The hot statements as PostgreSQL executes them: EXPLAIN (ANALYZE, BUFFERS), each rolled back."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import psycopg
from sqlalchemy import TextClause
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg

from aaos.adapters.postgres import results as results_sql
from aaos.adapters.postgres import runs_sql
from bench.environment import KIND, MAX_CONCURRENT

_NODE = re.compile(r"(Seq Scan|Index Only Scan|Index Scan|Bitmap Heap Scan)(?: Backward)?( using (\w+))? on (\w+)")
_BUFFERS = re.compile(r"shared hit=(\d+)(?: read=(\d+))?")


@dataclass(frozen=True, slots=True)
class Plan:
    """What EXPLAIN said: execution time, blocks found in and read into the buffer cache, and the whole of it."""

    ms: float
    hit: int
    read: int
    text: str


def explain(url: str) -> dict[str, Plan]:
    """Returns the plan of each hot statement, from the third execution: the first finds cold caches.

    Needs one pending run, one running one and one unpublished result of the bench's kind in the database.
    """
    found: dict[str, Plan] = {}
    options = "-c enable_seqscan=off -c timezone=UTC"  # as aaos connects
    with psycopg.connect(url, options=options, cursor_factory=psycopg.ClientCursor) as database:
        for name, (statement, parameters) in _statements(database).items():
            compiled = statement.compile(dialect=PGDialect_psycopg())  # type: ignore[no-untyped-call]
            spelled, values = str(compiled), {key: parameters.get(key) for key in compiled.params}
            for _ in range(3):
                rows = database.execute(f"EXPLAIN (ANALYZE, BUFFERS) {spelled}", values).fetchall()
                database.rollback()
                found[name] = _read([str(row[0]) for row in rows])
    return found


def scans(plan: str) -> str:
    """Which tables a plan reads by what, in one line."""
    seen = dict.fromkeys(f"{kind} {index or table}" for kind, _, index, table in _NODE.findall(plan))
    return ", ".join(seen)


def _read(lines: list[str]) -> Plan:
    plan = "\n".join(lines)
    execution = re.search(r"Execution Time: ([\d.]+)", plan)
    buffers = _BUFFERS.search(plan)
    hit, read = (int(buffers[1]), int(buffers[2] or 0)) if buffers else (0, 0)
    return Plan(float(execution[1]) if execution else 0.0, hit, read, plan)


def _statements(database: psycopg.Connection[Any]) -> dict[str, tuple[TextClause, Mapping[str, Any]]]:
    pending = _one(database, "SELECT id FROM runs WHERE state = 'pending' AND NOT parked ORDER BY id LIMIT 1")
    running = _one(database, "SELECT id FROM runs WHERE state = 'running' LIMIT 1")
    fence = _one(database, f"SELECT fence FROM runs WHERE id = {running}")
    sent = [row[0] for row in database.execute("SELECT result_id FROM outbox WHERE published_at IS NULL LIMIT 10")]
    database.rollback()
    insert = {
        "kind": KIND,
        "slot": datetime.now(UTC),
        "symbols": [f"S{number:06d}/USDT" for number in range(100)],
        "request_keys": [None] * 100,
        "dependent": False,
        "timeout_s": 30.0,
        "start_within_s": 120.0,
        "hint_first": MAX_CONCURRENT,
        "params": "{}",
    }
    claim = {"id": pending, "owner": "explain", "lease_s": 15.0, "max_attempts": 3}
    result = {"kind": KIND, "body": '{"answer":1}', "content_hash": "0" * 64, "inputs": "[]", "publish": True}
    hint = {"kind": KIND, "room": 10, "hint_after_s": 5.0, "hint_backoff_max_s": 60.0}
    return {
        "newest slot": (runs_sql.NEWEST_SLOT, {"kind": KIND}),
        "tick insert (100 symbols)": (runs_sql.INSERT_RUNS, insert),
        "claim": (runs_sql.CLAIM, {**claim, "max_concurrent": 10_000, "max_overall": 10_000}),
        "renew": (runs_sql.RENEW, {"ids": [running], "fences": [fence], "lease_s": 15.0}),
        "complete": (runs_sql.COMPLETE, {"id": running, "fence": fence, **result}),
        "publish: lock batch": (results_sql.LOCK_BATCH, {"limit": 200}),
        "publish: mark": (results_sql.MARK, {"ids": sent, "stream_ids": ["1-1"] * len(sent)}),
        "sweep: deadlines": (runs_sql.TIME_OUT_RUNNING, {}),
        "sweep: leases": (runs_sql.RECOVER_LEASES, {"max_attempts": 3}),
        "sweep: pending": (runs_sql.EXPIRE_PENDING, {}),
        "sweep: count": (runs_sql.COUNT_ACTIVE, {"kind": KIND}),
        "sweep: hint again": (runs_sql.HINT_AGAIN, hint),
        "latest result": (results_sql.LATEST, {"kind": KIND, "symbol": "S000001/USDT", "before": None}),
    }


def _one(database: psycopg.Connection[Any], query: str) -> Any:
    row = database.execute(query).fetchone()
    assert row is not None, query
    return row[0]
