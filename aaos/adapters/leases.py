"""Keeps this process's leases alive: one thread, one statement per beat for all runs at hand."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import structlog

from aaos.domain.runs import ClaimedRun
from aaos.errors import AaosError

log = structlog.get_logger()


class ThreadLeaseKeeper:
    """Implements `ports.LeaseKeeper`.

    The thread starts with the first run held and stays; it is a daemon, so it never keeps a worker alive.
    Not to be carried across a fork; `bootstrap` makes a new one in the child.
    """

    def __init__(self, renew: Callable[[Mapping[int, int]], frozenset[int]], every_s: float) -> None:
        self._renew = renew
        self._every_s = every_s
        self._held: dict[int, int] = {}
        self._refused: dict[int, int] = {}
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    @contextmanager
    def holding(self, run: ClaimedRun) -> Iterator[Callable[[], bool]]:
        """See the port."""
        with self._changed:
            self._held[run.id] = run.fence
            if self._thread is None:
                self._thread = threading.Thread(target=self._beat, name="leases", daemon=True)
                self._thread.start()
        try:
            yield lambda: self._held.get(run.id) == run.fence
        finally:
            with self._changed:
                if self._held.get(run.id) == run.fence:
                    del self._held[run.id]

    def _beat(self) -> None:
        pause = threading.Event()
        while not pause.wait(self._every_s):
            with self._changed:
                held = dict(self._held)
            if held:
                self._renew_all(held)

    def _renew_all(self, held: Mapping[int, int]) -> None:
        try:
            kept = self._renew(held)
        except AaosError as error:
            # The next beat tries again; a lease outlives two missed beats.
            log.warning("leases_not_renewed", runs=len(held), why=str(error))
            return
        except Exception:
            # Whatever it is: a dead keeper would silently lose every later run of this process, too.
            log.exception("leases_not_renewed", runs=len(held))
            return
        with self._changed:
            refused = {run_id: fence for run_id, fence in held.items() if run_id not in kept}
            for run_id, fence in refused.items():
                # A run of ours that ends while its lease is renewed is refused, too, but only once.
                if self._refused.get(run_id) == fence and self._held.get(run_id) == fence:
                    del self._held[run_id]
                    log.warning("lease_lost", run=run_id, fence=fence)
            self._refused = refused
