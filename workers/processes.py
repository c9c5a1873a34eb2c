"""What a worker process asks of its machine."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable
from functools import wraps
from typing import Any

import structlog

log = structlog.get_logger()

# Handing a task over takes microseconds; who holds the lock for this long is the interrupted main thread itself.
HANDING_OVER_S = 0.5
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


def stop_threads_from_signals() -> None:
    """Lets a soft stop end a threads worker whatever it was doing.

    Celery stops its pool from inside the signal handler. A signal that finds the main thread handing a task to the
    pool would wait there for a lock that the same thread holds, for ever (CPython issue 121649). Then the pool is
    left to what comes after the handler: the worker ends, and joins its threads on the way out.
    """
    from celery.concurrency.thread import TaskPool

    if not hasattr(TaskPool.on_stop, "__wrapped__"):
        TaskPool.on_stop = _unless_handing_over(TaskPool.on_stop)


def _unless_handing_over(stop: Callable[[Any], None]) -> Callable[[Any], None]:
    @wraps(stop)
    def on_stop(pool: Any) -> None:
        lock = pool.executor._shutdown_lock
        if not lock.acquire(timeout=HANDING_OVER_S):
            log.warning("pool_stops_later", why="the stop came while a task was being handed to it")
            return
        lock.release()
        stop(pool)

    return on_stop


def end_threads_by(end_what_they_wait_for: Callable[[], None]) -> None:
    """Lets a soft stop whose time is up end a threads worker.

    Celery then kills what its pool works on. A thread cannot be killed: the pool raises NotImplementedError out of the
    signal handler, and the worker lives on until the last model has answered or timed out. What the threads wait for
    is ended instead, and they hand their runs back.
    """
    from celery.worker.consumer import Consumer

    def cancel_active_requests(_consumer: Any) -> None:
        end_what_they_wait_for()

    Consumer.cancel_active_requests = cancel_active_requests


def is_threads(pool: Any) -> bool:
    """Returns whether that is Celery's pool of threads."""
    return "thread" in str(getattr(pool, "__module__", pool))


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
