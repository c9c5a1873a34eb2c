"""What the Sovereign ledger tells people: calls, costs, one call in full. Reads only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, Final, Literal

from sqlalchemy import text

from aaos.adapters.postgres.database import Database
from aaos.domain.llm_budget import NOTHING, Charge, day_scope

By = Literal["day", "model", "decision"]
GROUPS_MAX = 10_000

# A call that is still open when its run has ended will never be answered: its worker is gone.
_OUTCOME = """CASE WHEN c.outcome = 'pending' AND r.state NOT IN ('pending', 'running') THEN 'abandoned'
    ELSE c.outcome END"""
_COLUMNS = f"""
    c.id, c.run_id, c.decision, c.model, c.role, c.purpose, c.attempt, {_OUTCOME} AS outcome, c.tier, c.template,
    c.prompt_hash, c.tokens_in, c.tokens_out, c.tokens_booked, c.cost, c.latency_ms, c.cached_from, c.fault, c.error,
    c.began_at, c.ended_at
"""
CALLS = text(f"""
    SELECT {_COLUMNS} FROM sovereign_calls c JOIN runs r ON r.id = c.run_id
    WHERE (CAST(:run_id AS bigint) IS NULL OR c.run_id = :run_id)
      AND (CAST(:model AS text) IS NULL OR c.model = :model)
      AND (CAST(:outcome AS text) IS NULL OR {_OUTCOME} = :outcome)
    ORDER BY c.id DESC LIMIT :limit
""")
CALL = text(f"""
    SELECT {_COLUMNS}, c.fence, c.parameters, c.tokens_reserved, c.answer_model, c.finish_reason, c.request_id,
           s.text AS system, u.text AS "user", f.text AS answer_format, a.text AS answer, w.text AS raw
    FROM sovereign_calls c JOIN runs r ON r.id = c.run_id
    LEFT JOIN model_texts s ON s.hash = c.system_hash LEFT JOIN model_texts u ON u.hash = c.user_hash
    LEFT JOIN model_texts f ON f.hash = c.format_hash LEFT JOIN model_texts a ON a.hash = c.answer_hash
    LEFT JOIN model_texts w ON w.hash = c.raw_hash
    WHERE c.id = :id
""")
MODELS = text("SELECT DISTINCT model FROM sovereign_calls ORDER BY model")
SPENT = text("SELECT tokens, cost FROM llm_spending WHERE scope = :scope")


def _costs(group: str) -> Any:
    return text(f"""
        SELECT CAST({group} AS text) AS name, count(*) AS calls,
               count(*) FILTER (WHERE outcome = 'accepted') AS accepted,
               count(*) FILTER (WHERE outcome = 'invalid') AS invalid,
               count(*) FILTER (WHERE outcome = 'failed') AS failed, count(cached_from) AS cached,
               CAST(coalesce(sum(tokens_in), 0) AS bigint) AS tokens_in,
               CAST(coalesce(sum(tokens_out), 0) AS bigint) AS tokens_out,
               CAST(sum(tokens_booked) AS bigint) AS tokens_booked, sum(cost) AS cost,
               percentile_cont(0.5) WITHIN GROUP (ORDER BY latency_ms)
                   FILTER (WHERE answer_hash IS NOT NULL AND cached_from IS NULL) AS p50_ms,
               percentile_cont(0.95) WITHIN GROUP (ORDER BY latency_ms)
                   FILTER (WHERE answer_hash IS NOT NULL AND cached_from IS NULL) AS p95_ms
        FROM sovereign_calls
        WHERE day > CAST(clock_timestamp() AT TIME ZONE 'UTC' AS date) - CAST(:days AS integer)
        GROUP BY {group} ORDER BY {group} DESC LIMIT {GROUPS_MAX}
    """)


COSTS: Final[Mapping[str, Any]] = {name: _costs(name) for name in ("day", "model", "decision")}


class PostgresCallBook:
    """The ledger for reading."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def calls(
        self, limit: int, run_id: int | None = None, model: str | None = None, outcome: str | None = None
    ) -> Sequence[Mapping[str, Any]]:
        """Returns the newest calls first."""
        wanted = {"limit": limit, "run_id": run_id, "model": model, "outcome": outcome}
        return [row._asdict() for row in self._database.rows(CALLS, wanted)]

    def call(self, call_id: int) -> Mapping[str, Any] | None:
        """Returns a call with its prompt and what came back, None where there is no such call."""
        row = self._database.row(CALL, {"id": call_id})
        return None if row is None else row._asdict()

    def models(self) -> Sequence[str]:
        """Returns every model that was ever asked."""
        return [row.model for row in self._database.rows(MODELS)]

    def costs(self, days: int, by: By) -> Sequence[Mapping[str, Any]]:
        """Returns tokens, cost and latency of the last so many days (UTC, today included), newest group first."""
        return [row._asdict() for row in self._database.rows(COSTS[by], {"days": days})]

    def today(self) -> tuple[date, Charge]:
        """Returns today (UTC, database time) and what is spent or reserved on it."""
        day = self._database.now().date()
        row = self._database.row(SPENT, {"scope": day_scope(day)})
        return day, NOTHING if row is None else Charge(row.tokens, row.cost)
