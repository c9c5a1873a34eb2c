"""`up` runs the stack in the foreground until it is told to stop; `down` tells it, from anywhere."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from aaos.errors import AaosError, StartupError
from aaos.local.child import Child, open_log
from aaos.local.config import LocalConfig, load_config
from aaos.local.logs import Console
from aaos.local.ports import PortBook
from aaos.local.stack import PROJECT_ROOT, ReplayFile, StackBuilder, UpOptions, build_stack, where_to_look
from aaos.local.state import StateDir
from aaos.local.supervisor import ExitStatus, Limits, Supervisor

_DOWN_TIMEOUT_S = 180.0  # workers get their grace, then the servers theirs
_DOWN_POLL_S = 0.1
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - the kernel's, not a temporary file's place


def up(options: UpOptions, builder: StackBuilder = build_stack) -> int:
    """The stack's exit status: 0 after an ordered stop, 1 if it could not start, 3 if a child kept dying.

    Runs in the calling thread until a signal ends it; call it from the main thread.
    """
    console = Console()
    state = StateDir(options.state)
    try:
        config = load_config(Path(os.environ.get("AAOS_CONFIG_DIR", PROJECT_ROOT / "config")))
        _check_replay_files(options.replay)
        require_shared_memory(_SHARED_MEMORY)
        state.occupy()
        with contextlib.closing(_Closing(state)):
            return int(_supervise(options, builder, state, config, console))
    except AaosError as error:
        print(f"aaos: cannot start: {error}", file=sys.stderr)
        return int(ExitStatus.START_FAILED)


class _Closing:
    """Gives the state directory back."""

    def __init__(self, state: StateDir) -> None:
        self._state = state

    def close(self) -> None:
        self._state.clear_record()
        self._state.lock.release()


def _supervise(
    options: UpOptions, builder: StackBuilder, state: StateDir, config: LocalConfig, console: Console
) -> ExitStatus:
    if options.fresh_ports:
        PortBook(state.path).forget()
    stack = builder(options, state, config)
    state.write_environment(stack.environment)
    children = [Child(spec, open_log(state.logs, spec.name, config.log_max_mb), stack.secrets) for spec in stack.specs]
    limits = Limits(config.start_timeout_s, config.young_s, config.crash_limit, config.restart_delay_max_s)
    own_log = open_log(state.logs, "supervisor", config.log_max_mb)

    def say(name: str, text: str, colour: int) -> None:
        console.line(name, text, colour)
        if name == "aaos":
            own_log.write(f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {text}\n".encode())

    def on_change(present: Sequence[Child]) -> None:
        state.record([child.record() for child in present], stack.flower_port)

    def on_ready() -> None:
        console.block(where_to_look(stack, state))

    say("aaos", f"starting in {state.path}", len(children))
    outcome = Supervisor(children, limits, say, on_change, on_ready).run()
    say(
        "aaos",
        "stopped" if outcome is ExitStatus.STOPPED else "stopped after a failure, see above",
        len(children),
    )
    own_log.close()
    return outcome


def down(state_dir: Path, timeout_s: float = _DOWN_TIMEOUT_S) -> str:
    """What happened, as a sentence; the stack of `state_dir` is not running any more.

    Raises:
        StartupError: it may not be stopped by this user, or does not stop in time; names the remedy.
    """
    state = StateDir(state_dir)
    pid = state.supervisor_pid()
    if pid is None:
        return f"No stack is running in {state.path}."
    try:
        os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        return f"The stack in {state.path} has just stopped."
    except PermissionError as error:
        raise StartupError(
            f"The stack in {state.path} (pid {pid}) belongs to another user: run this as him."
        ) from error
    deadline = time.monotonic() + timeout_s
    while state.supervisor_pid() == pid:
        if time.monotonic() > deadline:
            raise StartupError(f"The stack (pid {pid}) still stops after {timeout_s:g} s: run this again to hurry it.")
        time.sleep(_DOWN_POLL_S)
    return f"The stack in {state.path} has stopped; its data is kept."


def require_shared_memory(directory: Path) -> None:
    """Nothing, if the semaphores that Celery's prefork pool needs can be made.

    Raises:
        StartupError: `directory` (/dev/shm) is missing or not writable; names the remedy.
    """
    try:
        with tempfile.TemporaryFile(dir=directory):
            return
    except OSError as error:
        raise StartupError(
            f"{directory} is not usable ({error.strerror}); Celery's prefork workers need it: as root run "
            f"mount -t tmpfs -o mode=1777 tmpfs {directory} (in Docker: --shm-size=64m)."
        ) from error


def _check_replay_files(files: Sequence[ReplayFile]) -> None:
    for file in files:
        if not file.path.is_file():
            raise StartupError(f"--replay {file}: no such file; name CSV or Parquet files, as PATH or SYMBOL@1m=PATH.")
