"""Somebody at the keyboard: commands and Python, typed in this process or in one of its own."""

from __future__ import annotations

import io
import json
import os
import pty
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from typing import Any

import structlog
from support.workers import PROJECT

import aaos
from aaos import bootstrap
from aaos.cli.app import main
from aaos.settings import settings
from aaos.shell.environment import leave

COMMAND_TIMEOUT_S = 60
KINDS = (
    *("technical_analysis", "regime_detection", "trading_context", "trading_analysis", "trading_decision"),
    *("risk_assessment", "execution", "portfolio_rebalance"),
)
NO_STATE = {"AAOS_STATE_DIR": "/nonexistent/state"}


def run(environment: Mapping[str, str], *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Runs Python in the project, as a process of its own, with these AAOS_* variables and no others."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("AAOS_")}
    return subprocess.run(
        [sys.executable, *words],
        cwd=PROJECT,
        env={**ours, **NO_STATE, **environment},
        input=stdin,
        capture_output=True,
        text=True,
        timeout=COMMAND_TIMEOUT_S,
        check=False,
    )


@contextmanager
def keyboard(environment: Mapping[str, str]) -> Iterator[tuple[io.StringIO, io.StringIO]]:
    """Yields (stdout, stderr) of what is typed inside, in this process: starting one takes a second each time."""
    variables = {**NO_STATE, **environment}
    before = dict(os.environ)
    configured = structlog.is_configured()
    os.environ.update(variables)
    _forget()
    shown, told = io.StringIO(), io.StringIO()
    try:
        with redirect_stdout(shown), redirect_stderr(told):
            yield shown, told
    finally:
        if "AAOS_DATABASE_URL" in os.environ:
            bootstrap.container().database.close()
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)
        _forget()
        if not configured:
            structlog.reset_defaults()


def _forget() -> None:
    settings.cache_clear()
    bootstrap.reset()
    leave()
    sys.modules.pop("celeryconfig", None)


@dataclass(frozen=True, slots=True)
class Typed:
    """What a command showed."""

    stdout: str
    stderr: str


class Person:
    """Somebody at the keyboard, with servers named in the environment."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.environment = dict(environment)

    def types(self, *words: str, status: int = 0, **changes: str) -> Typed:
        """Runs one aaos command; fails unless it ends with `status`. An unexpected error shows as itself."""
        with keyboard(self.environment | changes) as (shown, told):
            ended = main(words)
        typed = Typed(shown.getvalue(), told.getvalue())
        assert ended == status, typed
        return typed

    def json(self, *words: str, status: int = 0) -> Any:
        """Returns the one JSON document that a command prints."""
        return json.loads(self.types(*words, "--json", status=status).stdout)

    def python(self, code: str, **changes: str) -> Any:
        """Runs lines of Python with aaos imported; returns what they call `said`, through JSON."""
        names: dict[str, Any] = {"aaos": aaos}
        with keyboard(self.environment | changes):
            exec(textwrap.dedent(code), names)
            return json.loads(json.dumps(names["said"], default=str))


def on_a_terminal(environment: Mapping[str, str], *words: str) -> tuple[str, str]:
    """Returns (stdout, what stderr's terminal got) of a process; the terminal is read as it is written."""
    terminal, its_end = pty.openpty()
    ours = {name: value for name, value in os.environ.items() if not name.startswith("AAOS_")}
    child = subprocess.Popen(
        [sys.executable, *words],
        cwd=PROJECT,
        env={**ours, **NO_STATE, **environment, "TERM": "xterm", "COLUMNS": "120"},
        stdout=subprocess.PIPE,
        stderr=its_end,
    )
    os.close(its_end)
    got = bytearray()

    def read() -> None:
        with suppress(OSError):  # how Linux reports that the other end has been closed
            while piece := os.read(terminal, 4096):
                got.extend(piece)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        printed, _ = child.communicate(timeout=COMMAND_TIMEOUT_S)
    finally:
        child.kill()
        reader.join(COMMAND_TIMEOUT_S)
        os.close(terminal)
    assert child.returncode == 0, got.decode(errors="replace")
    return printed.decode(), got.decode(errors="replace")
