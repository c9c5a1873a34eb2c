"""This process's container, and what its forked children share of it."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Sequence
from importlib import import_module

from aaos.bootstrap.services import Container
from aaos.settings import settings

# What CPU work needs; imported by a prefork master for its children.
PRELOADED = (
    "aaos.adapters.celery.hints",
    "aaos.adapters.leases",
    "aaos.adapters.market.book",
    "aaos.adapters.postgres.ledger",
    "aaos.adapters.postgres.market",
    "aaos.adapters.postgres.results",
    "aaos.adapters.postgres.runs",
    "aaos.adapters.redis.streams",
    "aaos.domain.signals.ta_lib",
    "aaos.services.analyze_technicals",
    "aaos.services.carry_on_runs",
    "aaos.services.detect_regime",
    "aaos.services.execute_run",
    "psycopg",
    "sqlalchemy.dialects.postgresql.psycopg",
)


class _ThisProcess:
    """What belongs to one process: connections, locks and threads are harmful when used in a forked child."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.container: Container | None = None

    def start_over_after_fork(self) -> None:
        """Forgets what is the parent's, without closing sockets that the parent goes on using."""
        if self.container is not None and "database" in self.container.__dict__:
            self.container.database.forget()
        self.lock = threading.Lock()
        self.container = None


_this_process = _ThisProcess()
os.register_at_fork(after_in_child=_this_process.start_over_after_fork)


def container() -> Container:
    """Returns this process's container."""
    with _this_process.lock:
        if _this_process.container is None:
            _this_process.container = Container(settings())
        return _this_process.container


def reset() -> None:
    """Forgets this process's container; the next call of `container` builds a new one."""
    _this_process.container = None


def preload(modules: Sequence[str] = PRELOADED) -> None:
    """Loads what pool children will need before they are forked, so that they share its memory.

    The collector is told to leave those objects alone: walking them would write to, and so unshare, every page.
    """
    for module in modules:
        import_module(module)
    gc.collect()
    gc.freeze()
