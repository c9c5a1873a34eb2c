"""Many votes in flight, and workers that are killed and started again meanwhile."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from support.lab import Lab
from support.workers import READY_WORKER, Process

VOTE = "trading_analysis"
HOUSEKEEPING = ("maintenance", "result_publishing", VOTE)
THREADS = 8


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
        """Inserts and hints that many votes on one context."""
        votes = self.lab.insert_votes(count, self.lab.store_context(), "storm")
        self.lab.hint(VOTE, *votes)
        return votes

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
