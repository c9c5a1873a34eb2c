"""Breakers over a real Valkey that is killed, frozen, restarted, and raced for by many processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.captured import captured_logs

from aaos.adapters.memory import MemoryAlerts, MovableClock
from aaos.adapters.memory.breakers import LocalModelBreakers
from aaos.adapters.redis.breakers import RedisModelBreakers
from aaos.adapters.redis.scripts import BRISK_TIMEOUT_S, connect_brisk
from aaos.domain.breakers import BreakerRules, BreakerState, BreakerView
from aaos.local.valkey import ValkeyServer
from aaos.services.guard_models import PAUSE_S, GuardedBreakers

REPOSITORY = Path(__file__).resolve().parents[2]
MODEL = "sovereign-32b"
RULES = BreakerRules()
LEASE_S = 125.0
PROCESSES, THREADS = 4, 25
RACER = """
import json, os, sys, threading
from concurrent.futures import ThreadPoolExecutor
from aaos.adapters.redis.breakers import RedisModelBreakers
from aaos.adapters.redis.scripts import connect_brisk
from aaos.domain.breakers import BreakerRules

breakers = RedisModelBreakers(connect_brisk(os.environ["RACE_URL"], 10), BreakerRules(open_s=0.05), 125.0)
threads = int(sys.argv[1])
together = threading.Barrier(threads + 1)

def race(number):
    breakers.view("warm-up")
    together.wait(30)
    together.wait(30)
    return breakers.admit("sovereign-32b")

with ThreadPoolExecutor(threads) as pool:
    answers = [pool.submit(race, number) for number in range(threads)]
    together.wait(30)
    print("ready", flush=True)
    sys.stdin.readline()
    together.wait(30)
    admissions = [answer.result() for answer in answers]
print(json.dumps([sum(each.allowed for each in admissions), sum(each.change is not None for each in admissions)]))
"""


class NoAudit:
    """Keeps the names of what it was told."""

    def __init__(self) -> None:
        self.actions: list[str] = []

    def append(self, action: str, *_: object) -> None:
        self.actions.append(action)

    def entries(self, *_: object, **__: object) -> list[object]:
        raise NotImplementedError


class Worker:
    """One process's breakers; its clock can be put forward, so that nobody waits for a pause to end."""

    def __init__(self, url: str, rules: BreakerRules = RULES) -> None:
        self.ahead_s = 0.0
        self.audit = NoAudit()
        self.breakers = GuardedBreakers(
            RedisModelBreakers(connect_brisk(url), rules, LEASE_S),
            LocalModelBreakers(rules, LEASE_S, self.clock),
            MemoryAlerts(MovableClock()),
            self.audit,  # type: ignore[arg-type]
            "worker:test",
            self.clock,
        )

    def clock(self) -> float:
        return time.monotonic() + self.ahead_s

    def calls(self, *verdicts: bool) -> list[bool]:
        """One call after the other; returns whether each was admitted by the process's own breaker."""
        local = []
        for ok in verdicts:
            admission = self.breakers.admit(MODEL)
            local.append(admission.local)
            self.breakers.report(admission, ok)
        return local


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[ValkeyServer]:
    """A server of its own: it is ill-treated here."""
    with ValkeyServer(tmp_path) as server:
        yield server


@pytest.fixture
def worker(valkey: ValkeyServer) -> Worker:
    return Worker(valkey.url)


@contextmanager
def frozen(server: ValkeyServer) -> Iterator[None]:
    os.kill(server.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(server.pid, signal.SIGCONT)


@pytest.mark.requirement("FM-TAW-010")
def test_with_valkey_killed_asking_goes_on_under_a_breaker_of_its_own_and_comes_back(
    valkey: ValkeyServer, worker: Worker
) -> None:
    assert worker.calls(False, False) == [False, False]
    valkey.kill()
    with captured_logs() as logs:
        assert worker.calls(False, False, False) == [True, True, True]
    assert worker.breakers.view(MODEL) == BreakerView(MODEL, BreakerState.OPEN, 3, pytest.approx(60, abs=5), local=True)
    assert [line["event"] for line in logs] == ["model_breakers_are_local", "breaker_opened"]
    valkey.start()
    worker.ahead_s += PAUSE_S
    with captured_logs() as logs:
        assert worker.calls(True) == [False]
    assert [line["event"] for line in logs] == ["model_breakers_are_shared_again"]
    assert worker.breakers.view(MODEL) == BreakerView(MODEL, BreakerState.CLOSED, 0, 0.0)


def test_what_was_open_when_valkey_was_killed_stays_open_locally_and_after_its_return(
    valkey: ValkeyServer, worker: Worker
) -> None:
    worker.calls(False, False, False)
    assert not worker.breakers.admit(MODEL).allowed
    valkey.kill()
    refused = worker.breakers.admit(MODEL)
    assert (refused.allowed, refused.local) == (False, True)
    assert refused.retry_after_s == pytest.approx(60, abs=5)
    valkey.start()
    worker.ahead_s += PAUSE_S
    refused = worker.breakers.admit(MODEL)
    assert (refused.allowed, refused.local) == (False, False), "the append-only file knows it"


@pytest.mark.requirement("FM-TAW-010")
def test_a_frozen_valkey_costs_one_call_its_time_limit_and_no_other_call_anything(
    valkey: ValkeyServer, worker: Worker
) -> None:
    worker.calls(True)
    with frozen(valkey):
        started = time.monotonic()
        assert worker.breakers.admit(MODEL).local
        first_s = time.monotonic() - started
        assert worker.calls(*[True] * 200) == [True] * 200
        others_s = time.monotonic() - started - first_s
    assert 0.9 * BRISK_TIMEOUT_S <= first_s < BRISK_TIMEOUT_S + 1
    assert others_s < 0.5
    worker.ahead_s += PAUSE_S
    assert worker.calls(True) == [False]


def test_a_verdict_is_not_waited_for_either(valkey: ValkeyServer, worker: Worker) -> None:
    admissions = [worker.breakers.admit(MODEL) for _ in range(20)]
    with frozen(valkey):
        started = time.monotonic()
        for admission in admissions:
            assert worker.breakers.report(admission, ok=False) is None
        assert time.monotonic() - started < BRISK_TIMEOUT_S + 1
    assert worker.audit.actions == []


def test_a_trial_that_a_frozen_valkey_grants_too_late_blocks_nobody(valkey: ValkeyServer) -> None:
    worker = Worker(valkey.url, BreakerRules(open_s=0.2))
    worker.calls(False, False, False)
    time.sleep(0.3)
    with frozen(valkey):
        assert worker.breakers.admit(MODEL).local
    worker.ahead_s += PAUSE_S
    trial = worker.breakers.admit(MODEL)
    assert (trial.allowed, trial.local, trial.state) == (True, False, BreakerState.HALF_OPEN)


def test_a_restart_between_two_calls_is_not_noticed(valkey: ValkeyServer, worker: Worker) -> None:
    worker.calls(False, False)
    valkey.stop()
    valkey.start()
    with captured_logs() as logs:
        assert worker.calls(False) == [False]
    assert [line["event"] for line in logs] == ["breaker_opened"]


@pytest.mark.requirement("FM-005")
def test_of_a_hundred_threads_in_four_processes_exactly_one_tries(valkey: ValkeyServer) -> None:
    breakers = RedisModelBreakers(connect_brisk(valkey.url, 10), BreakerRules(open_s=0.05), LEASE_S)
    for _ in range(3):
        breakers.report(breakers.admit(MODEL), ok=False)
    environment = {**os.environ, "RACE_URL": valkey.url, "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-c", RACER, str(THREADS)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    racers = [subprocess.Popen(command, env=environment, cwd=REPOSITORY, **pipes) for _ in range(PROCESSES)]
    try:
        for racer in racers:
            assert racer.stdout is not None
            assert racer.stdout.readline() == "ready\n"
        for racer in racers:
            assert racer.stdin is not None
            racer.stdin.write("go\n")
            racer.stdin.flush()
        results = [json.loads(racer.communicate(timeout=30)[0]) for racer in racers]
    finally:
        for racer in racers:
            racer.kill()
            racer.wait(10)
    assert [sum(column) for column in zip(*results, strict=True)] == [1, 1], "one trial, told of once"
