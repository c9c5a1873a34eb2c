"""Who carries TA-Lib: real processes after real work, looked at from outside.

Two witnesses. /proc/PID/maps shows which compiled libraries a process and its children hold in memory, however they
came there. Python's own import protocol (`-X importtime`, by its environment variable) names every module that was
loaded, those without any compiled part, too, and under it what it was loaded for.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from support.lab import QUICK, SYMBOL, Lab, module_environment, running_lab
from support.workers import Process

COMPUTING = ("technical_analysis", "regime_detection")
WAITING = (
    *("trading_context", "trading_analysis", "trading_decision", "risk_assessment", "execution", "portfolio_rebalance"),
    *("result_publishing", "maintenance"),
)
TALIB = "talib"
# What numerical Python brings along when nobody watches: 20 to 100 MB each.
HEAVY = ("altair", "llvmlite", "matplotlib", "numba", "pandas", "polars", "pyarrow", "scipy", "vl_convert")
NAME_IMPORTS = {"PYTHONPROFILEIMPORTTIME": "1"}
# `import time:  self µs | cumulative µs | module`, two blanks of indent for each import it is nested in.
IMPORT_LINE = re.compile(r"^import time: +\d+ \| +\d+ \| *(?P<module>[\w.]+)$", re.MULTILINE)


class Processes:
    """One of each kind, after one decision with everything before it."""

    def __init__(self, lab: Lab) -> None:
        fleet = lab.fleet
        self.computing = fleet.worker(*COMPUTING, pool="prefork", concurrency=1, wait=False, extra=NAME_IMPORTS)
        self.waiting = fleet.worker(*WAITING, wait=False, extra=NAME_IMPORTS)
        # As the stack starts it: without `-A workers`.
        words = ("-m", "celery", "flower", "--address=127.0.0.1", "--port=0")
        broker = {"CELERY_BROKER_URL": lab.environment["AAOS_BROKER_URL"]}
        self.flower = fleet.python(*words, name="flower", extra={**NAME_IMPORTS, **broker})
        self.flower.ready_text = "Connected to"
        fleet.wait_ready()
        # Last: it ticks as soon as it starts, and everybody should be there to work on that.
        fleet.environment = {**fleet.environment, **NAME_IMPORTS}
        self.beat = fleet.beat()


@pytest.fixture(scope="module")
def lab(databases: Any, valkey_server: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    one_symbol = {"AAOS_MARKET__SYMBOLS": f'["{SYMBOL}"]'}
    with (
        module_environment(databases, valkey_server) as environment,
        running_lab(environment, tmp_path_factory.mktemp("memory"), {**QUICK, **one_symbol}, latency_ms=50) as lab,
    ):
        yield lab


@pytest.fixture(scope="module")
def processes(lab: Lab) -> Processes:
    """The processes after the work: every kind of run has completed, and its result is on the stream."""
    started = Processes(lab)
    completed = "SELECT DISTINCT kind FROM runs WHERE state = 'completed'"
    kinds = {*COMPUTING, "trading_context", "trading_analysis", "trading_decision"}
    lab.wait_until(
        lambda: kinds <= {row.kind for row in lab.patiently(completed)},
        "a run of every kind of a decision completed",
        60,
    )
    watched = "SELECT count(*) FROM account_books"
    lab.wait_until(lambda: lab.patiently(watched)[0][0] == 2, "the books of both accounts are looked after", 60)
    lab.wait_published()
    return started


def _mapped(process: Process) -> set[str]:
    """The packages of HEAVY and TA-Lib that have a library in the memory of the process or of a child."""
    leader = psutil.Process(process.pid)
    found = set()
    for each in (leader, *leader.children(recursive=True)):
        found |= _packages(Path(f"/proc/{each.pid}/maps").read_text(encoding="utf-8", errors="replace"))
    return found


def _packages(maps: str) -> set[str]:
    """By the directory below site-packages: `polars` keeps its library in `_polars_runtime_32`."""
    directories = {found.lstrip("_") for found in re.findall(r"/site-packages/([^/\s]+)", maps)}
    return {name for name in (*HEAVY, TALIB) if any(each.startswith(name) for each in directories)}


def _imported(process: Process) -> set[str]:
    """The packages of HEAVY and TA-Lib that the process or a child imported.

    By their parts: TA-Lib asks for pandas and polars, and the protocol has a line for a package that is not there, too.
    """
    modules = IMPORT_LINE.findall(process.log())
    assert len(modules) > 200, f"{process.name} did not say what it imports\n{process.tail()}"
    packages = {package for package, dot, _ in (each.partition(".") for each in modules) if dot}
    return packages & {*HEAVY, TALIB}


@pytest.mark.requirement("ENG-2")
@pytest.mark.parametrize("name", ["waiting", "beat", "flower"])
def test_a_process_that_computes_no_signals_holds_neither_talib_nor_any_heavy_library(
    processes: Processes, name: str
) -> None:
    process: Process = getattr(processes, name)
    assert process.is_running()
    assert _mapped(process) == set()
    assert _imported(process) == set()


@pytest.mark.requirement("ENG-2")
def test_a_worker_that_computed_signals_holds_talib_and_none_of_the_heavy_libraries(processes: Processes) -> None:
    assert processes.computing.is_running()
    assert _mapped(processes.computing) == {TALIB}
    assert _imported(processes.computing) == {TALIB}
