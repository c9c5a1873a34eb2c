"""The veto ledger on PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, fields
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, text

from aaos.adapters.postgres.database import Database
from aaos.domain.calibration import SeriesNow
from aaos.domain.vetoes import NewVeto, Veto, VetoCount, VetoOutcome, VetoTerms, storable

REFUSAL = tuple(each.name for each in fields(NewVeto))
TERMS = tuple(each.name for each in fields(VetoTerms))
OUTCOME = tuple(each.name for each in fields(VetoOutcome))
COLUMNS = ", ".join(f"v.{name}" for name in ("id", "run_id", "vetoed_at", *REFUSAL, "state", *TERMS, *OUTCOME, "why",
                                             "scored_at"))  # fmt: skip

STORE = text(f"""
    INSERT INTO vetoes (run_id, {", ".join(REFUSAL)}) VALUES (:run_id, {", ".join(f":{name}" for name in REFUSAL)})
    ON CONFLICT (source, stage) DO NOTHING
""")
UNREAD = text(f"""
    SELECT {COLUMNS} FROM vetoes v
    WHERE v.state = 'unread' AND v.vetoed_at < :vetoed_before ORDER BY v.id LIMIT :limit
""")
IN_USE = """
    unnest(CAST(:symbols AS text[]), CAST(:timeframes AS text[]), CAST(:newest AS bigint[]))
    AS u(symbol, timeframe, newest_ms)
"""
DUE = text(f"""
    SELECT {COLUMNS} FROM {IN_USE}
    JOIN LATERAL (
        SELECT * FROM vetoes w
        WHERE w.state = 'waiting' AND w.symbol = u.symbol AND w.timeframe = u.timeframe
          AND w.due_ms <= u.newest_ms AND w.vetoed_at < :vetoed_before
        ORDER BY w.due_ms LIMIT :limit
    ) AS v ON true
    ORDER BY v.due_ms, v.id LIMIT :limit
""")
STRANDED = text(f"""
    SELECT {COLUMNS} FROM vetoes v
    WHERE v.state = 'waiting' AND v.vetoed_at < :vetoed_before AND NOT EXISTS (
        SELECT 1 FROM {IN_USE}
        WHERE u.symbol = v.symbol AND u.timeframe = v.timeframe AND v.anchor_ms <= u.newest_ms)
    ORDER BY v.id LIMIT :limit
""")
FOUND_OUT = ("state", *TERMS, *OUTCOME, "why")
TYPES = {
    "anchor_ms": "bigint", "market_candles": "integer", "horizon_candles": "integer", "due_ms": "bigint",
    "taker_fee": "numeric", "stop_at": "numeric", "profit_at": "numeric", "after_ms": "bigint",
    "exit_price": "numeric", "return_pct": "numeric", "result_quote": "numeric",
}  # fmt: skip
# The rows in a fixed order, so that two writers of the same vetoes wait for each other, not for ever. What the second
# one then finds has changed its state, and is left alone.
WRITE = text(f"""
    WITH news AS (
        SELECT * FROM json_to_recordset(CAST(:rows AS json))
        AS n(id bigint, {", ".join(f"{name} {TYPES.get(name, 'text')}" for name in FOUND_OUT)})
    ), held AS (
        SELECT v.id FROM vetoes v JOIN news n USING (id)
        WHERE v.state = 'unread' OR (v.state = 'waiting' AND n.state <> 'waiting')
        ORDER BY v.id FOR UPDATE OF v
    )
    UPDATE vetoes v SET {", ".join(f"{name} = n.{name}" for name in FOUND_OUT)},
        scored_at = CASE WHEN n.state <> 'waiting' THEN clock_timestamp() END
    FROM news n JOIN held USING (id) WHERE v.id = n.id
""")
NEWEST = text(f"""
    SELECT {COLUMNS} FROM vetoes v
    WHERE (CAST(:stage AS text) IS NULL OR v.stage = :stage) AND (CAST(:code AS text) IS NULL OR v.code = :code)
      AND (CAST(:symbol AS text) IS NULL OR v.symbol = :symbol)
    ORDER BY v.id DESC LIMIT :limit
""")
OF_SOURCE = text(f"SELECT {COLUMNS} FROM vetoes v WHERE v.source = :source ORDER BY v.id")
SCORED = text(f"SELECT {COLUMNS} FROM vetoes v WHERE v.state = 'scored' ORDER BY v.id DESC LIMIT :limit")
COUNTS = text("""
    SELECT stage, code, state, why, count(*) AS count FROM vetoes GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4
""")


def store_veto(connection: Connection, run_id: int, veto: NewVeto) -> None:
    """Stores a veto inside the transaction of the run that refused; the source's stage that is there already stays."""
    connection.execute(STORE, {"run_id": run_id, **asdict(storable(veto))})


class PostgresVetoes:
    """Implements `ports.Vetoes`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def unread(self, vetoed_before: datetime, limit: int) -> Sequence[Veto]:
        """See the port."""
        parameters = {"vetoed_before": vetoed_before, "limit": limit}
        return [_veto(row) for row in self._database.rows(UNREAD, parameters)]

    def due(self, in_use: Sequence[SeriesNow], vetoed_before: datetime, limit: int) -> Sequence[Veto]:
        """See the port."""
        parameters = {**_series(in_use), "vetoed_before": vetoed_before, "limit": limit}
        return [_veto(row) for row in self._database.rows(DUE, parameters)]

    def stranded(self, in_use: Sequence[SeriesNow], vetoed_before: datetime, limit: int) -> Sequence[Veto]:
        """See the port."""
        parameters = {**_series(in_use), "vetoed_before": vetoed_before, "limit": limit}
        return [_veto(row) for row in self._database.rows(STRANDED, parameters)]

    def write(self, vetoes: Sequence[Veto]) -> int:
        """See the port."""
        rows = json.dumps([_found_out(each) for each in vetoes])
        return self._database.execute(WRITE, {"rows": rows})

    def vetoes(
        self, limit: int, stage: str | None = None, code: str | None = None, symbol: str | None = None
    ) -> Sequence[Veto]:
        """See the port."""
        parameters = {"limit": limit, "stage": stage, "code": code, "symbol": symbol}
        return [_veto(row) for row in self._database.rows(NEWEST, parameters)]

    def of_source(self, source: str) -> Sequence[Veto]:
        """See the port."""
        return [_veto(row) for row in self._database.rows(OF_SOURCE, {"source": source})]

    def scored(self, limit: int) -> Sequence[Veto]:
        """See the port."""
        return [_veto(row) for row in self._database.rows(SCORED, {"limit": limit})]

    def counts(self) -> Sequence[VetoCount]:
        """See the port."""
        return [VetoCount(**row._asdict()) for row in self._database.rows(COUNTS)]


def _series(in_use: Sequence[SeriesNow]) -> dict[str, Any]:
    return {
        "symbols": [each.symbol for each in in_use],
        "timeframes": [each.timeframe for each in in_use],
        "newest": [each.newest_open_ms for each in in_use],
    }


def _found_out(veto: Veto) -> dict[str, Any]:
    """What a scoring look found out, as JSON: money as text, so that no digit is lost."""
    terms = dict.fromkeys(TERMS) if veto.terms is None else asdict(veto.terms)
    outcome = dict.fromkeys(OUTCOME) if veto.outcome is None else asdict(veto.outcome)
    row = {"id": veto.id, "state": veto.state, "why": veto.why, **terms, **outcome}
    return {name: str(value) if isinstance(value, Decimal) else value for name, value in row.items()}


def _veto(row: Any) -> Veto:
    values = row._asdict()
    read = values["timeframe"] is not None
    return Veto(
        id=row.id,
        run_id=row.run_id,
        vetoed_at=row.vetoed_at,
        refusal=NewVeto(**{name: values[name] for name in REFUSAL}),
        state=row.state,
        terms=VetoTerms(**{name: values[name] for name in TERMS}) if read else None,
        outcome=VetoOutcome(**{name: values[name] for name in OUTCOME}) if row.state == "scored" else None,
        why=row.why,
        scored_at=row.scored_at,
    )
