"""Workers under duress: frozen, hung, killed, told the same thing five times."""

from __future__ import annotations

import os
import signal
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psutil
import psycopg
import pytest
from support.checks import check_ledger, check_runs, recovery_times
from support.lab import QUICK, SYMBOL, Lab, module_environment, running_lab
from support.workers import Process

from aaos.adapters.market.book import CACHE_S

LIMITS = {
    "AAOS_KINDS__TRADING_ANALYSIS__TIMEOUT_SECONDS": "4",
    "AAOS_KINDS__TECHNICAL_ANALYSIS__TIMEOUT_SECONDS": "3",
    "AAOS_RUNS__MAX_CONCURRENT_TASKS": "100",
}
VOTE, TECHNICAL, REGIME = "trading_analysis", "technical_analysis", "regime_detection"
# SPEC 19, Q5.
DELAY_ALLOWED_S = 1.0


class Workers:
    """The processes of this module, by what they do."""

    def __init__(self, lab: Lab) -> None:
        self.cpu = lab.fleet.worker(TECHNICAL, REGIME, pool="prefork", concurrency=2, wait=False)
        self.votes = [lab.fleet.worker(VOTE, concurrency=4, wait=False) for _ in range(2)]
        lab.fleet.worker("maintenance", "result_publishing", "trading_context", "trading_decision", wait=False)
        lab.fleet.wait_ready()


@pytest.fixture(scope="module")
def lab(databases: Any, valkey_server: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with (
        module_environment(databases, valkey_server) as environment,
        running_lab(environment, tmp_path_factory.mktemp("workers"), {**QUICK, **LIMITS}, latency_ms=50) as lab,
    ):
        yield lab


@pytest.fixture(scope="module")
def workers(lab: Lab) -> Workers:
    return Workers(lab)


@pytest.fixture(scope="module")
def context(lab: Lab) -> int:
    return lab.store_context()


@contextmanager
def _sovereign(lab: Lab, **changes: Any) -> Iterator[None]:
    lab.simulator.behave(**changes)
    try:
        yield
    finally:
        lab.simulator.behave(mode="ok", latency_ms=50)


def _sweep_until_final(lab: Lab, run_ids: Sequence[int], timeout_s: float = 30) -> dict[str, int]:
    def swept() -> bool:
        lab.client.recover()
        statement = "SELECT 1 FROM runs WHERE id = ANY(%s) AND finished_at IS NULL LIMIT 1"
        return not lab.rows(statement, list(run_ids))

    lab.wait_until(swept, f"{len(run_ids)} runs final", timeout_s)
    return lab.wait_final(run_ids)


@contextmanager
def _nobody_reads_the_market(lab: Lab) -> Iterator[None]:
    """Whoever analyses stops at its first look at the market, until the context ends."""
    address = lab.environment["AAOS_DATABASE_URL"].replace("+psycopg", "")
    with psycopg.connect(address) as blocker:
        time.sleep(CACHE_S + 0.1)  # until everybody has to look again
        blocker.execute("LOCK TABLE market_series IN ACCESS EXCLUSIVE MODE")
        try:
            yield
        finally:
            blocker.rollback()


def _child_of(lab: Lab, run_id: int) -> psutil.Process:
    lab.wait_state(run_id, "running", 15)
    return psutil.Process(int(lab.value("SELECT owner FROM runs WHERE id = %s", run_id).split(":")[1]))


# --- told the same thing often ------------------------------------------------------------------------------


@pytest.mark.requirement("FM-TAW-011")
@pytest.mark.requirement("FM-TAW-003")
def test_a_message_delivered_five_times_is_executed_once(lab: Lab, workers: Workers, context: int) -> None:
    votes = lab.insert_votes(4, context, "five times")
    for _ in range(5):
        lab.hint(VOTE, *votes)
    assert lab.wait_final(votes) == {"completed": 4}
    lab.hint(VOTE, *votes)
    lab.wait_until(lambda: lab.broker().llen(VOTE) == 0, "all deliveries are taken")
    assert {row.attempt for row in lab.rows("SELECT attempt FROM runs WHERE id = ANY(%s)", votes)} == {1}
    asked = lab.rows("SELECT run_id, count(*) AS times FROM sovereign_calls WHERE run_id = ANY(%s) GROUP BY 1", votes)
    assert [row.times for row in asked] == [1] * 4
    check_runs(lab.rows)


@pytest.mark.requirement("FM-TAW-011")
def test_a_delivery_after_the_end_is_answered_with_the_stored_state(lab: Lab, workers: Workers) -> None:
    run_id = lab.insert_run(TECHNICAL)
    answers = []
    for _ in range(2):
        sent = lab.client.hints._app.send_task(TECHNICAL, args=(run_id,), queue=TECHNICAL, ignore_result=False)
        answers.append(sent.get(timeout=20))
    assert answers == [[run_id, "completed"]] * 2
    assert lab.value("SELECT count(*) FROM results WHERE run_id = %s", run_id) == 1


# --- frozen -------------------------------------------------------------------------------------------------


@pytest.mark.requirement("FM-TAW-002")
@pytest.mark.requirement("FM-TAW-007")
@pytest.mark.requirement("Q3")
@pytest.mark.requirement("Q4")
def test_a_worker_frozen_past_its_lease_finds_its_late_write_refused(lab: Lab, workers: Workers, context: int) -> None:
    with _sovereign(lab, latency_ms=1000):
        (vote,) = lab.insert_votes(1, context, "frozen")
        lab.hint(VOTE, vote)
        asked = "SELECT 1 FROM sovereign_calls WHERE run_id = %s"
        lab.wait_until(lambda: lab.rows(asked, vote), "Sovereign is asked")
        frozen = lab.owner_of(vote, workers.votes)
        first_fence = lab.value("SELECT fence FROM runs WHERE id = %s", vote)
        frozen.freeze()
        lab.simulator.behave(latency_ms=1800)  # within the share of a vote's time that its own model has
        try:
            lab.wait_until(lambda: lab.client.recover() and len(lab.rows(asked, vote)) == 2, "it is taken over")
        finally:
            frozen.thaw()
        refused = f"fence_lost fence={first_fence}"
        lab.wait_until(lambda: refused in frozen.log(), "the woken worker says fence_lost", 20)
        assert lab.state(vote) == "running", "refused while the other was at work"
        assert _sweep_until_final(lab, [vote]) == {"completed": 1}
    run = lab.rows("SELECT * FROM runs WHERE id = %s", vote)[0]
    assert run.attempt == 2
    assert run.fence > first_fence
    calls = lab.rows("SELECT outcome, fence FROM sovereign_calls WHERE run_id = %s ORDER BY id", vote)
    assert [(call.outcome, call.fence) for call in calls] == [("abandoned", first_fence), ("accepted", run.fence)]
    check_runs(lab.rows)
    assert recovery_times(lab.rows).seconds


@pytest.mark.requirement("Q3")
def test_a_frozen_analysis_is_refused_its_result_when_it_wakes(lab: Lab, workers: Workers) -> None:
    """As above without Sovereign's ledger in between: the result itself is refused."""
    other = lab.fleet.worker(TECHNICAL, pool="prefork", concurrency=1)
    with _nobody_reads_the_market(lab):
        run_id = lab.insert_run(TECHNICAL)
        lab.hint(TECHNICAL, run_id)
        lab.wait_state(run_id, "running")
        frozen = lab.owner_of(run_id, [workers.cpu, other])
        first_fence = lab.value("SELECT fence FROM runs WHERE id = %s", run_id)
        frozen.freeze()
    try:
        assert _sweep_until_final(lab, [run_id]) == {"completed": 1}
    finally:
        frozen.thaw()
    lab.wait_until(lambda: f"fence_lost fence={first_fence}" in frozen.log(), "the woken worker says fence_lost", 20)
    other.terminate()
    assert lab.value("SELECT fence FROM results WHERE run_id = %s", run_id) > first_fence
    check_runs(lab.rows)


# --- hung ---------------------------------------------------------------------------------------------------


def _latencies_s(lab: Lab, kind: str, count: int = 8) -> list[float]:
    """Seconds from the tick (a run born and hinted) to its end, one after another."""
    measured = []
    for _ in range(count):
        run_id = lab.insert_run(kind)
        lab.hint(kind, run_id)
        lab.wait_state(run_id, "completed")
        row = lab.rows("SELECT created_at, finished_at FROM runs WHERE id = %s", run_id)[0]
        measured.append((row.finished_at - row.created_at).total_seconds())
    return measured


def _calls_waiting(lab: Lab) -> int:
    """Requests the service still holds: a client that gives up hangs up."""
    return sum(call["outcome"] == "waiting" for call in lab.simulator.transcript()["calls"])


@pytest.mark.requirement("F02")
@pytest.mark.requirement("F08")
@pytest.mark.requirement("Q5")
def test_hung_votes_delay_no_analysis_end_at_their_deadline_and_free_their_threads(
    lab: Lab, workers: Workers, context: int
) -> None:
    before = _latencies_s(lab, TECHNICAL)
    with _sovereign(lab, mode="hang"):
        hung = lab.insert_votes(4, context, "hung")
        lab.hint(VOTE, *hung)
        running = "SELECT count(*) FROM runs WHERE id = ANY(%s) AND state = 'running'"
        lab.wait_until(lambda: lab.value(running, hung) == 4, "four votes hang")
        beside = _latencies_s(lab, TECHNICAL)
        assert lab.value(running, hung) > 0, "measured while they hung"
        ended = _sweep_until_final(lab, hung, 40)
        lab.wait_until(lambda: _calls_waiting(lab) == 0, "no thread waits for an answer any more", 5)
    assert ended == {"failed": 4}
    sources = {row[0] for row in lab.rows("SELECT failure_source FROM runs WHERE id = ANY(%s)", hung)}
    assert sources <= {"timeout", "sovereign_timeout"}
    assert max(beside) - max(before) < DELAY_ALLOWED_S, f"before {before}, beside hung votes {beside}"
    votes = lab.insert_votes(24, context, "after the hang")
    lab.hint(VOTE, *votes)
    assert lab.wait_final(votes, 20) == {"completed": 24}
    owners = lab.rows("SELECT DISTINCT split_part(owner, ':', 2) FROM runs WHERE id = ANY(%s)", votes)
    assert len(owners) == 2, "both workers work again"


@pytest.mark.requirement("F08")
def test_an_analysis_that_hangs_is_failed_at_its_time_limit_and_its_process_works_again(
    lab: Lab, workers: Workers
) -> None:
    with _nobody_reads_the_market(lab):
        hung = lab.insert_run(TECHNICAL)
        lab.hint(TECHNICAL, hung)
        child = _child_of(lab, hung)
        assert _sweep_until_final(lab, [hung], 15) == {"failed": 1}
    run = lab.rows("SELECT * FROM runs WHERE id = %s", hung)[0]
    assert (run.failure_source, run.attempt) == ("timeout", 1)
    assert (run.finished_at - run.started_at).total_seconds() < 3 + 2
    assert child.is_running(), "the soft limit was enough"
    assert max(_latencies_s(lab, TECHNICAL)) < 3


@pytest.mark.requirement("F08")
@pytest.mark.requirement("F02")
@pytest.mark.requirement("Q5")
def test_a_frozen_process_of_the_pool_delays_no_other_kind_loses_its_run_and_is_replaced(
    lab: Lab, workers: Workers
) -> None:
    before = _latencies_s(lab, REGIME)
    with _nobody_reads_the_market(lab):
        hung = lab.insert_run(TECHNICAL)
        lab.hint(TECHNICAL, hung)
        child = _child_of(lab, hung)
        child.send_signal(signal.SIGSTOP)
    beside = _latencies_s(lab, REGIME)
    assert lab.value("SELECT attempt FROM runs WHERE id = %s", hung) == 1, "measured while it hung"
    assert max(beside) - max(before) < DELAY_ALLOWED_S, f"before {before}, beside a hung process {beside}"
    assert _sweep_until_final(lab, [hung], 20) == {"completed": 1}
    assert lab.value("SELECT attempt FROM runs WHERE id = %s", hung) == 2, "another process took it over"
    gone = lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE  # noqa: E731
    lab.wait_until(gone, "the hard limit has killed the frozen process", 20)
    lab.wait_until(lambda: len(workers.cpu.children()) == 2, "it is replaced", 20)
    assert statistics.median(_latencies_s(lab, TECHNICAL)) < 1


# --- killed -------------------------------------------------------------------------------------------------


@pytest.mark.requirement("Q8")
def test_a_run_that_kills_its_process_each_time_ends_after_three_attempts_and_its_neighbours_flow(
    lab: Lab, workers: Workers
) -> None:
    poison = lab.insert_run(TECHNICAL)
    killed: set[int] = set()

    def keep_killing() -> bool:
        lab.client.recover()
        row = lab.rows("SELECT state, fence, owner FROM runs WHERE id = %s", poison)[0]
        if row.state == "running" and row.fence not in killed:
            os.kill(int(row.owner.split(":")[1]), signal.SIGKILL)
            killed.add(row.fence)
        return bool(row.state == "failed")

    with _nobody_reads_the_market(lab):
        lab.hint(TECHNICAL, poison)
        lab.wait_until(keep_killing, "the poison is a dead letter", 40)
        assert len(killed) == 3
    run = lab.rows("SELECT * FROM runs WHERE id = %s", poison)[0]
    assert (run.state, run.failure_source, run.attempt) == ("failed", "agent_crash", 3)
    assert lab.rows("SELECT 1 FROM alerts WHERE kind = 'dead_letter' AND details ->> 'run' = %s", str(poison))
    neighbours = [lab.insert_run(kind) for kind in (TECHNICAL, REGIME) for _ in range(4)]
    lab.hint(TECHNICAL, *neighbours[:4])
    lab.hint(REGIME, *neighbours[4:])
    assert _sweep_until_final(lab, neighbours) == {"completed": 8}
    lab.hint(TECHNICAL, poison)
    lab.wait_until(lambda: lab.broker().llen(TECHNICAL) == 0, "the late delivery is taken")
    assert lab.value("SELECT attempt FROM runs WHERE id = %s", poison) == 3, "nobody touches a dead letter"


@pytest.mark.requirement("FM-TAW-007")
def test_a_vote_whose_worker_dies_after_the_answer_was_paid_for_is_not_charged_again(
    lab: Lab, workers: Workers, context: int
) -> None:
    """The answer is in the ledger, the result is not yet stored: the next attempt uses what was paid for."""
    address = lab.environment["AAOS_DATABASE_URL"].replace("+psycopg", "")
    with psycopg.connect(address) as blocker:
        blocker.execute("LOCK TABLE results IN SHARE ROW EXCLUSIVE MODE")
        (vote,) = lab.insert_votes(1, context, "paid")
        lab.hint(VOTE, vote)
        answered = "SELECT 1 FROM sovereign_calls WHERE run_id = %s AND outcome = 'accepted'"
        lab.wait_until(lambda: lab.rows(answered, vote), "the answer is paid for")
        victim = lab.owner_of(vote, workers.votes)
        victim.kill()
        blocker.rollback()
    workers.votes = [each for each in workers.votes if each is not victim]
    workers.votes.append(lab.fleet.worker(VOTE, concurrency=4, wait=False))
    assert _sweep_until_final(lab, [vote]) == {"completed": 1}
    assert len(lab.rows("SELECT 1 FROM sovereign_calls WHERE run_id = %s", vote)) == 1, "asked once, paid once"
    check_ledger(lab.rows, lab.simulator.transcript())
    lab.fleet.wait_ready()


def test_the_processes_of_a_pool_die_with_their_master(lab: Lab, workers: Workers) -> None:
    worker: Process = lab.fleet.worker(REGIME, pool="prefork", concurrency=2)
    children = worker.children()
    assert len(children) == 2
    os.kill(worker.pid, signal.SIGKILL)
    worker.popen.wait(10)
    gone = lab.wait_until(lambda: not any(each.is_running() for each in children), "its children are gone", 5)
    assert gone < 5


def test_whatever_was_done_to_the_workers_all_invariants_hold(lab: Lab, workers: Workers) -> None:
    time.sleep(1)
    check_runs(lab.rows)
    check_ledger(lab.rows, lab.simulator.transcript())
    assert SYMBOL in lab.client.market.symbols()
