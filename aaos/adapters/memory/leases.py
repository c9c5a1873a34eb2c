"""A lease keeper without a thread: a lease lasts as long as the clock stands still."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from aaos.domain.runs import ClaimedRun


class StillLeaseKeeper:
    """Implements `ports.LeaseKeeper`; `held` lists the runs at hand."""

    def __init__(self) -> None:
        self.held: dict[int, int] = {}

    @contextmanager
    def holding(self, run: ClaimedRun) -> Iterator[Callable[[], bool]]:
        """See the port."""
        self.held[run.id] = run.fence
        try:
            yield lambda: self.held.get(run.id) == run.fence
        finally:
            self.held.pop(run.id, None)
