"""The stop in memory."""

from __future__ import annotations

from aaos.adapters.memory.audit import append_entries
from aaos.adapters.memory.tables import MemoryDatabase
from aaos.domain.audit import AuditEntry
from aaos.ports import Switch


class MemoryTradingSwitch:
    """Implements `ports.TradingSwitch`."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database

    def read(self) -> Switch:
        """See the port."""
        with self._database.transaction() as tables:
            return tables.switch

    def stop(self, by: str, reason: str) -> Switch:
        """See the port."""
        return self._turn(True, by, reason)

    def resume(self, by: str, reason: str) -> Switch:
        """See the port."""
        return self._turn(False, by, reason)

    def _turn(self, stopped: bool, by: str, reason: str) -> Switch:
        with self._database.transaction() as tables:
            if tables.switch.stopped != stopped:
                tables.switch = Switch(tables.switch.epoch + 1, stopped, by, reason, self._database.clock.now())
                action = "trading.stopped" if stopped else "trading.resumed"
                details = {"reason": reason, "epoch": tables.switch.epoch}
                append_entries(self._database, [AuditEntry(action, by, "trading", details)])
            return tables.switch
