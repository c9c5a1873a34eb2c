"""Durable runs per second, beside bare Celery and two PostgreSQL-backed peers, in interleaved rounds."""

from __future__ import annotations

import os
import statistics
import time
from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import psutil

from bench.contestants import Aaos, AaosAllHinted, BareCelery, Contestant, Dbos, Peer, Procrastinate
from bench.environment import MAX_CONCURRENT, Servers, servers
from bench.figures import spread, table
from bench.peers.install import peers_python
from bench.processes import cpu_s

WARM_UP = 300
# On a shared machine: calm is when others use less than this share, a round is disturbed when they took more.
CALM_BELOW = 0.05
CALM_SAMPLE_S = 0.5
CALM_WAIT_S = 30.0
DISTURBED_ABOVE = 0.1
TUNING_PIECES = 1_000


@dataclass(slots=True)
class Lap:
    """One round of one contestant: pieces per second, CPU ms per piece by who spent it, and what others took.

    `others` is the share of the machine that went to processes which are no part of the race.
    """

    rate: float
    cpu_ms: dict[str, float] = field(default_factory=dict)
    others: float = 0.0


def run(options: Namespace) -> None:
    """Prints the race's table."""
    with servers() as on:
        entries = _entries(on, options)
        laps: dict[str, list[Lap]] = {name: [] for name in entries}
        for number in range(options.rounds):
            for name, make in entries.items():
                done = lap(make(), options.runs, options.tries)
                laps[name].append(done)
                print(f"  round {number + 1} {name}: {done.rate:,.0f}/s, others {done.others:.0%}", flush=True)
    print(_report(laps, options))


def lap(contestant: Contestant, count: int, tries: int = 1) -> Lap:
    """One measured round: start, warm up, hold still, lay out, let go, measure, end.

    Where others took more than a tenth of the machine it is run again, up to `tries` times; the calmest one counts.
    """
    contestant.start()
    try:
        contestant.race(WARM_UP)
        found: list[Lap] = []
        while len(found) < tries and all(each.others > DISTURBED_ABOVE for each in found):
            found.append(_measured(contestant, count))
        return min(found, key=lambda each: each.others)
    finally:
        contestant.stop()


def _measured(contestant: Contestant, count: int) -> Lap:
    contestant.lay_out(count)
    wait_for_calm()
    before, busy_before, began = _cpu(contestant), _busy_s(), time.monotonic()
    rate = contestant.let_go(count)
    after, busy, span_s = _cpu(contestant), _busy_s() - busy_before, time.monotonic() - began
    spent_s = {name: after[name] - before[name] for name in after}
    others = (busy - sum(spent_s.values())) / (span_s * (os.cpu_count() or 1))
    return Lap(rate, {name: spent * 1000 / count for name, spent in spent_s.items()}, max(0.0, others))


def wait_for_calm() -> None:
    """Returns when hardly anybody else computes, or after a while all the same."""
    deadline = time.monotonic() + CALM_WAIT_S
    while time.monotonic() < deadline:
        busy = _busy_s()
        time.sleep(CALM_SAMPLE_S)
        if _busy_s() - busy < CALM_BELOW * CALM_SAMPLE_S * (os.cpu_count() or 1):
            return


def _busy_s() -> float:
    """CPU seconds the whole machine has spent on anything."""
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - times.iowait - times.guest - times.guest_nice)


def _cpu(contestant: Contestant) -> dict[str, float]:
    found: dict[str, float] = {}
    for process in contestant.processes:
        own, children = cpu_s(process.pid)
        found[process.name] = found.get(process.name, 0.0) + own
        if children:
            found[f"{process.name}'s children"] = children
    on = contestant.servers
    return {**found, "PostgreSQL": sum(cpu_s(on.postgres.pid)), "Valkey": sum(cpu_s(on.valkey.pid))}


def _entries(on: Servers, options: Namespace) -> dict[str, Callable[[], Contestant]]:
    entries: dict[str, Callable[[], Contestant]] = {
        "celery": lambda: BareCelery(on),
        "aaos": lambda: Aaos(on),
        "aaos, all hinted": lambda: AaosAllHinted(on),
    }
    if options.no_peers:
        return entries
    python = peers_python()
    if python is not None:
        for kind in (Dbos, Procrastinate):
            concurrency, poll_s = _best_level(kind, on, python)
            entries[kind.name] = partial(kind, on, python, concurrency, poll_s)
    return entries


def _best_level(kind: type[Peer], on: Servers, python: Path) -> tuple[int, float]:
    """The settings under which the peer is fastest, each tried once."""
    rates = {}
    for concurrency, poll_s in kind.levels:
        rates[concurrency, poll_s] = lap(kind(on, python, concurrency, poll_s), TUNING_PIECES).rate
        at = f"{concurrency or 'unlimited'} at once per process, polling every {poll_s:g} s"
        print(f"  tuning {kind.name}: {at}: {rates[concurrency, poll_s]:,.0f}/s", flush=True)
    return max(rates, key=lambda level: rates[level])


def _report(laps: dict[str, list[Lap]], options: Namespace) -> str:
    bare = statistics.median(each.rate for each in laps["celery"])
    rows = []
    for name, found in laps.items():
        rate = statistics.median(each.rate for each in found)
        spenders = {who: statistics.median(each.cpu_ms[who] for each in found) for who in found[0].cpu_ms}
        spent = ", ".join(f"{who} {ms:.2f}" for who, ms in spenders.items())
        rates = spread([each.rate for each in found])
        others = f"{statistics.median(each.others for each in found):.0%}"
        rows.append([name, rates, f"{rate / bare:.2f}", f"{sum(spenders.values()):.2f}", spent, others])
    header = ["what", "per second: median (min–max)", "× bare Celery", "CPU ms each", "of which", "taken by others"]
    setting = f"{options.runs} pieces a round, {options.rounds} rounds, 2 processes, max_concurrent {MAX_CONCURRENT}"
    return f"\nThroughput ({setting})\n\n{table(header, rows)}\n"
