"""Every port in memory, for tests and rehearsals: same contracts, no servers, a clock that is moved by hand."""

from aaos.adapters.memory.approvals import MemoryApprovals
from aaos.adapters.memory.audit import MemoryAuditLog
from aaos.adapters.memory.calibration import MemoryVoteOutcomes
from aaos.adapters.memory.clock import MovableClock
from aaos.adapters.memory.leases import StillLeaseKeeper
from aaos.adapters.memory.ledger import MemorySovereignLedger
from aaos.adapters.memory.messages import MemoryAlerts, MemoryHints, MemoryResultStream
from aaos.adapters.memory.orders import MemoryOrders
from aaos.adapters.memory.portfolio import MemoryScheduledTrades
from aaos.adapters.memory.results import MemoryOutbox, MemoryResultStore
from aaos.adapters.memory.risk_desk import MemoryRiskDesk
from aaos.adapters.memory.runs import MemoryRunStore
from aaos.adapters.memory.sovereign import ScriptedSovereign
from aaos.adapters.memory.tables import MemoryDatabase
from aaos.adapters.memory.trading_books import MemoryTradingBooks
from aaos.adapters.memory.trading_switch import MemoryTradingSwitch
from aaos.adapters.memory.vetoes import MemoryVetoes

__all__ = [
    "MemoryAlerts",
    "MemoryApprovals",
    "MemoryAuditLog",
    "MemoryDatabase",
    "MemoryHints",
    "MemoryOrders",
    "MemoryOutbox",
    "MemoryResultStore",
    "MemoryResultStream",
    "MemoryRiskDesk",
    "MemoryRunStore",
    "MemoryScheduledTrades",
    "MemorySovereignLedger",
    "MemoryTradingBooks",
    "MemoryTradingSwitch",
    "MemoryVetoes",
    "MemoryVoteOutcomes",
    "MovableClock",
    "ScriptedSovereign",
    "StillLeaseKeeper",
]
