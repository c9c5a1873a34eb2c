"""Our books and the venue's, in memory or on a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence

from support.worlds import MemoryWorld, PostgresWorld

from aaos.adapters.brokers.paper import MemoryVenueStore
from aaos.adapters.brokers.paper.postgres_store import PostgresVenueStore
from aaos.adapters.memory.orders import MemoryOrders
from aaos.adapters.memory.risk_desk import MemoryRiskDesk
from aaos.adapters.memory.trading_books import MemoryTradingBooks
from aaos.adapters.memory.trading_switch import MemoryTradingSwitch
from aaos.adapters.postgres.orders import PostgresOrders
from aaos.adapters.postgres.risk_desk import PostgresRiskDesk
from aaos.adapters.postgres.trading_books import PostgresTradingBooks
from aaos.adapters.postgres.trading_switch import PostgresTradingSwitch
from aaos.domain.execution.rules import ExecutionRules

OPEN_RUNS = """
    SELECT id, kind, state = 'pending' AND due_at <= clock_timestamp() FROM runs WHERE finished_at IS NULL ORDER BY id
"""


class MemoryGround:
    """Everything in memory."""

    def __init__(self, rules: ExecutionRules) -> None:
        self.world = MemoryWorld()
        database = self.world.database
        self.risk_desk = MemoryRiskDesk(database)
        self.orders = MemoryOrders(database, rules)
        self.books = MemoryTradingBooks(database)
        self.switch = MemoryTradingSwitch(database)
        self.venue = MemoryVenueStore()

    def open_runs(self) -> Sequence[tuple[int, str, bool]]:
        """Returns id, kind, and whether it could be claimed now, of the runs that are not final, oldest first."""
        rows = self.world.rows().values()
        return [
            (row.id, row.kind, row.state == "pending" and row.due_in_s <= 0)
            for row in sorted(rows, key=lambda row: row.id)
            if row.state in ("pending", "running")
        ]


class PostgresGround:
    """Everything on one database, as it runs."""

    def __init__(self, url: str, rules: ExecutionRules) -> None:
        self.world = PostgresWorld(url)
        database = self.world.database
        self.risk_desk = PostgresRiskDesk(database)
        self.orders = PostgresOrders(database, rules)
        self.books = PostgresTradingBooks(database)
        self.switch = PostgresTradingSwitch(database)
        self.venue = PostgresVenueStore(database)

    def open_runs(self) -> Sequence[tuple[int, str, bool]]:
        """As in memory."""
        return self.world.session.execute(OPEN_RUNS).fetchall()

    def close(self) -> None:
        """Closes the connections."""
        self.world.close()
