"""Worker processes: started, held still while their work is laid out, let go, measured, ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil

from aaos.local.spawn import Command, spawn
from bench.environment import ROOT

READY_TIMEOUT_S = 60.0
POLL_S = 0.005


class Process:
    """One subprocess in a process group of its own, logging to a file."""

    def __init__(self, name: str, argv: Sequence[str], env: Mapping[str, str], log: Path, ready: str) -> None:
        self.name = name
        self.log = log
        with log.open("wb") as output:
            command = Command(tuple(argv), env={**os.environ, **env, "PYTHONUNBUFFERED": "1"}, cwd=ROOT)
            self._process: subprocess.Popen[bytes] = spawn(command, output)
        self._wait_ready(ready)

    @property
    def pid(self) -> int:
        """The pid of the group's leader."""
        return self._process.pid

    def pause(self) -> None:
        """Holds the whole group still, so that work can be laid out without being taken."""
        os.killpg(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Lets the group go on."""
        os.killpg(self.pid, signal.SIGCONT)

    def stop(self) -> None:
        """Ends the group at once: it is idle, and its servers are thrown away; a soft shutdown takes 30 s."""
        _signal_group(self.pid, signal.SIGKILL)
        self._process.wait()

    def _wait_ready(self, ready: str) -> None:
        deadline = time.monotonic() + READY_TIMEOUT_S
        while ready.encode() not in self.log.read_bytes():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                tail = self.log.read_text(errors="replace")[-3000:]
                raise RuntimeError(f"{self.name} did not get ready; it said:\n{tail}")
            time.sleep(0.05)


def celery_worker(app: str, name: str, arguments: Sequence[str], env: Mapping[str, str], directory: Path) -> Process:
    """A real Celery worker, ready."""
    argv = [sys.executable, "-m", "celery", "-A", app, "worker", "-n", f"{name}@%h", *arguments]
    argv += ["--without-mingle", "--without-gossip", "--loglevel", "INFO"]
    extra = {"REMAP_SIGTERM": "SIGQUIT", **env}
    return Process(name, argv, extra, directory / f"{name}.log", " ready.")


def cpu_s(pid: int) -> tuple[float, float]:
    """CPU seconds, user and system, of a process and of all its descendants, the ended ones included."""
    root = psutil.Process(pid)
    times = root.cpu_times()
    children = times.children_user + times.children_system
    for child in root.children(recursive=True):
        try:
            spent = child.cpu_times()
        except psutil.NoSuchProcess:
            continue
        children += spent.user + spent.system
    return times.user + times.system, children


def wait_until(done: Callable[[], bool], timeout_s: float, what: str, poll_s: float = POLL_S) -> None:
    """Returns once `done` says so; raises TimeoutError naming what was waited for."""
    deadline = time.monotonic() + timeout_s
    while not done():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not done after {timeout_s:g} s")
        time.sleep(poll_s)


def _signal_group(pid: int, number: signal.Signals) -> None:
    try:
        os.killpg(pid, number)
    except ProcessLookupError:
        return
