"""Results and their outbox on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, text

from aaos.adapters.postgres.database import Database
from aaos.errors import UnknownRun
from aaos.ports import ResultRecord

COLUMNS = """
    r.id, r.run_id, r.kind, r.symbol, r.slot, r.fence, r.analyzed_at, r.content_hash, r.body, r.inputs, o.published_at
"""
JOINED = f"SELECT {COLUMNS} FROM results r LEFT JOIN outbox o ON o.result_id = r.id"

ONE = text(f"{JOINED} WHERE r.id = :id")
OF_RUN = text(f"{JOINED} WHERE r.run_id = :run_id")
LATEST = text(f"""
    {JOINED} WHERE r.symbol = :symbol AND r.kind = :kind AND r.scheduled
      AND (CAST(:before AS timestamptz) IS NULL OR r.slot < :before)
    ORDER BY r.slot DESC LIMIT 1
""")
BY_SYMBOL = text(f"""
    {JOINED} WHERE r.symbol = :symbol AND (CAST(:kind AS text) IS NULL OR r.kind = :kind)
    ORDER BY r.slot DESC, r.id DESC LIMIT :limit
""")
NEWEST = text(f"""
    {JOINED} WHERE CAST(:kind AS text) IS NULL OR r.kind = :kind ORDER BY r.id DESC LIMIT :limit
""")
# Rows are marked, never walked by a cursor: serial ids commit out of order, and a cursor would skip some.
LOCK_BATCH = text(f"""
    SELECT {COLUMNS} FROM outbox o JOIN results r ON r.id = o.result_id
    WHERE o.published_at IS NULL ORDER BY o.result_id LIMIT :limit FOR UPDATE OF o SKIP LOCKED
""")
MARK = text("""
    UPDATE outbox SET published_at = clock_timestamp(), stream_id = sent.stream_id
    FROM unnest(CAST(:ids AS bigint[]), CAST(:stream_ids AS text[])) AS sent(id, stream_id)
    WHERE outbox.result_id = sent.id
""")
BACKLOG = text("SELECT count(*) FROM outbox WHERE published_at IS NULL")


class PostgresResultStore:
    """Implements `ports.ResultStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def result(self, result_id: int) -> ResultRecord:
        """See the port."""
        row = self._database.row(ONE, {"id": result_id})
        if row is None:
            raise UnknownRun(f"no result {result_id}; `aaos results` lists the newest")
        return _record(row)

    def result_of_run(self, run_id: int) -> ResultRecord | None:
        """See the port."""
        row = self._database.row(OF_RUN, {"run_id": run_id})
        return None if row is None else _record(row)

    def latest(self, kind: str, symbol: str, before: datetime | None = None) -> ResultRecord | None:
        """See the port."""
        row = self._database.row(LATEST, {"kind": kind, "symbol": symbol, "before": before})
        return None if row is None else _record(row)

    def results(self, limit: int, kind: str | None = None, symbol: str | None = None) -> Sequence[ResultRecord]:
        """See the port."""
        statement = NEWEST if symbol is None else BY_SYMBOL
        rows = self._database.rows(statement, {"limit": limit, "kind": kind, "symbol": symbol})
        return [_record(row) for row in rows]


class PostgresOutbox:
    """Implements `ports.Outbox`: row locks keep two publishers off the same rows."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @contextmanager
    def batch(self, limit: int) -> Iterator[_Batch]:
        """See the port."""
        with self._database.transaction() as connection:
            rows = connection.execute(LOCK_BATCH, {"limit": limit}).all()
            yield _Batch(connection, [_record(row) for row in rows])

    def backlog(self) -> int:
        """See the port."""
        row = self._database.row(BACKLOG)
        return 0 if row is None else int(row[0])


class _Batch:
    def __init__(self, connection: Connection, results: Sequence[ResultRecord]) -> None:
        self._connection = connection
        self.results = results

    def mark_published(self, stream_ids: Mapping[int, str]) -> None:
        """See the port."""
        self._connection.execute(MARK, {"ids": list(stream_ids), "stream_ids": list(stream_ids.values())})


def _record(row: Any) -> ResultRecord:
    return ResultRecord(
        id=row.id,
        run_id=row.run_id,
        kind=row.kind,
        symbol=row.symbol,
        slot=row.slot,
        fence=row.fence,
        analyzed_at=row.analyzed_at,
        content_hash=row.content_hash,
        body=row.body,
        inputs=row.inputs,
        published_at=row.published_at,
    )
