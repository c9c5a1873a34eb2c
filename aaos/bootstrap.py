"""The only place that builds adapters and hands them to services.

Each is imported where it is built: beat and Flower load this module, too, and need none of them.
"""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from importlib import import_module
from typing import TYPE_CHECKING

from aaos.settings import Settings, settings

if TYPE_CHECKING:
    from aaos.adapters.celery.hints import CeleryHints
    from aaos.adapters.leases import ThreadLeaseKeeper
    from aaos.adapters.market.played import PlayedMarket
    from aaos.adapters.postgres.database import Database
    from aaos.adapters.postgres.ledger import PostgresAlerts, PostgresSovereignLedger
    from aaos.adapters.postgres.market import PostgresMarketStore
    from aaos.adapters.postgres.results import PostgresOutbox, PostgresResultStore
    from aaos.adapters.postgres.runs import PostgresRunStore
    from aaos.adapters.redis.flags import RedisFlag
    from aaos.adapters.redis.streams import RedisResultStream
    from aaos.adapters.sovereign.client import SovereignClient
    from aaos.domain.runs import ClaimedRun, Completed, Dependency, Outcome
    from aaos.ports import Ended, Recovery
    from aaos.services.execute_run import Execution, Work
    from aaos.services.request_run import Requested
    from aaos.services.tick_schedule import Ticked

# What CPU work needs; imported by a prefork master for its children.
PRELOADED = (
    "aaos.adapters.celery.hints",
    "aaos.adapters.leases",
    "aaos.adapters.market.book",
    "aaos.adapters.postgres.ledger",
    "aaos.adapters.postgres.market",
    "aaos.adapters.postgres.results",
    "aaos.adapters.postgres.runs",
    "aaos.adapters.redis.streams",
    "aaos.domain.signals.ta_lib",
    "aaos.services.analyze_technicals",
    "aaos.services.carry_on_runs",
    "aaos.services.detect_regime",
    "aaos.services.execute_run",
    "psycopg",
    "sqlalchemy.dialects.postgresql.psycopg",
)
PUBLISHER_FLAG = "aaos:publisher:nudged"
# What is left of a vote's time limit to store the answer in: this long, but at most this share of the limit.
VOTE_MARGIN_S = 5.0
VOTE_MARGIN_SHARE = 0.1


class Container:
    """The adapters of one process, built when first needed, and the services bound to them."""

    def __init__(self, configuration: Settings, pool_size: int = 4) -> None:
        self.settings = configuration
        self._pool_size = pool_size

    # --- adapters ---------------------------------------------------------------------------------------

    @cached_property
    def database(self) -> Database:
        """PostgreSQL."""
        from aaos.adapters.postgres.database import Database

        return Database(self.settings.database_url.get_secret_value(), self._pool_size)

    @cached_property
    def runs(self) -> PostgresRunStore:
        """Runs."""
        from aaos.adapters.postgres.runs import PostgresRunStore

        return PostgresRunStore(self.database, self.settings.runs)

    @cached_property
    def results(self) -> PostgresResultStore:
        """Results."""
        from aaos.adapters.postgres.results import PostgresResultStore

        return PostgresResultStore(self.database)

    @cached_property
    def outbox(self) -> PostgresOutbox:
        """Results not announced yet."""
        from aaos.adapters.postgres.results import PostgresOutbox

        return PostgresOutbox(self.database)

    @cached_property
    def ledger(self) -> PostgresSovereignLedger:
        """Calls to Sovereign."""
        from aaos.adapters.postgres.ledger import PostgresSovereignLedger

        return PostgresSovereignLedger(self.database)

    @cached_property
    def alerts(self) -> PostgresAlerts:
        """What an operator should see."""
        from aaos.adapters.postgres.ledger import PostgresAlerts

        return PostgresAlerts(self.database)

    @cached_property
    def market_store(self) -> PostgresMarketStore:
        """Series in use, their candles and clocks."""
        from aaos.adapters.postgres.market import PostgresMarketStore

        return PostgresMarketStore(self.database)

    @cached_property
    def market(self) -> PlayedMarket:
        """The market the pipeline works on."""
        from aaos.adapters.market.book import CandleSwitch, MarketBook
        from aaos.adapters.market.played import PlayedMarket

        chosen = self.settings.market
        book = MarketBook(self.market_store, chosen, self.settings.speed)
        return PlayedMarket(book, CandleSwitch(self.market_store, chosen), chosen)

    @cached_property
    def keeper(self) -> ThreadLeaseKeeper:
        """This process's leases."""
        from aaos.adapters.leases import ThreadLeaseKeeper

        return ThreadLeaseKeeper(self.runs.renew, self.settings.runs.heartbeat_s)

    @cached_property
    def publisher_flag(self) -> RedisFlag:
        """Up while a nudge to the publisher is on its way."""
        from aaos.adapters.redis.flags import RedisFlag, connect

        return RedisFlag(connect(self.settings.redis_address), PUBLISHER_FLAG)

    @cached_property
    def stream(self) -> RedisResultStream:
        """Result streams."""
        from aaos.adapters.redis.flags import connect
        from aaos.adapters.redis.streams import RedisResultStream

        return RedisResultStream(connect(self.settings.redis_address), self.settings.runs.stream_maxlen)

    @cached_property
    def hints(self) -> CeleryHints:
        """Messages to workers."""
        from celery import Celery

        from aaos.adapters.celery.hints import CeleryHints

        app = Celery("aaos-client", config_source="celeryconfig", set_as_current=False)
        return CeleryHints(app, self.publisher_flag)

    @cached_property
    def sovereign(self) -> SovereignClient:
        """The language-model service."""
        from dataclasses import replace

        from aaos.adapters.sovereign.client import SovereignClient

        key = self.settings.sovereign_api_key
        asked = self.settings.sovereign
        # A vote past its own deadline is void: the call ends before, so that its thread is free again.
        vote_s = self.settings.kind("trading_analysis").timeout_seconds
        limit_s = min(asked.request_timeout_s, vote_s - min(VOTE_MARGIN_S, vote_s * VOTE_MARGIN_SHARE))
        asked = replace(asked, request_timeout_s=limit_s, connect_timeout_s=min(asked.connect_timeout_s, limit_s))
        return SovereignClient(self.settings.sovereign_url, asked, None if key is None else key.get_secret_value())

    # --- services ---------------------------------------------------------------------------------------

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

        return cast_vote(run, self.results, self.sovereign, self.ledger, self.settings)

    def decide_trade(self, run: ClaimedRun, dependencies: Sequence[Dependency]) -> Completed:
        """See the service."""
        from aaos.services.decide_trade import decide_trade

        return decide_trade(run, dependencies, self.settings.decision, len(self.settings.voters))

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

    def recover(self) -> Recovery:
        """See `recover_runs`."""
        from aaos.services.recover_runs import recover_runs

        return recover_runs(self.settings.kinds, self.settings.schedules, self.runs, self.hints, self.alerts)

    def recover_at_start(self) -> Sequence[int]:
        """See `recover_at_start`."""
        from aaos.services.recover_runs import recover_at_start

        return recover_at_start(self.settings.schedules, self.runs, self.alerts)


class _ThisProcess:
    """What belongs to one process: connections, locks and threads are harmful when used in a forked child."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.container: Container | None = None

    def start_over_after_fork(self) -> None:
        """Forgets what is the parent's, without closing sockets that the parent goes on using."""
        if self.container is not None and "database" in self.container.__dict__:
            self.container.database.forget()
        self.lock = threading.Lock()
        self.container = None


_this_process = _ThisProcess()
os.register_at_fork(after_in_child=_this_process.start_over_after_fork)


def container() -> Container:
    """Returns this process's container."""
    with _this_process.lock:
        if _this_process.container is None:
            _this_process.container = Container(settings())
        return _this_process.container


def reset() -> None:
    """Forgets this process's container; the next call of `container` builds a new one."""
    _this_process.container = None


def preload(modules: Sequence[str] = PRELOADED) -> None:
    """Loads what pool children will need before they are forked, so that they share its memory.

    The collector is told to leave those objects alone: walking them would write to, and so unshare, every page.
    """
    for module in modules:
        import_module(module)
    gc.collect()
    gc.freeze()
