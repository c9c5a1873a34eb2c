"""Where one run's time goes: CPU by process, then by what a worker's main process and its children call."""

from __future__ import annotations

import os
import pstats
import signal
import tempfile
import time
from argparse import Namespace
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import psutil

from bench.contestants import Aaos
from bench.environment import SCRATCH, Servers, servers
from bench.figures import table
from bench.profiler import VARIABLE
from bench.throughput import WARM_UP, lap

# A profiler makes calls dear: the shares are what counts, not the sums.
STEPS = (
    ("claim: lease and fence", "runs.py", "claim"),
    ("complete: state, result, outbox", "runs.py", "complete"),
    ("hint for the promoted run", "hints.py", "hint"),
    ("nudge of the publisher", "hints.py", "nudge_publisher"),
    ("log line", "_native.py", "meth"),
    ("whole task, Celery's part included", "trace.py", "fast_trace_task"),
)
MAIN_STEPS = (
    ("message taken from Valkey and handed to the pool", "redis.py", "_brpop_read"),
    ("acknowledgement to Valkey", "redis.py", "ack"),
    ("answers of the pool's children", "asynpool.py", "_recv_message"),
    ("asking Valkey for the next message", "redis.py", "on_poll_start"),
    ("task events", "dispatcher.py", "flush"),
    ("the whole event loop", "hub.py", "create_loop"),
)
WRITE_TIMEOUT_S = 20.0


def run(options: Namespace) -> None:
    """Prints CPU per process for plain rounds, then the profile of one profiled round."""
    with servers() as on:
        plain = [lap(Aaos(on), options.runs) for _ in range(min(options.rounds, 3))]
        profiles = _profiled(on, options.runs)
    best = min(plain, key=lambda each: sum(each.cpu_ms.values()))
    rows = [[who, f"{ms:.2f}"] for who, ms in best.cpu_ms.items()] + [["all", f"{sum(best.cpu_ms.values()):.2f}"]]
    print(f"\nCPU ms per run, by process (the cheapest of {len(plain)} rounds)\n\n{table(['process', 'ms'], rows)}")
    for role, steps in (("child", STEPS), ("main", MAIN_STEPS)):
        _print_role(role, profiles[role], steps, options.runs)


def _profiled(on: Servers, count: int) -> dict[str, pstats.Stats]:
    with tempfile.TemporaryDirectory(dir=SCRATCH) as directory:
        os.environ[VARIABLE] = directory
        contestant = Aaos(on)
        contestant.start()
        try:
            contestant.race(WARM_UP)
            contestant.race(count)
            worker = psutil.Process(contestant.processes[0].pid)
            pids = [worker.pid, *(child.pid for child in worker.children(recursive=True))]
            return _collect(Path(directory), pids)
        finally:
            contestant.stop()
            del os.environ[VARIABLE]


def _collect(directory: Path, pids: Iterable[int]) -> dict[str, pstats.Stats]:
    wanted = 0
    for pid in pids:
        os.kill(pid, signal.SIGUSR2)
        wanted += 1
    deadline = time.monotonic() + WRITE_TIMEOUT_S
    while len(list(directory.glob("*.prof"))) < wanted:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{wanted} profiles were asked for, not all were written within {WRITE_TIMEOUT_S:g} s")
        time.sleep(0.1)
    found: dict[str, pstats.Stats] = {}
    for path in sorted(directory.glob("*.prof")):
        role = path.name.partition("-")[0]
        if role in found:
            found[role].add(str(path))
        else:
            found[role] = pstats.Stats(str(path))
    return found


def _print_role(role: str, profile: pstats.Stats, steps: tuple[tuple[str, str, str], ...], count: int) -> None:
    pieces = count + WARM_UP
    figures = profile.stats  # type: ignore[attr-defined]
    rows = []
    for title, file, function in steps:
        where = [key for key in figures if key[0].endswith("/" + file) and key[2] == function]
        cumulative = max((figures[key][3] for key in where), default=0.0)
        rows.append([title, f"{cumulative / pieces * 1000:.2f}"])
    owners: Counter[str] = Counter()
    for (file, _, _), (_, _, own, _, _) in figures.items():
        owners[_owner(file)] += own
    total = sum(owners.values())
    shares = [[name, f"{own / total:.0%}"] for name, own in owners.most_common(9)]
    print(f"\nA worker's {role}: CPU ms per run under the profiler, by step\n\n{table(['step', 'ms'], rows)}")
    print(f"\nThe same by package (own time)\n\n{table(['package', 'share'], shares)}")


def _owner(file: str) -> str:
    if file.startswith("~") or not file:
        return "C functions (sockets, waiting, dicts)"
    parts = Path(file).parts
    if "site-packages" in parts:
        return parts[parts.index("site-packages") + 1].removesuffix(".py")
    return next((name for name in ("aaos", "workers", "bench") if name in parts), "standard library")
