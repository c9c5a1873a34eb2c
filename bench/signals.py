"""Signals: the indicators beside TA-Lib alone, pandas-ta and talipp; then the full output, at length and in number.

Everything runs on one core, the one that is least busy at the start, and every contestant on that same one, in turn.
"""

from __future__ import annotations

import json
import os
import tempfile
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from bench.environment import SCRATCH
from bench.peers.install import peers_python
from bench.peers.turns import OHLCV
from bench.signals_full import full_output
from bench.signals_race import HISTORIES, NEXT, race
from bench.signals_series import recent

LOOK_S = 0.5


def run(options: Namespace) -> None:
    """Prints Markdown tables: indicators, one candle more, the full output, many symbols, the collector, a profile."""
    peers = None if options.no_peers else peers_python()
    with one_core() as core, candle_file(HISTORIES[-1] + NEXT) as candles:
        print(f"on core {core}", flush=True)
        race(candles, core, peers, options)
        full_output(options)


@contextmanager
def one_core() -> Iterator[int]:
    """Pins this process to the core that was least busy just now; undone afterwards."""
    allowed = os.sched_getaffinity(0)
    busy = psutil.cpu_percent(LOOK_S, percpu=True)
    core = min(allowed, key=lambda each: busy[each])
    os.sched_setaffinity(0, {core})
    try:
        yield core
    finally:
        os.sched_setaffinity(0, allowed)


@contextmanager
def candle_file(count: int) -> Iterator[Path]:
    """Yields a file with the newest simulated candles as JSON lists, every bit kept; removed afterwards."""
    SCRATCH.mkdir(parents=True, exist_ok=True)
    candles = recent("1m", count)
    with tempfile.NamedTemporaryFile("w", dir=SCRATCH, suffix=".json") as file:
        json.dump({name: getattr(candles, name).tolist() for name in OHLCV}, file)
        file.flush()
        yield Path(file.name)
