"""Limits on calls to models, kept by this process alone."""

from __future__ import annotations

import random
import threading
import time
import uuid
from collections.abc import Callable, Mapping

from aaos.domain.call_limits import JITTER_S, CallBook, CallLimits, LimitPlan
from aaos.domain.llm_budget import ModelCard
from aaos.errors import RateLimited
from aaos.ports import Permit


class LocalCallLimiter:
    """Implements `ports.CallLimiter` for one process: in tests, and wherever Redis is away."""

    def __init__(
        self,
        limits: CallLimits,
        clock: Callable[[], float] = time.monotonic,
        models: Mapping[str, ModelCard] | None = None,
        share: float = 1.0,
        chance: random.Random | None = None,
    ) -> None:
        """Builds it with `share` of the limits of all models together, and of those `models` that have their own."""
        self._book = CallBook(LimitPlan.of(limits, models).share(share))
        self._clock = clock
        self._chance = chance or random.Random()
        self._lock = threading.Lock()

    def acquire(self, model: str, tokens: int, hold_s: float) -> Permit:
        """See the port."""
        member = uuid.uuid4().hex
        with self._lock:
            now = self._clock()
            refused = self._book.acquire(model, member, tokens, hold_s, now)
        if refused is not None:
            raise RateLimited(str(refused), refused.wait_s + self._chance.uniform(0, JITTER_S))
        return Permit(model, f"{now!r}:{member}", tokens)

    def release(self, permit: Permit, tokens_used: int | None = None) -> None:
        """See the port."""
        acquired, _, member = permit.token.partition(":")
        spare = 0 if tokens_used is None else permit.tokens - tokens_used
        with self._lock:
            self._book.release(permit.model, member, spare, float(acquired), self._clock())
