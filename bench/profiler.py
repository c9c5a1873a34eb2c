"""A CPU profile of a worker's main process and pool children, on demand, for bench only.

BENCH_PROFILE names the directory the figures go to; a process writes its own down whenever it gets SIGUSR2.
"""

from __future__ import annotations

import cProfile
import os
import signal
import time
from pathlib import Path

from celery import signals

VARIABLE = "BENCH_PROFILE"


def install() -> None:
    """Profiles main process and children of this worker, if the environment asks for it."""
    directory = os.environ.get(VARIABLE)
    if directory:
        signals.worker_process_init.connect(lambda **_: _begin(Path(directory), "child"), weak=False)
        signals.worker_ready.connect(lambda **_: _begin(Path(directory), "main"), weak=False)


def _begin(directory: Path, role: str) -> None:
    # CPU time of the thread, not the clock on the wall: what others do on the machine is not counted.
    profile = cProfile.Profile(time.thread_time)
    target = directory / f"{role}-{os.getpid()}.prof"

    def write(*_: object) -> None:
        profile.disable()
        profile.dump_stats(target.with_suffix(".part"))
        target.with_suffix(".part").rename(target)
        profile.enable()

    signal.signal(signal.SIGUSR2, write)
    profile.enable()
