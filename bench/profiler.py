"""A CPU profile of each pool child, on demand: BENCH_PROFILE names the directory the figures go to."""

from __future__ import annotations

import cProfile
import os
import signal
from pathlib import Path

from celery import signals

VARIABLE = "BENCH_PROFILE"


def install() -> None:
    """Profiles every pool child of this worker from its start, if the environment asks for it.

    A child writes its figures down whenever it gets SIGUSR2.
    """
    directory = os.environ.get(VARIABLE)
    if directory:
        signals.worker_process_init.connect(lambda **_: _begin(Path(directory)), weak=False)


def _begin(directory: Path) -> None:
    profile = cProfile.Profile()
    target = directory / f"child-{os.getpid()}.prof"

    def write(*_: object) -> None:
        profile.disable()
        profile.dump_stats(target.with_suffix(".part"))
        target.with_suffix(".part").rename(target)
        profile.enable()

    signal.signal(signal.SIGUSR2, write)
    profile.enable()
