"""The services, bound to the adapters of one process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from aaos.bootstrap.sovereign import SovereignAdapters

if TYPE_CHECKING:
    from aaos.domain.runs import ClaimedRun, Completed, Dependency, Outcome
    from aaos.ports import Ended, Recovery
    from aaos.services.execute_run import Execution, Work
    from aaos.services.request_run import Requested
    from aaos.services.score_votes import Scoring
    from aaos.services.tick_schedule import Ticked


class Container(SovereignAdapters):
    """The adapters of one process, and the services bound to them."""

    def execute(self, run_id: int, owner: str, kind: str, work: Work) -> Execution:
        """Runs one delivery of a run's message; see `execute_run`."""
        from aaos.services.execute_run import KindLimits, execute_run

        limits = self.settings.kinds[kind]
        return execute_run(
            run_id,
            owner,
            KindLimits(limits.max_concurrent, limits.publish),
            work,
            self.runs,
            self.keeper,
            self.settings.runs,
        )

    def carry_on(
        self,
        run_id: int,
        owner: str,
        kind: str,
        awaited: bool,
        work: Work,
        follow_up: Callable[[Container, ClaimedRun, Ended], None],
    ) -> Execution | None:
        """Takes one message, and for a moment runs that its end lets in; see `carry_on_runs`."""
        from aaos.services.carry_on_runs import Delivery, carry_on_runs

        return carry_on_runs(
            Delivery(run_id, kind, self.settings.kinds[kind].timeout_seconds, awaited),
            lambda each: self.execute(each, owner, kind, work),
            partial(follow_up, self),
            self.hints,
        )

    def analyze_technicals(self, run: ClaimedRun, _: Sequence[Dependency]) -> Completed:
        """See the service."""
        from aaos.services.analyze_technicals import analyze_technicals

        return analyze_technicals(run, self.market, self.settings.signals, self.settings.market)

    def detect_regime(self, run: ClaimedRun, _: Sequence[Dependency]) -> Completed:
        """See the service."""
        from aaos.services.detect_regime import detect_regime

        return detect_regime(run, self.market, self.results, self.settings.regime, self.settings.market)

    def freeze_context(self, run: ClaimedRun, dependencies: Sequence[Dependency]) -> Completed:
        """See the service."""
        from aaos.services.freeze_context import freeze_context

        return freeze_context(run, dependencies, self.market, self.results, self.database, self.settings)

    def cast_vote(self, run: ClaimedRun, _: Sequence[Dependency]) -> Outcome:
        """See the service."""
        from aaos.services.cast_vote import cast_vote

        return cast_vote(run, self.results, self.sovereign_access, self.learned_trust, self.settings)

    def decide_trade(self, run: ClaimedRun, dependencies: Sequence[Dependency]) -> Completed:
        """See the service."""
        from aaos.services.decide_trade import decide_trade

        return decide_trade(run, dependencies, self.settings.decision)

    def tick(self, schedule: str, *, repair: bool = False) -> Ticked:
        """See `tick_schedule`."""
        from aaos.services.tick_schedule import tick_schedule

        symbols = self.market.symbols()
        return tick_schedule(schedule, symbols, self.settings, self.runs, self.database, repair=repair)

    def request(self, kind: str, symbol: str, key: str | None = None) -> Requested:
        """See `request_run`."""
        from aaos.services.request_run import request_run

        return request_run(kind, symbol, key, self.settings, self.market, self.runs, self.hints)

    def publish(self) -> int:
        """See `publish_results`."""
        from aaos.services.publish_results import publish_results

        return publish_results(self.outbox, self.stream, self.publisher_flag, self.settings.runs.publish_batch)

    def score_votes(self) -> Scoring:
        """See `score_votes`."""
        from aaos.services.score_votes import score_votes

        return score_votes(self.vote_outcomes, self.market, self.database, self.settings.calibration)

    def recover(self) -> Recovery:
        """See `recover_runs`."""
        from aaos.services.recover_runs import recover_runs

        return recover_runs(self.settings.kinds, self.settings.schedules, self.runs, self.hints, self.alerts)

    def recover_at_start(self) -> Sequence[int]:
        """See `recover_at_start`."""
        from aaos.services.recover_runs import recover_at_start

        return recover_at_start(self.settings.schedules, self.runs, self.alerts)
