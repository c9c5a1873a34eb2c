"""A worker that has ended a run goes on with the one it let in: fewer messages, the same claims and fences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from support.checks import check_runs
from support.lab import IDLE, QUICK, Lab, module_environment, running_lab

from aaos.domain.runs import NewRun
from aaos.services.carry_on_runs import CARRY_ON_RUNS
from aaos.services.tick_schedule import new_run

TECHNICAL, VOTE = "technical_analysis", "trading_analysis"
SLOW_MODEL = "a-slow-one"
LIMITS = {
    "AAOS_KINDS__TECHNICAL_ANALYSIS__MAX_CONCURRENT": "1",
    "AAOS_KINDS__TRADING_ANALYSIS__MAX_CONCURRENT": "1",
    "AAOS_VOTERS__RISK__MODEL": SLOW_MODEL,
    # A call to a model that hangs ends after this, long before its run's time limit.
    "AAOS_SOVEREIGN__REQUEST_TIMEOUT_S": "5",
}
SLOTS = 11
SENT = 6
HISTORY_OF = """
    SELECT run_id, state, fence, at FROM run_history WHERE run_id = ANY(%s) AND state <> state_before ORDER BY id
"""


@pytest.fixture(scope="module")
def lab(databases: Any, valkey_server: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """No beat: nobody sweeps, so whoever is not gone on with nor handed over stays where it is."""
    with (
        module_environment(databases, valkey_server) as environment,
        running_lab(environment, tmp_path_factory.mktemp("carry_on"), {**QUICK, **IDLE, **LIMITS}, 0) as lab,
    ):
        yield lab


def _insert_backlog(lab: Lab) -> list[int]:
    """Inserts as many slots as an hour's outage might leave; all parked, without any message."""
    client = lab.client
    now, symbols = client.database.now(), client.market.symbols()
    spec = new_run(TECHNICAL, "", client.settings)
    for minutes in range(SLOTS):
        client.runs.insert_slot(spec, symbols, now - timedelta(minutes=minutes), 0)
    return [row.id for row in lab.rows("SELECT id FROM runs WHERE kind = %s ORDER BY slot, id", TECHNICAL)]


@pytest.mark.requirement("Q1")
@pytest.mark.requirement("Q4")
@pytest.mark.requirement("FM-TAW-011")
def test_a_backlog_is_worked_off_with_few_messages_one_run_at_a_time_each_claimed_for_itself(lab: Lab) -> None:
    worker = lab.fleet.worker(TECHNICAL, pool="prefork", concurrency=2)
    warm_up = lab.insert_run(TECHNICAL)
    lab.hint(TECHNICAL, warm_up)
    assert lab.wait_final([warm_up]) == {"completed": 1}
    waiting = _insert_backlog(lab)[1:]
    before = _messages_taken(lab)
    # More messages than processes, and room for one run: none of them must become a second chain.
    lab.hint(TECHNICAL, *waiting[:SENT])
    assert lab.wait_final(waiting) == {"completed": 33}
    lab.wait_until(lambda: lab.broker().llen(TECHNICAL) == 0, "all messages are taken")

    owners = Counter(row.owner for row in lab.rows("SELECT owner FROM runs WHERE id = ANY(%s)", waiting))
    # 3 to 5 where nothing slows the machine down; without going on, one for each run.
    assert len(owners) <= len(waiting) // 2, owners
    assert max(owners.values()) <= 1 + CARRY_ON_RUNS, "after so many, messages of others get their turn"
    assert _messages_taken(lab) - before <= len(owners) + SENT, "nobody was sent a message and gone on with as well"
    _check_one_at_a_time(lab, waiting)
    check_runs(lab.rows)
    worker.terminate()


def _messages_taken(lab: Lab) -> int:
    answers = lab.client.hints._app.control.inspect(timeout=5, limit=1).stats()
    return sum(each["total"].get(TECHNICAL, 0) for each in (answers or {}).values())


def _check_one_at_a_time(lab: Lab, runs: list[int]) -> None:
    history = lab.rows(HISTORY_OF, runs)
    assert [row.state for row in history] == ["running", "completed"] * len(runs)
    assert all(began.run_id == ended.run_id for began, ended in zip(history[::2], history[1::2], strict=True))
    fences = [row.fence for row in history[::2]]
    assert all(earlier < later for earlier, later in pairwise(fences)), "a claim of its own for each"


@pytest.mark.requirement("FM-TAW-007")
@pytest.mark.requirement("Q3")
@pytest.mark.requirement("Q4")
def test_a_worker_frozen_in_a_run_it_went_on_with_finds_its_late_write_refused(lab: Lab) -> None:
    # Alone until it is frozen: another one's first vote, with all there is to load, takes longer than it goes on for.
    frozen = lab.fleet.worker(VOTE, concurrency=2)
    context = lab.store_context()
    (warm_up,) = lab.insert_votes(1, context, "warm up")
    lab.hint(VOTE, warm_up)
    lab.wait_final([warm_up])
    lab.simulator.behave(mode="hang", model=SLOW_MODEL)
    quick, slow = (_insert_vote(lab, context, voter) for voter in ("trend", "risk"))
    lab.rows("UPDATE runs SET parked = true WHERE id = %s", slow)
    lab.hint(VOTE, quick)
    lab.wait_until(lambda: lab.rows("SELECT 1 FROM sovereign_calls WHERE run_id = %s", slow), "the slow model is asked")
    first, then = (lab.rows("SELECT owner, fence FROM runs WHERE id = %s", run)[0] for run in (quick, slow))
    assert first.owner == then.owner, "gone on with, without a message"
    assert first.fence < then.fence
    frozen.freeze()
    lab.simulator.behave(mode="ok")
    lab.fleet.worker(VOTE, concurrency=2)
    try:
        lab.wait_until(lambda: lab.client.recover() and lab.state(slow) == "completed", "it is taken over")
    finally:
        frozen.thaw()
    lab.wait_until(lambda: f"fence_lost fence={then.fence}" in frozen.log(), "the woken worker says fence_lost", 20)
    ended = lab.rows("SELECT owner, fence, attempt FROM runs WHERE id = %s", slow)[0]
    assert ended.attempt == 2
    assert ended.owner != then.owner
    assert ended.fence > then.fence
    assert lab.value("SELECT fence FROM results WHERE run_id = %s", slow) == ended.fence
    check_runs(lab.rows)


def _insert_vote(lab: Lab, context_run: int, voter: str) -> int:
    params = {"context_run": context_run, "voter": voter}
    timeout_s = lab.client.settings.kinds[VOTE].timeout_seconds
    return lab.client.runs.insert_request(NewRun(VOTE, "BTC/USDT", timeout_s, 600, f"frozen:{voter}", params=params))[0]
