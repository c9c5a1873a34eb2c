"""Outcomes of votes on PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any

from sqlalchemy import text

from aaos.adapters.postgres.database import Database
from aaos.domain.calibration import CalibrationRules, SeriesNow, StateCount, UnreadVote, VoteOutcome

COLUMNS = ", ".join(f"o.{each.name}" for each in fields(VoteOutcome))

# The limit first: joined to all that is unread, a backlog of thousands would be parsed for each batch of a hundred.
# Of the context only what is read of it: a body has hundreds of candles and all indicators beside them.
UNREAD = text("""
    WITH o AS MATERIALIZED (
        SELECT result_id, voted_at, symbol FROM vote_outcomes
        WHERE state = 'unread' ORDER BY result_id LIMIT :limit
    )
    SELECT o.result_id, o.voted_at, o.symbol, v.body AS body,
           c.body -> 'candles' AS candles, c.body -> 'regime' ->> 'regime' AS regime, c.id AS context_id
    FROM o LEFT JOIN results v ON v.id = o.result_id
    LEFT JOIN LATERAL (
        SELECT CAST(input ->> 'result_id' AS bigint) AS id
        FROM json_array_elements(v.inputs) AS input WHERE input ->> 'name' = 'context' LIMIT 1
    ) AS found ON true
    LEFT JOIN results c ON c.id = found.id
    ORDER BY o.result_id
""")
DUE = text(f"""
    SELECT {COLUMNS}
    FROM unnest(CAST(:symbols AS text[]), CAST(:timeframes AS text[]), CAST(:newest AS bigint[]))
         AS u(symbol, timeframe, newest_ms)
    JOIN LATERAL (
        SELECT * FROM vote_outcomes w
        WHERE w.state = 'waiting' AND w.symbol = u.symbol AND w.timeframe = u.timeframe
          AND w.due_ms <= u.newest_ms AND w.candle_ms <= u.newest_ms AND w.voted_at < :voted_before
        ORDER BY w.due_ms LIMIT :limit
    ) AS o ON true
    ORDER BY o.due_ms, o.result_id LIMIT :limit
""")
STRANDED = text(f"""
    SELECT {COLUMNS} FROM vote_outcomes o
    WHERE o.state = 'waiting' AND o.voted_at < :voted_before AND NOT EXISTS (
        SELECT 1 FROM unnest(CAST(:symbols AS text[]), CAST(:timeframes AS text[]), CAST(:newest AS bigint[]))
             AS u(symbol, timeframe, newest_ms)
        WHERE u.symbol = o.symbol AND u.timeframe = o.timeframe AND o.candle_ms <= u.newest_ms)
    LIMIT :limit
""")
WRITTEN = tuple(
    each.name for each in fields(VoteOutcome) if each.name not in ("result_id", "voted_at", "symbol", "scored_at")
)
TYPES = {
    "fallback_used": "boolean", "correct": "boolean", "confidence": "float8", "close_then": "float8",
    "min_move_fraction": "float8", "close_after": "float8", "squared_error": "float8", "candle_ms": "bigint",
    "due_ms": "bigint", "after_ms": "bigint", "market_candles": "integer", "horizon_candles": "integer",
}  # fmt: skip
# The rows in a fixed order, so that two writers of the same votes wait for each other, not for ever. What the second
# one then finds has changed its state, and is left alone.
WRITE = text(f"""
    WITH news AS (
        SELECT * FROM json_to_recordset(CAST(:rows AS json))
        AS n(result_id bigint, {", ".join(f"{name} {TYPES.get(name, 'text')}" for name in WRITTEN)})
    ), held AS (
        SELECT o.result_id FROM vote_outcomes o JOIN news n USING (result_id)
        WHERE o.state = 'unread' OR (o.state = 'waiting' AND n.state <> 'waiting')
        ORDER BY o.result_id FOR UPDATE OF o
    )
    UPDATE vote_outcomes o SET {", ".join(f"{name} = n.{name}" for name in WRITTEN)},
        scored_at = CASE WHEN n.state <> 'waiting' THEN clock_timestamp() END
    FROM news n JOIN held USING (result_id) WHERE o.result_id = n.result_id
""")
SCORED = text(f"""
    SELECT {COLUMNS} FROM vote_outcomes o
    WHERE o.state = 'scored' AND o.horizon_candles = :horizon AND o.min_move_fraction = :min_move
    ORDER BY o.result_id DESC LIMIT :limit
""")
COUNTS = text("""
    SELECT model, fallback_used, regime, state, reason,
           horizon_candles = :horizon AND min_move_fraction = :min_move AS current, count(*) AS count
    FROM vote_outcomes GROUP BY 1, 2, 3, 4, 5, 6 ORDER BY 1, 2, 3, 4, 5, 6
""")


class PostgresVoteOutcomes:
    """Implements `ports.VoteOutcomes`; the rows are made by a trigger, in the transaction that stores a vote."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def unread(self, limit: int) -> Sequence[UnreadVote]:
        """See the port."""
        return [_unread(row) for row in self._database.rows(UNREAD, {"limit": limit})]

    def due(self, in_use: Sequence[SeriesNow], voted_before: datetime, limit: int) -> Sequence[VoteOutcome]:
        """See the port."""
        parameters = {**_series(in_use), "voted_before": voted_before, "limit": limit}
        return [VoteOutcome(*row) for row in self._database.rows(DUE, parameters)]

    def stranded(self, in_use: Sequence[SeriesNow], voted_before: datetime, limit: int) -> Sequence[VoteOutcome]:
        """See the port."""
        parameters = {**_series(in_use), "voted_before": voted_before, "limit": limit}
        return [VoteOutcome(*row) for row in self._database.rows(STRANDED, parameters)]

    def write(self, outcomes: Sequence[VoteOutcome]) -> int:
        """See the port."""
        rows = [{name: getattr(each, name) for name in ("result_id", *WRITTEN)} for each in outcomes]
        return self._database.execute(WRITE, {"rows": json.dumps(rows)})

    def scored(self, rules: CalibrationRules, limit: int) -> Sequence[VoteOutcome]:
        """See the port."""
        return [VoteOutcome(*row) for row in self._database.rows(SCORED, {**_rules(rules), "limit": limit})]

    def counts(self, rules: CalibrationRules) -> Sequence[StateCount]:
        """See the port."""
        return [StateCount(**row._asdict()) for row in self._database.rows(COUNTS, _rules(rules))]


def _series(in_use: Sequence[SeriesNow]) -> dict[str, Any]:
    return {
        "symbols": [each.symbol for each in in_use],
        "timeframes": [each.timeframe for each in in_use],
        "newest": [each.newest_open_ms for each in in_use],
    }


def _rules(rules: CalibrationRules) -> dict[str, Any]:
    return {"horizon": rules.horizon_candles, "min_move": rules.min_move_fraction}


def _unread(row: Any) -> UnreadVote:
    context = None if row.context_id is None else {"candles": row.candles, "regime": {"regime": row.regime}}
    return UnreadVote(row.result_id, row.voted_at, row.symbol, row.body, context)
