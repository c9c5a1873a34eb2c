"""aaos with one kind more, which does nothing: `celery -A bench.noop worker -Q bench_noop`.

Everything around the work is the real thing: claim, lease, complete, result, outbox, stream.
"""

from collections.abc import Sequence

from aaos.domain.runs import ClaimedRun, Completed, Dependency, Outcome
from bench import profiler
from bench.environment import KIND
from workers.app import app, run_task


@run_task(KIND)
def noop(run: ClaimedRun, _: Sequence[Dependency]) -> Outcome:
    """Returns a small answer at once."""
    return Completed({"symbol": run.symbol, "answer": run.id})


__all__ = ["app", "noop"]

profiler.install()
