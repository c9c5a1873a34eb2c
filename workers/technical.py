"""Technical analysis: CPU work, for a prefork pool."""

from collections.abc import Sequence

from aaos.bootstrap import container
from aaos.domain.runs import ClaimedRun, Dependency, Outcome
from workers.app import run_task


@run_task("technical_analysis")
def analyze_technicals(run: ClaimedRun, dependencies: Sequence[Dependency]) -> Outcome:
    """See the service of the same name."""
    return container().analyze_technicals(run, dependencies)
