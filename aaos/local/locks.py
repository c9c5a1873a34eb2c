"""A lock file that knows its owner, and that orphans of a dead owner hold until the last of them ends."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from aaos.errors import StartupError
from aaos.local.files import PRIVATE_FILE
from aaos.local.procinfo import is_same_process, start_ticks

_POLL_S = 0.05


class OwnerLock:
    """An exclusive `flock`; children that inherit `fd` hold it too.

    Because a server and all processes it forks inherit the descriptor, getting the lock proves that nothing
    of an earlier life still writes to the data, whatever a stale pid file may say.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.fd = -1

    def acquire(self, what: str, remedy: str, orphans_timeout_s: float = 0.0) -> None:
        """Take the lock; wait up to `orphans_timeout_s` for orphans of an owner that is gone.

        Raises:
            StartupError: a living owner has it, or orphans did not end in time; names pid and remedy.
        """
        self.release()
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE_FILE)
        deadline = time.monotonic() + orphans_timeout_s
        while not _try_lock(descriptor):
            owner = living_owner(self._path)
            if owner is not None or time.monotonic() >= deadline:
                os.close(descriptor)
                who = f"by pid {owner}" if owner is not None else "by processes that outlived their owner"
                raise StartupError(f"{what} is already in use {who}: {remedy}.")
            time.sleep(_POLL_S)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()} {start_ticks(os.getpid())}\n".encode(), 0)
        self.fd = descriptor

    def release(self) -> None:
        """Let go; children that still hold the inherited descriptor keep the lock until they end."""
        if self.fd >= 0:
            os.ftruncate(self.fd, 0)
            os.close(self.fd)
            self.fd = -1


def living_owner(path: Path) -> int | None:
    """The pid in the lock file, if that very process still runs."""
    try:
        pid, ticks = (int(word) for word in path.read_text(encoding="ascii").split())
    except (OSError, ValueError):
        return None
    return pid if is_same_process(pid, ticks) else None


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
