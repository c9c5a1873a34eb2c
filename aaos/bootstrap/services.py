"""The services, bound to the adapters of one process."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from aaos.bootstrap.trading import TradingAdapters
from aaos.errors import ConfigError

if TYPE_CHECKING:
    from aaos.domain.decision import Arbitration
    from aaos.domain.runs import ClaimedRun, Completed, Dependency, Outcome
    from aaos.ports import Ended, Recovery
    from aaos.services.arbitrate_decision import Case
    from aaos.services.execute_run import Execution, Work
    from aaos.services.request_run import Requested
    from aaos.services.score_vetoes import VetoScoring
    from aaos.services.score_votes import Scoring
    from aaos.services.tick_schedule import Ticked
    from aaos.services.trading_desk import TradingDesk


class Container(TradingAdapters):
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

    def check_login(self, queues: Iterable[str]) -> None:
        """Raises ConfigError when the database's login may not do the work of these queues: it would fail each run."""
        from aaos.adapters.postgres.roles import unwritable

        refused = unwritable(self.database, queues)
        if refused:
            named = " and ".join(f"{queue} (it writes {table})" for queue, table in refused)
            raise ConfigError(
                f"the database login of AAOS_DATABASE_URL may not do the work of -Q {named}: the worker that executes"
                " and the one that decides have logins of their own; see docs/trading-store.md"
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

        return decide_trade(run, dependencies, partial(self._arbitrate, run), self.settings)

    def _arbitrate(self, run: ClaimedRun, case: Case) -> Arbitration:
        from aaos.services.arbitrate_decision import arbitrate_decision

        # Only a conflict opens the connections that an arbiter is asked through.
        return arbitrate_decision(run, case, self.sovereign_access, self.settings)

    def assess_risk(self, run: ClaimedRun, _: Sequence[Dependency]) -> Completed:
        """See the service."""
        from aaos.services.assess_risk import assess_risk

        return assess_risk(run, self.risk_ports, self.settings)

    def place_order(self, run: ClaimedRun, _: Sequence[Dependency]) -> Completed:
        """See the service."""
        from aaos.services.place_order import place_order

        return place_order(run, self.desks, self.execution)

    def rebalance_portfolio(self, run: ClaimedRun, dependencies: Sequence[Dependency]) -> Completed:
        """See the service."""
        from aaos.services.rebalance_portfolio import rebalance_portfolio

        return rebalance_portfolio(run, dependencies, self.portfolio_desk, self.settings)

    def release_trades(self) -> Sequence[int]:
        """Writes down what became of trades, and returns the risk runs of those now due."""
        from aaos.services.close_trades import close_trades
        from aaos.services.release_trades import release_trades

        close_trades(self.scheduled_trades, self.orders)
        return release_trades(self.scheduled_trades, self.settings)

    def watch_positions(self) -> None:
        """See the service; for each account."""
        from aaos.services.watch_positions import watch_positions

        roi = self.settings.risk.stop_roi_percent
        self._look_after(lambda desk: watch_positions(desk, self.order_books, self.database, roi))

    def reconcile_orders(self) -> None:
        """See the service; for each account."""
        from aaos.services.reconcile_orders import reconcile_orders

        self._look_after(reconcile_orders)

    def expire_orders(self) -> None:
        """See the service; for each account. The paper venue keeps its own house on this occasion."""
        from aaos.services.expire_orders import expire_orders

        self._look_after(expire_orders)
        self._look_after(lambda desk: self.broker(desk.account).advance())

    def record_equity(self) -> None:
        """See the service; for each account."""
        from aaos.services.record_equity import record_equity

        self._look_after(lambda desk: record_equity(desk, self.order_books, self.database))

    def _look_after(self, step: Callable[[TradingDesk], object]) -> None:
        from aaos.services.look_after_desks import look_after_desks

        look_after_desks(self.desks.values(), step)

    def score_vetoes(self) -> VetoScoring:
        """See `score_vetoes`."""
        from aaos.services.score_vetoes import score_vetoes

        settings = self.settings
        return score_vetoes(self.vetoes, self.market, self.database, settings.vetoes, settings.risk)

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
