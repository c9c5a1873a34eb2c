"""Hints, streams and alerts in memory: lists that tests read, and a broker that can be away."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import timedelta
from itertools import count
from typing import Any

from aaos.adapters.memory.tables import AlertRow, MemoryDatabase
from aaos.errors import BrokerUnavailable
from aaos.ports import Clock, ResultRecord

# The same kind and message within this time is one alert (see the port).
ALERT_ONCE_PER = timedelta(minutes=1)
PUBLISH_QUEUE = "result_publishing"
_AWAY = "the broker in memory was told to be away; bring it back to go on"


class MemoryHints:
    """Implements `ports.Hints`; `sent` is what was sent, `waiting` how many messages each queue holds.

    Nobody takes messages out but the test: `waiting.clear()` is a worker that read them all, or a wiped broker.
    """

    def __init__(self) -> None:
        self.away = False
        self.sent: list[tuple[str, int]] = []
        self.launched: list[int] = []
        self.ticked: list[str] = []
        self.waiting: Counter[str] = Counter()

    def hint(self, kind: str, run_id: int) -> None:
        """See the port."""
        self._refuse_if_away()
        self.sent.append((kind, run_id))
        self.waiting[kind] += 1

    def launch(self, run_id: int) -> None:
        """See the port."""
        self._refuse_if_away()
        self.launched.append(run_id)

    def tick(self, schedule: str) -> None:
        """See the port."""
        self._refuse_if_away()
        self.ticked.append(schedule)

    def nudge_publisher(self) -> None:
        """See the port."""
        if not self.away:
            self.waiting[PUBLISH_QUEUE] = 1

    def queued(self, kind: str) -> int:
        """See the port."""
        self._refuse_if_away()
        return self.waiting[kind]

    def _refuse_if_away(self) -> None:
        if self.away:
            raise BrokerUnavailable(_AWAY)


class MemoryResultStream:
    """Implements `ports.ResultStream`; `entries` is what subscribers would read, oldest first."""

    def __init__(self) -> None:
        self.away = False
        self.entries: list[tuple[str, ResultRecord]] = []
        self._numbers = count(1)

    def publish(self, results: Sequence[ResultRecord]) -> Mapping[int, str]:
        """See the port."""
        if self.away:
            raise BrokerUnavailable(_AWAY)
        ids = {result.id: f"{next(self._numbers)}-0" for result in results}
        self.entries += [(ids[result.id], result) for result in results]
        return ids


class MemoryAlerts:
    """Implements `ports.Alerts`; in the tables of a database, so that runs that end can store alerts with them."""

    def __init__(self, clock: Clock, database: MemoryDatabase | None = None) -> None:
        self._clock = clock
        self._database = database or MemoryDatabase()

    @property
    def raised(self) -> list[AlertRow]:
        """What is stored, oldest first."""
        with self._database.transaction() as tables:
            return list(tables.alerts.values())

    def raise_alert(self, kind: str, message: str, details: Mapping[str, Any]) -> None:
        """See the port."""
        now = self._clock.now()
        with self._database.transaction() as tables:
            known = (each for each in tables.alerts.values() if each.raised_at > now - ALERT_ONCE_PER)
            if not any((each.kind, each.message) == (kind, message) for each in known):
                tables.alerts[self._database.next_id()] = AlertRow(now, kind, message, dict(details))
