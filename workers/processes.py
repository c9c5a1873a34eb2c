"""What a worker process asks of its machine."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable
from typing import Any

PR_SET_PDEATHSIG = 1
SHARED_MEMORY = "/dev/shm"  # noqa: S108 (where glibc puts POSIX semaphores; nothing is kept there)


def die_with_parent() -> None:
    """Makes the kernel kill this pool child when its master dies: an orphan would hold runs nobody waits for."""
    if sys.platform != "linux":
        return
    parent = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        # It died between fork and here.
        os.kill(os.getpid(), signal.SIGKILL)


def stop_for_good(is_shutdown: threading.Event) -> None:
    """Lets SIGTERM and SIGINT end beat wherever they find it.

    Celery's handler raises SystemExit out of whatever beat is doing. In the middle of a message to the broker the
    clean-up may fail over it and raise something else, which is logged as a failed tick: the exit is lost, and beat
    ticks on. The event ends its loop all the same.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _marking(is_shutdown, signal.getsignal(number)))


def _marking(is_shutdown: threading.Event, before: Any) -> Callable[[int, Any], None]:
    def handle(number: int, frame: Any) -> None:
        is_shutdown.set()
        if callable(before):
            before(number, frame)

    return handle


def is_prefork(pool: Any) -> bool:
    """Returns whether that is Celery's pool of forked children."""
    return "prefork" in str(getattr(pool, "__module__", pool))


def require_shared_memory() -> None:
    """Ends the process when the prefork pool could not make its semaphores; a signal handler's exception would not."""
    if sys.platform != "linux":
        return
    try:
        with tempfile.TemporaryFile(dir=SHARED_MEMORY):
            return
    except OSError as error:
        raise SystemExit(
            f"error: {SHARED_MEMORY} is not writable ({error.strerror}), which the prefork pool needs; "
            "mount it (mount -t tmpfs tmpfs /dev/shm) or start the worker with -P threads"
        ) from error
