"""The nursery with real forks: whose children they are, what they know, what becomes of them when somebody dies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from support.process_memory import private_memory
from support.workers import wait_until
from test_process_memory import HEAVY, TALIB

from aaos.local.config import LocalConfig
from aaos.local.procinfo import start_ticks
from aaos.local.stack import FLOWER_TASKS, UpOptions, build_stack
from aaos.local.state import StateDir

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere every node imports for itself")

PROJECT = Path(__file__).resolve().parents[2]
# Celery's own broker in memory: a worker that needs no server.
WORKER = [
    "--quiet",
    "-b",
    "memory://",
    "worker",
    "--pool",
    "solo",
    "--without-mingle",
    "--without-gossip",
    "-l",
    "INFO",
]

# A supervisor by hand: each line on stdin is a Python expression, its value goes to stdout as JSON. In a process of its
# own, since whoever owns a nursery becomes the reaper of orphans.
OWNER = """
import json, os, select, signal, sys, time
from pathlib import Path
from aaos.errors import StartupError
from aaos.local.forked import Nursery, bury_strangers
from aaos.local.spawn import Command
nursery = Nursery(Command((sys.executable, "-m", "aaos.local.nursery"), env=dict(os.environ)))
process, nodes = None, {}
def read(stream, text=b"", end=None):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and (end is None or end not in text):
        if select.select([stream], [], [], 1)[0]:
            piece = os.read(stream.fileno(), 65536)
            if not piece:
                break
            text += piece
    return text.decode()
def launch():
    global process
    process = nursery.launch()
    return process.pid
def loaded():
    return read(process.stdout, end=b"ready.")
def fork(name, arguments, **environment):
    try:
        nodes[name] = nursery.fork(name, arguments, environment)
    except StartupError as error:
        return str(error)
    return nodes[name].pid
def ready(name):
    return read(nodes[name].stdout, end=b" ready.")
def end(name):
    printed = read(nodes[name].stdout)
    while nodes[name].poll() is None:
        time.sleep(0.01)
    return [nodes[name].returncode, printed]
def children():
    return {int(line) for line in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()}
for line in sys.stdin:
    print(json.dumps(eval(line)), flush=True)
"""


class Owner:
    """A process that owns a nursery, and does what a test says."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", OWNER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=PROJECT,
            env={name: value for name, value in os.environ.items() if not name.startswith("AAOS_")},
        )

    def __call__(self, expression: str) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(expression + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def fork(self, name: str, arguments: list[str], **environment: str) -> int:
        """A node's pid."""
        pid = self(f"fork({name!r}, {arguments!r}, **{environment!r})")
        assert isinstance(pid, int), pid
        return pid


@pytest.fixture
def owner() -> Iterator[Owner]:
    begun = Owner()
    begun("launch()")
    assert "nursery is ready." in begun("loaded()")
    yield begun
    begun.process.kill()
    begun.process.communicate()


def test_a_node_is_a_child_of_its_owner_with_an_exit_status_output_and_session_of_its_own(owner: Owner) -> None:
    owner.fork("version", ["--version"])
    status, printed = owner("end('version')")
    assert status == 0
    assert printed.startswith("5.")

    owner.fork("wrong", ["no-such-command"])
    status, printed = owner("end('wrong')")
    assert status == 2
    assert "no-such-command" in printed

    pid = owner.fork("worker", WORKER)
    assert " ready." in owner("ready('worker')")
    assert pid in owner("sorted(children())")
    assert os.getsid(pid) == os.getpgid(pid) == pid
    assert Path(f"/proc/{pid}/comm").read_text() == "aaos worker\n"
    os.kill(pid, signal.SIGKILL)
    assert owner("end('worker')")[0] == -signal.SIGKILL


@pytest.mark.requirement("R2")
def test_a_login_is_known_to_its_own_node_and_neither_to_the_next_nor_to_the_nursery(owner: Owner) -> None:
    nursery = owner("process.pid")
    # Made here, not written down: a constant would be in the owner's code as well.
    logins = {name: f"{name}-{os.urandom(8).hex()}" for name in ("deciding", "executing")}
    pids = {name: owner.fork(name, WORKER, LOGIN=login) for name, login in logins.items()}
    for name in pids:
        assert " ready." in owner(f"ready({name!r})")

    known = {
        who: {name for name, login in logins.items() if login.encode() in private_memory(pid)}
        for who, pid in {"nursery": nursery, **pids}.items()
    }

    assert known == {"nursery": set(), "deciding": {"deciding"}, "executing": {"executing"}}


def test_nodes_outlive_the_nursery_and_the_next_one_forks_on(owner: Owner) -> None:
    pid = owner.fork("old", WORKER)
    assert " ready." in owner("ready('old')")

    owner("process.kill() or process.wait()")
    refused = owner("fork('new', ['--version'])")
    assert refused.startswith("new was not started: the nursery does not answer")
    assert owner("nodes['old'].poll()") is None

    owner("launch()")
    # It imports for seconds: whoever asks now is refused at once, and the line stays up.
    assert "still importing" in owner("fork('new', ['--version'])")
    assert "nursery is ready." in owner("loaded()")
    owner.fork("new", ["--version"])
    assert owner("end('new')")[0] == 0
    assert start_ticks(pid) is not None


def test_nothing_outlives_the_owner(owner: Owner) -> None:
    pids = [owner("process.pid"), owner.fork("one", WORKER), owner.fork("two", WORKER)]
    assert " ready." in owner("ready('two')")

    owner.process.kill()
    owner.process.wait()

    wait_until(lambda: all(start_ticks(pid) is None for pid in pids), "all ended")


def test_orphans_that_come_to_the_owner_are_buried_and_its_own_children_are_not(owner: Owner) -> None:
    # A child that leaves one behind, which ends a little later.
    orphan = owner("int(os.popen('sleep 0.3 >&- 2>&- & echo $!').read())")
    assert orphan in owner("sorted(children())")
    wait_until(lambda: start_ticks(orphan) is None, "the orphan has ended")
    own = owner.fork("own", ["--version"])
    wait_until(lambda: start_ticks(own) is None, "the node has ended")

    remaining = owner(f"bury_strangers([{own}, process.pid]) or sorted(children())")

    assert orphan not in remaining
    assert own in remaining
    assert owner("end('own')")[0] == 0


def test_flower_keeps_as_many_tasks_as_the_stack_says(owner: Owner, tmp_path: Path) -> None:
    state = StateDir(tmp_path)
    state.occupy()
    try:
        stack = build_stack(UpOptions(tmp_path), state, LocalConfig())
    finally:
        state.lock.release()
    (start,) = (spec.start for spec in stack.specs if spec.name == "flower")
    assert isinstance(start, partial)
    name, arguments, environment = start.args
    assert f"--max_tasks={FLOWER_TASKS}" in arguments
    # And Flower takes it: with a limit that is none it would end.
    words = [*arguments[:-1], "--max_tasks=none"]
    owner.fork(name, words, **environment)
    assert owner(f"end({name!r})")[0] != 0


def test_the_nursery_shares_no_library_that_only_some_need_and_has_one_thread() -> None:
    look = (
        "import os, sys; from aaos.local.nursery import load; load();"
        "packages = {name.partition('.')[0].lstrip('_') for name in sys.modules};"
        f"print(sorted(packages & set({[*HEAVY, TALIB]!r})), os.listdir('/proc/self/task') == [str(os.getpid())])"
    )
    # As the stack starts it: numpy's linear algebra would start a thread per core.
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", look],
        cwd=PROJECT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.strip() == "[] True"
