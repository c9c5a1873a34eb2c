"""One message, several runs: who has ended a run goes on with the one that was let in by that.

A message in between costs more than all the rest of a short run. Each run is claimed, leased and fenced like any
other; one that is lost between two of them is the sweeper's, as ever.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from aaos.domain.runs import ClaimedRun
from aaos.errors import BrokerUnavailable, DatabaseUnavailable
from aaos.ports import Ended, Hints
from aaos.services.execute_run import Execution

log = structlog.get_logger()

# At most so many after the first, so that runs with messages of their own get their turn, …
CARRY_ON_RUNS = 10
# … and begun for at most so long, or this share of the time limit, which is counted from the first: every run has
# 99 % of its time.
CARRY_ON_MAX_S = 0.25
CARRY_ON_SHARE = 0.01

Execute = Callable[[int], Execution]
FollowUp = Callable[[ClaimedRun, Ended], None]


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message that points at a run.

    Attributes:
        run_id: the run.
        kind: its kind.
        time_limit_s: what the worker allows for all that is done on this message.
        awaited: somebody waits for this message to be done with (it is part of a chord), not for other runs.
    """

    run_id: int
    kind: str
    time_limit_s: float
    awaited: bool


def carry_on_runs(
    delivery: Delivery,
    execute: Execute,
    follow_up: FollowUp,
    hints: Hints,
    clock_s: Callable[[], float] = time.monotonic,
) -> Execution | None:
    """Executes the run of a delivery, then for a moment runs of its kind that were waiting for room.

    Whoever is let in and not gone on with gets a message.

    Args:
        delivery: the message.
        execute: executes one run; see `execute_run`.
        follow_up: sends what else the end of a run makes possible.
        hints: for whoever is left over.
        clock_s: seconds, from wherever; only differences count.

    Returns:
        What came of the delivery's own run; None when the database was away.
    """
    leave_at = clock_s() + min(CARRY_ON_MAX_S, CARRY_ON_SHARE * delivery.time_limit_s)
    turn = _Turn(delivery.kind, execute, follow_up, hints)
    first, let_in = turn.take(delivery.run_id)
    for _ in range(0 if delivery.awaited else CARRY_ON_RUNS):
        if let_in is None or clock_s() >= leave_at:
            break
        _, let_in = turn.take(let_in)
    if let_in is not None:
        turn.hand_over(let_in, delivery.kind)
    return first


@dataclass(frozen=True, slots=True)
class _Turn:
    """What one delivery does with run after run of its kind."""

    kind: str
    execute: Execute
    follow_up: FollowUp
    hints: Hints

    def take(self, run_id: int) -> tuple[Execution | None, int | None]:
        """Executes one run, if it is ours to take; returns what came of it, and a run of this kind it let in."""
        try:
            execution = self.execute(run_id)
        except DatabaseUnavailable as error:
            log.warning("database_away", run=run_id, kind=self.kind, why=str(error))
            return None, None
        if execution.again:
            # Nothing has to be waited for: a sweep would find the run only seconds later.
            self.hand_over(run_id, self.kind)
        if execution.ended is None or execution.run is None:
            return execution, None
        self.follow_up(execution.run, execution.ended)
        return execution, self._of_this_kind(execution.ended.promoted)

    def _of_this_kind(self, let_in: tuple[int, str] | None) -> int | None:
        """Returns the run if it is one to go on with; one of another kind has workers of its own."""
        if let_in is None:
            return None
        run_id, kind = let_in
        if kind == self.kind:
            return run_id
        self.hand_over(run_id, kind)
        return None

    def hand_over(self, run_id: int, kind: str) -> None:
        """Points another worker at the run."""
        try:
            self.hints.hint(kind, run_id)
        except BrokerUnavailable as error:
            log.warning("hint_not_sent", run=run_id, kind=kind, why=str(error))
