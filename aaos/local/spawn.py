"""One way to start a child: own session, own process group, ends when its owner ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Literal

Identity = Literal["same", "unshare", "nobody"]

_LAUNCHER = Path(__file__).with_name("launch.py")


@dataclass(frozen=True, slots=True)
class Command:
    """What to run and how it ends; nothing here is secret except `env`."""

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    cwd: Path | None = None
    identity: Identity = "same"
    death_signal: signal.Signals = signal.SIGKILL
    keep_fds: tuple[int, ...] = ()


def spawn(command: Command, output: int | IO[bytes]) -> subprocess.Popen[bytes]:
    """The started child; stdout and stderr both go to `output` (`subprocess.PIPE`, a file).

    Call it from a thread that lives as long as the owner: Linux sends the death signal when the
    *thread* that started the child ends.
    """
    return subprocess.Popen(
        [*launcher(command.identity, command.death_signal), *command.argv],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        cwd=command.cwd,
        env=dict(command.env),
        pass_fds=command.keep_fds,
        start_new_session=True,
    )


def launcher(identity: Identity, death_signal: signal.Signals) -> list[str]:
    """The words to put before a command so that `launch.py` starts it."""
    return [
        sys.executable,
        "-I",
        "-S",
        str(_LAUNCHER),
        identity,
        str(int(death_signal)),
        str(os.getpid()),
        "--",
    ]


def signal_group(pid: int, number: signal.Signals) -> bool:
    """Whether the process group led by `pid` got the signal (False: it is gone)."""
    try:
        os.killpg(pid, number)
    except ProcessLookupError:
        return False
    return True
