"""Risk: nothing trades without it."""

from collections.abc import Sequence

from aaos.bootstrap import container
from aaos.domain.runs import ClaimedRun, Dependency, Outcome
from workers.app import run_task


@run_task("risk_assessment")
def assess_risk(run: ClaimedRun, dependencies: Sequence[Dependency]) -> Outcome:
    """See the service of the same name."""
    return container().assess_risk(run, dependencies)
