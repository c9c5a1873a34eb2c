"""Results and their outbox in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime

from aaos.adapters.memory.tables import MemoryDatabase
from aaos.errors import UnknownRun
from aaos.ports import ResultRecord


class MemoryResultStore:
    """Implements `ports.ResultStore`."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database

    def result(self, result_id: int) -> ResultRecord:
        """See the port."""
        with self._database.transaction() as tables:
            found = tables.results.get(result_id)
        if found is None:
            raise UnknownRun(f"no result {result_id}; `aaos results` lists the newest")
        return found

    def result_of_run(self, run_id: int) -> ResultRecord | None:
        """See the port."""
        with self._database.transaction() as tables:
            return next((each for each in tables.results.values() if each.run_id == run_id), None)

    def latest(self, kind: str, symbol: str, before: datetime | None = None) -> ResultRecord | None:
        """See the port."""
        with self._database.transaction() as tables:
            scheduled = {row.id for row in tables.runs.values() if row.request_key is None}
            found = [
                each
                for each in _matching(tables.results.values(), kind, symbol)
                if each.run_id in scheduled and (before is None or each.slot < before)
            ]
        return max(found, key=lambda each: each.slot, default=None)

    def results(self, limit: int, kind: str | None = None, symbol: str | None = None) -> Sequence[ResultRecord]:
        """See the port."""
        with self._database.transaction() as tables:
            found = _matching(tables.results.values(), kind, symbol)
        if symbol is None:
            return sorted(found, key=lambda each: each.id, reverse=True)[:limit]
        return sorted(found, key=lambda each: (each.slot, each.id), reverse=True)[:limit]


class MemoryOutbox:
    """Implements `ports.Outbox`; publishers that share this object stay off each other's rows."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database
        self._held: set[int] = set()

    @contextmanager
    def batch(self, limit: int) -> Iterator[_Batch]:
        """See the port."""
        with self._database.transaction() as tables:
            free = [result_id for result_id in self._waiting() if result_id not in self._held][:limit]
            self._held.update(free)
            held = _Batch([tables.results[result_id] for result_id in free])
        try:
            yield held
            self._commit(held)
        finally:
            self._held.difference_update(free)

    def backlog(self) -> int:
        """See the port."""
        with self._database.transaction():
            return len(self._waiting())

    def _waiting(self) -> list[int]:
        return sorted(result_id for result_id, sent in self._database.tables.outbox.items() if sent is None)

    def _commit(self, held: _Batch) -> None:
        if not held.published:
            return
        with self._database.transaction() as tables:
            tables.outbox.update(held.published)
            for result_id in held.published:
                published = replace(tables.results[result_id], published_at=self._database.clock.now())
                tables.results[result_id] = published


class _Batch:
    def __init__(self, results: Sequence[ResultRecord]) -> None:
        self.results = results
        self.published: dict[int, str] = {}

    def mark_published(self, stream_ids: Mapping[int, str]) -> None:
        """See the port."""
        self.published.update(stream_ids)


def _matching(results: Iterable[ResultRecord], kind: str | None, symbol: str | None) -> list[ResultRecord]:
    return [each for each in results if kind in (None, each.kind) and symbol in (None, each.symbol)]
