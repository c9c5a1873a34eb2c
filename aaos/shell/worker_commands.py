"""Which worker serves which queue: one command line per queue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aaos.settings import Settings

HOUSEKEEPING_REQUIRES = {"result_publishing": ("result_publishing",), "maintenance": ()}


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue, what it asks of a worker, and the command that starts one."""

    queue: str
    kind: str | None
    pool: str
    requires: tuple[str, ...]
    timeout_seconds: float | None
    max_concurrent: int | None
    command: str

    def to_dict(self) -> dict[str, Any]:
        """Returns the JSON form."""
        return {**asdict(self), "requires": list(self.requires)}


def queues(settings: Settings) -> Sequence[Queue]:
    """Returns all queues: one per kind, then those of housekeeping."""
    from aaos.settings import HOUSEKEEPING_QUEUES

    kinds = [
        Queue(name, name, kind.pool, kind.requires, kind.timeout_seconds, kind.max_concurrent,
              worker_command(name, settings))
        for name, kind in settings.kinds.items()
    ]  # fmt: skip
    return kinds + [
        Queue(name, None, "io", HOUSEKEEPING_REQUIRES.get(name, ()), None, None, worker_command(name, settings))
        for name in HOUSEKEEPING_QUEUES
    ]


def worker_command(queue: str, settings: Settings) -> str:
    """Returns the command line of a worker for that queue, prefork for CPU work and threads for waiting work.

    As many processes or threads as `./run up` gives its workers.
    """
    kind = settings.kinds.get(queue)
    if kind is not None and kind.pool == "cpu":
        pool = f"-P prefork -c {settings.local.cpu_processes}"
    else:
        pool = f"-P threads -c {settings.local.io_threads}"
    return f"celery -A workers worker -Q {queue} {pool} -n {queue}@%h"
