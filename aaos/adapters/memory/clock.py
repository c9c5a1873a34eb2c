"""A clock that stands still until it is moved."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


class MovableClock:
    """Implements `ports.Clock`."""

    def __init__(self, start: datetime = EPOCH) -> None:
        self._now = start
        self._lock = threading.Lock()

    def now(self) -> datetime:
        """See the port."""
        return self._now

    def advance(self, seconds: float) -> datetime:
        """Moves on by that many seconds; returns the new instant. Raises ValueError when asked to go back."""
        if seconds < 0:
            raise ValueError(f"a clock that orders things does not go back ({seconds:g} s)")
        with self._lock:
            self._now += timedelta(seconds=seconds)
            return self._now
