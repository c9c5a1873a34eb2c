"""Connections to the model service: each serves one call at a time, and is thrown away at the first irregularity.

httpx's own pool can lose places for ever when calls are cancelled while they wait for one or connect
(encode/httpcore issues 830 and 1093), and our deadlines cancel calls by design. So every connection here is an httpx
transport of its own, with room for one; which of them are free is a list that only this module touches.
"""

from __future__ import annotations

import asyncio
import math
import ssl
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import httpx
import structlog

KEEPALIVE_EXPIRY_S: Final = 4.0
"""Idle connections are dropped before the server does so: uvicorn (vLLM), Node (LM Studio) and cpp-httplib
(llama.cpp) all wait 5 s. A question sent into a closing connection could not be asked again safely."""

_log = structlog.get_logger()


class Connections:
    """At most `size` connections of one process; used on its event loop only, so it needs no lock."""

    def __init__(self, size: int, tls: ssl.SSLContext) -> None:
        """Prepares connections without making any; `tls` says how a server proves itself."""
        self._tls = tls
        self._places = asyncio.Semaphore(size)
        self._idle: deque[tuple[float, httpx.AsyncHTTPTransport]] = deque()
        self._closing: set[asyncio.Task[None]] = set()
        self._sweep: asyncio.TimerHandle | None = None

    @asynccontextmanager
    async def one(self) -> AsyncIterator[httpx.AsyncHTTPTransport]:
        """Yields a connection to be used by nobody else, once there is room; after any error it is not used again."""
        async with self._places:
            connection = self._idle.pop()[1] if self._idle else self._new()
            try:
                yield connection
            except BaseException:
                self._drop(connection)
                raise
            if _is_spent(connection):
                self._drop(connection)
            else:
                self._idle.append((_now(), connection))
                self._sweep_later()

    async def close(self) -> None:
        """Closes the idle connections; those in use are closed by ending their calls."""
        self._drop_idle_since(math.inf)
        while self._closing:
            await asyncio.gather(*self._closing)

    def _new(self) -> httpx.AsyncHTTPTransport:
        return httpx.AsyncHTTPTransport(
            verify=self._tls,
            trust_env=False,
            limits=httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=KEEPALIVE_EXPIRY_S),
        )

    def _sweep_later(self) -> None:
        if self._sweep is None and self._idle:
            self._sweep = asyncio.get_running_loop().call_at(self._idle[0][0] + KEEPALIVE_EXPIRY_S, self._drop_expired)

    def _drop_expired(self) -> None:
        self._sweep = None
        self._drop_idle_since(_now() - KEEPALIVE_EXPIRY_S)
        self._sweep_later()

    def _drop_idle_since(self, moment: float) -> None:
        # The first has been idle for longest: the one used last is used next.
        while self._idle and self._idle[0][0] <= moment:
            self._drop(self._idle.popleft()[1])

    def _drop(self, connection: httpx.AsyncHTTPTransport) -> None:
        # A task of its own: the caller may be cancelled, and must not wait for a peer's goodbye either.
        closing = asyncio.get_running_loop().create_task(_closed(connection))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)


def _is_spent(connection: httpx.AsyncHTTPTransport) -> bool:
    """Returns whether it must not be used again: it is closed, or bytes came behind the answer.

    Those would be taken for the answer to the next question, whoever put them there. httpx keeps them to itself, so
    this looks two floors down (httpcore, h11); where nothing is found there, nothing is used again.
    """
    try:
        (one,) = connection._pool.connections
        behind, _ = one._connection._h11_state.trailing_data  # type: ignore[attr-defined]
    except (AttributeError, ValueError, TypeError):
        return True
    return bool(behind)


async def _closed(connection: httpx.AsyncHTTPTransport) -> None:
    try:
        await connection.aclose()
    except Exception as error:  # noqa: BLE001 - whatever it is, what cannot be closed now is closed with the process
        _log.warning("sovereign connection did not close cleanly", error=type(error).__name__)


def _now() -> float:
    return asyncio.get_running_loop().time()
