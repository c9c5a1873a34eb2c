"""The audit log in memory: chained as PostgreSQL chains it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from aaos.adapters.memory.tables import MemoryDatabase
from aaos.domain.audit import AuditEntry, ChainCheck, ChainedRow, ChainWalk, chain_hash
from aaos.domain.results import canonical_json
from aaos.ports import AuditRecord


class MemoryAuditLog:
    """Implements `ports.AuditLog`."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database

    def append(self, action: str, actor: str, subject: str, details: Mapping[str, Any]) -> None:
        """See the port."""
        with self._database.transaction():
            append_entries(self._database, [AuditEntry(action, actor, subject, details)])

    def entries(self, limit: int, action: str | None = None, subject: str | None = None) -> Sequence[AuditRecord]:
        """See the port."""
        with self._database.transaction() as tables:
            newest = [_record(row) for row in reversed(tables.audit.values())]
        found = [each for each in newest if action in (None, each.action) and subject in (None, each.subject)]
        return found[:limit]

    def verify(self) -> ChainCheck:
        """See the port."""
        walk = ChainWalk()
        with self._database.transaction() as tables:
            rows = sorted(tables.audit.values(), key=lambda row: row.id)
            last_id, last_hash = tables.audit_head
        for row in rows:
            if not walk.step(row):
                return walk.check
        return walk.end(last_id, last_hash)


def append_entries(database: MemoryDatabase, entries: Sequence[AuditEntry]) -> None:
    """Appends entries; to be called inside a transaction."""
    tables = database.tables
    for entry in entries:
        last_id, last_hash = tables.audit_head
        at, text = database.clock.now(), canonical_json(entry.to_dict())
        row_hash = chain_hash(last_hash, last_id + 1, at, text)
        tables.audit[last_id + 1] = ChainedRow(last_id + 1, at, text, last_hash, row_hash)
        tables.audit_head = (last_id + 1, row_hash)


def _record(row: ChainedRow) -> AuditRecord:
    return AuditRecord(id=row.id, at=row.at, hash=row.hash, **json.loads(row.entry))
