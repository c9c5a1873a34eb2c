"""Sovereign votes: waiting work, for a threads pool; the client keeps its own total deadline."""

from collections.abc import Sequence

from aaos.bootstrap import container
from aaos.domain.runs import ClaimedRun, Dependency, Outcome
from workers.app import run_task


@run_task("trading_analysis")
def cast_vote(run: ClaimedRun, dependencies: Sequence[Dependency]) -> Outcome:
    """See the service of the same name."""
    return container().cast_vote(run, dependencies)
