"""The adapters of the pipeline: database, runs, results, market, messages."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from aaos.settings import Settings

if TYPE_CHECKING:
    from aaos.adapters.celery.hints import CeleryHints
    from aaos.adapters.leases import ThreadLeaseKeeper
    from aaos.adapters.market.book import CandleSwitch, MarketBook
    from aaos.adapters.market.played import PlayedMarket
    from aaos.adapters.postgres.database import Database
    from aaos.adapters.postgres.ledger import PostgresAlerts
    from aaos.adapters.postgres.market import PostgresMarketStore
    from aaos.adapters.postgres.results import PostgresOutbox, PostgresResultStore
    from aaos.adapters.postgres.runs import PostgresRunStore
    from aaos.adapters.redis.flags import RedisFlag
    from aaos.adapters.redis.streams import RedisResultStream

PUBLISHER_FLAG = "aaos:publisher:nudged"


class Adapters:
    """The adapters of one process, built when first needed."""

    def __init__(self, configuration: Settings, pool_size: int = 4) -> None:
        self.settings = configuration
        self._pool_size = pool_size

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
    def market_book(self) -> MarketBook:
        """Which series are in use, and the clock of each."""
        from aaos.adapters.market.book import MarketBook

        return MarketBook(self.market_store, self.settings.market, self.settings.speed)

    @cached_property
    def candle_source(self) -> CandleSwitch:
        """Candles by market time."""
        from aaos.adapters.market.book import CandleSwitch

        return CandleSwitch(self.market_store, self.settings.market)

    @cached_property
    def market(self) -> PlayedMarket:
        """The market the pipeline works on."""
        from aaos.adapters.market.played import PlayedMarket

        return PlayedMarket(self.market_book, self.candle_source, self.settings.market)

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
