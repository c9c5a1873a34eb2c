"""Processes that are neither alive nor dead, and a run that takes its worker with it each time."""

from __future__ import annotations

import random
import time

import psycopg
import pytest
from support.checks import check_publishing, check_runs, recovery_times, stream_entries
from support.lab import QUICK, Lab
from support.storm import Storm

from aaos.adapters.postgres.database import IDLE_TRANSACTION_TIMEOUT_MS

VOTE = "trading_analysis"
QUICK_THREE_ATTEMPTS = {**QUICK, "AAOS_RUNS__MAX_ATTEMPTS": "3"}

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(240)]


@pytest.mark.requirement("Q3")
@pytest.mark.requirement("Q4")
@pytest.mark.requirement("FM-TAW-002")
@pytest.mark.parametrize("lab", [QUICK], indirect=True)
def test_a_group_frozen_past_its_leases_and_woken_again_writes_nothing(lab: Lab, chance: random.Random) -> None:
    storm = Storm(lab, chance)
    storm.start()
    votes = storm.launch(120)
    lab.wait_until(lambda: storm.done(votes) >= 20, "under way", 60)
    frozen = storm.workers[0]
    held = "SELECT id, fence FROM runs WHERE state = 'running' AND split_part(owner, ':', 2) = %s"
    lab.wait_until(lambda: len(lab.rows(held, str(frozen.pid))) >= 2, "it holds runs")
    frozen.freeze()
    lost = {row.id: row.fence for row in lab.rows(held, str(frozen.pid))}
    assert lab.wait_final(votes, 60) == {"completed": 120}
    frozen.thaw()
    lab.wait_until(lambda: "fence_lost" in frozen.log(), "the woken worker is refused", 20)
    lab.wait_published()
    for run_id, fence in lost.items():
        assert lab.value("SELECT fence FROM results WHERE run_id = %s", run_id) > fence
    check_runs(lab.rows)
    check_publishing(lab.rows, lab.redis())
    print(f"\nfrozen with {len(lost)} runs; {recovery_times(lab.rows)}")  # noqa: T201


@pytest.mark.requirement("P2")
@pytest.mark.parametrize("lab", [QUICK], indirect=True)
def test_a_publisher_frozen_in_its_transaction_does_not_keep_its_rows_from_the_others(lab: Lab) -> None:
    lab.fleet.worker(VOTE, "maintenance", wait=False)
    lab.fleet.beat(wait=False)
    lab.fleet.wait_ready()
    votes = lab.insert_votes(20, lab.store_context(), "frozen publisher")
    lab.hint(VOTE, *votes)
    assert lab.wait_final(votes) == {"completed": 20}
    with psycopg.connect(lab.environment["AAOS_DATABASE_URL"].replace("+psycopg", "")) as blocker:
        blocker.execute("LOCK TABLE outbox IN SHARE MODE")  # it may lock and send its rows, but not mark them
        frozen = lab.fleet.worker("result_publishing", concurrency=1)
        lab.wait_until(lambda: len(stream_entries(lab.redis())) >= 20, "it has sent them")
        frozen.freeze()
        blocker.rollback()
    lab.fleet.worker("result_publishing", concurrency=1)
    waited_s = lab.wait_until(
        lambda: lab.value("SELECT count(*) FROM outbox WHERE published_at IS NULL") == 0,
        "another publisher gets hold of the rows",
        IDLE_TRANSACTION_TIMEOUT_MS / 1000 + 15,
    )
    frozen.thaw()
    check_publishing(lab.rows, lab.redis())
    print(f"\nrows of a frozen publisher were published {waited_s:.1f} s later")  # noqa: T201


@pytest.mark.requirement("Q8")
@pytest.mark.parametrize("lab", [QUICK_THREE_ATTEMPTS], indirect=True)
def test_a_run_that_takes_its_worker_with_it_ends_after_three_attempts_and_the_others_flow(
    lab: Lab, chance: random.Random
) -> None:
    storm = Storm(lab, chance)
    storm.start()
    (poison,) = lab.insert_votes(1, lab.store_context(), "poison")
    neighbours = storm.launch(100)
    lab.hint(VOTE, poison)
    killed: set[int] = set()
    while lab.state(poison) not in ("failed", "completed"):
        row = lab.rows("SELECT state, fence FROM runs WHERE id = %s", poison)[0]
        if row.state == "running" and row.fence not in killed:
            killed.add(row.fence)
            victim = storm.workers.index(lab.owner_of(poison, storm.workers))
            storm.workers[victim].kill()
            queues = storm.groups[victim]
            storm.workers[victim] = lab.fleet.worker(*queues, concurrency=8, wait=False)
        time.sleep(0.005)
    run = lab.rows("SELECT * FROM runs WHERE id = %s", poison)[0]
    assert (run.state, run.failure_source, run.attempt) == ("failed", "agent_crash", 3), run
    ended = lab.wait_final(neighbours, 60)
    print(f"\npoison killed {len(killed)} workers; neighbours {ended}")  # noqa: T201
    assert ended == {"completed": 100}
    check_runs(lab.rows)
