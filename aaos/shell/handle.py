"""A request that was made: it goes on whether or not anybody waits for it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar, cast

from aaos.domain.runs import State
from aaos.errors import DatabaseUnavailable, InputError, InvariantViolation, RunFailed, WaitTimeout
from aaos.shell.connection import helpful_errors
from aaos.shell.results import Result, typed
from aaos.shell.reviews import with_standing
from aaos.shell.runs import Run
from aaos.shell.stages import Stage, stages, where_it_stands

if TYPE_CHECKING:
    from aaos.bootstrap import Container

R = TypeVar("R", bound=Result)

# Looking at the row is cheap: often at first, for answers that take milliseconds, then ever more rarely.
POLL_FIRST_S = 0.02
POLL_LAST_S = 0.25
POLL_GROWTH = 1.3
DEFAULT_WAIT_S = {"trading_decision": 120.0}
OTHER_WAIT_S = 60.0


@dataclass(frozen=True, slots=True, repr=False)
class Handle(Generic[R]):
    """A requested run.

    Attributes:
        id: the run's id.
        key: the request's key; the same key gives the same run and the same stored answer.
        created: False when the key had its run already.
        warning: set when no message could be sent; the run is stored and starts once the broker is back.
    """

    id: int
    kind: str
    symbol: str
    key: str
    created: bool
    warning: str | None = None
    _container: Container = field(repr=False, compare=False, kw_only=True)

    @property
    @helpful_errors()
    def run(self) -> Run:
        """The run's row as it is now."""
        return Run.of(self._container.runs.run(self.id))

    @property
    def state(self) -> State:
        """Where the run stands now."""
        return self.run.state

    @helpful_errors()
    def stages(self) -> Sequence[Stage]:
        """Returns the run and all it waits for, as they stand now."""
        return stages(self.run, self._container.runs)

    def result(self) -> R:
        """Returns the stored answer, without waiting; raises as `wait` does."""
        return self.wait(0)

    @helpful_errors()
    def wait(self, timeout_s: float | None = None, watch: Callable[[], None] | None = None) -> R:
        """Returns the stored answer as soon as it is there.

        Args:
            timeout_s: give up waiting after this long; by default 60 s, for a decision 120 s.
            watch: called between looks; what it raises ends the waiting.

        Raises:
            WaitTimeout: it is not there yet; says where the run stands. The run goes on: wait again.
            RunFailed: the run failed or was skipped; says why.
            DatabaseUnavailable: PostgreSQL was still away when the time was up.
        """
        limit_s = DEFAULT_WAIT_S.get(self.kind, OTHER_WAIT_S) if timeout_s is None else timeout_s
        if math.isnan(limit_s):
            raise InputError("wait(nan): name a number of seconds")
        run = poll_until(self._final_run, limit_s, watch or _nothing)
        if run is None:
            raise self._timeout(limit_s)
        return self._answer(run)

    def __repr__(self) -> str:
        key = "" if self.key.startswith("adhoc:") else f", key {self.key!r}"
        return f"Handle(run {self.id}, {self.kind} {self.symbol}{key}; .state, .wait(30))"

    def _final_run(self) -> Run | None:
        run = self.run
        return run if run.state.final else None

    def _answer(self, run: Run) -> R:
        if run.state is not State.COMPLETED:
            why = run.reason or "no reason was recorded"
            source = f" ({run.failure_source})" if run.failure_source else ""
            raise RunFailed(
                f"{self._named} {run.state}{source}: {why}", run.id, run.state, run.failure_source, run.reason
            )
        record = self._container.results.result_of_run(run.id)
        if record is None:
            raise InvariantViolation(f"{self._named} is completed without a result")
        [result] = with_standing([typed(record)], self._container)
        return cast("R", result)

    def _timeout(self, limit_s: float) -> WaitTimeout:
        run = self.run
        standing = where_it_stands(run, stages(run, self._container.runs), self._container.settings)
        after = f" after {limit_s:g} s" if limit_s > 0 else ""
        return WaitTimeout(f"{self._named} is still {run.state}{after} and goes on; {standing}")

    @property
    def _named(self) -> str:
        return f"run {self.id} ({self.kind} {self.symbol})"


def poll_until(
    look: Callable[[], Run | None],
    limit_s: float,
    watch: Callable[[], None],
    monotonic: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Run | None:
    """Returns the first run that `look` gives, None when time is up; PostgreSQL may be away meanwhile.

    Raises:
        DatabaseUnavailable: it was away at the last look.
    """
    give_up_at = monotonic() + limit_s
    pause_s = POLL_FIRST_S
    while True:
        away: DatabaseUnavailable | None = None
        try:
            run = look()
        except DatabaseUnavailable as error:
            run, away = None, error
        left_s = give_up_at - monotonic()
        if run is not None:
            return run
        if left_s <= 0:
            if away is not None:
                raise away
            return None
        if away is None:
            watch()
        sleep(min(pause_s, left_s))
        pause_s = min(pause_s * POLL_GROWTH, POLL_LAST_S)


def _nothing() -> None:
    """Watches nothing."""
