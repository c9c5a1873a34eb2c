"""Verdicts on decisions on PostgreSQL: one per decision, in one transaction with its entry in the audit log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, text

from aaos.adapters.postgres.audit import append_entries
from aaos.adapters.postgres.births import start_runs
from aaos.adapters.postgres.database import Database
from aaos.adapters.postgres.vetoes import store_veto
from aaos.domain.approvals import Approval, Verdict, Waiting, cannot_be_given, same_verdict, verdict_entry
from aaos.domain.decision.rules import REVIEW_EXPIRES_MAX_S
from aaos.domain.runs import NewRun
from aaos.domain.vetoes import NewVeto

# As the partial index has it.
TO_BE_REVIEWED = "r.kind = 'trading_decision' AND (r.body -> 'review' ->> 'required') = 'true'"
EXPIRES_AT = "r.analyzed_at + make_interval(secs => (r.body -> 'review' ->> 'expires_after_s')::float8)"

# Whoever comes second waits for the first one's commit at the primary key, and then finds the verdict.
GIVE = text(f"""
    INSERT INTO approvals (run_id, content_hash, verdict, given_by, reason)
    SELECT r.run_id, r.content_hash, :verdict, :given_by, :reason FROM results r
    WHERE r.run_id = :run_id AND r.content_hash = :content_hash AND {TO_BE_REVIEWED}
      AND clock_timestamp() < r.analyzed_at + make_interval(secs => :expires_after_s)
    ON CONFLICT (run_id) DO NOTHING
    RETURNING run_id, content_hash, verdict, given_by, reason, at
""")
VERDICTS = text(
    "SELECT run_id, content_hash, verdict, given_by, reason, at FROM approvals WHERE run_id = ANY(:run_ids)"
)
# Why a verdict could not be given, and how long it has been too late.
STANDING = text(f"""
    SELECT r.content_hash, {TO_BE_REVIEWED} AS reviewed,
           EXTRACT(EPOCH FROM clock_timestamp() - r.analyzed_at)::float8 - :expires_after_s AS late_s
    FROM results r WHERE r.run_id = :run_id
""")
WAITING = text(f"""
    SELECT r.run_id, r.symbol, r.body, r.content_hash, r.analyzed_at,
           EXTRACT(EPOCH FROM {EXPIRES_AT} - clock_timestamp())::float8 AS expires_in_s
    FROM results r
    WHERE {TO_BE_REVIEWED}
      AND r.analyzed_at > clock_timestamp() - make_interval(secs => :longest_s)
      AND {EXPIRES_AT} > clock_timestamp()
      AND NOT EXISTS (SELECT 1 FROM approvals a WHERE a.run_id = r.run_id)
    ORDER BY expires_in_s, r.run_id LIMIT :limit
""")


class PostgresApprovals:
    """Implements `ports.Approvals`."""

    def __init__(self, database: Database) -> None:
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
        parameters = {
            "run_id": run_id,
            "content_hash": content_hash,
            "verdict": approval,
            "given_by": by,
            "reason": reason,
            "expires_after_s": float(expires_after_s),
        }
        with self._database.transaction() as connection:
            row = connection.execute(GIVE, parameters).first()
            if row is not None:
                given = _with_what_follows(connection, _approval(row), starts, veto)
        return given if row is not None else self._given_before(parameters)

    def _given_before(self, wanted: Mapping[str, Any]) -> Approval:
        """Returns the same verdict, given before; raises InputError saying why there is none."""
        run_id = wanted["run_id"]
        given = self.verdicts([run_id]).get(run_id)
        if given is not None:
            return same_verdict(given, wanted["verdict"], wanted["content_hash"])
        row = self._database.row(STANDING, {"run_id": run_id, "expires_after_s": wanted["expires_after_s"]})
        if row is None:
            raise cannot_be_given(run_id, False, False, 0)
        raise cannot_be_given(run_id, bool(row.reviewed), row.content_hash == wanted["content_hash"], row.late_s)

    def verdicts(self, run_ids: Sequence[int]) -> Mapping[int, Approval]:
        """See the port."""
        rows = self._database.rows(VERDICTS, {"run_ids": list(run_ids)}) if run_ids else ()
        return {row.run_id: _approval(row) for row in rows}

    def waiting(self, limit: int) -> Sequence[Waiting]:
        """See the port."""
        rows = self._database.rows(WAITING, {"limit": limit, "longest_s": REVIEW_EXPIRES_MAX_S})
        return [
            Waiting(
                run_id=row.run_id,
                symbol=row.symbol,
                signal=row.body["signal"],
                confidence=row.body["confidence"],
                why=row.body["review"]["why"],
                content_hash=row.content_hash,
                analyzed_at=row.analyzed_at,
                expires_in_s=row.expires_in_s,
            )
            for row in rows
        ]


def _with_what_follows(
    connection: Connection, given: Approval, starts: NewRun | None, veto: NewVeto | None
) -> Approval:
    """Stores what comes with a verdict; the audit log last, since it is locked until the commit."""
    started = start_runs(connection, [] if starts is None else [starts])
    if veto is not None:
        store_veto(connection, given.run_id, veto)
    append_entries(connection, [verdict_entry(given)])
    return replace(given, started=started[0]) if started else given


def _approval(row: Any) -> Approval:
    return Approval(row.run_id, row.content_hash, row.verdict, row.given_by, row.reason, row.at)
