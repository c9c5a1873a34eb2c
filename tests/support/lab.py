"""A running system to experiment on: servers, processes, and a hand on the database."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import redis
from psycopg.rows import namedtuple_row
from support.checks import INSTALL_HISTORY
from support.workers import ALL_QUEUES, Fleet, Process, Simulator, fleet, wait_until

from aaos import bootstrap
from aaos.bootstrap import Container
from aaos.domain.runs import ClaimedRun, Completed, Dependency, NewRun, State
from aaos.services.freeze_context import freeze_context
from aaos.services.use_market import use_simulated
from aaos.settings import settings

SYMBOL = "BTC/USDT"
SHOWN = """
    id, kind, symbol, state, attempt, reason, fence, owner, hints, hinted_at, parked, due_at, deadline,
    clock_timestamp() AS now
"""
# No schedule ticks: only what a test inserts is worked on.
IDLE = {
    f"AAOS_SCHEDULES__{name}__ENABLED": "false"
    for name in ("TECHNICAL_ANALYSIS", "REGIME_DETECTION", "TRADING_DECISION", "PORTFOLIO_REBALANCE")
}
# As many calls to the model, on one context, as a test likes, however many of them fail.
UNLIMITED = {
    "AAOS_SOVEREIGN__LIMITS__REQUESTS_PER_MINUTE": "1000000",
    "AAOS_SOVEREIGN__LIMITS__TOKENS_PER_MINUTE": "1000000000",
    "AAOS_SOVEREIGN__LIMITS__CONCURRENT": "10000",
    "AAOS_SOVEREIGN__BUDGET__TOKENS_PER_DECISION": "1000000000000",
    "AAOS_SOVEREIGN__BUDGET__TOKENS_PER_DAY": "1000000000000",
    "AAOS_SOVEREIGN__BREAKER__FAILURES_TO_OPEN": "100",
    "AAOS_SOVEREIGN__BREAKER__WINDOW_CALLS": "100",
}
# As many votes at once as two workers of eight threads can cast.
ROOM = {
    "AAOS_KINDS__TRADING_ANALYSIS__MAX_CONCURRENT": "16",
    "AAOS_RUNS__MAX_CONCURRENT_TASKS": "100",
    "AAOS_LOCAL__IO_THREADS": "32",
}
# Everything that waits waits shortly: for tests about what happens, not about how soon.
QUICK = {
    "AAOS_RUNS__LEASE_S": "2",
    "AAOS_RUNS__HEARTBEAT_S": "0.5",
    "AAOS_RUNS__SWEEP_S": "0.5",
    "AAOS_RUNS__HINT_AFTER_S": "0.5",
    "AAOS_RUNS__HINT_BACKOFF_MAX_S": "2",
    "AAOS_RUNS__RETRY_DELAY_S": "0.2",
}


class Lab:
    """What a test does to a running system, and sees of it."""

    def __init__(
        self, environment: Mapping[str, str], processes: Fleet, simulator: Simulator, client: Container
    ) -> None:
        self.environment = environment
        self.fleet = processes
        self.simulator = simulator
        self.client = client
        self._connection: psycopg.Connection[Any] | None = None

    # --- the database -----------------------------------------------------------------------------------

    def rows(self, statement: str, *parameters: Any) -> list[Any]:
        """Runs one statement on a connection of the test's own, made again when the server was away."""
        if self._connection is None or self._connection.closed or self._connection.broken:
            address = self.environment["AAOS_DATABASE_URL"].replace("+psycopg", "")
            self._connection = psycopg.connect(address, autocommit=True, row_factory=namedtuple_row, connect_timeout=5)
        cursor = self._connection.execute(statement, parameters or None)
        return cursor.fetchall() if cursor.description else []

    def value(self, statement: str, *parameters: Any) -> Any:
        return self.rows(statement, *parameters)[0][0]

    def patiently(self, statement: str, *parameters: Any) -> list[Any]:
        """Like `rows`, but keeps trying while the server is away (10 s)."""
        give_up_at = time.monotonic() + 10
        while True:
            try:
                return self.rows(statement, *parameters)
            except psycopg.OperationalError:
                if time.monotonic() > give_up_at:
                    raise
                time.sleep(0.1)

    def state(self, run_id: int) -> str:
        return str(self.value("SELECT state FROM runs WHERE id = %s", run_id))

    # --- waiting ----------------------------------------------------------------------------------------

    def wait_until(self, true: Any, what: str, timeout_s: float = 30) -> float:
        """Returns the seconds it took; fails with the processes' last words and the runs that are open."""
        return wait_until(true, what, timeout_s, lambda: f"{self.fleet.tails()}\n{self.open_runs()}")

    def open_runs(self) -> str:
        """What is not final, as it stands, and the messages in the queues."""
        found = self.patiently(f"SELECT {SHOWN} FROM runs WHERE finished_at IS NULL ORDER BY id LIMIT 20")
        queues = {queue: self.broker().llen(queue) for queue in ALL_QUEUES}
        return "\n".join(["open runs:", *map(str, found), f"messages waiting: {queues}"])

    def wait_final(self, run_ids: Sequence[int], timeout_s: float = 30) -> dict[str, int]:
        """Waits until all these runs are final; returns how many ended in which state."""

        def open_runs() -> int:
            statement = "SELECT count(*) FROM runs WHERE id = ANY(%s) AND state IN ('pending', 'running')"
            return int(self.patiently(statement, list(run_ids))[0][0])

        self.wait_until(lambda: open_runs() == 0, f"{len(run_ids)} runs final", timeout_s)
        counted = self.rows("SELECT state, count(*) FROM runs WHERE id = ANY(%s) GROUP BY state", list(run_ids))
        return {row[0]: row[1] for row in counted}

    def wait_state(self, run_id: int, state: str, timeout_s: float = 30) -> float:
        return self.wait_until(lambda: self.state(run_id) == state, f"run {run_id} is {state}", timeout_s)

    def wait_published(self, timeout_s: float = 30) -> None:
        waiting = "SELECT count(*) FROM outbox WHERE published_at IS NULL"
        self.wait_until(lambda: self.patiently(waiting)[0][0] == 0, "the outbox is empty", timeout_s)

    # --- runs -------------------------------------------------------------------------------------------

    def store_context(self, symbol: str = SYMBOL) -> int:
        """Stores a decision's context, made by the services themselves; returns its run's id."""
        c = self.client
        key = f"context:{symbol}:{time.monotonic_ns()}"
        run_id, _ = c.runs.insert_request(NewRun("trading_context", symbol, 60, 60, key))
        claimed = c.runs.claim(run_id, "the test", 10_000)
        assert isinstance(claimed, ClaimedRun), claimed
        answers = {"technical_analysis": c.analyze_technicals, "regime_detection": c.detect_regime}
        inputs = [_answered(kind, claimed, work(claimed, ())) for kind, work in answers.items()]
        frozen = freeze_context(claimed, inputs, c.market, c.results, c.database, c.settings)
        c.runs.complete(claimed, Completed(frozen.body, frozen.inputs), publish=False)
        return run_id

    def insert_votes(self, count: int, context_run: int, prefix: str = "vote", symbol: str = SYMBOL) -> list[int]:
        """Inserts votes on one context, without any message."""
        kind = self.client.settings.kinds["trading_analysis"]
        params = {"context_run": context_run, "voter": "trend"}
        keys = [f"{prefix}:{context_run}:{number}" for number in range(count)]
        specs = [NewRun("trading_analysis", symbol, kind.timeout_seconds, 600, key, params=params) for key in keys]
        return [self.client.runs.insert_request(spec)[0] for spec in specs]

    def insert_run(self, kind: str, symbol: str = SYMBOL) -> int:
        """Inserts an ad-hoc run of a kind without inputs, without any message."""
        timeout_s = self.client.settings.kinds[kind].timeout_seconds
        key = f"{kind}:{symbol}:{time.monotonic_ns()}"
        return self.client.runs.insert_request(NewRun(kind, symbol, timeout_s, 600, key))[0]

    def hint(self, kind: str, *run_ids: int) -> None:
        for run_id in run_ids:
            self.client.hints.hint(kind, run_id)

    def redis(self) -> redis.Redis:
        return redis.Redis.from_url(self.environment["AAOS_REDIS_URL"], socket_timeout=5)

    def broker(self) -> redis.Redis:
        return redis.Redis.from_url(self.environment["AAOS_BROKER_URL"], socket_timeout=5)

    def play_simulated(self) -> None:
        """Sets the simulated market's clock, which a speed other than 1 needs."""
        c = self.client
        widest_ms = max(c.settings.slot_width_ms(name) for name in c.settings.schedules)
        now_ms = int(c.database.now().timestamp() * 1000)
        use_simulated(c.settings.speed, now_ms, widest_ms, c.settings.market, c.market_store)

    def keep_house(self) -> None:
        """Starts whatever finds lost runs, and puts due ones back on their way: beat, and a worker for its tasks."""
        self.fleet.worker("maintenance", "result_publishing", concurrency=4, wait=False)
        self.fleet.beat(wait=False)
        self.fleet.wait_ready()

    def owner_of(self, run_id: int, workers: Sequence[Process]) -> Process:
        """Returns the worker that holds the run; `runs.owner` is host:pid:task."""
        pid = int(self.value("SELECT owner FROM runs WHERE id = %s", run_id).split(":")[1])
        for worker in workers:
            if pid == worker.pid or pid in [child.pid for child in worker.children()]:
                return worker
        raise AssertionError(f"run {run_id} is held by pid {pid}, which is none of ours\n{self.fleet.tails()}")

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self.client.database.close()


def _answered(kind: str, run: ClaimedRun, outcome: Completed) -> Dependency:
    now = datetime.now(UTC)
    return Dependency(run.id, kind, run.symbol, True, State.COMPLETED, None, None, now, "", outcome.body)


@contextmanager
def client_container(environment: Mapping[str, str]) -> Iterator[Container]:
    """Yields adapters and services on these addresses, in the test's own process."""
    before = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)
    _forget_settings()
    client = Container(settings())
    client.hints.queued("maintenance")  # Celery reads its settings when first used: now, while they are these
    try:
        yield client
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
        _forget_settings()


def _forget_settings() -> None:
    settings.cache_clear()
    bootstrap.reset()
    sys.modules.pop("celeryconfig", None)


@contextmanager
def running_lab(
    environment: Mapping[str, str],
    directory: Path,
    extra: Mapping[str, str] | None = None,
    latency_ms: float = 150,
) -> Iterator[Lab]:
    """Yields a lab with a simulated Sovereign, asked without limits, a recorded history of runs, and no workers yet."""
    with fleet({**environment, **UNLIMITED, **(extra or {})}, directory) as processes:
        simulator = processes.simulator(latency_ms)
        complete = {**processes.environment, "AAOS_SOVEREIGN_URL": f"{simulator.base_url}/v1"}
        processes.environment = complete
        with client_container(complete) as client:
            lab = Lab(complete, processes, simulator, client)
            lab.rows(INSTALL_HISTORY)
            if client.settings.speed != 1:
                lab.play_simulated()
            try:
                yield lab
            finally:
                processes.close()
                lab.close()


@contextmanager
def module_environment(databases: Any, valkey_server: Any) -> Iterator[dict[str, str]]:
    """Yields what `aaos_environment` is, for a whole module: a fresh database, an empty Valkey."""
    if not valkey_server.is_running():
        valkey_server.start()
    with redis.Redis.from_url(valkey_server.url) as client:
        client.flushall()
    with databases.fresh() as database_url:
        yield {
            "AAOS_BROKER_URL": valkey_server.database_url(0),
            "AAOS_REDIS_URL": valkey_server.database_url(1),
            "AAOS_DATABASE_URL": database_url,
        }
