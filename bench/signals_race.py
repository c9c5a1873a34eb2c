"""The indicators of 500 candles by everybody, and one candle more, in interleaved rounds on one core."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from aaos.settings import settings
from bench.environment import ROOT
from bench.figures import percentile, spread, table
from bench.peers.turns import CORE
from bench.signals_series import CANDLES

PEERS = ROOT / "bench" / "peers"
HISTORIES = (500, 5_000, 50_000)
NEXT = 500
# A round's calls: few where one call takes 5 ms and more.
CALLS = {"quick": 200, "slow": 10}
# A round in which the contestant had less than this share of its core is run again, `--tries` times in all.
UNDISTURBED = 0.95
# By how much a peer's figure may differ from ours, relative to the greater one, to count as the same.
SAME = 1e-6
OURS = "aaos"
LIMIT = "TA-Lib alone"


@dataclass(slots=True)
class Entry:
    """One contestant: its process, what it computes, and the calls of each round."""

    name: str
    process: subprocess.Popen[str]
    calls: int
    figures: dict[str, float | None] = field(default_factory=dict)
    laps: list[Lap] = field(default_factory=list)

    def ask(self, **request: Any) -> Any:
        """What the contestant answers."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} ended at {request}: its message is above")
        return json.loads(line)


@dataclass(frozen=True, slots=True)
class Lap:
    """A round's calls, in µs each, on the wall and of CPU."""

    wall: list[float]
    cpu: list[float]

    @classmethod
    def of(cls, nanoseconds: Mapping[str, Sequence[int]]) -> Lap:
        """From what `timed` gave."""
        return cls(*([value / 1e3 for value in nanoseconds[name]] for name in ("wall", "cpu")))

    @property
    def share(self) -> float:
        """The share of its core that the contestant had; reading two clocks costs a little of each."""
        return min(1.0, sum(self.cpu) / sum(self.wall))


def race(candles: Path, core: int, peers: Path | None, options: Namespace) -> None:
    """Prints the tables of indicators and of one candle more."""
    params = asdict(settings().signals)
    with entries(core, peers) as racing:
        versions = dict.fromkeys(entry.ask(do="version") for entry in racing if entry.name != OURS)
        print(f"  with {', '.join(versions)}", flush=True)
        for entry in racing:
            entry.ask(do="prepare", candles=str(candles), newest=CANDLES, params=params)
            entry.figures = entry.ask(do="figures")
            entry.ask(do="compute", calls=entry.calls)
        for _ in range(options.rounds):
            for entry in racing:
                entry.laps.append(_undisturbed(entry, options.tries, do="compute", calls=entry.calls))
        print(_report(racing, options), flush=True)
        print(_race_next(racing, candles, params, options.tries), flush=True)


@contextmanager
def entries(core: int, peers: Path | None) -> Iterator[list[Entry]]:
    """Yields the contestants, running; ended afterwards."""
    scripts = [
        (LIMIT, sys.executable, ("talib_alone.py",), "quick"),
        (OURS, sys.executable, ("aaos_indicators.py",), "quick"),
    ]
    if peers is not None:
        for module in _pandas_tas(peers):
            scripts.append((module, str(peers), ("pandas_ta_app.py", module, "own"), "slow"))
            scripts.append((f"{module}, TA-Lib inside", str(peers), ("pandas_ta_app.py", module, "talib"), "slow"))
        scripts.append(("talipp", str(peers), ("talipp_app.py",), "slow"))
    with ExitStack() as stack:
        yield [Entry(name, stack.enter_context(_process(*found, core)), CALLS[pace]) for name, *found, pace in scripts]


@contextmanager
def _process(python: str, words: Sequence[str], core: int) -> Iterator[subprocess.Popen[str]]:
    argv = [python, str(PEERS / words[0]), *words[1:]]
    env = {**os.environ, CORE: str(core), "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env, cwd=ROOT)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _pandas_tas(peers: Path) -> list[str]:
    """Which of the two the peers' environment has: pandas-ta needs a newer Python than we do."""
    found = "import importlib.util as u; print(*[n for n in ('pandas_ta', 'pandas_ta_classic') if u.find_spec(n)])"
    return subprocess.run([str(peers), "-c", found], capture_output=True, text=True, check=True).stdout.split()


def _undisturbed(entry: Entry, tries: int, **request: Any) -> Lap:
    """The lap in which others took least of the core; at once when they took hardly any."""
    found: list[Lap] = []
    while len(found) < max(1, tries) and all(lap.share < UNDISTURBED for lap in found):
        found.append(Lap.of(entry.ask(**request)))
    return max(found, key=lambda lap: lap.share)


def _report(racing: Sequence[Entry], options: Namespace) -> str:
    by_name = {entry.name: entry for entry in racing}
    limit, ours = (_medians(by_name[name]) for name in (LIMIT, OURS))
    rows = []
    for entry in racing:
        own = _medians(entry)
        wall = [each for lap in entry.laps for each in lap.wall]
        cells = (spread(own, 1), f"{percentile(wall, 50):,.1f}", f"{percentile(wall, 99):,.1f}")
        ratios = (_ratio(own, limit), _ratio(own, ours))
        others = f"{1 - statistics.median(lap.share for lap in entry.laps):.0%}"
        rows.append([entry.name, *cells, *ratios, others, _differences(entry, by_name[OURS])])
    header = [
        "eleven indicators, 500 candles",
        "CPU µs: median of rounds (min–max)",
        "wall µs p50",
        "p99",
        "× TA-Lib alone",
        "× aaos",
        "taken by others",
        "newest figures, beside ours",
    ]
    return f"\nIndicators ({options.rounds} interleaved rounds)\n\n{table(header, rows)}\n"


def _medians(entry: Entry) -> list[float]:
    return [statistics.median(lap.cpu) for lap in entry.laps]


def _ratio(own: Sequence[float], other: Sequence[float]) -> str:
    """Of rounds that stood side by side."""
    return f"{statistics.median(a / b for a, b in zip(own, other, strict=True)):,.2f}"


def _differences(entry: Entry, ours: Entry) -> str:
    """Which of our figures it lacks or sees otherwise."""
    lacking = [name for name in ours.figures if entry.figures.get(name) is None]
    other = [
        f"{name} {theirs:.6g} for {mine:.6g}"
        for name, mine in ours.figures.items()
        if mine is not None and (theirs := entry.figures.get(name)) is not None and not same(mine, theirs)
    ]
    told = [f"lacks {', '.join(lacking)}"] * bool(lacking) + [f"other: {', '.join(other)}"] * bool(other)
    return "; ".join(told) or "the same"


def same(a: float, b: float) -> bool:
    """Whether two figures agree to SAME."""
    return abs(a - b) <= SAME * max(abs(a), abs(b))


def _race_next(racing: Sequence[Entry], candles: Path, params: Mapping[str, Any], tries: int) -> str:
    """One candle more: taken in by those who can, by the others with everything computed anew."""
    rows = []
    for entry in racing:
        if entry.ask(do="next", history=1, calls=1) is not None:
            rows.append(
                [
                    f"{entry.name}, taken in",
                    *(_next_us(entry, history, candles, params, tries) for history in HISTORIES),
                ]
            )
        if entry.name in (LIMIT, OURS):
            rows.append(
                [
                    f"{entry.name}, all anew",
                    *(_anew_us(entry, history, candles, params, tries) for history in HISTORIES),
                ]
            )
    header = ["indicators, one candle more: wall µs p50", *(f"after {history:,}" for history in HISTORIES)]
    return f"\nOne candle more\n\n{table(header, rows)}\n"


def _next_us(entry: Entry, history: int, candles: Path, params: Mapping[str, Any], tries: int) -> str:
    entry.ask(do="prepare", candles=str(candles), newest=history + NEXT, params=params)
    lap = _undisturbed(entry, tries, do="next", history=history, calls=NEXT)
    return f"{statistics.median(lap.wall):,.1f}"


def _anew_us(entry: Entry, history: int, candles: Path, params: Mapping[str, Any], tries: int) -> str:
    entry.ask(do="prepare", candles=str(candles), newest=history, params=params)
    return f"{statistics.median(_undisturbed(entry, tries, do='compute', calls=CALLS['slow']).wall):,.1f}"
