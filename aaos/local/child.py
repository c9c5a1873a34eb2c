"""One process of the stack: how it is started, when it is ready, and what became of it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal, Protocol

from aaos.local.logs import LineReader, LogFile
from aaos.local.procinfo import start_ticks
from aaos.local.spawn import signal_group
from aaos.local.state import ChildRecord

ChildState = Literal["waiting", "starting", "ready", "restarting", "stopping", "ended"]
DELAY_GROWTH = 1.5
_READ_BYTES = 64 * 1024


class RunningProcess(Protocol):
    """A child of this process, however it was started: what is used here of `subprocess.Popen`."""

    stdout: IO[bytes] | None

    @property
    def pid(self) -> int:
        """Its id, as long as it has not been waited for."""

    @property
    def returncode(self) -> int | None:
        """What `poll` said last."""

    def poll(self) -> int | None:
        """The exit status, negative for a signal; None while it runs."""

    def send_signal(self, sig: int, /) -> None:
        """Signals it, if it still runs."""


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """What the supervisor must know about a process.

    `stage` orders starting; the whole stage is ready before the next begins, and stopping goes backwards.
    A `once` process is done when it ends; unless it is `optional` its failure stops the stack. Ready is:
    `ready_line` was printed and `answers()` says so, as far as they are given.
    """

    name: str
    stage: int
    start: Callable[[], RunningProcess]
    answers: Callable[[], bool] | None = None
    ready_line: str | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    grace_s: float = 15.0
    restart_delay_s: float = 10.0
    once: bool = False
    optional: bool = False
    port: int | None = None


class Child:
    """A process spec with its present life."""

    def __init__(self, spec: ProcessSpec, log: LogFile, secrets: tuple[str, ...]) -> None:
        self.spec = spec
        self.state: ChildState = "waiting"
        self.restarts = 0
        self.young_deaths = 0
        self.due_at = 0.0  # monotonic: when a restart, or the end of a grace period, is due
        self.status: int | None = None
        self.reader = LineReader(secrets)
        self._log = log
        self._process: RunningProcess | None = None
        self._started_at = 0.0
        self._saw_ready_line = False

    @property
    def output(self) -> IO[bytes] | None:
        """The pipe with what it prints."""
        return self._process.stdout if self._process else None

    @property
    def pid(self) -> int | None:
        """Its main process, also when that has ended and was not waited for."""
        return self._process.pid if self._process is not None else None

    @property
    def lived_s(self) -> float:
        """Seconds since the present life began."""
        return time.monotonic() - self._started_at

    @property
    def is_alive(self) -> bool:
        """Whether its main process runs."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Begin a life."""
        self._saw_ready_line = False
        self.status = None
        self._process = self.spec.start()
        self._started_at = time.monotonic()
        self.state = "starting"
        if self._process.stdout is not None:
            os.set_blocking(self._process.stdout.fileno(), False)

    def is_ready(self) -> bool:
        """Whether it does its work now (asks only while it is starting)."""
        if self.spec.ready_line is not None and not self._saw_ready_line:
            return False
        return self.spec.answers is None or self.spec.answers()

    def read(self) -> list[str]:
        """What it printed since, as lines; also written to its log file."""
        if self.output is None:
            return []
        try:
            data = os.read(self.output.fileno(), _READ_BYTES)
        except BlockingIOError:
            return []
        lines = self.reader.feed(data) if data else self.reader.flush()
        if not data:
            self.close_output()
        for line in lines:
            self._log.write(line.encode() + b"\n")
            if self.spec.ready_line is not None and self.spec.ready_line in line:
                self._saw_ready_line = True
        return lines

    def close_output(self) -> None:
        """Stop reading."""
        if self.output is not None:
            self.output.close()
            assert self._process is not None  # noqa: S101 - output came from it
            self._process.stdout = None

    def has_ended(self) -> bool:
        """Whether its main process ended (`status` says how); what it left behind in its group is killed."""
        if self._process is None or self._process.poll() is None:
            return False
        self.status = self._process.returncode
        signal_group(self._process.pid, signal.SIGKILL)
        return True

    def forget_process(self) -> None:
        """End of a life: the pid means nothing any more."""
        self._process = None

    def signal_main(self, number: signal.Signals) -> None:
        """Signal the main process alone: it ends its own children in order."""
        if self._process is not None and self.is_alive:
            self._process.send_signal(number)

    def kill_group(self) -> None:
        """SIGKILL for it and everything in its process group."""
        if self._process is not None:
            signal_group(self._process.pid, signal.SIGKILL)

    def next_delay_s(self, longest_s: float) -> float:
        """The pause before the next life; grows by half with each young death."""
        grown: float = self.spec.restart_delay_s * DELAY_GROWTH ** max(0, self.young_deaths - 1)
        return min(max(longest_s, self.spec.restart_delay_s), grown)

    def last_lines(self) -> str:
        """What it printed last, indented."""
        return "\n".join(f"    {line}" for line in self.reader.recent) or "    (it printed nothing)"

    def close(self) -> None:
        """Let go of pipe and file."""
        self.close_output()
        self._log.close()

    def record(self) -> ChildRecord:
        """What `supervisor.json` says about it."""
        pid = self.pid
        ticks = start_ticks(pid) if pid is not None else None
        return ChildRecord(self.spec.name, self.state, pid, ticks, self.spec.port, self.restarts)


def open_log(directory: Path, name: str, max_mb: int) -> LogFile:
    """The log file of the process called `name`."""
    return LogFile(directory / f"{name}.log", max_mb * 1024 * 1024)
