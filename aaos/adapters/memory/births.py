"""How runs come into the tables in memory: one per slot, one per request key, dependencies with them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from aaos.adapters.memory.tables import MemoryDatabase, RunRow, Tables
from aaos.domain.runs import NewRun, State
from aaos.ports import PipelinePlan

ALL = 2**31 - 1
NONE = 0


def insert_runs(
    database: MemoryDatabase, spec: NewRun, symbols: Sequence[str], slot: datetime | None, hint_first: int
) -> list[RunRow]:
    """Returns the rows that were not there yet, in the order of the symbols; the first `hint_first` are hinted."""
    now = database.clock.now()
    hinted = NONE if spec.dependent else hint_first
    born = []
    for position, symbol in enumerate(symbols, start=1):
        if _existing(database.tables, spec, symbol, slot) is not None:
            continue
        row = RunRow(
            id=database.next_id(),
            kind=spec.kind,
            symbol=symbol,
            slot=slot or now,
            request_key=spec.request_key,
            dependent=spec.dependent,
            parked=position > hinted and not spec.dependent,
            timeout_s=spec.timeout_s,
            start_within_s=spec.start_within_s,
            due_at=now,
            deadline=capped(now + timedelta(seconds=spec.start_within_s), spec.not_after),
            not_after=spec.not_after,
            hinted_at=now if position <= hinted else None,
            params=json.loads(json.dumps(spec.params)),
            created_at=now,
        )
        database.tables.runs[row.id] = row
        born.append(row)
    return born


def capped(deadline: datetime, not_after: datetime | None) -> datetime:
    """Returns the earlier of the two."""
    return deadline if not_after is None else min(deadline, not_after)


def ensure_runs(
    database: MemoryDatabase, spec: NewRun, symbols: Sequence[str], slot: datetime | None
) -> list[tuple[str, int, State]]:
    """Inserts the runs that are not there yet; returns (symbol, id, state) of all of them."""
    insert_runs(database, spec, symbols, slot, ALL)
    found = (_existing(database.tables, spec, symbol, slot) for symbol in symbols)
    return [(row.symbol, row.id, row.state) for row in found if row is not None]


def insert_pipeline(
    database: MemoryDatabase,
    spec: NewRun,
    symbols: Sequence[str],
    slot: datetime | None,
    stage: NewRun | None,
    inputs: Sequence[tuple[NewRun, datetime | None]],
) -> list[PipelinePlan]:
    """Returns the plans of the dependent runs that were not there yet, their stages and inputs ensured."""
    ends = {row.symbol: row.id for row in insert_runs(database, spec, symbols, slot, ALL)}
    waiting, body_kind = ends, spec.kind
    if stage is not None:
        waiting = {symbol: run_id for symbol, run_id, _ in ensure_runs(database, stage, list(ends), slot)}
        body_kind = stage.kind
        depend(database.tables, ((ends[symbol], waiting[symbol]) for symbol in ends), required=True)
    header: dict[str, list[tuple[int, str]]] = {symbol: [] for symbol in ends}
    for needed, needed_slot in inputs:
        for symbol, run_id, state in ensure_runs(database, needed, list(ends), needed_slot):
            depend(database.tables, [(waiting[symbol], run_id)], required=True)
            if not state.final:
                header[symbol].append((run_id, needed.kind))
    return [PipelinePlan(ends[s], s, (waiting[s], body_kind), header[s]) for s in ends]


def insert_joint(
    database: MemoryDatabase, spec: NewRun, slot: datetime, awaited: Sequence[tuple[str, datetime]]
) -> tuple[int, bool] | None:
    """Returns (id, ready) of the run that waits for all scheduled runs of (kind, slot); None when it was there."""
    born = insert_runs(database, spec, [spec.symbol], slot, ALL)
    if not born:
        return None
    scheduled = (row for row in database.tables.runs.values() if row.request_key is None)
    needed = [row for row in scheduled if (row.kind, row.slot) in awaited]
    depend(database.tables, ((born[0].id, row.id) for row in needed), required=False)
    return born[0].id, all(row.state.final for row in needed)


def feed(database: MemoryDatabase, run_id: int, feeds: Sequence[NewRun]) -> list[tuple[int, str]]:
    """Inserts the runs fed by a completed one; what waits for it now waits for them, too. Returns (id, kind)."""
    fed = []
    for spec in feeds:
        _, fed_id, _ = ensure_runs(database, spec, [spec.symbol], None)[0]
        fed.append((fed_id, spec.kind))
    waiting = [run for run, needed in database.tables.dependencies if needed == run_id]
    pairs = [(waiter, fed_id) for waiter in waiting for fed_id, _ in fed]
    depend(database.tables, pairs, required=False)
    return fed


def start(database: MemoryDatabase, starts: Sequence[NewRun]) -> list[tuple[int, str]]:
    """Inserts the runs that a completed one starts; nobody waits for them. Returns (id, kind)."""
    return [(ensure_runs(database, spec, [spec.symbol], None)[0][1], spec.kind) for spec in starts]


def depend(tables: Tables, pairs: Iterable[tuple[int, int]], *, required: bool) -> None:
    """Makes the first run of each pair wait for the second."""
    for pair in pairs:
        tables.dependencies[pair] = required


def _existing(tables: Tables, spec: NewRun, symbol: str, slot: datetime | None) -> RunRow | None:
    if spec.request_key is not None:
        return next((row for row in tables.runs.values() if row.request_key == spec.request_key), None)
    identity = (spec.kind, symbol, slot)
    scheduled = (row for row in tables.runs.values() if row.request_key is None)
    return next((row for row in scheduled if (row.kind, row.symbol, row.slot) == identity), None)
