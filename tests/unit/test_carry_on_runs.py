"""What a worker does after the run its message pointed at: goes on, for a moment, with those it let in."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from support.worlds import KIND, SLOT, MemoryWorld, analysis, roomy, taken

from aaos.adapters.memory import MemoryHints, StillLeaseKeeper
from aaos.domain.runs import ClaimedRun, Completed, Dependency, Failed, Outcome, Refusal
from aaos.domain.schedules import Kind
from aaos.errors import DatabaseUnavailable, InsufficientData, RateLimited, RiskBookMoved
from aaos.ports import Ended
from aaos.services.carry_on_runs import CARRY_ON_MAX_S, CARRY_ON_RUNS, CARRY_ON_SHARE, Delivery, carry_on_runs
from aaos.services.execute_run import Execution, KindLimits, execute_run
from aaos.services.recover_runs import recover_runs

RULES = roomy()
OTHER_KIND = "regime_detection"
AGES_S = 30.0


class Backlog:
    """One kind with room for one run, as many waiting as said, and a worker whose clock only its own work moves."""

    def __init__(self, waiting: int, run_takes_s: float = 0.0) -> None:
        self.world = MemoryWorld()
        self.runs = self.world.runs(RULES)
        self.keeper = StillLeaseKeeper()
        self.hints = MemoryHints()
        self.run_takes_s = run_takes_s
        self.clock_s = 1000.0
        self.worked: list[int] = []
        self.told: list[int] = []
        symbols = [f"S{n:02}/USDT" for n in range(waiting + 1)]
        [(self.first, _)] = self.runs.insert_slot(analysis(), symbols, SLOT, 1)
        self.waiting = sorted(set(self.world.rows()) - {self.first})

    def work(self, run: ClaimedRun, dependencies: Sequence[Dependency]) -> Outcome:
        self.worked.append(run.id)
        self.clock_s += self.run_takes_s
        return Completed({"symbol": run.symbol})

    def execute(self, run_id: int) -> Execution:
        return execute_run(run_id, "w", KindLimits(1, True), self.work, self.runs, self.keeper, RULES)

    def follow_up(self, run: ClaimedRun, ended: Ended) -> None:
        self.told.append(run.id)

    def deliver(self, run_id: int | None = None, *, awaited: bool = False, limit_s: float = 3600) -> Execution | None:
        delivery = Delivery(run_id or self.first, KIND, limit_s, awaited)
        return carry_on_runs(delivery, self.execute, self.follow_up, self.hints, lambda: self.clock_s)

    def states(self) -> dict[int, str]:
        return {run_id: row.state for run_id, row in self.world.rows().items()}


@pytest.mark.requirement("R6")
def test_a_run_that_may_be_tried_again_at_once_gets_a_message_instead_of_waiting_for_the_sweep() -> None:
    backlog = Backlog(waiting=0)

    def moved(run: ClaimedRun, dependencies: Sequence[Dependency]) -> Outcome:
        raise RiskBookMoved("the books of paper moved")

    backlog.work = moved  # type: ignore[method-assign]
    backlog.deliver()
    assert backlog.hints.sent == [(KIND, backlog.first)]


def test_a_run_that_has_to_wait_gets_no_message() -> None:
    backlog = Backlog(waiting=0)

    def limited(run: ClaimedRun, dependencies: Sequence[Dependency]) -> Outcome:
        raise RateLimited("over the limit", 5)

    backlog.work = limited  # type: ignore[method-assign]
    backlog.deliver()
    assert backlog.hints.sent == []


# --- goes on ------------------------------------------------------------------------------------------------


def test_a_worker_goes_on_with_the_run_that_its_end_let_in_and_sends_no_message() -> None:
    backlog = Backlog(waiting=3)
    execution = backlog.deliver()
    assert execution is not None
    assert execution.answer == [backlog.first, "completed"], "the answer is that of the message's own run"
    assert backlog.worked == [backlog.first, *backlog.waiting]
    assert backlog.told == backlog.worked, "each end is followed up"
    assert set(backlog.states().values()) == {"completed"}
    assert backlog.hints.sent == []


def test_a_run_that_fails_lets_the_next_one_in_as_well() -> None:
    backlog = Backlog(waiting=2)
    worked = backlog.work

    def failing_first(run: ClaimedRun, dependencies: Sequence[Dependency]) -> Outcome:
        outcome = worked(run, dependencies)
        if run.id == backlog.first:
            raise InsufficientData("too few candles")
        return outcome

    backlog.work = failing_first  # type: ignore[method-assign]
    backlog.deliver()
    assert list(backlog.states().values()) == ["failed", "completed", "completed"]


def test_with_nobody_waiting_there_is_nothing_to_go_on_with() -> None:
    backlog = Backlog(waiting=0)
    backlog.deliver()
    assert (backlog.worked, backlog.hints.sent) == ([backlog.first], [])


@pytest.mark.requirement("Q4")
@pytest.mark.requirement("FM-TAW-011")
def test_a_run_that_somebody_else_took_in_between_is_left_to_them() -> None:
    """Let in, and at once claimed by another, whom a late message led there."""
    backlog = Backlog(waiting=2)

    def overtaken(run: ClaimedRun, ended: Ended) -> None:
        if ended.promoted is not None and run.id == backlog.first:
            taken(backlog.runs, ended.promoted[0], "another")

    delivery = Delivery(backlog.first, KIND, 3600, awaited=False)
    carry_on_runs(delivery, backlog.execute, overtaken, backlog.hints, lambda: backlog.clock_s)
    assert backlog.worked == [backlog.first]
    assert backlog.hints.sent == [], "whoever ends that one goes on from there"
    assert list(backlog.states().values()) == ["completed", "running", "pending"]


# --- stops --------------------------------------------------------------------------------------------------


def test_it_stops_after_so_many_runs_and_hands_the_next_one_over_by_a_message() -> None:
    backlog = Backlog(waiting=CARRY_ON_RUNS + 3)
    backlog.deliver()
    assert backlog.worked == [backlog.first, *backlog.waiting[:CARRY_ON_RUNS]]
    assert backlog.hints.sent == [(KIND, backlog.waiting[CARRY_ON_RUNS])]
    assert list(backlog.states().values()).count("pending") == 3


def test_one_message_after_the_other_works_off_the_whole_backlog() -> None:
    backlog = Backlog(waiting=3 * CARRY_ON_RUNS)
    backlog.deliver()
    messages = 1
    while backlog.hints.sent:
        _, run_id = backlog.hints.sent.pop()
        backlog.deliver(run_id)
        messages += 1
    assert set(backlog.states().values()) == {"completed"}
    assert messages == 3, "31 runs, eleven a message"


def test_it_stops_when_its_moment_is_over() -> None:
    """Each run takes more than half of the moment: the second still begins within it, the third does not."""
    backlog = Backlog(waiting=5, run_takes_s=0.6 * CARRY_ON_MAX_S)
    backlog.deliver()
    assert backlog.worked == [backlog.first, backlog.waiting[0]]
    assert backlog.hints.sent == [(KIND, backlog.waiting[1])]


def test_a_run_longer_than_the_moment_is_never_gone_on_from() -> None:
    backlog = Backlog(waiting=2, run_takes_s=CARRY_ON_MAX_S)
    backlog.deliver()
    assert backlog.worked == [backlog.first]
    assert backlog.hints.sent == [(KIND, backlog.waiting[0])]


@pytest.mark.requirement("F08")
def test_with_a_short_time_limit_the_moment_is_a_share_of_it() -> None:
    """The limit is counted from the message: a run begun late would not have its own time."""
    limit_s = 1.0
    backlog = Backlog(waiting=5, run_takes_s=0.6 * CARRY_ON_SHARE * limit_s)
    backlog.deliver(limit_s=limit_s)
    assert backlog.worked == [backlog.first, backlog.waiting[0]]


@pytest.mark.requirement("F03")
def test_a_message_that_somebody_waits_for_goes_on_with_nothing() -> None:
    backlog = Backlog(waiting=2)
    backlog.deliver(awaited=True)
    assert backlog.worked == [backlog.first]
    assert backlog.hints.sent == [(KIND, backlog.waiting[0])]


def test_a_run_of_another_kind_that_was_let_in_gets_a_message_of_its_own() -> None:
    """It has workers of its own, and other limits."""
    backlog = Backlog(waiting=0)
    backlog.runs.insert_slot(analysis(OTHER_KIND), ["BTC/USDT"], SLOT, 0)
    backlog.deliver()
    assert backlog.worked == [backlog.first]
    assert [kind for kind, _ in backlog.hints.sent] == [OTHER_KIND]


# --- what goes wrong ----------------------------------------------------------------------------------------


def test_a_delivery_that_steps_aside_follows_nothing_up() -> None:
    backlog = Backlog(waiting=2)
    taken(backlog.runs, backlog.first, "another")
    execution = backlog.deliver()
    assert execution == Execution(refusal=Refusal.RUNNING_ELSEWHERE)
    assert (backlog.worked, backlog.told, backlog.hints.sent) == ([], [], [])


def test_with_the_database_away_nothing_is_known_of_the_run() -> None:
    backlog = Backlog(waiting=2)
    backlog.world.database.away = True
    assert backlog.deliver() is None
    assert backlog.hints.sent == []


def test_with_the_broker_away_the_run_that_was_let_in_waits_for_the_sweep() -> None:
    backlog = Backlog(waiting=1)
    backlog.hints.away = True
    execution = backlog.deliver(awaited=True)
    assert execution is not None
    assert execution.answer == [backlog.first, "completed"]
    backlog.hints.away = False
    assert swept(backlog) == [(KIND, backlog.waiting[0])]


@pytest.mark.requirement("Q2")
def test_a_run_lost_between_two_is_hinted_again_by_the_sweep() -> None:
    """It was let in, so nobody else will be told of it; then its worker lost the database, or its life."""
    backlog = Backlog(waiting=2)
    execute = backlog.execute

    def lost_after_the_first(run_id: int) -> Execution:
        if run_id != backlog.first:
            raise DatabaseUnavailable("shutting down")
        return execute(run_id)

    backlog.execute = lost_after_the_first  # type: ignore[method-assign]
    execution = backlog.deliver()
    assert execution is not None
    assert execution.answer == [backlog.first, "completed"], "what was done before counts"
    assert backlog.hints.sent == []
    assert swept(backlog) == [(KIND, backlog.waiting[0])]


@pytest.mark.requirement("FM-TAW-007")
@pytest.mark.requirement("Q3")
def test_a_run_gone_on_with_is_fenced_like_any_other() -> None:
    """Its worker freezes in the second run; who took that over has the last word, and the chain ends there."""
    backlog = Backlog(waiting=2)
    worked = backlog.work

    def frozen_in_the_second(run: ClaimedRun, dependencies: Sequence[Dependency]) -> Outcome:
        outcome = worked(run, dependencies)
        if run.id == backlog.waiting[0]:
            backlog.world.pass_time(RULES.lease_s + 1)
            backlog.runs.end(taken(backlog.runs, run.id, "another"), Failed("network", "by another"))
        return outcome

    backlog.work = frozen_in_the_second  # type: ignore[method-assign]
    backlog.deliver()
    assert list(backlog.states().values()) == ["completed", "failed", "pending"]
    assert backlog.told == [backlog.first], "its lost end is not followed up"
    fences = [row.fence for row in backlog.world.rows().values() if row.fence is not None]
    assert len(set(fences)) == len(fences)


def swept(backlog: Backlog) -> list[tuple[str, int]]:
    """Returns what a sweep hints once hints have been quiet for long enough."""
    backlog.world.pass_time(AGES_S)
    kind = Kind(requires=("market_data",), pool="cpu", timeout_seconds=30, max_concurrent=1)
    recover_runs({KIND: kind}, {}, backlog.runs, backlog.hints, backlog.world.alerts)
    return backlog.hints.sent
