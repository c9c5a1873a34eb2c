"""Celery's Redis transport with one client per channel instead of three per message, and workers that survive Redis.

kombu makes a new `redis.Redis` for every publish, every message taken and every acknowledgement; redis-py 8 fills a
table of some 170 entries for each. That was a quarter of a worker's main process. A client is only a thin, thread
safe wrapper of the channel's connection pool, so keeping it changes nothing else.
"""

from __future__ import annotations

from typing import Any

from kombu.transport import TRANSPORT_ALIASES
from kombu.transport import redis as kombu_redis
from redis.exceptions import ConnectionError as RedisConnectionError

SCHEMES = ("redis", "rediss")


class Channel(kombu_redis.Channel):
    """A channel that keeps its client for as long as its pool lives."""

    _kept: Any = None

    def _create_client(self, asynchronous: bool = False) -> Any:
        if asynchronous:
            return super()._create_client(asynchronous=True)
        # The pool is replaced when the connection was lost.
        if self._kept is None or self._kept.connection_pool is not self.pool:
            self._kept = super()._create_client()
        return self._kept

    def _connparams(self, asynchronous: bool = False) -> Any:
        if self.connection.client is None:
            # kombu 5.7 puts unacknowledged messages back while it closes a lost connection, after it has let go of
            # the address: an AttributeError, which ends the worker. As a lost connection it is passed over; the
            # messages come back after the visibility timeout, their runs with the next sweep.
            raise RedisConnectionError("the connection to Redis is closed")
        return super()._connparams(asynchronous=asynchronous)


class Transport(kombu_redis.Transport):
    """kombu's transport with the channel above."""

    Channel = Channel


def use_kept_clients() -> None:
    """Makes `redis://` and `rediss://` brokers use this transport in this process."""
    for scheme in SCHEMES:
        TRANSPORT_ALIASES[scheme] = f"{__name__}:Transport"
