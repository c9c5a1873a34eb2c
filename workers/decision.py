"""The two stages of a decision around the votes."""

from collections.abc import Sequence

from aaos.bootstrap import container
from aaos.domain.runs import ClaimedRun, Dependency, Outcome
from workers.app import run_task


@run_task("trading_context")
def freeze_context(run: ClaimedRun, dependencies: Sequence[Dependency]) -> Outcome:
    """See the service of the same name."""
    return container().freeze_context(run, dependencies)


@run_task("trading_decision")
def decide_trade(run: ClaimedRun, dependencies: Sequence[Dependency]) -> Outcome:
    """See the service of the same name."""
    return container().decide_trade(run, dependencies)
