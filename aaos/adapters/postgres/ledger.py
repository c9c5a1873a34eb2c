"""The Sovereign ledger and the alerts on PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import text

from aaos.adapters.postgres.database import Database
from aaos.domain.runs import ClaimedRun
from aaos.domain.sovereign import ModelAnswer, ModelRequest
from aaos.errors import FenceLost

ANSWERED = text("""
    SELECT answer FROM sovereign_calls WHERE run_id = :run_id AND prompt_hash = :prompt_hash AND state = 'answered'
""")
# An earlier attempt's open call is abandoned: whoever made it has lost the run, and its answer has no way in.
ABANDON = text("""
    UPDATE sovereign_calls SET state = 'abandoned', ended_at = clock_timestamp()
    WHERE run_id = :run_id AND state = 'pending' AND fence < :fence
""")
BEGIN = text("""
    INSERT INTO sovereign_calls (run_id, fence, model, prompt_hash, request)
    SELECT id, fence, :model, :prompt_hash, CAST(:request AS json)
    FROM runs WHERE id = :run_id AND fence = :fence AND state = 'running'
    RETURNING id
""")
# Again after a commit whose confirmation got lost: the same call, the same answer.
SETTLE = text("""
    UPDATE sovereign_calls SET state = 'answered', answer = CAST(:answer AS json), tokens_in = :tokens_in,
        tokens_out = :tokens_out, latency_ms = :latency_ms, ended_at = clock_timestamp()
    WHERE id = :id AND state IN ('pending', 'answered')
""")
FAIL = text("""
    UPDATE sovereign_calls SET state = 'failed', error_code = :code, error_message = :message,
        ended_at = clock_timestamp()
    WHERE id = :id AND state = 'pending'
""")
CALLS = text("""
    SELECT id, run_id, model, prompt_hash, state, tokens_in, tokens_out, latency_ms, error_code, began_at
    FROM sovereign_calls WHERE run_id = :run_id ORDER BY id
""")
RAISE = text("""
    INSERT INTO alerts (kind, message, details) SELECT :kind, :message, CAST(:details AS json)
    WHERE NOT EXISTS (
        SELECT 1 FROM alerts WHERE kind = :kind AND message = :message
          AND created_at > clock_timestamp() - interval '1 minute')
""")
RECENT_ALERTS = text("SELECT id, created_at, kind, message, details FROM alerts ORDER BY id DESC LIMIT :limit")


class PostgresSovereignLedger:
    """Implements `ports.SovereignLedger`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def answered(self, run_id: int, request: ModelRequest) -> ModelAnswer | None:
        """See the port."""
        row = self._database.row(ANSWERED, {"run_id": run_id, "prompt_hash": request.prompt_hash})
        return None if row is None else ModelAnswer(**row.answer)

    def begin(self, run: ClaimedRun, request: ModelRequest) -> int:
        """See the port. Raises FenceLost when the run is no longer the caller's: then nothing may be asked."""
        with self._database.transaction() as connection:
            connection.execute(ABANDON, {"run_id": run.id, "fence": run.fence})
            row = connection.execute(
                BEGIN,
                {
                    "run_id": run.id,
                    "fence": run.fence,
                    "model": request.model,
                    "prompt_hash": request.prompt_hash,
                    "request": json.dumps(asdict(request), sort_keys=True),
                },
            ).first()
        if row is None:
            raise FenceLost(f"run {run.id}: fence {run.fence} is no longer its latest; Sovereign was not asked")
        return int(row.id)

    def settle(self, call_id: int, answer: ModelAnswer) -> None:
        """See the port. Raises FenceLost when the call was abandoned meanwhile."""
        touched = self._database.execute(
            SETTLE,
            {
                "id": call_id,
                "answer": json.dumps(asdict(answer)),
                "tokens_in": answer.tokens_in,
                "tokens_out": answer.tokens_out,
                "latency_ms": answer.latency_ms,
            },
        )
        if touched == 0:
            raise FenceLost(f"Sovereign call {call_id} was abandoned; its answer is not accepted")

    def fail(self, call_id: int, code: str, message: str) -> None:
        """See the port."""
        self._database.execute(FAIL, {"id": call_id, "code": code, "message": message})

    def calls(self, run_id: int) -> Sequence[Mapping[str, Any]]:
        """Returns the calls made for a run, oldest first."""
        return [row._asdict() for row in self._database.rows(CALLS, {"run_id": run_id})]


class PostgresAlerts:
    """Implements `ports.Alerts`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def raise_alert(self, kind: str, message: str, details: Mapping[str, Any]) -> None:
        """See the port."""
        self._database.execute(RAISE, {"kind": kind, "message": message, "details": json.dumps(details, default=str)})

    def recent(self, limit: int) -> Sequence[Mapping[str, Any]]:
        """Returns the newest alerts first."""
        return [row._asdict() for row in self._database.rows(RECENT_ALERTS, {"limit": limit})]
