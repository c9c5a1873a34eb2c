"""What Valkey and PostgreSQL have in common when we run them ourselves."""

from __future__ import annotations

import signal
import subprocess
import time
from abc import ABC, abstractmethod
from collections import deque
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from aaos.errors import StartupError
from aaos.local.files import make_directory, password
from aaos.local.locks import OwnerLock
from aaos.local.ports import PortBook
from aaos.local.spawn import Command, signal_group, spawn

START_TIMEOUT_S = 60.0  # crash recovery of a large write-ahead log takes its time
STOP_GRACE_S = 20.0
ORPHANS_TIMEOUT_S = 20.0
MAX_LOG_BYTES = 5 * 1024 * 1024
_POLL_S = 0.02
_TAIL_LINES = 12


class Server(ABC):
    """One embedded server on 127.0.0.1 with its data, password and remembered port under `state_dir`.

    As a context manager it starts and stops; `kill()` then `start()` continues on the same data and port. The
    server ends with its owner: Linux watches the thread that called `start`.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    stop_signal: ClassVar[signal.Signals]
    ready_line: ClassVar[str | None] = None  # asking before it printed this would only fill its log

    def __init__(self, state_dir: Path | str, port: int | None = None) -> None:
        self.state_dir = Path(state_dir).absolute()
        self.home = self.state_dir / self.name
        self.log_path = self.state_dir / "logs" / f"{self.name}.log"
        self._asked_port = port
        self._port = port
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = OwnerLock(self.home / "lock")
        self.shared_fds: tuple[int, ...] = ()  # inherited by the server beside its own lock

    @property
    def port(self) -> int:
        """The TCP port; known once the server was started."""
        if self._port is None:
            raise StartupError(f"{self.title} has no port before its first start: call start().")
        return self._port

    @property
    def pid(self) -> int:
        """The pid of the running server's main process."""
        if self._process is None:
            raise StartupError(f"{self.title} is not running: call start().")
        return self._process.pid

    @property
    def password(self) -> str:
        """The generated password (file `secrets/NAME` of the state directory, mode 0600)."""
        return password(self.state_dir, self.name)

    @abstractmethod
    def answers(self) -> bool:
        """Whether the server does its work now."""

    @abstractmethod
    def _prepare(self) -> Command:
        """Everything on disk is made; the command that runs the server in the foreground."""

    def claim_port(self) -> int:
        """The port this server will listen on, free now and remembered from here on.

        Raises:
            StartupError: the asked or remembered port is in use; names the remedy.
        """
        self._port = PortBook(self.state_dir).claim(self.name, self._asked_port)
        return self._port

    def is_running(self) -> bool:
        """Whether the main process lives (it may still be starting up)."""
        return self._process is not None and self._process.poll() is None

    def launch(self, *, piped: bool = False) -> subprocess.Popen[bytes]:
        """The started process, not yet ready; its output goes to `log_path`, or to a pipe for the caller.

        Raises:
            StartupError: in use, not writable, or its port taken; names the remedy.
        """
        make_directory(self.home)
        remedy = "stop it first (./run down), or choose another directory with --state DIR"
        self._lock.acquire(f"{self.title} in {self.home}", remedy, ORPHANS_TIMEOUT_S)
        try:
            self.claim_port()
            self._process = self._spawn(self._prepare(), piped=piped)
        except BaseException:
            self._lock.release()
            raise
        return self._process

    def start(self, timeout_s: float = START_TIMEOUT_S) -> Self:
        """This server, answering.

        Raises:
            StartupError: it ended or did not answer in time; carries its last log lines.
        """
        self.launch()
        deadline = time.monotonic() + timeout_s
        while not self.answers():
            if not self.is_running():
                raise self._failure("ended before it answered")
            if time.monotonic() > deadline:
                raise self._failure(f"did not answer within {timeout_s:g} s")
            time.sleep(_POLL_S)
        return self

    def stop(self, grace_s: float = STOP_GRACE_S) -> None:
        """Stop in order, everything written; killed if that takes longer than `grace_s`."""
        if self._process is not None:
            self._signal(self.stop_signal)
            try:
                self._process.wait(grace_s)
            except subprocess.TimeoutExpired:
                self._signal(signal.SIGKILL)
                self._process.wait()
        self._forget_process()

    def kill(self) -> None:
        """SIGKILL, as a crash would do it; what the server had not yet written is lost."""
        if self._process is not None:
            self._signal(signal.SIGKILL)
            self._process.wait()
        self._forget_process()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def _kept_fds(self) -> tuple[int, ...]:
        return (self._lock.fd, *self.shared_fds)

    def _spawn(self, command: Command, *, piped: bool) -> subprocess.Popen[bytes]:
        if piped:
            return spawn(command, subprocess.PIPE)
        make_directory(self.log_path.parent)
        if self.log_path.exists() and self.log_path.stat().st_size > MAX_LOG_BYTES:
            self.log_path.replace(self.log_path.with_suffix(".log.1"))
        with self.log_path.open("ab") as log:
            return spawn(command, log)

    def _signal(self, number: signal.Signals) -> None:
        if self.is_running():
            signal_group(self.pid, number)

    def _forget_process(self) -> None:
        self._process = None
        self._lock.release()

    def _failure(self, what: str) -> StartupError:
        status = None if self._process is None else self._process.poll()
        self.kill()
        lines = ""
        if self.log_path.exists():
            with self.log_path.open(encoding="utf-8", errors="replace") as log:
                lines = "".join(deque(log, _TAIL_LINES))
        ended = "" if status is None else f" (status {status})"
        return StartupError(f"{self.title} {what}{ended}; see {self.log_path}. Its last lines:\n{lines}")
