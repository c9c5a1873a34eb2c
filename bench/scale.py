"""Cost per run: by how many symbols a slot has, and by how many old runs the tables hold."""

from __future__ import annotations

import statistics
import time
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import psycopg

from aaos.adapters.postgres.database import Database
from aaos.adapters.postgres.results import PostgresOutbox
from aaos.adapters.postgres.runs import PostgresRunStore
from aaos.adapters.postgres.schema import migrate
from aaos.adapters.redis.flags import connect
from aaos.adapters.redis.streams import RedisResultStream
from aaos.bootstrap import container
from aaos.domain.runs import ClaimedRun, Completed
from aaos.services.tick_schedule import new_run
from bench.environment import KIND, MAX_CONCURRENT, Servers, servers
from bench.figures import percentile, spread, table
from bench.history import generate
from bench.plans import Plan, explain, scans
from bench.processes import cpu_s

FULL = "aaos_full"
BATCH = 200
PIECES = 1000
SIZES = (1, 100, 10_000)
FULL_PLANS = ("claim", "complete", "newest slot", "publish: lock batch", "sweep: hint again")


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one run, everything around its work: insert, claim, complete, publish."""

    wall_ms: float
    claim_ms: float
    complete_ms: float
    client_ms: float
    postgres_ms: float
    valkey_ms: float

    @property
    def cpu_ms(self) -> float:
        """All CPU time of client and servers."""
        return self.client_ms + self.postgres_ms + self.valkey_ms


class Ground:
    """One database, driven by this process alone."""

    def __init__(self, on: Servers, database: str) -> None:
        self._on = on
        self.url = on.database_url(database)
        self.database = Database(on.postgres.dsn.rpartition("/")[0] + "/" + database)
        c = container()
        self.settings = c.settings
        self.runs = PostgresRunStore(self.database, c.settings.runs)
        self.outbox = PostgresOutbox(self.database)
        self.stream = RedisResultStream(connect(c.settings.redis_address), c.settings.runs.stream_maxlen)
        # Of its own for each symbol count and round: far enough apart that 1,000 slots of a second fit between.
        self._slot = datetime.now(UTC).replace(microsecond=0)

    def cost(self, symbols: int, pieces: int) -> Cost:
        """Drives `pieces` runs in slots of so many symbols from insert to published; returns the cost of one."""
        names = [f"S{number:06d}/USDT" for number in range(symbols)]
        claims: list[float] = []
        completes: list[float] = []
        before = self._spent()
        done = 0
        while done < pieces:
            done += self._slot_of(names, claims, completes)
        spent = zip(before, self._spent(), strict=True)
        wall, client, postgres, valkey = (1000 * (b - a) / done for a, b in spent)
        return Cost(wall, percentile(claims, 50), percentile(completes, 50), client, postgres, valkey)

    def _spent(self) -> tuple[float, float, float, float]:
        """Seconds so far: on the wall, and of CPU by this process, PostgreSQL and Valkey."""
        on = self._on
        return time.monotonic(), time.process_time(), sum(cpu_s(on.postgres.pid)), sum(cpu_s(on.valkey.pid))

    def _slot_of(self, names: Sequence[str], claims: list[float], completes: list[float]) -> int:
        self._slot += timedelta(seconds=1)
        hinted = self.runs.insert_slot(new_run(KIND, "", self.settings), names, self._slot, MAX_CONCURRENT)
        waiting = [run_id for run_id, _ in hinted]
        for number, run_id in enumerate(waiting):
            began = time.perf_counter()
            claim = self.runs.claim(run_id, "bench", MAX_CONCURRENT)
            claimed = time.perf_counter()
            assert isinstance(claim, ClaimedRun)
            ended = self.runs.complete(claim, Completed({"symbol": claim.symbol, "answer": claim.id}), publish=True)
            claims.append((claimed - began) * 1000)
            completes.append((time.perf_counter() - claimed) * 1000)
            if ended.promoted is not None:
                waiting.append(ended.promoted[0])
            if number % BATCH == BATCH - 1:
                self.publish()
        self.publish()
        return len(waiting)

    def publish(self) -> None:
        """Announces what the outbox holds, as the publisher does."""
        while True:
            with self.outbox.batch(BATCH) as held:
                if held.results:
                    held.mark_published(self.stream.publish(held.results))
                if len(held.results) < BATCH:
                    return

    def leave_some_work(self) -> None:
        """Leaves pending, running and unpublished rows for EXPLAIN to meet."""
        self._slot += timedelta(seconds=1)
        names = [f"S{number:06d}/USDT" for number in range(100)]
        hinted = self.runs.insert_slot(new_run(KIND, "", self.settings), names, self._slot, MAX_CONCURRENT)
        for run_id, _ in hinted[:40]:
            claim = self.runs.claim(run_id, "bench", MAX_CONCURRENT)
            assert isinstance(claim, ClaimedRun)
            if run_id % 2:
                self.runs.complete(claim, Completed({"answer": 1}), publish=True)


def run(options: Namespace) -> None:
    """Prints both tables and the plans of the hot statements."""
    with servers() as on:
        empty, full = Ground(on, "aaos"), _full_ground(on, options.rows)
        by_size: dict[int, list[Cost]] = {size: [] for size in SIZES}
        by_age: dict[str, list[Cost]] = {"empty": [], "full": []}
        for ground in (empty, full):
            ground.cost(100, PIECES)
        for _ in range(options.rounds):
            for size in SIZES:
                by_size[size].append(empty.cost(size, PIECES))
            for name, ground in (("empty", empty), ("full", full)):
                by_age[name].append(ground.cost(100, PIECES))
        print(_report(by_size, by_age, options), flush=True)
        for ground in (empty, full):
            ground.leave_some_work()
        plans = explain(empty.url), explain(full.url)
    print(_plans(*plans, options.rows))


def _full_ground(on: Servers, rows: int) -> Ground:
    with psycopg.connect(on.database_url(), autocommit=True) as database:
        database.execute(f"CREATE DATABASE {FULL}")
    migrate(on.postgres.dsn.rpartition("/")[0] + "/" + FULL)
    took_s = generate(on.database_url(FULL), rows)
    with psycopg.connect(on.database_url(FULL)) as database:
        size = database.execute("SELECT pg_size_pretty(pg_database_size(current_database()))").fetchone()
    print(f"  {rows:,} old runs with results: {size[0] if size else '?'}, made in {took_s:.0f} s", flush=True)
    return Ground(on, FULL)


def _report(by_size: dict[int, list[Cost]], by_age: dict[str, list[Cost]], options: Namespace) -> str:
    header = ["", "wall ms", "claim ms, p50", "complete ms, p50", "CPU ms", "of which client · PostgreSQL · Valkey"]
    sizes = [_cells(f"{size:,} symbols", found) for size, found in by_size.items()]
    names = {"empty": "young tables", "full": f"{options.rows:,} old runs"}
    ages = [_cells(names[name], found) for name, found in by_age.items()]
    title = f"Cost of one run, without Celery: insert + claim + complete + publish ({options.rounds} rounds)"
    return f"\n{title}\n\n{table(header, sizes)}\n\n{table(header, ages)}\n"


def _cells(name: str, found: list[Cost]) -> list[str]:
    def median(part: str) -> float:
        return statistics.median(getattr(each, part) for each in found)

    spent = " · ".join(f"{median(part):.2f}" for part in ("client_ms", "postgres_ms", "valkey_ms"))
    columns = [spread([getattr(each, part) for each in found], 2) for part in ("wall_ms", "claim_ms", "complete_ms")]
    return [name, *columns, f"{median('cpu_ms'):.2f}", spent]


def _plans(empty: Mapping[str, Plan], full: Mapping[str, Plan], rows: int) -> str:
    cells = []
    for name, plan in full.items():
        young = empty[name]
        blocks = f"{plan.hit} + {plan.read}"
        cells.append([name, f"{young.ms:.2f}", f"{plan.ms:.2f}", str(young.hit), blocks, scans(plan.text)])
    header = ["statement", "ms, young", f"ms, {rows:,}", "blocks, young", f"blocks hit + read, {rows:,}", "reads by"]
    whole = "\n\n".join(f"-- {name}, {rows:,} old runs\n{full[name].text}" for name in FULL_PLANS)
    return f"\nHot statements, EXPLAIN (ANALYZE, BUFFERS)\n\n{table(header, cells)}\n\n{whole}\n"
