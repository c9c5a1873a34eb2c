"""The supervisor with real child processes: order, readiness, restarts, an end that leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.workers import wait_until

from aaos.errors import StartupError
from aaos.local.procinfo import start_ticks
from aaos.local.status import status
from aaos.local.up import down, require_shared_memory

PROJECT = Path(__file__).resolve().parents[2]
SECRET = "hunter2-secret"

# A stack of fakes: each process is NAME:STAGE:BEHAVIOUR.
DRIVER = '''
import os, signal, subprocess, sys
from functools import partial
from pathlib import Path
from aaos.local.child import ProcessSpec
from aaos.local.ports import PortBook
from aaos.local.spawn import Command, spawn
from aaos.local.stack import Stack, UpOptions
from aaos.local.up import up

FAKE = """
import os, signal, subprocess, sys, time
name, behaviour = sys.argv[1:]
def orderly(*_):
    print(name, "ends", flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, signal.SIG_IGN if behaviour == "stubborn" else orderly)
if behaviour == "grandchild":
    print(name, "grandchild", subprocess.Popen(["sleep", "1000"]).pid, flush=True)
if behaviour == "talks":
    print("my password is SECRET", flush=True)
time.sleep(0.2)
if behaviour == "never-ready":
    time.sleep(1000)
print(name, "is ready.", flush=True)
if behaviour == "crashes":
    print("the reason why", flush=True)
    sys.exit(7)
if behaviour == "done":
    sys.exit(0)
while True:
    time.sleep(1)
"""

def build(options, state, config):
    port = PortBook(state.path).claim("flower", options.flower_port, "choose another with --flower-port N")
    specs = []
    for word in sys.argv[3:]:
        name, stage, behaviour = word.split(":")
        command = Command((sys.executable, "-c", FAKE.replace("SECRET", "@SECRET@"), name, behaviour),
                          env=dict(os.environ), keep_fds=(state.lock.fd,))
        specs.append(ProcessSpec(
            name, int(stage), partial(spawn, command, subprocess.PIPE), ready_line=" is ready.",
            grace_s=config.stop_grace_s, restart_delay_s=config.restart_delay_s, once=name.startswith("once"),
        ))
    return Stack(tuple(specs), ("@SECRET@",), {"AAOS_STATE_DIR": str(state.path)}, port)

port = int(sys.argv[2]) or None
sys.exit(up(UpOptions(Path(sys.argv[1]), flower_port=port), build))
'''.replace("@SECRET@", SECRET)

CONFIG = """
restart_delay_s: 0.2
restart_delay_max_s: 0.2
crash_limit: 3
stop_grace_s: 5
start_timeout_s: 20
"""


class Stack:
    """A supervisor process over fakes, with what it printed."""

    def __init__(self, state: Path, config: Path, processes: tuple[str, ...], flower_port: int) -> None:
        self.state = state
        self._printed = state.parent / f"printed-{time.monotonic_ns()}.txt"
        with self._printed.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-c", DRIVER, str(state), str(flower_port), *processes],
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONPATH": str(PROJECT), "AAOS_CONFIG_DIR": str(config)},
            )

    @property
    def printed(self) -> str:
        return self._printed.read_text(encoding="utf-8")

    def wait_for(self, text: str, times: int = 1) -> None:
        wait_until(lambda: self.printed.count(text) >= times, f"{text!r} in {self.printed}")

    def wait(self) -> int:
        return self.process.wait(30)

    def children(self) -> dict[str, Any]:
        record = json.loads((self.state / "supervisor.json").read_text(encoding="utf-8"))
        return {child["name"]: child for child in record["children"]}

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.wait()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Stack]]:
    config = tmp_path / "config"
    config.mkdir()
    (config / "local.yaml").write_text(CONFIG)
    stacks: list[Stack] = []

    def begin(*processes: str, flower_port: int = 0) -> Stack:
        stacks.append(Stack(tmp_path / "a state", config, processes, flower_port))
        return stacks[-1]

    yield begin
    for stack in stacks:
        stack.process.kill()
        stack.process.wait()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_stages_start_in_order_stop_in_reverse_and_a_signal_ends_it_with_status_0(
    start: Callable[..., Stack], number: signal.Signals
) -> None:
    stack = start("low:1:good", "mid:2:good", "high:3:good")
    stack.wait_for("aaos is running")

    stack.process.send_signal(number)

    assert stack.wait() == 0
    order = [stack.printed.index(f"{name} is ready.") for name in ("low", "mid", "high")]
    order += [stack.printed.index(f"{name} ends") for name in ("high", "mid", "low")]
    assert order == sorted(order)
    assert not (stack.state / "supervisor.json").exists()


def test_killing_the_supervisor_ends_every_child_and_frees_the_directory(start: Callable[..., Stack]) -> None:
    stack = start("one:1:good", "two:2:stubborn")
    stack.wait_for("aaos is running")
    pids = [child["pid"] for child in stack.children().values()]

    stack.process.kill()
    stack.process.wait()

    wait_until(lambda: all(start_ticks(pid) is None for pid in pids), "children ended")
    again = start("one:1:good")
    again.wait_for("aaos is running")
    assert again.stop() == 0


def test_a_second_start_is_refused_naming_the_first_and_the_way_out(start: Callable[..., Stack]) -> None:
    first = start("one:1:good")
    first.wait_for("aaos is running")

    second = start("one:1:good")

    assert second.wait() == 1
    assert f"in use by pid {first.process.pid}" in second.printed
    assert "./run down --state" in second.printed
    assert first.stop() == 0


def test_a_child_that_dies_is_started_again_and_counted(start: Callable[..., Stack]) -> None:
    stack = start("one:1:good", "two:1:good")
    stack.wait_for("aaos is running")
    before = stack.children()

    os.kill(before["one"]["pid"], signal.SIGKILL)

    stack.wait_for("one is ready.", times=2)
    wait_until(lambda: stack.children()["one"]["state"] == "ready", "ready again")
    after = stack.children()
    assert after["one"]["pid"] != before["one"]["pid"]
    assert (after["one"]["restarts"], after["two"]["restarts"]) == (1, 0)
    assert "one died (killed by SIGKILL); starting it again in 0.2 s" in stack.printed
    assert stack.stop() == 0


def test_a_child_that_keeps_dying_stops_the_stack_with_its_last_words(start: Callable[..., Stack]) -> None:
    stack = start("good:1:good", "bad:2:crashes")

    assert stack.wait() == 3
    assert "bad died (exit status 7) 3 times in a row" in stack.printed
    assert "    the reason why" in stack.printed
    assert "good ends" in stack.printed


def test_a_preparation_that_fails_stops_the_start(start: Callable[..., Stack]) -> None:
    stack = start("good:1:good", "once-migrate:2:crashes", "late:3:good")

    assert stack.wait() == 1
    assert "once-migrate failed (exit status 7)" in stack.printed
    assert "late is ready" not in stack.printed


def test_a_preparation_is_run_to_its_end_before_the_next_stage(start: Callable[..., Stack]) -> None:
    stack = start("once-migrate:1:done", "late:2:good")
    stack.wait_for("aaos is running")

    assert stack.children()["once-migrate"]["state"] == "ended"
    assert stack.stop() == 0


def test_a_signal_during_the_start_stops_what_was_started(start: Callable[..., Stack]) -> None:
    stack = start("good:1:good", "slow:2:never-ready")
    stack.wait_for("good is ready.")
    wait_until(lambda: stack.children()["slow"]["state"] == "starting", "slow is starting")

    assert stack.stop() == 0
    assert "aaos is running" not in stack.printed


def test_a_second_signal_does_not_wait_for_the_stubborn(start: Callable[..., Stack]) -> None:
    stack = start("one:1:stubborn")
    stack.wait_for("aaos is running")
    began = time.monotonic()

    stack.process.send_signal(signal.SIGINT)
    stack.wait_for("stopping")
    stack.process.send_signal(signal.SIGINT)

    assert stack.wait() == 0
    assert time.monotonic() - began < 4  # its grace would be 5 s


def test_the_stubborn_and_their_children_are_killed_after_their_grace(start: Callable[..., Stack]) -> None:
    stack = start("one:1:grandchild", "two:1:stubborn")
    stack.wait_for("aaos is running")
    grandchild = int(stack.printed.split("grandchild ")[1].split()[0])

    assert stack.stop() == 0
    assert "two did not stop within 5 s: killing it" in stack.printed
    wait_until(lambda: start_ticks(grandchild) is None, "grandchild ended")


def test_down_stops_the_stack_of_a_directory_and_says_when_there_is_none(start: Callable[..., Stack]) -> None:
    stack = start("one:1:good")
    stack.wait_for("aaos is running")

    assert "has stopped" in down(stack.state)
    assert stack.wait() == 0
    assert "No stack is running" in down(stack.state)


def test_a_port_in_use_is_refused_naming_holder_and_option(start: Callable[..., Stack]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        port = stranger.getsockname()[1]
        stack = start("one:1:good", flower_port=port)

        assert stack.wait() == 1
        assert f"Port {port} for flower is in use by" in stack.printed
        assert f"(pid {os.getpid()})" in stack.printed
        assert "--flower-port" in stack.printed


def test_what_children_print_is_kept_per_process_without_secrets(start: Callable[..., Stack]) -> None:
    stack = start("chatty:1:talks")
    stack.wait_for("aaos is running")
    assert stack.stop() == 0

    kept = (stack.state / "logs" / "chatty.log").read_text()
    assert "my password is ***" in kept
    assert "chatty    | my password is ***" in stack.printed
    assert SECRET not in kept + stack.printed
    assert stat.S_IMODE((stack.state / "env").stat().st_mode) == 0o600


def test_status_tells_memory_of_every_process_and_of_all(start: Callable[..., Stack]) -> None:
    stack = start("one:1:good", "two:1:grandchild")
    stack.wait_for("aaos is running")

    seen = status(stack.state)

    by_name = {process.name: process for process in seen.processes}
    assert seen.running
    assert list(by_name) == ["supervisor", "one", "two"]
    assert by_name["two"].processes == 2
    assert all(process.memory_pss_mb > 0.5 and process.uptime_s >= 0 for process in seen.processes)
    assert seen.memory_pss_mb == pytest.approx(sum(process.memory_pss_mb for process in seen.processes), abs=0.1)
    # The supervisor is part of the 512 MB: nothing heavy may be imported into it.
    assert by_name["supervisor"].memory_pss_mb < 25
    assert stack.stop() == 0
    assert not status(stack.state).running


def test_without_usable_shared_memory_the_start_is_refused_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="mount -t tmpfs"):
        require_shared_memory(tmp_path / "absent")
