"""Regime detection: CPU work, for a prefork pool."""

from collections.abc import Sequence

from aaos.bootstrap import container
from aaos.domain.runs import ClaimedRun, Dependency, Outcome
from workers.app import run_task


@run_task("regime_detection")
def detect_regime(run: ClaimedRun, dependencies: Sequence[Dependency]) -> Outcome:
    """See the service of the same name."""
    return container().detect_regime(run, dependencies)
