"""Breakers of one process: what tests use, and what serves while Redis is away."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import count

from aaos.domain import breakers
from aaos.domain.breakers import Admission, Breaker, BreakerChange, BreakerRules, BreakerState, BreakerView


class LocalModelBreakers:
    """Implements `ports.ModelBreakers` in this process's memory; for any number of threads.

    Args:
        rules: when a breaker opens and closes.
        trial_lease_s: how long one admission may take; see `RedisModelBreakers`.
        clock: seconds that never go back.
    """

    def __init__(self, rules: BreakerRules, trial_lease_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rules = rules
        self._lease_ms = round(trial_lease_s * 1000)
        self._clock = clock
        self._breakers: dict[str, Breaker] = {}
        self._trials = count(1)
        self._lock = threading.Lock()

    def admit(self, model: str) -> Admission:
        """See the port."""
        with self._lock:
            breaker, trial = self._breaker(model), str(next(self._trials))
            self._breakers[model], admission = breakers.admit(
                breaker, model, trial, self._now_ms(), self._rules, self._lease_ms
            )
            return admission

    def report(self, admission: Admission, ok: bool) -> BreakerChange | None:
        """See the port."""
        with self._lock:
            breaker = self._breaker(admission.model)
            self._breakers[admission.model], change = breakers.judge(
                breaker, admission, ok, self._now_ms(), self._rules
            )
            return change

    def withdraw(self, admission: Admission) -> None:
        """See the port."""
        with self._lock:
            breaker = self._breaker(admission.model)
            self._breakers[admission.model] = breakers.withdraw(breaker, admission)

    def view(self, model: str) -> BreakerView:
        """See the port."""
        with self._lock:
            return breakers.view(self._breaker(model), model, self._now_ms(), self._rules)

    def start_over(self, open_for_s: Mapping[str, float]) -> None:
        """Forgets everything but that these models are to be left alone for so many seconds."""
        with self._lock:
            now_ms = self._now_ms()
            epochs = {model: breaker.epoch + 1 for model, breaker in self._breakers.items()}
            self._breakers = {model: Breaker(epoch) for model, epoch in epochs.items()}
            for model, seconds in open_for_s.items():
                left_ms = min(round(seconds * 1000), self._rules.open_ms)
                alone = replace(self._breaker(model), state=BreakerState.OPEN, open_until_ms=now_ms + left_ms)
                self._breakers[model] = alone

    def _breaker(self, model: str) -> Breaker:
        return self._breakers.get(model) or Breaker()

    def _now_ms(self) -> int:
        return int(self._clock() * 1000)
