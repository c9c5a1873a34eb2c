"""The thread that keeps leases: one statement for all runs at hand, and nothing stops it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

import pytest

from aaos.adapters.leases import ThreadLeaseKeeper
from aaos.domain.runs import ClaimedRun
from aaos.errors import DatabaseUnavailable

NOW = datetime(2026, 1, 1, tzinfo=UTC)
BEAT_S = 0.01


def a_run(run_id: int, fence: int = 1) -> ClaimedRun:
    return ClaimedRun(run_id, "technical_analysis", "BTC/USDT", NOW, 1, fence, NOW, False, True, {}, NOW, 30.0)


class Leases:
    """Renews what it is asked to, but for what it was told to refuse; keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[dict[int, int]] = []
        self.refused: set[int] = set()
        self.error: Exception | None = None

    def renew(self, held: Mapping[int, int]) -> frozenset[int]:
        self.asked.append(dict(held))
        if self.error is not None:
            raise self.error
        return frozenset(set(held) - self.refused)


@pytest.fixture
def leases() -> Leases:
    return Leases()


@pytest.fixture
def keeper(leases: Leases) -> ThreadLeaseKeeper:
    return ThreadLeaseKeeper(leases.renew, BEAT_S)


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not true():
        assert time.monotonic() < deadline
        time.sleep(BEAT_S / 5)


def test_all_runs_at_hand_are_renewed_together(leases: Leases, keeper: ThreadLeaseKeeper) -> None:
    with keeper.holding(a_run(1, 11)), keeper.holding(a_run(2, 22)):
        wait_until(lambda: {1: 11, 2: 22} in leases.asked)


def test_a_run_let_go_is_not_renewed_any_more_and_nobody_is_asked_about_nothing(
    leases: Leases, keeper: ThreadLeaseKeeper
) -> None:
    with keeper.holding(a_run(1)) as held:
        wait_until(lambda: len(leases.asked) >= 2)
        assert held()
    assert not held()
    leases.asked.clear()
    time.sleep(BEAT_S * 4)
    assert len(leases.asked) <= 1
    assert {} not in leases.asked


@pytest.mark.requirement("Q3")
def test_a_run_that_is_refused_is_known_to_be_lost(leases: Leases, keeper: ThreadLeaseKeeper) -> None:
    with keeper.holding(a_run(1)) as lost, keeper.holding(a_run(2)) as kept:
        leases.refused.add(1)
        wait_until(lambda: not lost())
        assert kept()
        wait_until(lambda: leases.asked[-1] == {2: 1})


def test_a_database_that_is_away_for_some_beats_loses_no_run(leases: Leases, keeper: ThreadLeaseKeeper) -> None:
    with keeper.holding(a_run(1)) as held:
        leases.error = DatabaseUnavailable("restarting")
        wait_until(lambda: len(leases.asked) >= 3)
        leases.error = None
        asked = len(leases.asked)
        wait_until(lambda: len(leases.asked) > asked + 1)
        assert held()


def test_an_error_nobody_thought_of_does_not_stop_the_thread(leases: Leases, keeper: ThreadLeaseKeeper) -> None:
    """A dead keeper would let every later run of the process be taken over."""
    leases.error = RuntimeError("a surprise")
    with keeper.holding(a_run(1)) as held:
        wait_until(lambda: len(leases.asked) >= 2)
        leases.error = None
        asked = len(leases.asked)
        wait_until(lambda: len(leases.asked) > asked + 1)
        assert held()


def test_taken_over_within_one_process_the_newer_claim_is_the_one_kept(
    leases: Leases, keeper: ThreadLeaseKeeper
) -> None:
    with keeper.holding(a_run(1, 11)) as older, keeper.holding(a_run(1, 22)) as newer:
        assert (older(), newer()) == (False, True)
        wait_until(lambda: bool(leases.asked) and leases.asked[-1] == {1: 22})
    assert not newer()


def test_there_is_one_thread_and_it_keeps_no_process_alive(leases: Leases, keeper: ThreadLeaseKeeper) -> None:
    before = set(threading.enumerate())
    with keeper.holding(a_run(1)), keeper.holding(a_run(2)):
        pass
    started = [thread for thread in threading.enumerate() if thread not in before]
    assert len(started) == 1
    assert started[0].daemon
