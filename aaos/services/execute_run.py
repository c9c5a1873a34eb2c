"""One run from claim to final state: what every task does around its own work."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from aaos.domain.runs import (
    Answer,
    ClaimedRun,
    ClaimRefused,
    Completed,
    Dependency,
    Failed,
    Outcome,
    Refusal,
    RunRules,
    Skipped,
    State,
    first_unmet,
    retry_delay_s,
)
from aaos.domain.sovereign import storable
from aaos.errors import AaosError, FenceLost, InputError, RiskBookMoved, StaleInput, TransientError
from aaos.ports import Ended, LeaseKeeper, RunStore
from aaos.services.keep_trying import keep_trying

log = structlog.get_logger()

Work = Callable[[ClaimedRun, Sequence[Dependency]], Outcome]
REASON_MAX_CHARS = 500
# A service may ask to be left alone for a year; a run is not put back for longer than this.
RETRY_AFTER_MAX_S = 600.0


@dataclass(frozen=True, slots=True)
class Execution:
    """What came of one delivery of a run's message.

    Attributes:
        answer: [run id, final state] once the run is final, whoever did the work; None while it is not.
        refusal: why this delivery stepped aside.
        run: the claim, if it was granted.
        ended: what ending the run brought about, if we ended it.
        again: whether the run was put back and may be tried again at once: somebody should be told.
    """

    answer: Answer | None = None
    refusal: Refusal | None = None
    run: ClaimedRun | None = None
    ended: Ended | None = None
    again: bool = False


@dataclass(frozen=True, slots=True)
class KindLimits:
    """What `execute_run` must know about the run's kind."""

    max_concurrent: int
    publish: bool


def execute_run(
    run_id: int, owner: str, limits: KindLimits, work: Work, runs: RunStore, keeper: LeaseKeeper, rules: RunRules
) -> Execution:
    """Claims the run, does the work under a kept lease, and stores how it ended; steps aside if it may not.

    The work's errors become the run's outcome; only a lost database or a lost fence ends without one.

    Raises:
        DatabaseUnavailable: the run could not be claimed, or its outcome not stored before its deadline.
    """
    claim = runs.claim(run_id, owner, limits.max_concurrent)
    if isinstance(claim, ClaimRefused):
        return _stepped_aside(run_id, claim)
    with keeper.holding(claim):
        outcome = _outcome(claim, work, runs, rules)
        try:
            return _settle(claim, outcome, limits, runs, rules)
        except FenceLost as lost:
            log.warning("fence_lost", run=run_id, kind=claim.kind, fence=claim.fence, why=str(lost))
            return Execution(run=claim)


def _stepped_aside(run_id: int, claim: ClaimRefused) -> Execution:
    log.debug("stepped_aside", run=run_id, why=claim.refusal.value)
    answer: Answer | None = None
    if claim.refusal is Refusal.FINAL and claim.state is not None:
        answer = [run_id, claim.state.value]
    return Execution(answer=answer, refusal=claim.refusal)


def _outcome(run: ClaimedRun, work: Work, runs: RunStore, rules: RunRules) -> Outcome | TransientError:
    try:
        dependencies = runs.dependencies(run.id) if run.dependent else ()
        unmet = first_unmet(dependencies)
        return work(run, dependencies) if unmet is None else _skipped_for(unmet)
    except StaleInput as stale:
        return Skipped(f"stale input: {_reason(stale)}"[:REASON_MAX_CHARS])
    except TransientError as error:
        again = not error.costs_attempt or run.attempt < rules.max_attempts
        return error if again else Failed(error.failure_source, _reason(error))
    except AaosError as error:
        # A lost fence among them: what is then stored is refused, and says so.
        return Failed(error.failure_source, _reason(error))
    except MemoryError:
        # Raised further it would take the whole worker down, and with it the runs beside this one.
        return Failed("internal", "out of memory")
    except Exception as error:
        log.exception("run_broke", run=run.id, kind=run.kind, symbol=run.symbol)
        return Failed("internal", _reason(error))


def _skipped_for(unmet: Dependency) -> Skipped:
    detail = f": {unmet.reason}" if unmet.reason else ""
    return Skipped(f"dependency {unmet.kind} (run {unmet.run_id}) {unmet.state.value}{detail}"[:REASON_MAX_CHARS])


def _settle(
    run: ClaimedRun, outcome: Outcome | TransientError, limits: KindLimits, runs: RunStore, rules: RunRules
) -> Execution:
    if isinstance(outcome, TransientError):
        return _put_back(run, outcome, limits, runs, rules)
    if isinstance(outcome, Completed):
        try:
            ended = keep_trying(run.time_left_s, lambda: runs.complete(run, outcome, limits.publish))
        except RiskBookMoved as moved:
            # What risk let through rests on books that are no longer these: assessed again, on those that are.
            return _put_back(run, moved, limits, runs, rules)
        except InputError as unstorable:
            # NaN in a figure, say: an outcome that cannot be written is this run's failure, not the worker's.
            return _settle(run, Failed(unstorable.failure_source, _reason(unstorable)), limits, runs, rules)
        log.info("run_completed", run=run.id, kind=run.kind, symbol=run.symbol, slot=run.slot.isoformat())
        return Execution([run.id, State.COMPLETED.value], run=run, ended=ended)
    ended = keep_trying(run.time_left_s, lambda: runs.end(run, outcome))
    state = State.FAILED if isinstance(outcome, Failed) else State.SKIPPED
    log.warning("run_ended", state=state.value, run=run.id, kind=run.kind, symbol=run.symbol, why=outcome.reason)
    return Execution([run.id, state.value], run=run, ended=ended)


def _put_back(run: ClaimedRun, error: TransientError, limits: KindLimits, runs: RunStore, rules: RunRules) -> Execution:
    """Puts the run back with a due time in the database, where no worker waits for it; ends it if that is too late."""
    reason, retry_in_s = _reason(error), _retry_in_s(run, error, rules)
    spent = error.costs_attempt
    if keep_trying(run.time_left_s, lambda: runs.release(run, retry_in_s, reason, spent=spent)):
        told = log.warning if spent else log.info
        told("run_released", run=run.id, kind=run.kind, retry_in_s=retry_in_s, attempt_counts=spent, why=str(error))
        return Execution(run=run, again=retry_in_s == 0)
    too_late = f"; there is no time to try again in {retry_in_s:.0f} s"
    failed = Failed(error.failure_source, f"{reason[: REASON_MAX_CHARS - len(too_late)]}{too_late}")
    return _settle(run, failed, limits, runs, rules)


def _retry_in_s(run: ClaimedRun, error: TransientError, rules: RunRules) -> float:
    """Returns the error's own word, where it has one; from who costs attempts it is neither too soon nor far off."""
    if error.retry_after_s is None:
        return retry_delay_s(rules, run.attempt)
    if not error.costs_attempt:
        return max(error.retry_after_s, 0.0)
    return min(max(error.retry_after_s, retry_delay_s(rules, run.attempt)), RETRY_AFTER_MAX_S)


def _reason(error: BaseException) -> str:
    name = "" if isinstance(error, AaosError) else f"{type(error).__name__}: "
    return storable(f"{name}{error}")[:REASON_MAX_CHARS]
