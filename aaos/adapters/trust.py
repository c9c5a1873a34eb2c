"""What outcomes have taught, remembered for a minute."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import structlog

from aaos.domain.calibration import CalibrationRules, Lessons, learn
from aaos.errors import DatabaseUnavailable
from aaos.ports import VoteOutcomes

CACHE_S = 60.0

log = structlog.get_logger()


class CachedTrust:
    """Implements `ports.LearnedTrust` on the outcomes of any store.

    One caller a minute reads the outcomes; the others meanwhile get what was known before. Without the database
    what was known goes on, and nothing is known before the first time.

    Args:
        outcomes: what became of votes.
        rules: whether learned trust is used, and how much evidence it needs.
        fallback_multiplier: the prior of a model that stands in.
        monotonic: a clock.
    """

    def __init__(
        self,
        outcomes: VoteOutcomes,
        rules: CalibrationRules,
        fallback_multiplier: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._outcomes = outcomes
        self._rules = rules
        self._fallback_multiplier = fallback_multiplier
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._lessons: Lessons | None = None
        self._read_at = 0.0

    def factor(self, model: str, regime: str, fallback_used: bool = False) -> float | None:
        """See the port."""
        if not self._rules.use_learned_trust:
            return None
        # Who comes while another reads need not wait, except for the very first reading.
        if self._is_old() and self._lock.acquire(blocking=self._lessons is None):
            try:
                if self._is_old():
                    self._read()
            finally:
                self._lock.release()
        return None if self._lessons is None else self._lessons.factor(model, regime, fallback_used)

    def _is_old(self) -> bool:
        return self._lessons is None or self._monotonic() - self._read_at >= CACHE_S

    def _read(self) -> None:
        try:
            scored = self._outcomes.scored(self._rules, self._rules.window_votes)
        except DatabaseUnavailable as error:
            log.warning("learned_trust_not_read", why=str(error))
        else:
            self._lessons = learn(scored, self._rules, self._fallback_multiplier)
        if self._lessons is not None:
            self._read_at = self._monotonic()
