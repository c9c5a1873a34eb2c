"""A flag in Redis that many may raise and one lowers; it lowers itself if that one dies."""

from __future__ import annotations

from redis import Redis
from redis.exceptions import RedisError

from aaos.errors import BrokerUnavailable

CONNECT_TIMEOUT_S = 5
SOCKET_TIMEOUT_S = 10


def connect(url: str) -> Redis:
    """Returns a client that never blocks for long: a frozen Redis must not freeze its callers."""
    return Redis.from_url(
        url,
        socket_connect_timeout=CONNECT_TIMEOUT_S,
        socket_timeout=SOCKET_TIMEOUT_S,
        socket_keepalive=True,
        health_check_interval=25,
    )


class RedisFlag:
    """Tells the first of many callers apart from the rest, for at most `ttl_ms`."""

    def __init__(self, redis: Redis, name: str, ttl_ms: int = 1000) -> None:
        self._redis = redis
        self._name = name
        self._ttl_ms = ttl_ms

    def raise_once(self) -> bool:
        """Returns whether the flag was down; it is up afterwards."""
        try:
            # As `set(…, nx=True, px=…)`, whose handling of options takes as long as the command itself: once per run.
            command = ("SET", self._name, b"1", "NX", "PX", self._ttl_ms)
            return bool(self._redis.execute_command(*command))  # type: ignore[no-untyped-call]
        except RedisError as error:
            raise BrokerUnavailable(f"Redis is not available ({error})") from error

    def keep(self) -> None:
        """Puts the flag up for another `ttl_ms`."""
        try:
            self._redis.set(self._name, b"1", px=self._ttl_ms)
        except RedisError as error:
            raise BrokerUnavailable(f"Redis is not available ({error})") from error

    def lower(self) -> None:
        """Takes the flag down."""
        try:
            self._redis.delete(self._name)
        except RedisError as error:
            raise BrokerUnavailable(f"Redis is not available ({error})") from error
