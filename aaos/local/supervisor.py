"""Starts a table of processes in order, keeps them running, and stops them in reverse order.

One thread, one loop over pipes, signals and the clock: the kernel ends children when the *thread* that
started them ends, and a supervisor without threads cannot deadlock in fork. Ideas owed to supervisord (start
in order, judge a process by how long it lived), honcho (prefixed output), circus (grace, then the group).
"""

from __future__ import annotations

import selectors
import signal
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from types import FrameType

from aaos.errors import StartupError
from aaos.local.child import Child, ChildState
from aaos.local.forked import bury_strangers

_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_BUSY_POLL_S = 0.05  # while something starts, stops or waits for its restart
_IDLE_POLL_S = 5.0  # otherwise signals and output wake the loop
_AFTER_KILL_S = 5.0


class ExitStatus(IntEnum):
    """Why the supervisor ended."""

    STOPPED = 0
    START_FAILED = 1
    CRASH_LOOP = 3


@dataclass(frozen=True, slots=True)
class Limits:
    """When the supervisor loses patience."""

    start_timeout_s: float
    young_s: float
    crash_limit: int
    restart_delay_max_s: float


class Supervisor:
    """Runs `children` until a signal asks it to stop, or one of them cannot be kept running."""

    def __init__(
        self,
        children: Sequence[Child],
        limits: Limits,
        say: Callable[[str, str, int], None],
        on_change: Callable[[Sequence[Child]], None],
        on_ready: Callable[[], None],
    ) -> None:
        self._children = list(children)
        self._limits = limits
        self._say = say
        self._on_change = on_change
        self._on_ready = on_ready
        self._selector = selectors.DefaultSelector()
        self._asked_to_stop = 0
        self._outcome = ExitStatus.STOPPED
        self._changed = True

    def run(self) -> ExitStatus:
        """Why it ended; by then every process has."""
        restore = self._catch_signals()
        try:
            self._start_all()
            if not self._must_stop:
                self._on_ready()
            while not self._must_stop:
                self._turn()
        except StartupError as error:
            self._fail(str(error), ExitStatus.START_FAILED)
        finally:
            # Reached on any error, too: whatever happens to us, nothing stays behind.
            self._stop_all()
            restore()
        return self._outcome

    @property
    def _must_stop(self) -> bool:
        return self._asked_to_stop > 0 or self._outcome is not ExitStatus.STOPPED

    def _start_all(self) -> None:
        for stage in sorted({child.spec.stage for child in self._children}):
            waiting = [child for child in self._children if child.spec.stage == stage]
            for child in waiting:
                if not self._must_stop:
                    self._start(child)
            while not self._must_stop and any(child.state in {"starting", "restarting"} for child in waiting):
                self._turn()
            if self._must_stop:
                return

    def _start(self, child: Child) -> None:
        child.start()
        self._set_state(child, "starting")
        if child.output is not None:
            self._selector.register(child.output, selectors.EVENT_READ, child)

    # --- one turn of the loop ------------------------------------------------------------------

    def _turn(self) -> None:
        self._pump(self._pause_s())
        for child in self._children:
            self._look_after(child)
        bury_strangers({child.pid for child in self._children})
        if self._changed:
            self._changed = False
            self._on_change(self._children)

    def _pause_s(self) -> float:
        settled = {"ready", "ended", "waiting"}
        return _IDLE_POLL_S if all(child.state in settled for child in self._children) else _BUSY_POLL_S

    def _pump(self, timeout_s: float) -> None:
        for key, _ in self._selector.select(timeout_s):
            if isinstance(key.data, Child):
                self._read(key.data)
            else:
                self._wakeup.recv(4096)

    def _read(self, child: Child) -> None:
        pipe = child.output
        for line in child.read():
            self._say(child.spec.name, line, self._children.index(child))
        if pipe is not None and child.output is None:
            self._selector.unregister(pipe)

    def _look_after(self, child: Child) -> None:
        if child.state in {"starting", "ready"} and child.has_ended():
            self._on_end(child)
        elif child.state == "starting":
            self._on_starting(child)
        elif child.state == "restarting" and time.monotonic() >= child.due_at:
            self._restart(child)

    def _on_starting(self, child: Child) -> None:
        if not child.spec.once and child.is_ready():
            self._set_state(child, "ready")
        elif child.lived_s > self._limits.start_timeout_s:
            self._note(f"{child.spec.name} was not ready after {self._limits.start_timeout_s:g} s: killing it")
            child.kill_group()

    def _restart(self, child: Child) -> None:
        child.restarts += 1
        try:
            self._start(child)
        except StartupError as error:
            # For example its port, taken by a stranger meanwhile: as good as a young death.
            self._note(str(error))
            self._count_death(child, lived_s=0.0)

    # --- ends ----------------------------------------------------------------------------------

    def _on_end(self, child: Child) -> None:
        self._drain(child)
        child.forget_process()
        if child.spec.once:
            self._on_once_end(child)
        else:
            self._count_death(child, child.lived_s)

    def _on_once_end(self, child: Child) -> None:
        self._set_state(child, "ended")
        if child.status == 0:
            return
        message = f"{child.spec.name} failed ({_describe(child.status)})"
        if child.spec.optional:
            self._note(message)
        else:
            self._fail(f"{message}; its last lines:\n{child.last_lines()}", ExitStatus.START_FAILED)

    def _count_death(self, child: Child, lived_s: float) -> None:
        child.young_deaths = child.young_deaths + 1 if lived_s < self._limits.young_s else 1
        what = f"{child.spec.name} died ({_describe(child.status)})"
        if child.young_deaths >= self._limits.crash_limit:
            self._set_state(child, "ended")
            times = f"{child.young_deaths} times in a row within {self._limits.young_s:g} s of its start"
            self._fail(f"{what} {times}; its last lines:\n{child.last_lines()}", ExitStatus.CRASH_LOOP)
            return
        delay_s = child.next_delay_s(self._limits.restart_delay_max_s)
        child.due_at = time.monotonic() + delay_s
        self._set_state(child, "restarting")
        self._note(f"{what}; starting it again in {delay_s:g} s")

    def _fail(self, message: str, outcome: ExitStatus) -> None:
        if self._outcome is ExitStatus.STOPPED:
            self._outcome = outcome
        self._note(message)

    # --- stopping ------------------------------------------------------------------------------

    def _stop_all(self) -> None:
        if any(child.is_alive for child in self._children):
            self._note("stopping")
        for stage in sorted({child.spec.stage for child in self._children}, reverse=True):
            self._stop_stage([child for child in self._children if child.spec.stage == stage])
        for child in self._children:
            child.close()
        self._on_change(self._children)

    def _stop_stage(self, children: Sequence[Child]) -> None:
        asked_before = self._asked_to_stop
        for child in children:
            child.due_at = time.monotonic() + child.spec.grace_s
            child.signal_main(child.spec.stop_signal)
            if child.is_alive:
                self._set_state(child, "stopping")
        while any(child.is_alive for child in children):
            self._pump(_BUSY_POLL_S)
            hurry = self._asked_to_stop > max(asked_before, 1)
            for child in children:
                self._press(child, hurry=hurry)
        for child in children:
            child.has_ended()  # kills what is left of its group
            self._drain(child)
            child.forget_process()
            self._set_state(child, "ended")

    def _press(self, child: Child, *, hurry: bool) -> None:
        if not child.is_alive or not (hurry or time.monotonic() >= child.due_at):
            return
        if not hurry:
            self._note(f"{child.spec.name} did not stop within {child.spec.grace_s:g} s: killing it")
        child.due_at = time.monotonic() + _AFTER_KILL_S
        child.kill_group()

    def _drain(self, child: Child) -> None:
        """The rest of its output; what its orphans might still print is not waited for."""
        pipe = child.output
        if pipe is None:
            return
        self._read(child)
        if child.output is not None:
            self._selector.unregister(pipe)
            child.close_output()

    # --- small things --------------------------------------------------------------------------

    def _set_state(self, child: Child, state: ChildState) -> None:
        child.state = state
        self._changed = True

    def _note(self, text: str) -> None:
        self._say("aaos", text, len(self._children))

    def _catch_signals(self) -> Callable[[], None]:
        """Signals wake the loop; returns what puts the former handlers back."""
        self._wakeup, writer = socket.socketpair()
        for end in (self._wakeup, writer):
            end.setblocking(False)
        self._selector.register(self._wakeup, selectors.EVENT_READ)
        caught = list(_STOP_SIGNALS)
        # nohup ignores SIGHUP on purpose. (A shell ignores SIGINT for what it starts with &; that is not meant.)
        if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
            caught.remove(signal.SIGHUP)
        former = {number: signal.signal(number, self._on_stop_signal) for number in caught}
        former[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, _wake_only)
        former_fd = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)

        def restore() -> None:
            signal.set_wakeup_fd(former_fd)
            for number, handler in former.items():
                signal.signal(number, handler)
            self._selector.close()
            self._wakeup.close()
            writer.close()

        return restore

    def _on_stop_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._asked_to_stop += 1


def _wake_only(_number: int, _frame: FrameType | None) -> None:
    """A handler must exist for a signal to reach the wakeup descriptor."""


def _describe(status: int | None) -> str:
    if status is None:
        return "could not be started"
    if status < 0:
        return f"killed by {signal.Signals(-status).name}"
    return f"exit status {status}"
