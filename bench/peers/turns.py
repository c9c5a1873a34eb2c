"""A contestant of `./run bench signals` waits here for its turn, takes it, and tells how long each call took.

Standard library only: this runs in the peers' own Python, too. One request a line on standard input, one answer a
line on standard output, both JSON:

    {"do": "version"}                                                  which library it is
    {"do": "prepare", "candles": FILE, "newest": N, "params": {...}}   candles into the contestant's own form
    {"do": "figures"}                                                  every indicator's newest figure
    {"do": "compute", "calls": N}                                      all indicators over all candles, N times
    {"do": "next", "history": N, "calls": M}                           one candle more, M times, after N candles
"""

import json
import os
import sys
import time
from importlib.metadata import version

CORE = "BENCH_CORE"
OHLCV = ("open", "high", "low", "close", "volume")


class Contestant:
    """One library that computes the eleven indicators; `params` has aaos's names for the parameters."""

    package: str  # as it is installed
    params: dict
    columns: dict

    def prepare(self) -> None:
        """Brings `self.columns` (lists by name of OHLCV) into the library's form; not timed."""

    def compute(self):
        """Every indicator over all candles."""
        raise NotImplementedError

    def figures(self, computed) -> dict:
        """The newest figures by aaos's names; `obv` less its first value, since some begin at the first volume."""
        raise NotImplementedError

    # Where the library can: given how many candles went before, a function that takes in one more each time.
    after = None


def timed(call, count: int) -> dict:
    """Nanoseconds of each call, on the wall and of CPU; the garbage collector does as it does."""
    wall, cpu = [], []
    for _ in range(count):
        cpu_began, began = time.thread_time_ns(), time.perf_counter_ns()
        call()
        ended = time.perf_counter_ns()
        cpu.append(time.thread_time_ns() - cpu_began)
        wall.append(ended - began)
    return {"wall": wall, "cpu": cpu}


def serve(contestant: Contestant) -> None:
    """Takes turns until standard input ends."""
    if os.environ.get(CORE):
        os.sched_setaffinity(0, {int(os.environ[CORE])})
    for line in sys.stdin:
        print(json.dumps(_answer(contestant, json.loads(line))), flush=True)


def _answer(contestant: Contestant, request: dict):
    if request["do"] == "version":
        return f"{contestant.package} {version(contestant.package)}"
    if request["do"] == "prepare":
        with open(request["candles"], encoding="utf-8") as file:
            columns = json.load(file)
        contestant.params = request["params"]
        contestant.columns = {name: columns[name][-request["newest"] :] for name in OHLCV}
        contestant.prepare()
        return True
    if request["do"] == "figures":
        return contestant.figures(contestant.compute())
    if request["do"] == "compute":
        return timed(contestant.compute, request["calls"])
    return contestant.after and timed(contestant.after(request["history"]), request["calls"])
