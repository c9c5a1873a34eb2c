"""Redis wiped, Redis killed, PostgreSQL away for a while, all in the middle of work: nothing lost, nothing doubled."""

from __future__ import annotations

import random
import time
from typing import Any

import pytest
from support.checks import check_ledger, check_publishing, check_runs
from support.lab import Lab
from support.storm import Storm

COUNT = 150
POSTGRES_AWAY_S = 5.0

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(240)]


def _half_done(lab: Lab, chance: random.Random) -> tuple[Storm, list[int]]:
    storm = Storm(lab, chance)
    storm.start()
    votes = storm.launch(COUNT)
    lab.wait_until(lambda: storm.done(votes) >= COUNT // 4, "a quarter is done", 60)
    assert storm.done(votes) < COUNT, "and the rest is in flight"
    return storm, votes


def _check_all_done(lab: Lab, votes: list[int], *, streams_kept: bool, what: str) -> None:
    began = time.monotonic()
    ended = lab.wait_final(votes, 120)
    other = lab.rows("SELECT id, state, attempt, failure_source, reason FROM runs WHERE state IN ('failed', 'skipped')")
    assert ended == {"completed": COUNT}, f"0 lost, but: {other}"
    lab.wait_published(60)
    check_runs(lab.rows)
    ledger = check_ledger(lab.rows, lab.simulator.transcript())
    assert ledger["accepted"] == COUNT
    published = check_publishing(lab.rows, lab.redis(), streams_kept=streams_kept)
    took_s = time.monotonic() - began
    print(f"\n{what}: {COUNT} runs, all done {took_s:.1f} s later; ledger {ledger}; published {published}")  # noqa: T201


@pytest.mark.requirement("Q1")
@pytest.mark.requirement("Q2")
def test_everything_in_redis_is_wiped_in_the_middle(lab: Lab, chance: random.Random) -> None:
    _, votes = _half_done(lab, chance)
    lab.broker().flushall()
    _check_all_done(lab, votes, streams_kept=False, what="FLUSHALL")


@pytest.mark.requirement("Q1")
@pytest.mark.requirement("Q2")
@pytest.mark.requirement("P2")
def test_redis_is_killed_and_started_again_in_the_middle(lab: Lab, chance: random.Random, valkey_server: Any) -> None:
    storm, votes = _half_done(lab, chance)
    valkey_server.kill()
    time.sleep(2)
    valkey_server.start()
    # What was written in the last second before a kill -9 may be gone (appendfsync everysec).
    _check_all_done(lab, votes, streams_kept=False, what="Valkey killed, away 2 s")
    assert all(worker.is_running() for worker in storm.workers), "no worker dies of a lost broker"
    assert "Unrecoverable error" not in lab.fleet.logs()


@pytest.mark.requirement("Q1")
@pytest.mark.requirement("Q2")
@pytest.mark.requirement("P2")
@pytest.mark.requirement("FM-TAW-007")
def test_postgres_is_away_for_five_seconds_in_the_middle(lab: Lab, chance: random.Random, postgres_server: Any) -> None:
    storm, votes = _half_done(lab, chance)
    postgres_server.stop()
    time.sleep(POSTGRES_AWAY_S)
    postgres_server.start()
    _check_all_done(lab, votes, streams_kept=True, what=f"PostgreSQL away {POSTGRES_AWAY_S:g} s")
    assert "database_away" in lab.fleet.logs(), "the workers noticed, and kept their work"
    assert "raised unexpected" not in lab.fleet.logs(), "housekeeping is left for the next time, in a line each"
    calls = lab.simulator.transcript()
    assert calls["charged"] == COUNT, "answers that were paid for were kept, not asked for again"
    assert all(worker.is_running() for worker in storm.workers)


@pytest.mark.requirement("Q1")
@pytest.mark.requirement("Q2")
def test_postgres_is_killed_in_the_middle(lab: Lab, chance: random.Random, postgres_server: Any) -> None:
    """A crash, not a stop: what was committed is there afterwards, since fsync is on."""
    _, votes = _half_done(lab, chance)
    stored = {row[0] for row in lab.rows("SELECT id FROM results")}
    postgres_server.kill()
    postgres_server.start()
    assert stored <= {row[0] for row in lab.patiently("SELECT id FROM results")}
    _check_all_done(lab, votes, streams_kept=True, what="PostgreSQL killed")
