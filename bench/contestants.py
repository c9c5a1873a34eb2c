"""Who runs in the throughput race: each starts real workers, takes n pieces of work, and tells when it is done."""

from __future__ import annotations

import os
import subprocess
import time
from abc import ABC, abstractmethod
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import ClassVar

import psycopg
from redis import Redis

from bench.environment import KIND, MAX_CONCURRENT, Servers, noop_kind
from bench.processes import Process, celery_worker, wait_until

PROCESSES = 2
DRAIN_TIMEOUT_S = 180.0
PEERS = Path(__file__).parent / "peers"


class Contestant(ABC):
    """One system under test on given servers."""

    name: ClassVar[str]
    # Asking is not free where the database answers; there the rows' own times give the span.
    poll_s: float = 0.1

    def __init__(self, servers: Servers) -> None:
        self.servers = servers
        self.processes: list[Process] = []

    @abstractmethod
    def start(self) -> None:
        """Starts the workers and waits until they are ready."""

    @abstractmethod
    def feed(self, count: int) -> None:
        """Lays out that much work; durable where the system is durable."""

    @abstractmethod
    def drained(self) -> bool:
        """Whether all of it is done."""

    @abstractmethod
    def span_s(self, resumed_at: float) -> float:
        """Seconds from the first piece taken to the last one done; called right after it drained."""

    def stop(self) -> None:
        """Ends the workers."""
        for process in self.processes:
            process.stop()
        self.processes = []

    def race(self, count: int) -> float:
        """Returns pieces per second: laid out while the workers are held still, then let go."""
        self.lay_out(count)
        return self.let_go(count)

    def lay_out(self, count: int) -> None:
        """Holds the workers still and gives them that much to do."""
        for process in self.processes:
            process.pause()
        self.feed(count)

    def let_go(self, count: int) -> float:
        """Lets the workers go and waits for the end; returns pieces per second."""
        resumed_at = time.time()
        for process in self.processes:
            process.resume()
        wait_until(self.drained, DRAIN_TIMEOUT_S, f"{self.name}, {count} pieces", self.poll_s)
        return count / self.span_s(resumed_at)


class BareCelery(Contestant):
    """No-op tasks: nothing stored, nothing published; the floor under everything built on Celery."""

    name = "celery"
    poll_s = 0.005

    def start(self) -> None:
        """See the base."""
        arguments = ("-P", "prefork", "-c", str(PROCESSES), "-O", "fair", "-Q", "bare")
        # A database of its own on the same server: its bookkeeping must not meet what aaos left unacknowledged.
        url = self.servers.valkey.database_url(1)
        os.environ["BENCH_BARE_URL"] = url
        env = {"BENCH_BARE_URL": url}
        self.processes = [celery_worker("bench.bare", "bare", arguments, env, self.servers.directory)]
        self._redis = Redis.from_url(url)

    def feed(self, count: int) -> None:
        """See the base."""
        from bench.bare import noop

        for number in range(count):
            noop.delay(number)

    def drained(self) -> bool:
        """See the base."""
        return not self._redis.llen("bare") and not self._redis.hlen("unacked")

    def span_s(self, resumed_at: float) -> float:
        """From letting go to the last acknowledgement."""
        return time.time() - resumed_at


class Aaos(Contestant):
    """Runs: inserted by one statement as a tick does, claimed, completed with result and outbox, published."""

    name = "aaos"
    hint_first = MAX_CONCURRENT
    max_concurrent = MAX_CONCURRENT

    def start(self) -> None:
        """See the base."""
        env = {**self.servers.environment(), **noop_kind(self.max_concurrent)}
        cpu = ("-P", "prefork", "-c", str(PROCESSES), "-O", "fair", "-Q", KIND)
        io = ("-P", "threads", "-c", "8", "-Q", "result_publishing,maintenance")
        directory = self.servers.directory
        self.processes = [
            celery_worker("bench.noop", "cpu", cpu, env, directory),
            celery_worker("bench.noop", "io", io, env, directory),
        ]
        self._database = psycopg.connect(self.servers.database_url(), autocommit=True, options="-c enable_seqscan=off")
        self._slot = datetime.now(UTC).replace(microsecond=0)
        self._born: tuple[int, int] = (0, 0)

    def feed(self, count: int) -> None:
        """See the base."""
        from aaos.bootstrap import container
        from aaos.services.tick_schedule import new_run

        c = container()
        self._slot += timedelta(seconds=1)
        symbols = [f"S{number:06d}/USDT" for number in range(count)]
        before = self._one("SELECT COALESCE(max(id), 0) FROM runs")
        hinted = c.runs.insert_slot(new_run(KIND, "", c.settings), symbols, self._slot, self.hint_first)
        for run_id, _ in hinted:
            c.hints.hint(KIND, run_id)
        self._born = (before, count)

    def drained(self) -> bool:
        """See the base."""
        after, count = self._born
        pending, running = ("SELECT 1 FROM runs WHERE state = 'pending'", "SELECT 1 FROM runs WHERE state = 'running'")
        unpublished = "SELECT 1 FROM outbox WHERE published_at IS NULL"
        if self._one(f"SELECT EXISTS ({pending}) OR EXISTS ({running}) OR EXISTS ({unpublished})"):
            return False
        published = self._one(
            "SELECT count(o.published_at) FROM outbox o JOIN results r ON r.id = o.result_id WHERE r.run_id > %s", after
        )
        if published != count:
            raise RuntimeError(f"{count} runs, but {published} published results")
        return True

    def span_s(self, resumed_at: float) -> float:
        """From the first claim to the last result published, by the database's clock."""
        del resumed_at
        query = """
            SELECT EXTRACT(epoch FROM max(o.published_at) - min(runs.started_at))
            FROM runs JOIN results r ON r.run_id = runs.id JOIN outbox o ON o.result_id = r.id WHERE runs.id > %s
        """
        return float(self._one(query, self._born[0]))

    def stop(self) -> None:
        """See the base."""
        super().stop()
        self._database.close()

    def _one(self, query: str, *parameters: int) -> int:
        row = self._database.execute(query, parameters).fetchone()
        assert row is not None
        return row[0]


class AaosAllHinted(Aaos):
    """The same with room for all runs at once: every message is sent by the tick, none by a run's end."""

    name = "aaos, all hinted"
    hint_first = 10_000
    max_concurrent = 10_000


class Peer(Contestant):
    """A peer in its own Python, on a database of its own on the same server."""

    script: ClassVar[str]
    table: ClassVar[str]
    unfinished: ClassVar[str]
    levels: ClassVar[tuple[tuple[int, float], ...]]

    def __init__(self, servers: Servers, python: Path, concurrency: int, poll_s: float) -> None:
        super().__init__(servers)
        self.concurrency = concurrency
        self.polling_interval_s = poll_s
        self._python = str(python)

    def start(self) -> None:
        """See the base."""
        self._prepare()
        argv = [self._python, str(PEERS / self.script), "worker"]
        log = self.servers.directory / f"{self.name}-{{}}.log"
        self.processes = [
            Process(self.name, argv, self._env(n), Path(str(log).format(n)), "peer ready.") for n in range(PROCESSES)
        ]
        self._database = psycopg.connect(self.servers.database_url(self.name), autocommit=True)

    def feed(self, count: int) -> None:
        """See the base."""
        argv = [self._python, str(PEERS / self.script), "feed", str(count)]
        subprocess.run(argv, env=self._env(0), check=True, capture_output=True)

    def drained(self) -> bool:
        """See the base."""
        row = self._database.execute(f"SELECT EXISTS (SELECT 1 FROM {self.table} WHERE {self.unfinished})").fetchone()
        return row is not None and not row[0]

    def stop(self) -> None:
        """See the base."""
        super().stop()
        self._database.close()

    def _env(self, number: int) -> dict[str, str]:
        return {
            **os.environ,
            "BENCH_DATABASE_URL": self.servers.database_url(self.name),
            "BENCH_CONCURRENCY": str(self.concurrency),
            "BENCH_POLL_S": str(self.polling_interval_s),
            "BENCH_EXECUTOR": f"bench-{number}",
        }

    def _prepare(self) -> None:
        with psycopg.connect(self.servers.database_url(), autocommit=True) as database:
            known = database.execute("SELECT 1 FROM pg_database WHERE datname = %s", (self.name,)).fetchone()
            if known is None:
                database.execute(f"CREATE DATABASE {self.name}")
                self._first_time()

    def _first_time(self) -> None:
        return


class Dbos(Peer):
    """Workflows on a queue; (workflows at once per process, polling interval in s), 0: no limit."""

    name = "dbos"
    script = "dbos_app.py"
    table = "dbos.workflow_status"
    unfinished = "status IN ('ENQUEUED', 'PENDING')"
    levels = ((0, 1.0), (0, 0.05), (32, 0.02), (100, 0.05))

    def span_s(self, resumed_at: float) -> float:
        """From the first start to the last completion, by the rows' own times.

        A poll that was held still in its transaction starts them with an instant before letting go: that counts then.
        """
        resumed_ms = int(resumed_at * 1000)
        query = """
            SELECT (max(updated_at) - GREATEST(min(started_at_epoch_ms), %s)) / 1000.0
            FROM dbos.workflow_status WHERE updated_at >= %s
        """
        row = self._database.execute(query, (resumed_ms, resumed_ms)).fetchone()
        assert row is not None
        return float(row[0])


class Procrastinate(Peer):
    """Asynchronous jobs; jobs at once per process."""

    name = "procrastinate"
    script = "procrastinate_app.py"
    table = "procrastinate_jobs"
    unfinished = "status IN ('todo', 'doing')"
    levels = ((1, 5.0), (4, 5.0), (16, 5.0), (64, 5.0))

    def span_s(self, resumed_at: float) -> float:
        """From the first start to the last success, by the database's events."""
        query = """
            SELECT EXTRACT(epoch FROM max(at) - min(at)) FROM procrastinate_events
            WHERE type IN ('started', 'succeeded') AND at >= to_timestamp(%s)
        """
        row = self._database.execute(query, (resumed_at,)).fetchone()
        assert row is not None
        return float(row[0])

    def _first_time(self) -> None:
        subprocess.run(
            [self._python, str(PEERS / self.script), "schema"], env=self._env(0), check=True, capture_output=True
        )
