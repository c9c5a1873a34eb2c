"""Circuit breakers per model: when a model that fails is left alone, tried again, and trusted again.

```
            failures_to_open in a row, or window_failure_share of the last window_calls
 ┌────────┐ ─────────────────────────────────────────────────────────────────────────► ┌──────┐
 │ closed │                                                                            │ open │ ◄───────┐
 └────────┘ ◄──────────────┐                                            after open_s,  └──────┘         │
                           │                                         with the first call asked for      │
             successes_to_close trials      ┌───────────┐ ◄────────────────────────────────┘            │
             in a row succeeded    ──────── │ half-open │ ───────────────────────────────────────────────┘
                                            └───────────┘            a trial failed
```

Half-open, one trial is let through; all other calls go to the fallback. Each success makes room for one more
trial at once, so that a model that has come back gets 1, 2, 3 … calls at a time and not all of them. A trial
has a lease: if its worker dies, another call takes its place when the lease has ended.

Every change of state starts a new `epoch`. A verdict on a call that was admitted in an older one is void: what
was asked before a model broke down says nothing about whether it has recovered.

Pure functions over `Breaker`; instants are milliseconds on whatever clock the caller keeps to.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Annotated, ClassVar, Final

from annotated_types import Ge, Gt, Le

from aaos.errors import FailureSource

TRIAL_ANSWERS_S: Final = 5.0
"""Who is refused while a trial is under way may come back so soon: the trial may have ended long before its lease."""


class BreakerState(StrEnum):
    """Closed lets calls through, open refuses them, half-open lets a trial through."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True)
class BreakerRules:
    """Subsection `breaker` of `sovereign`: FM-005."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    failures_to_open: Annotated[int, Ge(1), Le(100)] = 3
    window_calls: Annotated[int, Ge(2), Le(100)] = 10
    window_failure_share: Annotated[float, Gt(0), Le(1)] = 0.5
    open_s: Annotated[float, Gt(0), Le(3600)] = 60.0
    successes_to_close: Annotated[int, Ge(1), Le(100)] = 5

    @property
    def open_ms(self) -> int:
        """`open_s` in whole milliseconds, at least one."""
        return max(1, round(self.open_s * 1000))

    @property
    def window_failures(self) -> int:
        """How many failures among the last `window_calls` open the breaker."""
        # Divided, not multiplied: 11 / 20 is the double that 0.55 is, 0.55 × 20 is a little more than 11.
        calls = self.window_calls
        return next(failures for failures in range(1, calls + 1) if failures / calls >= self.window_failure_share)


@dataclass(frozen=True, slots=True)
class BreakerChange:
    """A breaker went from one state to another."""

    model: str
    before: BreakerState
    after: BreakerState
    why: str


@dataclass(frozen=True, slots=True)
class Admission:
    """Whether a model may be asked now; to be reported or withdrawn if it was `allowed`.

    Attributes:
        epoch: of the breaker's state; a verdict from an older epoch changes nothing.
        trial: id of the trial that this call is, None for a call in the closed state.
        retry_after_s: when to come back, 0 where allowed.
        change: from open to half-open, for the call that brought it about.
        local: granted or refused by this process's own breaker, because Redis is away.
    """

    model: str
    allowed: bool
    state: BreakerState
    epoch: int
    trial: str | None = None
    retry_after_s: float = 0.0
    change: BreakerChange | None = None
    local: bool = False


@dataclass(frozen=True, slots=True)
class BreakerView:
    """How a breaker stands; `local` when it is this process's own, because Redis is away."""

    model: str
    state: BreakerState
    failures_in_a_row: int
    retry_after_s: float
    local: bool = False


@dataclass(frozen=True, slots=True)
class Breaker:
    """All that is remembered of one model.

    Attributes:
        epoch: number of the present state; grows with every change, so that it never comes again.
        failures_in_a_row: since the last success, trials included.
        window: the newest verdicts of the closed state, newest last, True for a failure.
        open_until_ms: when the open state ends.
        successes: of trials in the present half-open state.
        trials: under way, with the end of their leases.
    """

    epoch: int = 0
    state: BreakerState = BreakerState.CLOSED
    failures_in_a_row: int = 0
    window: tuple[bool, ...] = ()
    open_until_ms: int = 0
    successes: int = 0
    trials: Mapping[str, int] = field(default_factory=dict)


def admit(
    breaker: Breaker, model: str, trial: str, now_ms: int, rules: BreakerRules, lease_ms: int
) -> tuple[Breaker, Admission]:
    """Returns the breaker after a call was asked for, and whether it may be made.

    Args:
        breaker: as it stands.
        model: whose breaker it is.
        trial: a new id, used if the call becomes a trial; the same id again gets the same answer.
        now_ms: the present.
        rules: when it opens and closes.
        lease_ms: how long a trial may take.
    """
    if breaker.state is BreakerState.CLOSED:
        return breaker, Admission(model, True, breaker.state, breaker.epoch)
    change = None
    if breaker.state is BreakerState.OPEN:
        left_ms = _left_ms(breaker.open_until_ms, now_ms, rules.open_ms)
        if left_ms:
            return breaker, Admission(model, False, breaker.state, breaker.epoch, retry_after_s=left_ms / 1000)
        breaker = _enter(breaker, BreakerState.HALF_OPEN)
        change = change_of(model, BreakerState.OPEN, breaker, 0, rules)
    live = {name: end for name, end in breaker.trials.items() if _left_ms(end, now_ms, lease_ms)}
    if trial not in live and len(live) > breaker.successes:
        wait_s = min(TRIAL_ANSWERS_S, (min(live.values()) - now_ms) / 1000)
        return replace(breaker, trials=live), Admission(
            model, False, breaker.state, breaker.epoch, retry_after_s=wait_s
        )
    live.setdefault(trial, now_ms + lease_ms)
    return replace(breaker, trials=live), Admission(
        model, True, breaker.state, breaker.epoch, trial=trial, change=change
    )


def judge(
    breaker: Breaker, admission: Admission, ok: bool, now_ms: int, rules: BreakerRules
) -> tuple[Breaker, BreakerChange | None]:
    """Returns the breaker after the verdict on an admitted call, and the change of state it brought about."""
    if not admission.allowed or admission.epoch != breaker.epoch:
        return breaker, None
    failures = 0 if ok else breaker.failures_in_a_row + 1
    if breaker.state is BreakerState.CLOSED:
        return _judge_call(replace(breaker, failures_in_a_row=failures), admission.model, ok, now_ms, rules)
    if admission.trial not in breaker.trials:
        return breaker, None
    trials = {name: end for name, end in breaker.trials.items() if name != admission.trial}
    breaker = replace(breaker, failures_in_a_row=failures, trials=trials)
    if not ok:
        return _changed(breaker, admission.model, BreakerState.OPEN, 0, now_ms, rules)
    breaker = replace(breaker, successes=breaker.successes + 1)
    if breaker.successes < rules.successes_to_close:
        return breaker, None
    return _changed(breaker, admission.model, BreakerState.CLOSED, 0, now_ms, rules)


def withdraw(breaker: Breaker, admission: Admission) -> Breaker:
    """Returns the breaker as if the call had never been admitted; another trial may take its place."""
    if admission.epoch != breaker.epoch or admission.trial is None:
        return breaker
    return replace(breaker, trials={name: end for name, end in breaker.trials.items() if name != admission.trial})


def view(breaker: Breaker, model: str, now_ms: int, rules: BreakerRules) -> BreakerView:
    """Returns how the breaker stands; an open one whose time is over waits for somebody to try."""
    left_ms = _left_ms(breaker.open_until_ms, now_ms, rules.open_ms) if breaker.state is BreakerState.OPEN else 0
    return BreakerView(model, breaker.state, breaker.failures_in_a_row, left_ms / 1000)


def change_of(
    model: str, before: BreakerState, breaker: Breaker, window_failures: int, rules: BreakerRules
) -> BreakerChange:
    """Returns the change of a breaker from `before` to the state it is in now, and why it came about.

    Args:
        model: whose breaker it is.
        before: the state it left.
        breaker: after the change.
        window_failures: how many of the last `window_calls` had failed.
        rules: that were applied.
    """
    if breaker.state is BreakerState.CLOSED:
        why = f"{rules.successes_to_close} trials in a row succeeded"
    elif breaker.state is BreakerState.HALF_OPEN:
        why = f"left alone for {rules.open_s:g} s: one call may try"
    elif before is BreakerState.HALF_OPEN:
        why = "a trial failed"
    elif breaker.failures_in_a_row >= rules.failures_to_open:
        why = f"{breaker.failures_in_a_row} failures in a row"
    else:
        why = f"{window_failures} of the last {rules.window_calls} calls failed"
    return BreakerChange(model, before, breaker.state, why)


TASK_BREAKER_WEIGHTS: Final[Mapping[FailureSource, float]] = {
    "agent_crash": 1.0,
    "network": 0.5,
    # The model service has breakers of its own. If its failures counted here, too, a model that is down would
    # stop the pipeline that could go on with the fallback (D6, FM-TAW-010).
    "sovereign_timeout": 0.0,
    "sovereign_error": 0.0,
    "sovereign_invalid": 0.0,
    # A vote whose model hung may end by its run's own deadline: not counted for the same reason.
    "timeout": 0.0,
    # What was asked for was wrong, too much or too early; or something else is away that shows by itself.
    "dependency": 0.0,
    "validation": 0.0,
    "rate_limited": 0.0,
    "database": 0.0,
    "internal": 0.0,
}
"""How much a failed run counts in the breaker of its task kind (SPEC 4): only what a crashing worker leaves behind."""


def task_breaker_weight(failure_source: FailureSource) -> float:
    """Returns how much a run that failed so counts in the breaker of its task kind: 0 for all of Sovereign's."""
    return TASK_BREAKER_WEIGHTS[failure_source]


def _judge_call(
    breaker: Breaker, model: str, ok: bool, now_ms: int, rules: BreakerRules
) -> tuple[Breaker, BreakerChange | None]:
    window = (*breaker.window, not ok)[-rules.window_calls :]
    breaker = replace(breaker, window=window)
    failed = sum(window)
    many = len(window) == rules.window_calls and failed >= rules.window_failures
    if breaker.failures_in_a_row < rules.failures_to_open and not many:
        return breaker, None
    return _changed(breaker, model, BreakerState.OPEN, failed, now_ms, rules)


def _changed(
    breaker: Breaker, model: str, state: BreakerState, window_failures: int, now_ms: int, rules: BreakerRules
) -> tuple[Breaker, BreakerChange]:
    changed = _enter(breaker, state)
    if state is BreakerState.OPEN:
        changed = replace(changed, open_until_ms=now_ms + rules.open_ms)
    return changed, change_of(model, breaker.state, changed, window_failures, rules)


def _enter(breaker: Breaker, state: BreakerState) -> Breaker:
    """Returns the breaker at the beginning of a state; of what was, only the failures in a row are kept."""
    return Breaker(breaker.epoch + 1, state, failures_in_a_row=breaker.failures_in_a_row)


def _left_ms(end_ms: int, now_ms: int, span_ms: int) -> int:
    """Returns how much of a span that ends at `end_ms` is left; 0 when it cannot have begun yet.

    A clock that was set back by an hour must not keep a breaker open, or a trial alive, for an hour.
    """
    left_ms = end_ms - now_ms
    return left_ms if 0 < left_ms <= span_ms else 0
