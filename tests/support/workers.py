"""Our processes as a user starts them: workers, beat, Flower, the simulated Sovereign; ended by pid, always.

A process writes to a file of its own, so that a test that fails can show what it said.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import psutil

PROJECT = Path(__file__).resolve().parents[2]
PR_SET_PDEATHSIG = 1
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 45.0
POLL_S = 0.05
READY_WORKER = " ready."
READY_BEAT = "beat: Starting"
READY_SIMULATOR = "ready on http://"
ALL_QUEUES = (
    "technical_analysis",
    "regime_detection",
    "trading_context",
    "trading_analysis",
    "trading_decision",
    "risk_assessment",
    "execution",
    "portfolio_rebalance",
    "result_publishing",
    "maintenance",
)


class WaitedTooLong(AssertionError):
    """Something did not happen in time; the message carries what the processes said last."""


def wait_until(true: Callable[[], object], what: str, timeout_s: float = 20, tails: Callable[[], str] = str) -> float:
    """Returns the seconds until `true()` was; raises WaitedTooLong with the tails of the logs."""
    started = time.monotonic()
    while not true():
        if time.monotonic() - started > timeout_s:
            raise WaitedTooLong(f"{what}: not within {timeout_s:g} s\n{tails()}")
        time.sleep(POLL_S)
    return time.monotonic() - started


@dataclass(slots=True)
class Process:
    """One process group, led by `popen`."""

    name: str
    popen: subprocess.Popen[bytes]
    log_path: Path
    ready_text: str = ""

    @property
    def pid(self) -> int:
        return self.popen.pid

    def is_running(self) -> bool:
        return self.popen.poll() is None

    def log(self) -> str:
        return self.log_path.read_text(encoding="utf-8", errors="replace")

    def tail(self, lines: int = 25) -> str:
        status = "running" if self.is_running() else f"ended with {self.popen.returncode}"
        return "\n".join([f"--- {self.name} (pid {self.pid}, {status})", *self.log().splitlines()[-lines:]])

    def wait_for(self, text: str, timeout_s: float = START_TIMEOUT_S) -> Process:
        """Waits until the log holds `text`; fails at once when the process has ended without it."""

        def said() -> bool:
            ended = not self.is_running()
            if text in self.log():
                return True
            if ended:
                raise WaitedTooLong(f"{self.name} ended before it said {text!r}\n{self.tail()}")
            return False

        wait_until(said, f"{self.name} says {text!r}", timeout_s, self.tail)
        return self

    def children(self) -> list[psutil.Process]:
        """The pool's processes."""
        return psutil.Process(self.pid).children(recursive=True)

    def signal_group(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def kill(self) -> None:
        """kill -9 of the whole group, as losing the machine would be."""
        self.signal_group(signal.SIGKILL)
        self.popen.wait(START_TIMEOUT_S)

    def freeze(self) -> None:
        self.signal_group(signal.SIGSTOP)

    def thaw(self) -> None:
        self.signal_group(signal.SIGCONT)

    def terminate(self, timeout_s: float = STOP_TIMEOUT_S) -> int:
        """SIGTERM to the leader, as a supervisor does it; returns the exit status."""
        self.popen.terminate()
        try:
            return self.popen.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise WaitedTooLong(f"{self.name} did not stop within {timeout_s:g} s\n{self.tail()}") from None


@dataclass(frozen=True, slots=True)
class Simulator:
    """A running simulated Sovereign."""

    process: Process
    base_url: str

    def behave(self, **changes: Any) -> None:
        """Changes mode, latency_ms, share, count or model while it runs."""
        self._call("/sim/behaviour", json.dumps(changes).encode())

    def script(self, **wanted: Any) -> None:
        """Sets a sequence of modes, for one model or all."""
        self._call("/sim/script", json.dumps(wanted).encode())

    def down(self, model: str | None = None) -> None:
        """Takes a model down (None: all): connections to it are closed at once."""
        self._call("/sim/down", json.dumps({"model": model}).encode())

    def up(self, model: str | None = None) -> None:
        self._call("/sim/up", json.dumps({"model": model}).encode())

    def transcript(self) -> dict[str, Any]:
        """Totals, and the newest calls."""
        return self._call("/sim/transcript")

    def calls(self, model: str, since: int = 0) -> list[dict[str, Any]]:
        """The calls to a model with a number above `since`, oldest first."""
        found = self._call(f"/sim/transcript?since={since}&model={model}")["calls"]
        assert isinstance(found, list)
        return found

    def _call(self, path: str, body: bytes | None = None) -> Any:
        with urllib.request.urlopen(self.base_url + path, body, timeout=10) as answer:
            return json.loads(answer.read())


@dataclass(slots=True)
class Fleet:
    """All processes of a test; `close` kills what is left of them."""

    environment: Mapping[str, str]
    directory: Path
    processes: list[Process] = field(default_factory=list)
    _numbers: Iterator[int] = field(default_factory=lambda: count(1))

    def worker(
        self,
        *queues: str,
        pool: str = "threads",
        concurrency: int = 8,
        wait: bool = True,
        extra: Mapping[str, str] | None = None,
    ) -> Process:
        """Starts `celery -A workers worker` on these queues (none: all of them)."""
        name = f"{pool}{next(self._numbers)}"
        quiet = ("--without-mingle", "--without-gossip", "--loglevel", "INFO")
        words = ("-n", f"{name}@%h", "-P", pool, "-c", str(concurrency), "-Q", ",".join(queues or ALL_QUEUES))
        process = self.celery("worker", *words, *quiet, name=name, extra=extra)
        process.ready_text = READY_WORKER
        return process.wait_for(READY_WORKER) if wait else process

    def beat(self, *, wait: bool = True, extra: Mapping[str, str] | None = None) -> Process:
        """Starts `celery -A workers beat`."""
        name = f"beat{next(self._numbers)}"
        process = self.celery("beat", "--pidfile", "", "--loglevel", "INFO", name=name, extra=extra)
        process.ready_text = READY_BEAT
        return process.wait_for(READY_BEAT) if wait else process

    def simulator(self, latency_ms: float = 150) -> Simulator:
        """Starts the simulated Sovereign on a port the system chooses."""
        words = ("-m", "aaos.local.sovereign_sim", "--port", "0", "--any-model", "--latency-ms", f"{latency_ms:g}")
        process = self.python(*words, name=f"simulator{next(self._numbers)}").wait_for(READY_SIMULATOR)
        found = re.search(r"ready on (http://[\d.:]+)", process.log())
        assert found is not None, process.tail()
        return Simulator(process, found[1])

    def celery(self, *words: str, name: str, extra: Mapping[str, str] | None = None) -> Process:
        return self.python("-m", "celery", "-A", "workers", *words, name=name, extra=extra)

    def python(self, *words: str, name: str, extra: Mapping[str, str] | None = None) -> Process:
        log_path = self.directory / f"{name}.log"
        ours = {key: value for key, value in os.environ.items() if not key.startswith("AAOS_")}
        with log_path.open("wb") as log:
            popen = subprocess.Popen(
                [sys.executable, *words],
                cwd=PROJECT,
                env={**ours, **self.environment, **(extra or {}), "PYTHONUNBUFFERED": "1"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_die_with_the_test_run,  # noqa: PLW1509 - one prctl, no lock, nothing allocated
            )
        process = Process(name, popen, log_path)
        self.processes.append(process)
        return process

    def wait_ready(self) -> None:
        """Waits for every process that was started without waiting: they start side by side."""
        for process in self.processes:
            if process.is_running():
                process.wait_for(process.ready_text)

    def tails(self, lines: int = 25) -> str:
        """What every process said last."""
        return "\n".join(process.tail(lines) for process in self.processes)

    def logs(self) -> str:
        """What every process said."""
        return "\n".join(process.log() for process in self.processes)

    def close(self) -> None:
        """Ends every process, frozen ones too."""
        for process in self.processes:
            process.signal_group(signal.SIGKILL)
        for process in self.processes:
            process.popen.wait(START_TIMEOUT_S)


@contextmanager
def fleet(environment: Mapping[str, str], directory: Path) -> Iterator[Fleet]:
    """Yields a fleet whose processes do not outlive the context."""
    directory.mkdir(parents=True, exist_ok=True)
    started = Fleet(environment, directory)
    try:
        yield started
    finally:
        started.close()


def _die_with_the_test_run() -> None:
    """Asks the kernel (Linux) to end this process should the test run be killed."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
