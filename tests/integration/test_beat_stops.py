"""Beat ends on SIGTERM wherever the signal finds it: also where the exit it raises gets lost."""

from __future__ import annotations

import subprocess
import sys

import pytest

# A scheduler that is always in the middle of a message whose clean-up fails over the exit, as a socket's does.
LOSING = """
import celery.beat, os, signal
from workers.app import app

TICKED_ON = 7

class Losing(celery.beat.Scheduler):
    ticks = 0

    def tick(self, *args, **kwargs):
        Losing.ticks += 1
        if Losing.ticks == 2:
            try:
                try:
                    os.kill(os.getpid(), signal.SIGTERM)
                finally:
                    raise ValueError("I/O operation on closed file")
            except Exception as error:
                print("lost the exit:", error, flush=True)
        if Losing.ticks > 20:
            os._exit(TICKED_ON)
        return 0.01

app.conf.beat_schedule = {}
app.Beat(scheduler_cls=Losing, quiet=True, loglevel="WARNING").run()
"""


@pytest.mark.requirement("F06")
def test_beat_stops_even_where_the_exit_is_lost() -> None:
    ended = subprocess.run([sys.executable, "-c", LOSING], check=False, timeout=60, capture_output=True, text=True)
    assert "lost the exit" in ended.stdout, ended.stderr
    assert ended.returncode == 0, "beat ticked on"
