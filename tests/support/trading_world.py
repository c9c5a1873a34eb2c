"""From decision to order with everything real but the market: risk, execution, the watch, the paper venue.

A process is a set of service objects with gates of their own; it dies at any call, and another one takes over.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import Any, Protocol

from support.crashing import Crash, Crashing, Fuse
from support.trading_checks import Ledgers
from support.trading_market import MovedMarket
from support.worlds import World, granted

from aaos.adapters.brokers.paper import PaperBroker
from aaos.adapters.brokers.paper.store import VenueStore
from aaos.adapters.memory import StillLeaseKeeper
from aaos.domain.execution.rules import ExecutionRules
from aaos.domain.orders import TRADING_ACCOUNT, OrderState
from aaos.domain.runs import ClaimedRun, Completed, Dependency, NewRun, Outcome, RunRules
from aaos.domain.venue.rules import PaperRules
from aaos.ports import Orders, RiskDesk, RunStore, TradingBooks, TradingSwitch
from aaos.services.assess_risk import RiskPorts, assess_risk
from aaos.services.execute_run import KindLimits, execute_run
from aaos.services.expire_orders import expire_orders
from aaos.services.guard_positions import guard_positions
from aaos.services.look_after_desks import look_after_desks
from aaos.services.place_order import Execution, place_order
from aaos.services.reconcile_orders import reconcile_orders
from aaos.services.start_risk import risk_run
from aaos.services.trading_desk import TradingDesk
from aaos.services.watch_positions import watch_positions
from aaos.settings import Settings

KINDS = ("risk_assessment", "execution")
ROUNDS_MAX = 400


class Ground(Protocol):
    """Where our books and the venue's are kept."""

    world: World
    risk_desk: RiskDesk
    orders: Orders
    books: TradingBooks
    switch: TradingSwitch
    venue: VenueStore

    def open_runs(self) -> Sequence[tuple[int, str, bool]]:
        """Returns id, kind, and whether it could be claimed now, of the runs that are not final, oldest first."""
        ...


@dataclass(frozen=True, slots=True)
class WorkingProcess:
    """One worker process, from its start to its death."""

    fuse: Fuse
    desk: TradingDesk
    execution: Execution
    risk: RiskPorts
    runs: RunStore


class TradingWorld:
    """A market, a venue, our books, and processes that come and go."""

    def __init__(
        self, ground: Ground, symbols: Sequence[str], settings: Settings, sleep: Callable[[float], None] | None = None
    ) -> None:
        self.ground = ground
        self.settings = settings
        self.world = ground.world
        self.market = MovedMarket(symbols, self.world.clock)
        self.pass_time = self.world.pass_time
        self._sleep = sleep or self.pass_time
        self.run_rules: RunRules = settings.runs
        self.broker = self.new_broker()
        self.process = self.start_process()
        self._decided = 0

    # --- processes ----------------------------------------------------------------------------------------

    def new_broker(self) -> PaperBroker:
        """Returns a connection to the venue."""
        rules = PaperRules(funding_rate=Decimal("0.0001"))
        clock = self.world.clock
        return PaperBroker(TRADING_ACCOUNT, self.ground.venue, self.market, clock, rules, sleep=self._sleep)

    def start_process(self) -> WorkingProcess:
        """Returns a process that has just been started: it has reconciled nothing yet."""
        fuse, ground = Fuse(), self.ground
        through = partial(Crashing, fuse=fuse)
        rules: ExecutionRules = self.settings.execution
        desk = TradingDesk(
            broker=through("broker", self.new_broker()),
            orders=through("orders", ground.orders),
            books=through("books", ground.books),
            alerts=through("alerts", self.world.alerts),
            rules=rules,
            sleep=self._sleep,
        )
        roi = self.settings.risk.stop_roi_percent
        clock: Any = self.world.clock

        def protect(account: str) -> object:
            return guard_positions(desk, self.market, clock, roi)

        trades: Any = None
        return WorkingProcess(
            fuse=fuse,
            desk=desk,
            execution=Execution(through("desk", ground.risk_desk), self.market, clock, protect),
            risk=RiskPorts(
                results=self.world.results,
                approvals=self.world.approvals,
                trades=trades,
                desk=through("desk", ground.risk_desk),
                books=self.market,
                market=self.market,  # type: ignore[arg-type]
                brokers={TRADING_ACCOUNT: through("broker", self.new_broker())},
                clock=clock,
            ),
            runs=through("runs", self.world.runs(self.run_rules)),
        )

    def restart(self) -> None:
        """The process is gone; another one starts, and what the old one held is found as soon as its leases end."""
        self.process = self.start_process()

    def survives(self, step: Callable[[], object]) -> bool:
        """Takes a step; returns False when the process died of it, and lives on as a new one."""
        try:
            step()
        except Crash:
            self.restart()
            return False
        finally:
            self.process.fuse.set(None)
        return True

    # --- decisions and runs -------------------------------------------------------------------------------

    def decide(self, symbol: str, signal: str) -> int:
        """Stores a decision that may be traded, and with it its risk run; returns the decision's run id."""
        self._decided += 1
        runs = self.world.runs(self.run_rules)
        run_id, _ = runs.insert_request(NewRun("trading_decision", symbol, 60, 600, f"adhoc:decision:{self._decided}"))
        run = granted(runs.claim(run_id, "decider", 10_000))
        body = {
            "symbol": symbol,
            "signal": signal,
            "confidence": 0.8,
            "tradable": signal != "HOLD",
            "reasoning": "as the test says",
        }
        started = [] if signal == "HOLD" else [self._risk_run(run)]
        runs.complete(run, Completed(body, starts=started), publish=False)
        return run_id

    def _risk_run(self, run: ClaimedRun) -> NewRun:
        start = risk_run(run.id, run.symbol, run.deadline, self.settings)
        assert start is not None
        return NewRun(start.kind, start.symbol, start.timeout_s, 600, start.request_key, params=start.params)

    def pending(self, kind: str) -> list[int]:
        """Returns the runs of a kind that could be claimed now, oldest first."""
        return [run_id for run_id, its, ready in self.ground.open_runs() if ready and its == kind]

    def open_runs(self) -> list[int]:
        """Returns the runs that are not final."""
        return [run_id for run_id, _, _ in self.ground.open_runs()]

    def execute(self, run_id: int, kind: str) -> None:
        """One delivery of a run's message to the process."""
        process = self.process
        work = partial(self._work, process, kind)
        limits = KindLimits(10_000, publish=False)
        execute_run(run_id, "a worker", limits, work, process.runs, StillLeaseKeeper(), self.run_rules)

    def _work(self, process: WorkingProcess, kind: str, run: ClaimedRun, _: Sequence[Dependency]) -> Outcome:
        if kind == "risk_assessment":
            return assess_risk(run, process.risk, self.settings)
        return place_order(run, {TRADING_ACCOUNT: process.desk}, process.execution)

    def recover(self) -> None:
        """The sweep: runs of dead processes are pending again."""
        self.world.runs(self.run_rules).recover()

    # --- housekeeping -------------------------------------------------------------------------------------

    def watch(self) -> None:
        """One look of the watch."""
        process, roi = self.process, self.settings.risk.stop_roi_percent
        watch_positions(process.desk, self.market, self.world.clock, roi)

    def reconcile(self) -> None:
        """One reconciliation on schedule."""
        look_after_desks([self.process.desk], reconcile_orders)

    def expire(self) -> None:
        """One look for orders that are too old."""
        look_after_desks([self.process.desk], expire_orders)

    # --- in the end ---------------------------------------------------------------------------------------

    def settle(self) -> None:
        """Faults have stopped: works until runs are final, our books are the venue's, and positions are protected."""
        for _ in range(ROUNDS_MAX):
            self.market.refresh()
            self.recover()
            for kind in KINDS:
                for run_id in self.pending(kind):
                    self.execute(run_id, kind)
            self.reconcile()
            self.watch()
            if not self.open_runs() and self._calm():
                return
            self.pass_time(self.run_rules.lease_s / 4)
        raise AssertionError(
            f"not settled: runs {self.open_runs()}; uncertain {self._uncertain()}; in doubt "
            f"{self.ground.books.books(TRADING_ACCOUNT).why}; without a stop {self.ledgers().unprotected()}"
        )

    def _calm(self) -> bool:
        if self._uncertain() or self.ground.books.books(TRADING_ACCOUNT).why is not None:
            return False
        # What asking the venue has just brought about (it catches up with its market first) is seen in the next round.
        there = {each.client_order_id for each in self.broker.open_orders()}
        ledgers = self.ledgers()
        return ledgers.working() == there and not ledgers.unprotected()

    def _uncertain(self) -> list[Any]:
        unsettled = self.ground.orders.unsettled(TRADING_ACCOUNT)
        return [order for order in unsettled if order.state in (OrderState.INTENT, OrderState.UNKNOWN)]

    def release_quarantined(self) -> int:
        """A person looks at each quarantined order and lets its symbol trade again; returns how many."""
        orders = self.ground.orders
        found = [o for o in orders.unsettled(TRADING_ACCOUNT) if o.state is OrderState.QUARANTINED]
        for order in found:
            orders.release(order.id, "a person", "looked at the venue's own page: it is not there")
        return len(found)

    def ledgers(self) -> Ledgers:
        """Everything that is written down, as it stands."""
        return Ledgers(self.ground.risk_desk, self.ground.orders, self.ground.books, self.broker, self.ground.venue)
