"""Lua on the server, by hash; and a client that would rather fail than keep its caller waiting."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Final

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError
from redis.retry import Retry

from aaos.errors import BrokerUnavailable

BRISK_TIMEOUT_S: Final = 1.0


def connect_brisk(url: str, timeout_s: float = BRISK_TIMEOUT_S) -> Redis:
    """Returns a client for questions that have another answer when Redis is slow: it waits at most `timeout_s`.

    Nothing is sent again: that would only double the wait, and a script that was run may be run twice. The pool
    itself replaces connections that a restarted server has closed, before anything is sent.
    """
    return Redis.from_url(
        url,
        socket_connect_timeout=timeout_s,
        socket_timeout=timeout_s,
        socket_keepalive=True,
        retry=Retry(NoBackoff(), 0),
    )


class Script:
    """One Lua script. The server knows it by its hash; a server that has forgotten it is sent the text again."""

    def __init__(self, redis: Redis, text: str) -> None:
        self._redis = redis
        self._text = text
        self._sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()

    def __call__(self, keys: Sequence[str], args: Sequence[str | int]) -> Any:
        """Returns what the script returns; raises BrokerUnavailable when Redis is away or refuses."""
        rest = (len(keys), *keys, *args)
        try:
            try:
                return self._redis.execute_command("EVALSHA", self._sha, *rest)  # type: ignore[no-untyped-call]
            except NoScriptError:
                return self._redis.execute_command("EVAL", self._text, *rest)  # type: ignore[no-untyped-call]
        except RedisError as error:
            raise BrokerUnavailable(f"Redis is not available ({error})") from error
