"""Orders: placing what risk let through, and watching over orders and positions."""

from collections.abc import Sequence

from aaos.bootstrap import container
from aaos.domain.runs import ClaimedRun, Dependency, Outcome
from workers.app import house_task, run_task


@run_task("execution")
def place_order(run: ClaimedRun, dependencies: Sequence[Dependency]) -> Outcome:
    """See the service of the same name."""
    return container().place_order(run, dependencies)


@house_task("watch_positions")
def watch_positions() -> None:
    """Fetches fills, and keeps every position's stop where it belongs."""
    container().watch_positions()


@house_task("reconcile_orders")
def reconcile_orders() -> None:
    """Compares our books with the venue's."""
    container().reconcile_orders()


@house_task("expire_orders")
def expire_orders() -> None:
    """Cancels working orders that are too old."""
    container().expire_orders()


@house_task("record_equity")
def record_equity() -> None:
    """Adds a point to the equity curve of each account."""
    container().record_equity()
