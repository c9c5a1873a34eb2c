"""Imports what Celery nodes need, once, and forks a node whenever the supervisor asks for one.

Run by the stack (`python -m aaos.local.nursery FD`), never imported by it: its memory is what the nodes share.

It holds no connection, no thread and no settings, and never sees a password: the request with a node's addresses and
login is read by the fork that becomes that node, and by nobody else. `celery -A workers …` works without it.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import pkgutil
import select
import signal
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module

from aaos.local.forked import LOADED, NURSERY_READY

CELERY = (
    *("celery.__main__", "celery.bin.celery", "celery.apps.worker", "celery.apps.beat", "celery.worker.worker"),
    *("celery.concurrency.prefork", "celery.concurrency.thread", "celery.backends.redis", "kombu.transport.redis"),
)
# Whatever is below these. TA-Lib, pyarrow and charts are imported where they are used, and so by nobody here.
OURS = ("aaos.services", "aaos.adapters")
DRIVERS = ("psycopg", "sqlalchemy.dialects.postgresql.psycopg", "aaos.bootstrap", "aaos.settings", "aaos.logs")
# More than any request: a node's addresses, and its command line.
REQUEST_BYTES = 64 * 1024
PR_SET_PDEATHSIG, PR_SET_NAME = 1, 15  # linux/prctl.h
ADOPTION_POLL_S = 0.001


@dataclass(frozen=True, slots=True)
class Birth:
    """What a fork shall become."""

    name: str
    arguments: list[str]
    environment: dict[str, str]


def main(line_fd: int) -> None:
    """Serves until the supervisor is gone; in a fork, is `celery`."""
    supervisor = os.getppid()
    load()
    # Walking these objects would write to, and so unshare, every page.
    gc.collect()
    gc.freeze()
    with socket.socket(fileno=line_fd) as line:
        line.send(LOADED)
        print(NURSERY_READY, flush=True)
        birth = serve(line, supervisor)
    if birth is not None:
        become(birth)


def load() -> None:
    """Imports everything that is to be shared."""
    for module in (*CELERY, *DRIVERS, *(module for package in OURS for module in modules_below(package))):
        import_module(module)


def modules_below(package: str) -> Iterator[str]:
    """The modules of a package, at any depth."""
    for found in pkgutil.walk_packages(import_module(package).__path__, f"{package}."):
        yield found.name


def serve(line: socket.socket, supervisor: int) -> Birth | None:
    """Forks once per request; returns in each fork, and None here when nobody can ask any more."""
    asked = select.poll()
    asked.register(line, select.POLLIN)
    while True:
        ((_, event),) = asked.poll()
        if event & select.POLLHUP:
            return None
        reader, writer = os.pipe()
        if fork_orphan(supervisor):
            os.close(writer)
            with os.fdopen(reader, "rb") as said:
                # Empty when the fork died before it had read its request: ends this process, too, for a fresh start.
                pid = int(said.read())
            try:
                line.send(str(pid).encode())
            except OSError:
                # Nobody waits for that node any more: it must not work unsupervised.
                os.kill(pid, signal.SIGKILL)
            continue
        os.close(reader)
        birth = be_born(line)
        with os.fdopen(writer, "wb") as says:
            says.write(str(os.getpid()).encode())
        return birth


def fork_orphan(supervisor: int) -> bool:
    """Whether this is still the nursery; its grandchild, in a session of its own, is the supervisor's child by then."""
    between = os.fork()
    if between:
        os.waitpid(between, 0)
        return True
    between = os.getpid()
    if os.fork():
        os._exit(0)
    os.setsid()
    while os.getppid() == between:
        time.sleep(ADOPTION_POLL_S)
    # Not before: the kernel would take the end of the process in between for the one that matters.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != supervisor:
        os.kill(os.getpid(), signal.SIGKILL)
    return False


def be_born(line: socket.socket) -> Birth:
    """Reads this fork's request, and prints from now on where the request says."""
    request, (output,), _, _ = socket.recv_fds(line, REQUEST_BYTES, 1)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    return Birth(**json.loads(request))


def become(birth: Birth) -> None:
    """Runs `celery` with the node's arguments, as `python -m celery` would."""
    os.environ.update(birth.environment)
    ctypes.CDLL(None).prctl(PR_SET_NAME, f"aaos {birth.name}".encode(), 0, 0, 0)
    celery = import_module("celery.__main__")
    sys.argv = [str(celery.__file__), *birth.arguments]
    celery.main()


if __name__ == "__main__":
    main(int(sys.argv[1]))
