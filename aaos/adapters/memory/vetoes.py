"""The veto ledger in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime

from aaos.adapters.memory.tables import MemoryDatabase
from aaos.domain.calibration import SeriesNow
from aaos.domain.vetoes import NewVeto, Veto, VetoCount, storable


def store_veto(database: MemoryDatabase, run_id: int, veto: NewVeto) -> None:
    """Stores a veto; to be called inside a transaction. The source's stage that is there already stays."""
    table, refusal = database.tables.vetoes, storable(veto)
    if any((each.refusal.source, each.refusal.stage) == (refusal.source, refusal.stage) for each in table.values()):
        return
    veto_id = database.next_id()
    table[veto_id] = Veto(veto_id, run_id, database.clock.now(), refusal)


class MemoryVetoes:
    """Implements `ports.Vetoes`."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database

    def unread(self, vetoed_before: datetime, limit: int) -> Sequence[Veto]:
        """See the port."""
        return self._found(lambda each: each.state == "unread" and each.vetoed_at < vetoed_before)[:limit]

    def due(self, in_use: Sequence[SeriesNow], vetoed_before: datetime, limit: int) -> Sequence[Veto]:
        """See the port."""
        newest = _newest(in_use)
        found = self._waiting(vetoed_before, lambda series, _, due_ms: due_ms <= newest.get(series, -1))
        return sorted(found, key=lambda each: (_due_ms(each), each.id))[:limit]

    def stranded(self, in_use: Sequence[SeriesNow], vetoed_before: datetime, limit: int) -> Sequence[Veto]:
        """See the port."""
        newest = _newest(in_use)
        return self._waiting(vetoed_before, lambda series, anchor_ms, _: anchor_ms > newest.get(series, -1))[:limit]

    def write(self, vetoes: Sequence[Veto]) -> int:
        """See the port."""
        changed = 0
        with self._database.transaction() as tables:
            for each in vetoes:
                stored = tables.vetoes.get(each.id)
                if stored is None or stored.ended or (stored.state == "waiting" and not each.ended):
                    continue
                found_out = replace(
                    stored,
                    state=each.state,
                    terms=each.terms,
                    outcome=each.outcome,
                    why=each.why,
                    scored_at=self._database.clock.now() if each.ended else None,
                )
                tables.vetoes[each.id] = found_out
                changed += 1
        return changed

    def vetoes(
        self, limit: int, stage: str | None = None, code: str | None = None, symbol: str | None = None
    ) -> Sequence[Veto]:
        """See the port."""

        def wanted(each: Veto) -> bool:
            refusal = each.refusal
            pairs = ((stage, refusal.stage), (code, refusal.code), (symbol, refusal.symbol))
            return all(asked in (None, said) for asked, said in pairs)

        return self._found(wanted)[::-1][:limit]

    def of_source(self, source: str) -> Sequence[Veto]:
        """See the port."""
        return self._found(lambda each: each.refusal.source == source)

    def scored(self, limit: int) -> Sequence[Veto]:
        """See the port."""
        return self._found(lambda each: each.state == "scored")[::-1][:limit]

    def counts(self) -> Sequence[VetoCount]:
        """See the port."""
        rows = self._found(lambda _: True)
        counted = Counter((each.refusal.stage, each.refusal.code, each.state, each.why) for each in rows)
        return [VetoCount(*key, count) for key, count in sorted(counted.items(), key=lambda item: str(item[0]))]

    def _found(self, wanted: Callable[[Veto], bool]) -> list[Veto]:
        with self._database.transaction() as tables:
            return [tables.vetoes[veto_id] for veto_id in sorted(tables.vetoes) if wanted(tables.vetoes[veto_id])]

    def _waiting(self, vetoed_before: datetime, wanted: Callable[[tuple[str, str], int, int], bool]) -> list[Veto]:
        """Waiting vetoes of which (symbol, timeframe), anchor and due time are as wanted."""
        return self._found(
            lambda each: (
                each.state == "waiting"
                and each.terms is not None
                and each.vetoed_at < vetoed_before
                and wanted((each.refusal.symbol, each.terms.timeframe), each.terms.anchor_ms, each.terms.due_ms)
            )
        )


def _newest(in_use: Sequence[SeriesNow]) -> dict[tuple[str, str], int]:
    return {(each.symbol, each.timeframe): each.newest_open_ms for each in in_use}


def _due_ms(veto: Veto) -> int:
    return 0 if veto.terms is None else veto.terms.due_ms
