"""kill -9 of a random worker group every 2 s: nothing lost, nothing doubled, one answer paid for per result."""

from __future__ import annotations

import random
import time

import pytest
from support.checks import check_ledger, check_publishing, check_runs, recovery_times
from support.lab import Lab
from support.storm import Storm

KILL_EVERY_S = 2.0
# SPEC 3: from the last heartbeat to the next start.
RECOVERED_WITHIN_S = 25.0

pytestmark = [pytest.mark.chaos, pytest.mark.requirement("FM-TAW-007"), pytest.mark.requirement("FM-TAW-002")]


@pytest.mark.timeout(180)
@pytest.mark.requirement("Q1")
@pytest.mark.requirement("Q2")
@pytest.mark.requirement("Q3")
@pytest.mark.requirement("Q4")
@pytest.mark.requirement("P2")
def test_250_runs_survive_a_kill_every_two_seconds(lab: Lab, chance: random.Random) -> None:
    _survive(lab, chance, 250, kill_for_s=14)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.requirement("Q1")
@pytest.mark.requirement("Q2")
@pytest.mark.requirement("Q3")
@pytest.mark.requirement("Q4")
@pytest.mark.requirement("P2")
def test_1000_runs_survive_a_kill_every_two_seconds(lab: Lab, chance: random.Random) -> None:
    _survive(lab, chance, 1000, kill_for_s=600)


def _survive(lab: Lab, chance: random.Random, count: int, kill_for_s: float) -> None:
    storm = Storm(lab, chance)
    storm.start()
    began = time.monotonic()
    votes = storm.launch(count)
    storm.rage(lambda: storm.done(votes) == count, KILL_EVERY_S, kill_for_s)
    under_fire = storm.done(votes)
    ended = lab.wait_final(votes, 120)
    took_s = time.monotonic() - began
    lab.wait_published(60)
    recovered = recovery_times(lab.rows)
    ledger = check_ledger(lab.rows, lab.simulator.transcript())
    published = check_publishing(lab.rows, lab.redis())
    attempts = lab.rows("SELECT attempt, count(*) FROM runs WHERE id = ANY(%s) GROUP BY 1 ORDER BY 1", votes)
    print(  # noqa: T201 - the figures are what the test is for
        f"\n{count} runs, {storm.kills} kills, {took_s:.1f} s, {under_fire} done while killing; {recovered}; "
        f"attempts {[tuple(row) for row in attempts]}; ledger {ledger}; published {published}"
    )
    why = lab.rows("SELECT reason, count(*) FROM runs WHERE state <> 'completed' GROUP BY 1 ORDER BY 2 DESC LIMIT 5")
    assert ended == {"completed": count}, f"lost: {why}"
    check_runs(lab.rows)
    assert ledger["accepted"] == count
    assert published["distinct"] == published["results"] == count
    assert storm.kills >= 3
    assert recovered.seconds, "some runs were in flight on a worker that was killed"
    assert max(recovered.seconds) < RECOVERED_WITHIN_S, str(recovered)
