"""The state directory of a stack: who runs it, what runs in it, and the environment to reach it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from aaos.local.files import make_directory, read_json, write_private
from aaos.local.locks import OwnerLock, living_owner

ORPHANS_TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True)
class ChildRecord:
    """One process of the stack, as the supervisor last saw it."""

    name: str
    state: str
    pid: int | None
    start_ticks: int | None
    port: int | None
    restarts: int


class StateDir:
    """Paths and small files under one state directory."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path).expanduser().absolute()
        self.logs = self.path / "logs"
        self.env_file = self.path / "env"
        self._lock_file = self.path / "lock"
        self._record_file = self.path / "supervisor.json"
        self.lock = OwnerLock(self._lock_file)

    def occupy(self) -> None:
        """Make the directory and become its one supervisor, once leftovers of an earlier one have ended.

        Raises:
            StartupError: another supervisor has it, or it is not writable; names pid and remedy.
        """
        make_directory(self.path)
        make_directory(self.logs)
        stop = f"./run down --state {shlex.quote(str(self.path))}"
        remedy = f"stop it first with {stop}, or name another --state DIR"
        self.lock.acquire(f"The state directory {self.path}", remedy, ORPHANS_TIMEOUT_S)

    def supervisor_pid(self) -> int | None:
        """The pid of the supervisor that runs here now."""
        return living_owner(self._lock_file)

    def record(self, children: Sequence[ChildRecord], flower_port: int | None) -> None:
        """Write down what runs, for `status` and for people."""
        content = {
            "pid": self.supervisor_pid(),
            "flower_port": flower_port,
            "children": [asdict(c) for c in children],
        }
        write_private(self._record_file, json.dumps(content, indent=1) + "\n")

    def read_record(self) -> dict[str, Any]:
        """What `record` wrote last; empty if nothing runs or ran."""
        return read_json(self._record_file)

    def clear_record(self) -> None:
        """Forget what ran: all of it has ended."""
        self._record_file.unlink(missing_ok=True)

    def write_environment(self, variables: Mapping[str, str]) -> None:
        """Write the variables that lead any aaos command to this stack (holds passwords: mode 0600)."""
        lines = [f"{name}={shlex.quote(value)}\n" for name, value in variables.items()]
        write_private(self.env_file, "".join(lines))
