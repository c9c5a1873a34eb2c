"""The portfolio: what is held against what shall be held, and trades towards it, each made once."""

from collections.abc import Sequence

from aaos.bootstrap import container
from aaos.domain.runs import ClaimedRun, Dependency, Outcome
from workers import pipelines
from workers.app import house_task, run_task


@run_task("portfolio_rebalance")
def rebalance_portfolio(run: ClaimedRun, dependencies: Sequence[Dependency]) -> Outcome:
    """See the service of the same name."""
    return container().rebalance_portfolio(run, dependencies)


@house_task("release_trades")
def release_trades() -> None:
    """Hands due trades to risk, and writes down what became of earlier ones."""
    c = container()
    for run_id in c.release_trades():
        pipelines.hint(c, run_id, "risk_assessment")
