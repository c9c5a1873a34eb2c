"""Every port in memory, for tests and rehearsals: same contracts, no servers, a clock that is moved by hand."""

from aaos.adapters.memory.clock import MovableClock
from aaos.adapters.memory.leases import StillLeaseKeeper
from aaos.adapters.memory.messages import MemoryAlerts, MemoryHints, MemoryResultStream
from aaos.adapters.memory.results import MemoryOutbox, MemoryResultStore
from aaos.adapters.memory.runs import MemoryRunStore
from aaos.adapters.memory.sovereign import MemorySovereignLedger, ScriptedSovereign
from aaos.adapters.memory.tables import MemoryDatabase

__all__ = [
    "MemoryAlerts",
    "MemoryDatabase",
    "MemoryHints",
    "MemoryOutbox",
    "MemoryResultStore",
    "MemoryResultStream",
    "MemoryRunStore",
    "MemorySovereignLedger",
    "MovableClock",
    "ScriptedSovereign",
    "StillLeaseKeeper",
]
