"""The paper venue: orders are matched against the market's own books, in a ledger of its own; no host is contacted."""

from aaos.adapters.brokers.paper.books import MisbehavingBooks
from aaos.adapters.brokers.paper.broker import PaperBroker
from aaos.adapters.brokers.paper.memory_store import MemoryVenueStore
from aaos.adapters.brokers.paper.store import Request, VenueBooks, VenueStore

__all__ = ["MemoryVenueStore", "MisbehavingBooks", "PaperBroker", "Request", "VenueBooks", "VenueStore"]
