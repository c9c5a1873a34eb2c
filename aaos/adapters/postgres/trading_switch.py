"""The stop on PostgreSQL: one row, read under a lock by whoever writes an entry down."""

from __future__ import annotations

from typing import Any

from sqlalchemy import text

from aaos.adapters.postgres.audit import append_entries
from aaos.adapters.postgres.database import Database
from aaos.domain.audit import AuditEntry
from aaos.errors import InvariantViolation
from aaos.ports import Switch

COLUMNS = "epoch, stopped, changed_by, reason, changed_at"
READ = text(f"SELECT {COLUMNS} FROM trading_switch")
# Waits for the entries that are being written down, and is seen by every later one.
TURN = text(f"""
    UPDATE trading_switch SET epoch = epoch + 1, stopped = :stopped, changed_by = :by, reason = :reason,
        changed_at = clock_timestamp()
    WHERE stopped <> :stopped
    RETURNING {COLUMNS}
""")


class PostgresTradingSwitch:
    """Implements `ports.TradingSwitch`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def read(self) -> Switch:
        """See the port."""
        row = self._database.row(READ)
        if row is None:
            raise InvariantViolation("the row of trading_switch is gone: nothing may be sent until it is restored")
        return _switch(row)

    def stop(self, by: str, reason: str) -> Switch:
        """See the port."""
        return self._turn(True, by, reason)

    def resume(self, by: str, reason: str) -> Switch:
        """See the port."""
        return self._turn(False, by, reason)

    def _turn(self, stopped: bool, by: str, reason: str) -> Switch:
        with self._database.transaction() as connection:
            row = connection.execute(TURN, {"stopped": stopped, "by": by, "reason": reason}).first()
            if row is not None:
                action = "trading.stopped" if stopped else "trading.resumed"
                details = {"reason": reason, "epoch": row.epoch}
                append_entries(connection, [AuditEntry(action, by, "trading", details)])
        return self.read() if row is None else _switch(row)


def _switch(row: Any) -> Switch:
    return Switch(row.epoch, row.stopped, row.changed_by, row.reason, row.changed_at)
