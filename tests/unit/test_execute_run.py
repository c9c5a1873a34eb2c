"""One delivery of a run's message: claimed, worked on, and ended in exactly one way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from support.worlds import KIND, SLOT, MemoryWorld, analysis, born, roomy, taken

from aaos.adapters.memory import MemoryRunStore, MovableClock, StillLeaseKeeper
from aaos.domain.runs import ClaimedRun, Completed, Dependency, Failed, Outcome, Refusal, RunRules, Skipped
from aaos.errors import (
    DatabaseUnavailable,
    InsufficientData,
    ModelsUnavailable,
    NetworkError,
    RateLimited,
    RiskBookMoved,
    RunTimeout,
    SovereignInvalidResponse,
    SovereignTimeout,
    SovereignUnavailable,
    StaleInput,
)
from aaos.ports import Ended
from aaos.services.execute_run import Execution, KindLimits, execute_run

RULES = roomy()
Work = Callable[[ClaimedRun, Sequence[Dependency]], Outcome]


def answered(run: ClaimedRun, dependencies: Sequence[Dependency]) -> Outcome:
    return Completed({"symbol": run.symbol})


def raising(error: BaseException) -> Work:
    def work(run: ClaimedRun, dependencies: Sequence[Dependency]) -> Outcome:
        raise error

    return work


class Stage:
    """One world and what `execute_run` needs beside it."""

    def __init__(self, world: MemoryWorld | None = None, runs: MemoryRunStore | None = None) -> None:
        self.world = world or MemoryWorld()
        self.runs = runs or self.world.runs(RULES)
        self.keeper = StillLeaseKeeper()

    def execute(self, run_id: int, work: Work = answered, rules: RunRules = RULES, owner: str = "w") -> Execution:
        return execute_run(run_id, owner, KindLimits(100, True), work, self.runs, self.keeper, rules)


@pytest.fixture
def stage() -> Stage:
    return Stage()


# --- success and redelivery ---------------------------------------------------------------------------------


def test_a_completed_run_stores_its_result_and_answers_with_its_state(stage: Stage) -> None:
    run_id = born(stage.runs)
    execution = stage.execute(run_id)
    assert execution.answer == [run_id, "completed"]
    assert execution.ended is not None
    assert stage.world.results.result(execution.ended.result_id or 0).body == {"symbol": "BTC/USDT"}


@pytest.mark.requirement("FM-TAW-011")
def test_a_second_delivery_gives_the_identical_answer_and_works_no_more(stage: Stage) -> None:
    run_id = born(stage.runs)
    worked: list[int] = []

    def work(run: ClaimedRun, dependencies: Sequence[Dependency]) -> Outcome:
        worked.append(run.id)
        return Completed({})

    answers = [stage.execute(run_id, work).answer for _ in range(3)]
    assert answers == [[run_id, "completed"]] * 3
    assert worked == [run_id]
    assert len(stage.world.results.results(10)) == 1


@pytest.mark.requirement("FM-TAW-011")
@pytest.mark.requirement("F01")
def test_a_delivery_while_another_worker_is_at_it_steps_aside(stage: Stage) -> None:
    claim = taken(stage.runs, born(stage.runs))
    execution = stage.execute(claim.id, raising(AssertionError("must not be worked on")))
    assert (execution.answer, execution.refusal, execution.run) == (None, Refusal.RUNNING_ELSEWHERE, None)


def test_a_message_for_a_run_that_does_not_exist_steps_aside(stage: Stage) -> None:
    assert stage.execute(4711) == Execution(refusal=Refusal.UNKNOWN)


def test_the_lease_is_kept_while_the_work_lasts_and_not_longer(stage: Stage) -> None:
    seen: list[dict[int, int]] = []

    def work(run: ClaimedRun, dependencies: Sequence[Dependency]) -> Outcome:
        seen.append(dict(stage.keeper.held))
        return Completed({})

    execution = stage.execute(born(stage.runs), work)
    assert execution.run is not None
    assert seen == [{execution.run.id: execution.run.fence}]
    assert stage.keeper.held == {}


# --- how errors end a run -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "source", "reason"),
    [
        (InsufficientData("too few candles"), "validation", "too few candles"),
        (SovereignInvalidResponse("no vote in it"), "sovereign_invalid", "no vote in it"),
        (RunTimeout("not done after 30 s"), "timeout", "not done after 30 s"),
        (MemoryError(), "internal", "out of memory"),
        (ZeroDivisionError("division by zero"), "internal", "ZeroDivisionError: division by zero"),
    ],
)
def test_an_error_that_will_come_again_fails_the_run_and_names_its_source(
    stage: Stage, error: BaseException, source: str, reason: str
) -> None:
    run_id = born(stage.runs)
    assert stage.execute(run_id, raising(error)).answer == [run_id, "failed"]
    record = stage.runs.run(run_id)
    assert (record.failure_source, record.reason) == (source, reason)


@pytest.mark.requirement("F03")
def test_stale_input_skips_the_run(stage: Stage) -> None:
    run_id = born(stage.runs)
    assert stage.execute(run_id, raising(StaleInput("300 s old"))).answer == [run_id, "skipped"]
    assert stage.runs.run(run_id).reason == "stale input: 300 s old"


def test_a_very_long_reason_is_cut(stage: Stage) -> None:
    for number, error in enumerate((StaleInput("x" * 9000), InsufficientData("x" * 9000))):
        run_id = born(stage.runs, f"S{number}/USDT")
        stage.execute(run_id, raising(error))
        assert len(stage.runs.run(run_id).reason or "") == 500


def test_a_transient_error_gives_the_run_back_until_its_last_attempt(stage: Stage) -> None:
    run_id = born(stage.runs)
    pauses = []
    for _ in range(2):
        execution = stage.execute(run_id, raising(SovereignTimeout("no answer")))
        assert (execution.answer, execution.ended) == (None, None)
        row = stage.world.rows()[run_id]
        assert (row.state, row.reason) == ("pending", "no answer")
        pauses.append(row.due_in_s)
        stage.world.pass_time(row.due_in_s)
    assert pauses == [2, 4]
    assert stage.execute(run_id, raising(SovereignTimeout("no answer"))).answer == [run_id, "failed"]
    assert stage.runs.run(run_id).failure_source == "sovereign_timeout"


def test_a_run_that_succeeds_at_the_second_attempt_is_completed(stage: Stage) -> None:
    run_id = born(stage.runs)
    stage.execute(run_id, raising(NetworkError("hung up")))
    assert stage.execute(run_id).refusal is Refusal.NOT_DUE
    stage.world.pass_time(2)
    assert stage.execute(run_id).answer == [run_id, "completed"]
    assert stage.runs.run(run_id).attempt == 2


# --- put back -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "source"),
    [
        (RateLimited("over the limit", 12.5), "rate_limited"),
        (ModelsUnavailable("breakers open", 12.5), "sovereign_error"),
    ],
)
def test_what_costs_no_attempt_is_put_back_until_there_is_room_again_and_again(
    stage: Stage, error: RateLimited | ModelsUnavailable, source: str
) -> None:
    run_id = born(stage.runs, start_within_s=200)
    for _ in range(15):
        execution = stage.execute(run_id, raising(error))
        assert (execution.answer, execution.ended) == (None, None)
        row = stage.world.rows()[run_id]
        assert (row.state, row.attempt, row.due_in_s, row.reason) == ("pending", 0, 12.5, str(error))
        stage.world.pass_time(12.5)
    assert stage.execute(run_id, raising(error)).answer == [run_id, "failed"], "its time is over"
    record = stage.runs.run(run_id)
    assert (record.failure_source, record.reason) == (source, f"{error}; there is no time to try again in 12 s")


class _MovedOnce(MemoryRunStore):
    """A store whose risk books move under the first outcome."""

    moved = 0

    def complete(self, run: ClaimedRun, outcome: Completed, publish: bool) -> Ended:
        self.moved += 1
        if self.moved == 1:
            raise RiskBookMoved("the books of paper moved")
        return super().complete(run, outcome, publish)


@pytest.mark.requirement("R6")
def test_an_approval_on_books_that_moved_is_not_stored_and_risk_is_assessed_again_at_once() -> None:
    world = MemoryWorld()
    stage = Stage(world, _MovedOnce(world.database, RULES))
    run_id = born(stage.runs)
    assert stage.execute(run_id).answer is None
    row = world.rows()[run_id]
    assert (row.state, row.attempt, row.due_in_s, row.reason) == ("pending", 0, 0, "the books of paper moved")
    assert stage.execute(run_id).answer == [run_id, "completed"]


def test_being_put_back_leaves_the_last_attempt_whole(stage: Stage) -> None:
    run_id = born(stage.runs)
    for _ in range(2):
        stage.execute(run_id, raising(NetworkError("hung up")))
        stage.world.pass_time(stage.world.rows()[run_id].due_in_s)
    stage.execute(run_id, raising(RateLimited("over the limit", 5)))
    stage.world.pass_time(5)
    assert stage.execute(run_id).answer == [run_id, "completed"]
    assert stage.runs.run(run_id).attempt == 3


def test_a_service_that_says_when_to_come_back_is_heeded_within_reason(stage: Stage) -> None:
    for asked, heeded in ((1, 2), (45, 45), (1e9, 600)):
        run_id = born(stage.runs, f"S{asked:g}/USDT")
        stage.execute(run_id, raising(SovereignUnavailable("too many requests", 429, asked)))
        row = stage.world.rows()[run_id]
        assert (row.due_in_s, row.attempt) == (heeded, 1)


def test_a_very_long_reason_still_says_that_there_is_no_time_left(stage: Stage) -> None:
    run_id = born(stage.runs, start_within_s=10)
    stage.execute(run_id, raising(RateLimited("x" * 9000, 30)))
    reason = stage.runs.run(run_id).reason or ""
    assert len(reason) == 500
    assert reason.endswith("x; there is no time to try again in 30 s")


# --- dependencies -------------------------------------------------------------------------------------------


def decision(stage: Stage) -> tuple[int, int]:
    spec = analysis("trading_decision", "", dependent=True)
    [plan] = stage.runs.insert_pipeline(spec, ["BTC/USDT"], SLOT, None, [(analysis(), SLOT)])
    return plan.run_id, plan.header[0][0]


@pytest.mark.requirement("F03")
@pytest.mark.parametrize(
    ("outcome", "word"), [(Failed("network", "exchange away"), "failed"), (Skipped("stale"), "skipped")]
)
def test_a_dependency_that_did_not_complete_skips_the_run_with_the_reason(
    stage: Stage, outcome: Failed | Skipped, word: str
) -> None:
    run_id, needed = decision(stage)
    stage.runs.end(taken(stage.runs, needed), outcome)
    execution = stage.execute(run_id, raising(AssertionError("must not be worked on")))
    assert execution.answer == [run_id, "skipped"]
    assert stage.runs.run(run_id).reason == f"dependency {KIND} (run {needed}) {word}: {outcome.reason}"


@pytest.mark.requirement("F03")
def test_the_work_is_given_what_its_dependencies_found(stage: Stage) -> None:
    run_id, needed = decision(stage)
    assert stage.execute(run_id).refusal is Refusal.WAITING
    stage.execute(needed)
    seen: list[Dependency] = []

    def work(run: ClaimedRun, dependencies: Sequence[Dependency]) -> Outcome:
        seen.extend(dependencies)
        return Completed({})

    stage.execute(run_id, work)
    assert [(each.run_id, each.body) for each in seen] == [(needed, {"symbol": "BTC/USDT"})]


# --- lost fences --------------------------------------------------------------------------------------------


@pytest.mark.requirement("FM-TAW-007")
@pytest.mark.requirement("Q3")
@pytest.mark.parametrize("late", [Completed({"late": True}), Failed("network", "late"), NetworkError("late")])
def test_a_worker_overtaken_while_it_worked_leaves_no_trace(stage: Stage, late: Any) -> None:
    run_id = born(stage.runs)

    def work(run: ClaimedRun, dependencies: Sequence[Dependency]) -> Outcome:
        stage.world.pass_time(16)
        other = taken(stage.runs, run_id, "other")
        stage.runs.complete(other, Completed({"by": "other"}), publish=True)
        if isinstance(late, Exception):
            raise late
        return late  # type: ignore[no-any-return]

    execution = stage.execute(run_id, work)
    assert (execution.answer, execution.ended) == (None, None)
    assert [result.body for result in stage.world.results.results(10)] == [{"by": "other"}]
    assert stage.execute(run_id).answer == [run_id, "completed"]


@pytest.mark.requirement("F08")
def test_what_is_said_after_the_deadline_is_not_accepted(stage: Stage) -> None:
    run_id = born(stage.runs, timeout_s=10)

    def work(run: ClaimedRun, dependencies: Sequence[Dependency]) -> Outcome:
        stage.world.pass_time(11)
        return Completed({})

    assert stage.execute(run_id, work).answer is None
    stage.runs.recover()
    assert stage.runs.run(run_id).failure_source == "timeout"
    assert stage.world.results.results(10) == []


# --- the database away --------------------------------------------------------------------------------------


class AwayForAWhile(MemoryRunStore):
    """Cannot store an end for so many times."""

    away_times = 1

    def complete(self, run: ClaimedRun, outcome: Completed, publish: bool) -> Ended:
        if self.away_times:
            self.away_times -= 1
            raise DatabaseUnavailable("shutting down")
        return super().complete(run, outcome, publish)


def by_the_wall_clock() -> MemoryWorld:
    world = MemoryWorld()
    world.database.clock = MovableClock(datetime.now(UTC))
    return world


@pytest.mark.requirement("FM-TAW-007")
def test_an_answer_is_kept_and_stored_when_the_database_is_back() -> None:
    world = by_the_wall_clock()
    stage = Stage(world, AwayForAWhile(world.database, RULES))
    run_id = born(stage.runs)
    worked = []
    execution = stage.execute(run_id, lambda run, _: worked.append(run.id) or Completed({"n": 1}))  # type: ignore[func-returns-value]
    assert execution.answer == [run_id, "completed"]
    assert worked == [run_id]


@pytest.mark.requirement("FM-TAW-007")
def test_an_answer_whose_commit_was_not_confirmed_is_stored_once() -> None:
    world = by_the_wall_clock()
    stage = Stage(world)
    run_id = born(stage.runs)

    def work(run: ClaimedRun, dependencies: Sequence[Dependency]) -> Outcome:
        world.database.lose_confirmations = 1
        return Completed({"n": 1})

    execution = stage.execute(run_id, work)
    assert execution.answer == [run_id, "completed"]
    assert execution.ended is not None
    assert [result.id for result in world.results.results(10)] == [execution.ended.result_id]


def test_past_the_deadline_nobody_waits_for_the_database_any_more() -> None:
    world = MemoryWorld()
    stage = Stage(world, AwayForAWhile(world.database, RULES))
    with pytest.raises(DatabaseUnavailable):
        stage.execute(born(stage.runs, timeout_s=0.1))


def test_how_long_finished_work_is_kept_does_not_depend_on_the_machines_clock() -> None:
    world = MemoryWorld()  # its clock stands years before the machine's
    stage = Stage(world, AwayForAWhile(world.database, RULES))
    assert stage.execute(born(stage.runs, timeout_s=30.0)).answer is not None


def test_an_outcome_that_cannot_be_written_fails_its_run_and_not_its_worker(stage: Stage) -> None:
    run_id = born(stage.runs)
    execution = stage.execute(run_id, lambda *_: Completed({"figure": float("nan")}))
    assert execution.answer == [run_id, "failed"]
    assert stage.runs.run(run_id).failure_source == "validation"


def test_a_run_that_cannot_be_claimed_is_left_alone(stage: Stage) -> None:
    run_id = born(stage.runs)
    stage.world.database.away = True
    with pytest.raises(DatabaseUnavailable):
        stage.execute(run_id)
    stage.world.database.away = False
    assert stage.runs.run(run_id).attempt == 0
