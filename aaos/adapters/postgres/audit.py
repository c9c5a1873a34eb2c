"""The audit log on PostgreSQL: rows that the database itself numbers, dates and chains (migration 0003)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, text

from aaos.adapters.postgres.database import Database
from aaos.domain.audit import AuditEntry, ChainCheck, ChainedRow, ChainWalk
from aaos.domain.results import canonical_json
from aaos.ports import AuditRecord

APPEND = text("""
    INSERT INTO audit_log (entry)
    SELECT CAST(new.entry AS json) FROM unnest(CAST(:entries AS text[])) WITH ORDINALITY AS new(entry, position)
    ORDER BY new.position
""")
COLUMNS = "id, at, entry, previous_hash, hash"
NEWEST = text(f"SELECT {COLUMNS} FROM audit_log ORDER BY id DESC LIMIT :limit")
OF_ACTION = text(f"SELECT {COLUMNS} FROM audit_log WHERE action = :action ORDER BY id DESC LIMIT :limit")
OF_SUBJECT = text(f"""
    SELECT {COLUMNS} FROM audit_log
    WHERE subject = :subject AND (CAST(:action AS text) IS NULL OR action = :action) ORDER BY id DESC LIMIT :limit
""")
# The recorded end first: what is appended while the chain is walked lies behind it and is left out.
HEAD = text("SELECT id, hash FROM audit_head")
PAGE = text("""
    SELECT id, at, CAST(entry AS text) AS entry, previous_hash, hash FROM audit_log
    WHERE id > :after AND id <= :last ORDER BY id LIMIT :limit
""")
BEYOND = text("SELECT min(id) AS id FROM audit_log WHERE id > (SELECT id FROM audit_head)")
PAGE_ROWS = 1000


class PostgresAuditLog:
    """Implements `ports.AuditLog`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def append(self, action: str, actor: str, subject: str, details: Mapping[str, Any]) -> None:
        """See the port."""
        self._database.execute(APPEND, {"entries": [_text(AuditEntry(action, actor, subject, details))]})

    def entries(self, limit: int, action: str | None = None, subject: str | None = None) -> Sequence[AuditRecord]:
        """See the port."""
        statement = OF_SUBJECT if subject is not None else OF_ACTION if action is not None else NEWEST
        rows = self._database.rows(statement, {"limit": limit, "action": action, "subject": subject})
        return [_record(row) for row in rows]

    def verify(self) -> ChainCheck:
        """See the port."""
        head = self._database.row(HEAD)
        if head is None:
            return ChainCheck(0, 1, "the end of the log is not recorded any more")
        walk, after = ChainWalk(), 0
        while rows := self._database.rows(PAGE, {"after": after, "last": head.id, "limit": PAGE_ROWS}):
            for row in rows:
                if not walk.step(ChainedRow(row.id, row.at, row.entry.encode(), row.previous_hash, row.hash)):
                    return walk.check
            after = rows[-1].id
        beyond = self._database.row(BEYOND)
        if walk.check.intact and beyond is not None and beyond.id is not None:
            return ChainCheck(
                walk.check.entries, beyond.id, f"entry {beyond.id} lies beyond the recorded end of the log"
            )
        return walk.end(head.id, head.hash)


def _record(row: Any) -> AuditRecord:
    entry = row.entry
    return AuditRecord(
        id=row.id,
        at=row.at,
        action=entry["action"],
        actor=str(entry.get("actor")),
        subject=entry["subject"],
        details=entry.get("details") or {},
        hash=row.hash,
    )


def append_entries(connection: Connection, entries: Sequence[AuditEntry]) -> None:
    """Appends entries as the last step of somebody's transaction: the log is locked from here to its commit."""
    if entries:
        connection.execute(APPEND, {"entries": [_text(entry) for entry in entries]})


def _text(entry: AuditEntry) -> str:
    return canonical_json(entry.to_dict()).decode()
