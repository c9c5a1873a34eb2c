"""SIGTERM, as a supervisor sends it: what is at hand is finished or handed back, nothing is lost or doubled."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from support.checks import check_publishing, check_runs
from support.lab import IDLE, QUICK, ROOM, Lab, module_environment, running_lab
from support.workers import READY_WORKER, Process

VOTE = "trading_analysis"


@pytest.fixture(scope="module")
def lab(databases: Any, valkey_server: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with (
        module_environment(databases, valkey_server) as environment,
        running_lab(environment, tmp_path_factory.mktemp("shutdown"), {**QUICK, **IDLE, **ROOM}, latency_ms=300) as lab,
    ):
        lab.keep_house()
        yield lab


# `celery`, with something done before it; whoever is told to stop softly and has a task waits 3 s, not 30, always.
CELERY = """
import os, signal, sys
from concurrent.futures import ThreadPoolExecutor
from workers.app import app
app.conf.worker_soft_shutdown_timeout = 3
{}
from celery.__main__ import main
sys.argv[0] = "celery"
main()
"""


def _softly_stopping(lab: Lab, name: str, before: str = "", concurrency: int = 8) -> Process:
    """Starts a worker for votes to which SIGTERM means a soft stop."""
    words = ("-A", "workers", "worker", "-P", "threads", "-c", str(concurrency), "-Q", VOTE, "-n", f"{name}@%h")
    extra = {"REMAP_SIGTERM": "SIGQUIT"}
    worker = lab.fleet.python("-c", CELERY.format(before), *words, "-l", "INFO", name=name, extra=extra)
    worker.ready_text = READY_WORKER
    return worker


@pytest.mark.requirement("F06")
@pytest.mark.requirement("FM-TAW-007")
@pytest.mark.parametrize("meaning", ["warm", "soft"])
def test_a_busy_worker_told_to_stop_finishes_what_it_has_and_the_other_takes_the_rest(lab: Lab, meaning: str) -> None:
    staying = lab.fleet.worker(VOTE, concurrency=8, wait=False)
    soft = meaning == "soft"
    leaving = _softly_stopping(lab, "leaving") if soft else lab.fleet.worker(VOTE, concurrency=8, wait=False)
    lab.fleet.wait_ready()
    lab.rows("DELETE FROM sovereign_calls")
    votes = lab.insert_votes(80, lab.store_context(), f"stop {meaning}")
    lab.hint(VOTE, *votes)
    held = "SELECT count(*) FROM runs WHERE state = 'running' AND split_part(owner, ':', 2) = %s"
    lab.wait_until(lambda: lab.value(held, str(leaving.pid)) >= 4, "the leaving worker is busy")
    leaving.terminate()
    assert lab.value(held, str(leaving.pid)) == 0, "it finished what it had"
    assert ("Initiating Soft Shutdown" in leaving.log()) == soft
    assert lab.wait_final(votes, 60) == {"completed": 80}
    assert {row.attempt for row in lab.rows("SELECT attempt FROM runs WHERE id = ANY(%s)", votes)} == {1}
    assert lab.value("SELECT count(*) FROM sovereign_calls") == 80, "nothing was asked twice"
    lab.wait_published()
    check_runs(lab.rows)
    check_publishing(lab.rows, lab.redis())
    staying.terminate()


# A worker that is told to stop at the worst moment: while it hands its first task to the pool, under the pool's lock.
STOPPED_WHILE_HANDING_OVER = """
hand_over = ThreadPoolExecutor._adjust_thread_count

def hand_over_and_stop(pool):
    hand_over(pool)
    ThreadPoolExecutor._adjust_thread_count = hand_over
    os.kill(os.getpid(), signal.SIGTERM)

ThreadPoolExecutor._adjust_thread_count = hand_over_and_stop
"""


@pytest.mark.requirement("F06")
def test_a_soft_stop_that_finds_a_worker_handing_a_task_to_its_pool_ends_it_all_the_same(lab: Lab) -> None:
    worker = _softly_stopping(lab, "handing-over", STOPPED_WHILE_HANDING_OVER, concurrency=4)
    worker.wait_for(READY_WORKER)
    (vote,) = lab.insert_votes(1, lab.store_context(), "handed over")
    lab.hint(VOTE, vote)
    worker.popen.wait(20)
    assert "pool_stops_later" in worker.log()
    lab.fleet.worker(VOTE, concurrency=2)
    assert lab.wait_final([vote]) == {"completed": 1}


@pytest.mark.requirement("F06")
@pytest.mark.requirement("FM-TAW-008")
def test_runs_left_by_a_stop_are_named_at_the_next_start_and_run_again(lab: Lab) -> None:
    worker = lab.fleet.worker(VOTE, concurrency=2)
    lab.simulator.behave(latency_ms=2000)
    (vote,) = lab.insert_votes(1, lab.store_context(), "left behind")
    lab.hint(VOTE, vote)
    lab.wait_state(vote, "running")
    housekeeping = [each for each in lab.fleet.processes if each.is_running() and each is not worker]
    lab.simulator.behave(latency_ms=50)
    for each in housekeeping:
        if each is not lab.simulator.process:
            each.kill()
    worker.kill()
    expired = "SELECT lease_expires_at < clock_timestamp() FROM runs WHERE id = %s"
    lab.wait_until(lambda: lab.value(expired, vote), "its lease ends", 10)
    started = lab.fleet.worker(VOTE, "maintenance", "result_publishing", concurrency=4)
    lab.wait_until(lambda: f"run={vote}" in started.log(), "the log names the run", 10)
    assert "run_left_behind" in started.log()
    assert lab.rows("SELECT 1 FROM alerts WHERE kind = 'run_left_behind' AND details ->> 'run' = %s", str(vote))
    lab.fleet.beat()
    lab.wait_state(vote, "completed", 20)
    assert lab.value("SELECT attempt FROM runs WHERE id = %s", vote) == 2


def test_beat_and_an_idle_worker_stop_at_once(lab: Lab) -> None:
    beat = lab.fleet.beat()
    worker = lab.fleet.worker("trading_decision", concurrency=2)
    began = time.monotonic()
    beat.terminate(20)
    worker.terminate(20)
    assert time.monotonic() - began < 20
