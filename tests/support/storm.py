"""Many votes in flight, and workers that are killed and started again meanwhile."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from support.lab import Lab
from support.workers import READY_WORKER, Process

from aaos.domain.runs import NewRun

VOTE = "trading_analysis"
HOUSEKEEPING = ("maintenance", "result_publishing", VOTE)
THREADS = 8
START_WITHIN_S = 600


@dataclass(slots=True)
class Storm:
    """Groups of workers, each of which may die at any moment; a supervisor (we) starts it again at once."""

    lab: Lab
    chance: random.Random
    groups: list[tuple[str, ...]] = field(default_factory=lambda: [(VOTE,), (VOTE,), HOUSEKEEPING, HOUSEKEEPING])
    workers: list[Process] = field(default_factory=list)
    kills: int = 0

    def start(self) -> None:
        """Starts all groups and beat, whose sweep everything relies on."""
        self.workers = [self.lab.fleet.worker(*queues, concurrency=THREADS, wait=False) for queues in self.groups]
        self.lab.fleet.beat(wait=False)
        self.lab.fleet.wait_ready()

    def launch(self, count: int) -> list[int]:
        """A tick of that many symbols: all rows born at once, as many hinted as may run, the rest when others end."""
        c, kind = self.lab.client, self.lab.client.settings.kinds[VOTE]
        context = {"context_run": self.lab.store_context(), "voter": "trend"}
        symbols = [f"S{number:05d}/USDT" for number in range(count)]
        spec = NewRun(VOTE, "", kind.timeout_seconds, START_WITHIN_S, params=context)
        hinted = c.runs.insert_slot(spec, symbols, c.database.now(), kind.max_concurrent)
        self.lab.hint(VOTE, *(run_id for run_id, _ in hinted))
        votes = self.lab.rows("SELECT id FROM runs WHERE kind = %s AND symbol = ANY(%s)", VOTE, symbols)
        return [row.id for row in votes]

    def kill_one(self) -> None:
        """kill -9 of one group that is up, as losing its machine would be; it is started again."""
        up = [number for number, worker in enumerate(self.workers) if READY_WORKER in worker.log()]
        if not up:
            return
        number = self.chance.choice(up)
        self.workers[number].kill()
        self.kills += 1
        self.workers[number] = self.lab.fleet.worker(*self.groups[number], concurrency=THREADS, wait=False)

    def rage(self, over: Callable[[], bool], every_s: float, at_most_s: float) -> None:
        """Kills one group every so often until `over()`, or the time is up."""
        until = time.monotonic() + at_most_s
        next_at = time.monotonic() + every_s
        while time.monotonic() < until and not over():
            if time.monotonic() >= next_at:
                self.kill_one()
                next_at += every_s
            time.sleep(0.05)

    def done(self, votes: list[int]) -> int:
        statement = "SELECT count(*) FROM runs WHERE id = ANY(%s) AND finished_at IS NOT NULL"
        return int(self.lab.patiently(statement, votes)[0][0])
