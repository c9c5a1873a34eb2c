"""The whole stack as a person starts it: first decision, memory, and that nothing outlives it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.process_memory import private_memory

from aaos.local.procinfo import children_by_parent, process_tree, start_ticks
from aaos.local.status import status

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

PROJECT = Path(__file__).resolve().parents[2]
FIRST_DECISION_S = 60  # SPEC 20
MEMORY_MB = 512  # SPEC 20


class Up:
    """`./run up` on one state directory."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self._log = state.parent / f"up-{time.monotonic_ns()}.txt"
        with self._log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "aaos.local", "up", "--state", str(state)],
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=PROJECT,
            )

    def wait_for(self, true: Callable[[], object], timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while not true():
            assert time.monotonic() < deadline, f"not within {timeout_s} s:\n{self._log.read_text()}"
            assert self.process.poll() is None, self._log.read_text()
            time.sleep(0.2)

    def wait_until_running(self) -> None:
        self.wait_for(lambda: "aaos is running" in self._log.read_text(), 120)

    def decisions(self) -> list[Any]:
        command = [sys.executable, str(PROJECT / "run"), "aaos", "--state", str(self.state), "results"]
        done = subprocess.run(
            [*command, "--kind", "trading_decision", "--symbol", "BTC/USDT", "--json"],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        found: list[Any] = json.loads(done.stdout) if done.returncode == 0 else []
        return found


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[], Up]]:
    begun: list[Up] = []

    def begin() -> Up:
        begun.append(Up(tmp_path / "a state"))
        return begun[-1]

    yield begin
    for each in begun:
        each.process.kill()
        each.process.wait()


def test_first_decision_memory_restart_and_a_clean_end(start: Callable[[], Up]) -> None:
    first = start()
    first.wait_for(first.decisions, FIRST_DECISION_S)
    first.wait_until_running()
    assert status(first.state).memory_pss_mb < MEMORY_MB
    decided = len(first.decisions())
    pids = process_tree(first.process.pid, children_by_parent())

    first.process.kill()
    first.process.wait()
    second = start()
    second.wait_until_running()

    assert not [pid for pid in pids if start_ticks(pid) is not None]
    assert len(second.decisions()) >= decided
    pids = process_tree(second.process.pid, children_by_parent())
    second.process.send_signal(signal.SIGTERM)
    assert second.process.wait(90) == 0
    assert not [pid for pid in pids if start_ticks(pid) is not None]


def test_a_killed_worker_is_started_again(start: Callable[[], Up], monkeypatch: pytest.MonkeyPatch) -> None:
    stack = start()
    stack.wait_until_running()
    before = {process.name: process for process in status(stack.state).processes}
    pid = before["cpu"].pid
    assert pid is not None

    os.killpg(pid, signal.SIGKILL)

    def is_back() -> bool:
        cpu = {process.name: process for process in status(stack.state).processes}["cpu"]
        return cpu.pid not in {None, pid} and cpu.state == "ready" and cpu.restarts == 1

    stack.wait_for(is_back, 60)
    stack.process.send_signal(signal.SIGTERM)
    assert stack.process.wait(90) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere every node imports for itself")
def test_nodes_share_memory_but_no_login_and_come_back_one_by_one(start: Callable[[], Up]) -> None:
    stack = start()
    stack.wait_until_running()
    before = {process.name: process.pid for process in status(stack.state).processes}
    logins = {
        name: (stack.state / "secrets" / f"aaos_{name}_worker").read_bytes() for name in ("deciding", "executing")
    }

    assert _known(before["io"], logins) == _known(before["cpu"], logins) == {"deciding"}
    assert _known(before["trader"], logins) == {"executing"}
    assert _known(before["nursery"], logins) == _known(before["beat"], logins) == set()

    for name in ("nursery", "trader"):
        pid = before[name]
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        stack.wait_for(lambda name=name: _is_back(stack, name, before[name]), 60)
    after = {process.name: process.pid for process in status(stack.state).processes}

    assert {name for name in before if after[name] != before[name]} == {"nursery", "trader"}
    assert _known(after["trader"], logins) == {"executing"}
    stack.process.send_signal(signal.SIGTERM)
    assert stack.process.wait(90) == 0


def _known(pid: int | None, logins: dict[str, bytes]) -> set[str]:
    assert pid is not None
    memory = private_memory(pid)
    return {name for name, password in logins.items() if password.strip() in memory}


def _is_back(stack: Up, name: str, pid: int | None) -> bool:
    found = {process.name: process for process in status(stack.state).processes}[name]
    return found.pid not in {None, pid} and found.state == "ready" and found.restarts == 1
