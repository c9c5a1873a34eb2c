"""Celery nodes as forks of one process that has imported everything (`nursery`), so that they share its memory.

A node is forked twice, and its parent ends at once: it then belongs to the supervisor, which is the reaper of
orphans below it, as if it had been started directly. It has an exit status, dies with the supervisor, and lives on when
the nursery dies.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import socket
import subprocess
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import IO

from aaos.errors import StartupError
from aaos.local.spawn import Command, spawn

LOADED = b"loaded"
NURSERY_READY = "nursery is ready."
PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
# A fork of the loaded process takes some 10 ms; longer than this is a nursery that hangs.
ANSWER_S = 10.0
ANSWER_BYTES = 64


class ForkedProcess:
    """A child that somebody else forked for us; the part of `subprocess.Popen` that a supervisor needs."""

    def __init__(self, pid: int, stdout: IO[bytes]) -> None:
        self.pid = pid
        self.stdout: IO[bytes] | None = stdout
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """The exit status, negative for a signal; None while it runs."""
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid == self.pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Signals it, if it still runs."""
        if self.poll() is None:
            os.kill(self.pid, number)


class Nursery:
    """The supervisor's end: starts the process that forks, and asks it for nodes."""

    def __init__(self, command: Command) -> None:
        self._command = command
        self._line: socket.socket | None = None
        self._loaded = False

    def launch(self) -> subprocess.Popen[bytes]:
        """A new life of the nursery; the nodes of the former one are not touched."""
        adopt_orphans()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.settimeout(ANSWER_S)
        argv, kept = self._command.argv, self._command.keep_fds
        number = theirs.fileno()
        with theirs:
            process = spawn(
                replace(self._command, argv=(*argv, str(number)), keep_fds=(*kept, number)), subprocess.PIPE
            )
        self._hang_up()
        self._line = ours
        return process

    def fork(self, name: str, arguments: Sequence[str], environment: Mapping[str, str]) -> ForkedProcess:
        """`celery ARGUMENTS` in a fork of the nursery; `environment` is added to the nursery's own.

        Raises:
            StartupError: the nursery does not answer; the supervisor starts it again, and tries again.
        """
        request = {"name": name, "arguments": list(arguments), "environment": dict(environment)}
        reader, writer = os.pipe()
        try:
            pid = self._ask(json.dumps(request).encode(), writer)
        except (OSError, ValueError) as error:
            os.close(reader)
            raise StartupError(f"{name} was not started: the nursery does not answer ({error!r})") from error
        finally:
            os.close(writer)
        return ForkedProcess(pid, os.fdopen(reader, "rb", buffering=0))

    def _ask(self, request: bytes, output: int) -> int:
        if self._line is None:
            raise ConnectionError("it is away")
        if not self._loaded:
            # It says nothing while it imports: no reason to hang up, and none to wait for it here.
            if not select.select([self._line], [], [], 0)[0]:
                raise ConnectionError("it is still importing")
            self._loaded = self._line.recv(ANSWER_BYTES) == LOADED
        try:
            socket.send_fds(self._line, [request], [output])
            return int(self._line.recv(ANSWER_BYTES))
        except (OSError, ValueError):
            # A late answer would pass for the next one's. The nursery ends when it finds the line closed.
            self._hang_up()
            raise

    def _hang_up(self) -> None:
        if self._line is not None:
            self._line.close()
        self._line, self._loaded = None, False


def adopt_orphans() -> None:
    """Makes this process the parent of whatever below it loses its own.

    Raises:
        OSError: the kernel refuses (it never did).
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def bury_strangers(own: Collection[int | None]) -> None:
    """Collects ended children that nobody here waits for: orphans of nodes and servers that came to us.

    One of our `own` ends the search: whoever started it collects it, and the next turn goes on behind it.
    """
    while sys.platform == "linux":
        try:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if ended is None or ended.si_pid in own:
            return
        os.waitpid(ended.si_pid, 0)
