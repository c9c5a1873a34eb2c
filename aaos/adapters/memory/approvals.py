"""Verdicts on decisions in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from aaos.adapters.memory import births
from aaos.adapters.memory.audit import append_entries
from aaos.adapters.memory.tables import MemoryDatabase
from aaos.adapters.memory.vetoes import store_veto
from aaos.domain.approvals import (
    Approval,
    Verdict,
    Waiting,
    cannot_be_given,
    review_ends_at,
    same_verdict,
    verdict_entry,
)
from aaos.domain.runs import NewRun
from aaos.domain.vetoes import NewVeto
from aaos.ports import ResultRecord

DECISION = "trading_decision"


class MemoryApprovals:
    """Implements `ports.Approvals`."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database

    def give(
        self,
        run_id: int,
        content_hash: str,
        approval: Verdict,
        by: str,
        reason: str,
        expires_after_s: float,
        starts: NewRun | None = None,
        veto: NewVeto | None = None,
    ) -> Approval:
        """See the port."""
        with self._database.transaction() as tables:
            given = tables.approvals.get(run_id)
            if given is not None:
                return same_verdict(given, approval, content_hash)
            found = next((each for each in tables.results.values() if each.run_id == run_id), None)
            if found is None or not _is_reviewed(found):
                raise cannot_be_given(run_id, False, False, 0)
            now = self._database.clock.now()
            late_s = (now - found.analyzed_at).total_seconds() - expires_after_s
            if found.content_hash != content_hash or late_s >= 0:
                raise cannot_be_given(run_id, True, found.content_hash == content_hash, late_s)
            verdict = Approval(run_id, content_hash, approval, by, reason, now)
            tables.approvals[run_id] = verdict
            started = births.start(self._database, [] if starts is None else [starts])
            if veto is not None:
                store_veto(self._database, run_id, veto)
            append_entries(self._database, [verdict_entry(verdict)])
            return replace(verdict, started=started[0]) if started else verdict

    def verdicts(self, run_ids: Sequence[int]) -> Mapping[int, Approval]:
        """See the port."""
        with self._database.transaction() as tables:
            return {run_id: tables.approvals[run_id] for run_id in run_ids if run_id in tables.approvals}

    def waiting(self, limit: int) -> Sequence[Waiting]:
        """See the port."""
        with self._database.transaction() as tables:
            open_ones = [each for each in tables.results.values() if each.run_id not in tables.approvals]
            found = [_waiting(each, self._left_s(each)) for each in open_ones if _is_reviewed(each)]
        in_time = [each for each in found if each.expires_in_s > 0]
        return sorted(in_time, key=lambda each: (each.expires_in_s, each.run_id))[:limit]

    def _left_s(self, result: ResultRecord) -> float:
        ends_at = review_ends_at(result.body, result.analyzed_at)
        return 0.0 if ends_at is None else (ends_at - self._database.clock.now()).total_seconds()


def _is_reviewed(result: ResultRecord) -> bool:
    return result.kind == DECISION and bool(result.body.get("review", {}).get("required"))


def _waiting(result: ResultRecord, expires_in_s: float) -> Waiting:
    return Waiting(
        run_id=result.run_id,
        symbol=result.symbol,
        signal=result.body["signal"],
        confidence=result.body["confidence"],
        why=result.body["review"]["why"],
        content_hash=result.content_hash,
        analyzed_at=result.analyzed_at,
        expires_in_s=expires_in_s,
    )
