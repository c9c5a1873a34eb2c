"""Limits on calls that hold whether Redis is there or not."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final

import structlog

from aaos.errors import BrokerUnavailable
from aaos.ports import CallLimiter, Permit

log = structlog.get_logger()

PROBE_AFTER_S: Final = 5.0
"""While Redis is away, one call in so many seconds tries it; all others are not kept waiting by it."""
OWED_MAX: Final = 10_000
LOCAL: Final = "local:"


class SteadyCallLimiter:
    """Implements `ports.CallLimiter`: the shared limiter, or while that is away, this process's own.

    The local one should have a share of the limits only: every worker process has one, and they do not know of
    each other. What was begun under one limiter is given back to the same.
    """

    def __init__(
        self,
        shared: CallLimiter,
        local: CallLimiter,
        clock: Callable[[], float] = time.monotonic,
        probe_after_s: float = PROBE_AFTER_S,
    ) -> None:
        self._shared = shared
        self._local = local
        self._clock = clock
        self._probe_after_s = probe_after_s
        self._lock = threading.Lock()
        self._away = False
        self._probe_at = 0.0
        # Given back while nobody was there to take it; what does not fit ends by itself, after what it was held for.
        self._owed: deque[tuple[Permit, int | None]] = deque(maxlen=OWED_MAX)

    def acquire(self, model: str, tokens: int, hold_s: float) -> Permit:
        """See the port."""
        if self._may_try_shared():
            try:
                permit = self._shared.acquire(model, tokens, hold_s)
            except BrokerUnavailable as error:
                self._went(error)
            except BaseException:
                self._came_back()
                raise
            else:
                self._came_back()
                return permit
        own = self._local.acquire(model, tokens, hold_s)
        return Permit(own.model, LOCAL + own.token, own.tokens)

    def release(self, permit: Permit, tokens_used: int | None = None) -> None:
        """See the port."""
        if permit.token.startswith(LOCAL):
            self._local.release(Permit(permit.model, permit.token.removeprefix(LOCAL), permit.tokens), tokens_used)
        elif self._away:
            self._owed.append((permit, tokens_used))
        else:
            self._give_back(permit, tokens_used)

    def _give_back(self, permit: Permit, tokens_used: int | None) -> None:
        try:
            self._shared.release(permit, tokens_used)
        except BrokerUnavailable as error:
            self._owed.append((permit, tokens_used))
            self._went(error)

    def _may_try_shared(self) -> bool:
        with self._lock:
            if self._away and self._clock() < self._probe_at:
                return False
            self._probe_at = self._clock() + self._probe_after_s
            return True

    def _went(self, error: BrokerUnavailable) -> None:
        with self._lock:
            self._probe_at = self._clock() + self._probe_after_s
            was_there, self._away = not self._away, True
        if was_there:
            log.warning("limits_local", why=str(error), meanwhile="this process keeps to its own share of the limits")

    def _came_back(self) -> None:
        with self._lock:
            was_away, self._away = self._away, False
        if not was_away:
            return
        log.info("limits_shared")
        for _ in range(len(self._owed)):
            self._give_back(*self._owed.popleft())
