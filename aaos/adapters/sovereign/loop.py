"""One asyncio loop per process, in a daemon thread: what gives synchronous callers total deadlines.

A thread cannot be told to stop reading a socket, a coroutine can. The loop starts with its first use, so a
process that never asks a model has no thread, and a forked child starts one of its own.
"""

from __future__ import annotations

import asyncio
import os
import threading
from typing import Final


class _LoopThread:
    """A loop that begins to run when it is first asked for."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None

    def get(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None or self._loop.is_closed():
                loop = asyncio.new_event_loop()
                threading.Thread(target=loop.run_forever, name="sovereign-io", daemon=True).start()
                self._loop = loop
            return self._loop


class _Process:
    """What this process has; replaced as a whole after a fork."""

    current = _LoopThread()
    inherited: Final[list[_LoopThread]] = []


def io_loop() -> asyncio.AbstractEventLoop:
    """Returns this process's running loop; thread-safe."""
    return _Process.current.get()


def _start_afresh() -> None:
    # The child has copies of the parent's loop, lock and sockets, but not its thread. They are kept, not
    # collected: finalizers would close connections through an epoll set the parent still uses.
    _Process.inherited.append(_Process.current)
    _Process.current = _LoopThread()


os.register_at_fork(after_in_child=_start_afresh)
