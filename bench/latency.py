"""Tick → published when idle: a tick message is sent, its result's stream entry is waited for; beside bare Celery."""

from __future__ import annotations

import os
import time
from argparse import Namespace
from collections.abc import Callable
from datetime import datetime
from itertools import pairwise

import psycopg
from redis import Redis

from bench.environment import KIND, Servers, servers
from bench.figures import percentile, table
from bench.processes import Process, celery_worker

REAL_KIND = "technical_analysis"
SYMBOL = "BTC/USDT"
WARM_UP = 5
# Each second has one slot per kind; where in the second each is asked for, so that nobody meets the others.
OFFSETS_S = {KIND: 0.1, REAL_KIND: 0.4, "celery": 0.75}
NAMES = {
    KIND: "tick → published, no-op",
    REAL_KIND: "tick → published, technical_analysis",
    "celery": "delay → body, bare Celery",
}
SEEN_TIMEOUT_MS = 10_000


def run(options: Namespace) -> None:
    """Prints percentiles per kind, and where the time of the no-op and the real kind went."""
    with servers() as on:
        environment = _one_second_schedules(on)
        workers = _workers(on, environment)
        try:
            lateness, stages = _sample(on, options.samples)
        finally:
            for worker in workers:
                worker.stop()
    print(_report(lateness, stages, options.samples))


def _one_second_schedules(on: Servers) -> dict[str, str]:
    from aaos import bootstrap
    from aaos.services.use_market import use_simulated
    from aaos.settings import settings

    extra = {
        f"AAOS_SCHEDULES__{REAL_KIND.upper()}__EVERY_S": "1",
        "AAOS_MARKET__SYMBOLS": f'["{SYMBOL}"]',
    }
    os.environ.update(extra)
    settings.cache_clear()
    bootstrap.reset()
    c = bootstrap.container()
    hour_ms = 3_600_000
    use_simulated(1.0, int(c.database.now().timestamp() * 1000), hour_ms, c.settings.market, c.market_store)
    os.environ["BENCH_BARE_URL"] = on.valkey.database_url(1)
    return {**on.environment(), **extra, "BENCH_BARE_URL": on.valkey.database_url(1)}


def _workers(on: Servers, environment: dict[str, str]) -> list[Process]:
    """The embedded stack's two workers, and one of bare Celery."""
    cpu = ("-P", "prefork", "-c", "2", "-O", "fair", "-Q", f"{KIND},{REAL_KIND}")
    io = ("-P", "threads", "-c", "8", "-Q", "result_publishing,maintenance")
    bare = ("-P", "prefork", "-c", "2", "-O", "fair", "-Q", "bare")
    return [
        celery_worker("bench.noop", "cpu", cpu, environment, on.directory),
        celery_worker("bench.noop", "io", io, environment, on.directory),
        celery_worker("bench.bare", "bare", bare, environment, on.directory),
    ]


def _sample(on: Servers, samples: int) -> tuple[dict[str, list[float]], dict[str, list[list[float]]]]:
    redis, bare = Redis.from_url(on.valkey.url), Redis.from_url(on.valkey.database_url(1))
    database = psycopg.connect(on.database_url(), autocommit=True)
    lateness: dict[str, list[float]] = {name: [] for name in OFFSETS_S}
    stages: dict[str, list[list[float]]] = {KIND: [], REAL_KIND: []}
    for number in range(samples + WARM_UP):
        second = int(time.time()) + 1
        for name, offset in OFFSETS_S.items():
            time.sleep(max(0.0, second + offset - time.time()))
            began, seen = _ask(name, bare if name == "celery" else redis, number)
            if number >= WARM_UP:
                lateness[name].append((seen - began) * 1000)
                if name in stages:
                    stages[name].append(_stages(database, name, began, seen))
    database.close()
    return lateness, stages


def _ask(name: str, redis: Redis, number: int) -> tuple[float, float]:
    """Sends one tick (or bare task); returns when, and when its effect was seen."""
    if name == "celery":
        from bench.bare import stamp

        key = f"bench:stamp:{number}"
        began = time.time()
        stamp.delay(key)
        return began, float(_until(lambda: redis.get(key)))
    from aaos.bootstrap import container

    stream = f"aaos:results:{name}"
    newest = redis.xrevrange(stream, count=1)
    last = newest[0][0] if newest else "0"
    began = time.time()
    container().hints.tick(name)
    if not redis.xread({stream: last}, count=1, block=SEEN_TIMEOUT_MS):
        raise TimeoutError(f"no result of {name} within {SEEN_TIMEOUT_MS} ms; see the workers' logs")
    return began, time.time()


def _until(ask: Callable[[], bytes | None]) -> bytes:
    deadline = time.monotonic() + SEEN_TIMEOUT_MS / 1000
    while time.monotonic() < deadline:
        found = ask()
        if found is not None:
            return found
        time.sleep(0.001)
    raise TimeoutError("the bare task was not executed; see its worker's log")


def _stages(database: psycopg.Connection[tuple[datetime, ...]], kind: str, began: float, seen: float) -> list[float]:
    """ms from one instant to the next: sent, row inserted, claimed, completed, seen on the stream."""
    query = "SELECT created_at, started_at, finished_at FROM runs WHERE kind = %s ORDER BY id DESC LIMIT 1"
    row = database.execute(query, (kind,)).fetchone()
    assert row is not None
    instants = [began, *(each.timestamp() for each in row), seen]
    return [(later - earlier) * 1000 for earlier, later in pairwise(instants)]


def _report(lateness: dict[str, list[float]], stages: dict[str, list[list[float]]], samples: int) -> str:
    rows = [
        [NAMES[name], *(f"{percentile(found, p):.1f}" for p in (50, 95, 99)), f"{min(found):.1f}–{max(found):.1f}"]
        for name, found in lateness.items()
    ]
    header = ["ms, when idle", "p50", "p95", "p99", "min–max"]
    parts = ["tick sent → row inserted", "inserted → claimed", "claimed → completed", "completed → seen on stream"]
    medians = [
        [part, *(f"{percentile([each[index] for each in found], 50):.1f}" for found in stages.values())]
        for index, part in enumerate(parts)
    ]
    where = table(["where it goes, p50 ms", *(NAMES[name].split(", ")[1] for name in stages)], medians)
    return f"\nLatency ({samples} samples each, one symbol)\n\n{table(header, rows)}\n\n{where}\n"
