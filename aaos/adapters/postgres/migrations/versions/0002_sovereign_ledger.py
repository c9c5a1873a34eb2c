"""Sovereign ledger: prompts and answers by hash, cost, outcome; budgets."""

import hashlib
import json
from typing import Any

from alembic import op
from sqlalchemy import Connection, Row, text

revision = "0002"
down_revision = "0001"

BATCH = 500

# No foreign keys to here: each would lock the row of the system prompt, which every vote of a voter shares.
TEXTS = """
CREATE TABLE model_texts (
    hash text PRIMARY KEY,  -- sha256 (hex) of the text in UTF-8
    text text NOT NULL CHECK (length(text) <= 16777216)
);
"""

# tokens_booked and cost are what counts against the budgets now: the reservation while a call is open, then what it
# took, or 0 where nothing was charged. Their sums are the rows of llm_spending. The prices are those of the time.
CALLS = """
ALTER TABLE sovereign_calls
    ADD COLUMN decision bigint,
    ADD COLUMN day date,
    ADD COLUMN role text NOT NULL DEFAULT 'primary' CHECK (role IN ('primary', 'fallback')),
    ADD COLUMN purpose text NOT NULL DEFAULT 'vote' CHECK (purpose IN ('vote', 'repair')),
    ADD COLUMN attempt smallint NOT NULL DEFAULT 1,
    ADD COLUMN tier text,
    ADD COLUMN template text,
    ADD COLUMN system_hash text,
    ADD COLUMN user_hash text,
    ADD COLUMN format_hash text,
    ADD COLUMN parameters json,
    ADD COLUMN outcome text NOT NULL DEFAULT 'pending',
    ADD COLUMN fault text,
    ADD COLUMN error json,
    ADD COLUMN raw_hash text,
    ADD COLUMN answer_hash text,
    ADD COLUMN answer_model text,
    ADD COLUMN finish_reason text,
    ADD COLUMN request_id text,
    ADD COLUMN input_per_million numeric NOT NULL DEFAULT 0,
    ADD COLUMN output_per_million numeric NOT NULL DEFAULT 0,
    ADD COLUMN tokens_reserved bigint NOT NULL DEFAULT 0,
    ADD COLUMN tokens_booked bigint NOT NULL DEFAULT 0 CHECK (tokens_booked >= 0),
    ADD COLUMN cost numeric NOT NULL DEFAULT 0 CHECK (cost >= 0),
    ADD COLUMN cached_from bigint,
    ALTER COLUMN tokens_in TYPE bigint,
    ALTER COLUMN tokens_out TYPE bigint,
    ALTER COLUMN latency_ms TYPE double precision;
"""

FINISH = """
DROP INDEX sovereign_calls_one_answer;
ALTER TABLE sovereign_calls
    DROP COLUMN state, DROP COLUMN request, DROP COLUMN answer, DROP COLUMN error_code, DROP COLUMN error_message,
    ALTER COLUMN day SET NOT NULL,
    ALTER COLUMN system_hash SET NOT NULL,
    ALTER COLUMN user_hash SET NOT NULL,
    ALTER COLUMN parameters SET NOT NULL,
    ADD CONSTRAINT outcomes_are_known CHECK (outcome IN ('pending', 'accepted', 'invalid', 'failed', 'abandoned')),
    ADD CONSTRAINT verdicts_need_an_answer CHECK (outcome NOT IN ('accepted', 'invalid') OR answer_hash IS NOT NULL),
    ADD CONSTRAINT ended_calls_have_an_end CHECK ((outcome = 'pending') = (ended_at IS NULL)),
    ADD CONSTRAINT cached_answers_cost_nothing CHECK (cached_from IS NULL OR (tokens_booked = 0 AND cost = 0));
-- One charge per run and prompt, and one accepted answer per run.
CREATE UNIQUE INDEX sovereign_calls_one_charge ON sovereign_calls (run_id, prompt_hash)
    WHERE answer_hash IS NOT NULL AND cached_from IS NULL;
CREATE UNIQUE INDEX sovereign_calls_one_accepted ON sovereign_calls (run_id) WHERE outcome = 'accepted';
CREATE INDEX sovereign_calls_reusable ON sovereign_calls (prompt_hash, ended_at)
    WHERE outcome = 'accepted' AND cached_from IS NULL;
CREATE INDEX sovereign_calls_by_day ON sovereign_calls (day);
CREATE INDEX sovereign_calls_by_decision ON sovereign_calls (decision) WHERE decision IS NOT NULL;
"""

# Caps are checked and booked under the row locks of both scopes, taken in the order given: the decision's, then the
# day's. A function, because only its inner queries see what was committed while they waited for a lock.
SPENDING = """
CREATE TABLE llm_spending (
    scope text PRIMARY KEY,  -- day:2026-11-21 or decision:17
    tokens bigint NOT NULL DEFAULT 0 CHECK (tokens >= 0),
    cost numeric NOT NULL DEFAULT 0 CHECK (cost >= 0),
    alerted text[] NOT NULL DEFAULT '{}'  -- caps that an alert has told of
) WITH (fillfactor = 50);

INSERT INTO llm_spending (scope, tokens, cost)
SELECT 'day:' || to_char(day, 'YYYY-MM-DD'), sum(tokens_booked), sum(cost) FROM sovereign_calls GROUP BY day
UNION ALL
SELECT 'decision:' || decision, sum(tokens_booked), sum(cost) FROM sovereign_calls
WHERE decision IS NOT NULL GROUP BY decision;

-- Books on all scopes or on none. Returns null, or the first cap that leaves no room ("day:2026-11-21 tokens").
-- A cap that is null is none; a negative amount frees.
CREATE FUNCTION book_llm_spending(
    scopes text[], more_tokens bigint, more_cost numeric, token_caps bigint[], cost_caps numeric[]
) RETURNS text LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    spent llm_spending;
BEGIN
    INSERT INTO llm_spending (scope) SELECT unnest(scopes) ON CONFLICT DO NOTHING;
    FOR n IN 1 .. cardinality(scopes) LOOP
        SELECT * INTO spent FROM llm_spending WHERE scope = scopes[n] FOR UPDATE;
        IF spent.tokens + more_tokens > token_caps[n] THEN
            RETURN scopes[n] || ' tokens';
        ELSIF spent.cost + more_cost > cost_caps[n] THEN
            RETURN scopes[n] || ' cost';
        END IF;
    END LOOP;
    FOR n IN 1 .. cardinality(scopes) LOOP
        UPDATE llm_spending SET tokens = tokens + more_tokens, cost = cost + more_cost WHERE scope = scopes[n];
    END LOOP;
    RETURN NULL;
END
$$;
"""

OLD_CALLS = text("""
    SELECT c.id, c.model, c.state, c.request, c.answer, c.latency_ms, c.error_code, c.error_message, c.began_at,
           c.ended_at, c.tokens_in, c.tokens_out, r.failure_source, r.params,
           c.id = max(c.id) FILTER (WHERE c.state = 'answered') OVER (PARTITION BY c.run_id) AS newest_answer
    FROM sovereign_calls c JOIN runs r ON r.id = c.run_id
    WHERE c.run_id IN (
        SELECT DISTINCT run_id FROM sovereign_calls WHERE run_id > :after ORDER BY run_id LIMIT :batch)
    ORDER BY c.run_id, c.id
""")
LAST_RUN = text("""
    SELECT max(run_id) FROM (
        SELECT DISTINCT run_id FROM sovereign_calls WHERE run_id > :after ORDER BY run_id LIMIT :batch) AS batch
""")
STORE_TEXT = text("INSERT INTO model_texts (hash, text) VALUES (:hash, :text) ON CONFLICT DO NOTHING")
FILL = text("""
    UPDATE sovereign_calls SET
        decision = :decision, day = CAST(began_at AT TIME ZONE 'UTC' AS date), system_hash = :system_hash,
        user_hash = :user_hash, parameters = CAST(:parameters AS json), outcome = :outcome, fault = :fault,
        error = CAST(:error AS json), raw_hash = :raw_hash, answer_hash = :answer_hash, answer_model = :answer_model,
        finish_reason = :finish_reason, request_id = :request_id, tokens_reserved = :tokens_booked,
        tokens_booked = :tokens_booked, latency_ms = :latency_ms,
        ended_at = CASE WHEN :outcome = 'pending' THEN NULL ELSE coalesce(ended_at, began_at) END
    WHERE id = :id
""")
# What the errors of that time were called; they were stored under the run's failure source.
CODES = {
    "sovereign_timeout": "SovereignTimeout",
    "sovereign_error": "SovereignUnavailable",
    "sovereign_invalid": "SovereignInvalidResponse",
    "network": "NetworkError",
}
RAW_MARK = "\nraw: "


def upgrade() -> None:
    op.execute(TEXTS)
    op.execute(CALLS)
    connection = op.get_bind()
    after = 0
    while (last := connection.execute(LAST_RUN, {"after": after, "batch": BATCH}).scalar()) is not None:
        for row in connection.execute(OLD_CALLS, {"after": after, "batch": BATCH}).all():
            connection.execute(FILL, _new_form(row, connection))
        after = last
    op.execute(FINISH)
    op.execute(SPENDING)


def _new_form(row: Row[Any], connection: Connection) -> dict[str, Any]:
    """Returns the columns of an old call, its texts stored."""
    request, answer = row.request, row.answer or {}
    message, mark, raw = (row.error_message or "").partition(RAW_MARK)
    outcome = {"answered": _verdict(row)}.get(row.state, row.state)
    parameters = {name: value for name, value in request.items() if name not in ("model", "system", "user")}
    source = (row.params or {}).get("context_run")
    return {
        "id": row.id,
        "decision": None if source is None else int(source),
        "system_hash": _kept(str(request.get("system", "")), connection),
        "user_hash": _kept(str(request.get("user", "")), connection),
        "parameters": json.dumps(parameters, sort_keys=True),
        "outcome": outcome,
        "fault": row.failure_source if outcome == "invalid" else None,
        "error": None if row.error_code is None else json.dumps(_envelope(row, message)),
        "raw_hash": _kept(raw, connection) if mark else None,
        "answer_hash": _kept(answer["content"], connection) if answer else None,
        "answer_model": answer.get("model"),
        "finish_reason": _storable(answer["finish_reason"]) if "finish_reason" in answer else None,
        "request_id": _storable(answer["request_id"]) if "request_id" in answer else None,
        "tokens_booked": (row.tokens_in or 0) + (row.tokens_out or 0),
        "latency_ms": answer.get("latency_ms", row.latency_ms),
    }


def _verdict(row: Row[Any]) -> str:
    """What became of an answer: it was stored before it was read, so only the run's end tells."""
    if not row.newest_answer:
        return "abandoned"
    return "invalid" if row.failure_source == "sovereign_invalid" else "accepted"


def _envelope(row: Row[Any], message: str) -> dict[str, Any]:
    elapsed_ms = (row.ended_at - row.began_at).total_seconds() * 1000 if row.ended_at else 0.0
    return {
        "code": CODES.get(row.error_code, row.error_code),
        "message": message,
        "model": row.model,
        "retryable": row.error_code in ("sovereign_timeout", "sovereign_error", "network"),
        "failure_source": row.error_code,
        "attempt": 1,
        "elapsed_ms": round(elapsed_ms, 1),
    }


def _kept(content: str, connection: Connection) -> str:
    storable = _storable(content)
    digest = hashlib.sha256(storable.encode()).hexdigest()
    connection.execute(STORE_TEXT, {"hash": digest, "text": storable})
    return digest


def _storable(content: str) -> str:
    """What a text column can hold: JSON kept NUL and lone surrogates as escapes."""
    return content.replace("\0", "\ufffd").encode("utf-16", "surrogatepass").decode("utf-16", "replace")


REOPEN = """
DROP FUNCTION book_llm_spending;
DROP TABLE llm_spending;
DROP INDEX sovereign_calls_one_charge, sovereign_calls_one_accepted, sovereign_calls_reusable, sovereign_calls_by_day,
    sovereign_calls_by_decision;
ALTER TABLE sovereign_calls
    DROP CONSTRAINT outcomes_are_known, DROP CONSTRAINT verdicts_need_an_answer,
    DROP CONSTRAINT ended_calls_have_an_end, DROP CONSTRAINT cached_answers_cost_nothing,
    ADD COLUMN state text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'answered', 'failed', 'abandoned')),
    ADD COLUMN request json, ADD COLUMN answer json, ADD COLUMN error_code text, ADD COLUMN error_message text;
"""
NEW_CALLS = text("""
    SELECT c.*, s.text AS system_text, u.text AS user_text, f.text AS format_text, a.text AS answer_text,
           w.text AS raw_text
    FROM sovereign_calls c
    LEFT JOIN model_texts s ON s.hash = c.system_hash LEFT JOIN model_texts u ON u.hash = c.user_hash
    LEFT JOIN model_texts f ON f.hash = c.format_hash LEFT JOIN model_texts a ON a.hash = c.answer_hash
    LEFT JOIN model_texts w ON w.hash = c.raw_hash
    WHERE c.id > :after ORDER BY c.id LIMIT :batch
""")
UNFILL = text("""
    UPDATE sovereign_calls SET state = :state, request = CAST(:request AS json), answer = CAST(:answer AS json),
        error_code = :error_code, error_message = :error_message
    WHERE id = :id
""")
# A reused answer stands in the old form only where the run has no charged one for the same prompt.
CLOSE = """
UPDATE sovereign_calls c SET state = 'abandoned'
WHERE c.cached_from IS NOT NULL AND c.state = 'answered' AND EXISTS (
    SELECT 1 FROM sovereign_calls o WHERE o.run_id = c.run_id AND o.prompt_hash = c.prompt_hash
      AND o.state = 'answered' AND o.id <> c.id AND (o.cached_from IS NULL OR o.id > c.id));
ALTER TABLE sovereign_calls
    ALTER COLUMN request SET NOT NULL,
    ALTER COLUMN tokens_in TYPE integer, ALTER COLUMN tokens_out TYPE integer, ALTER COLUMN latency_ms TYPE real,
    DROP COLUMN decision, DROP COLUMN day, DROP COLUMN role, DROP COLUMN purpose, DROP COLUMN attempt, DROP COLUMN tier,
    DROP COLUMN template, DROP COLUMN system_hash, DROP COLUMN user_hash, DROP COLUMN format_hash,
    DROP COLUMN parameters, DROP COLUMN outcome, DROP COLUMN fault, DROP COLUMN error, DROP COLUMN raw_hash,
    DROP COLUMN answer_hash, DROP COLUMN answer_model, DROP COLUMN finish_reason, DROP COLUMN request_id,
    DROP COLUMN input_per_million, DROP COLUMN output_per_million, DROP COLUMN tokens_reserved,
    DROP COLUMN tokens_booked, DROP COLUMN cost, DROP COLUMN cached_from;
CREATE UNIQUE INDEX sovereign_calls_one_answer ON sovereign_calls (run_id, prompt_hash) WHERE state = 'answered';
DROP TABLE model_texts;
"""


def downgrade() -> None:
    op.execute(REOPEN)
    connection = op.get_bind()
    after = 0
    while rows := connection.execute(NEW_CALLS, {"after": after, "batch": BATCH}).all():
        for row in rows:
            connection.execute(UNFILL, _old_form(row))
        after = rows[-1].id
    op.execute(CLOSE)


def _old_form(row: Row[Any]) -> dict[str, Any]:
    request = {"model": row.model, "system": row.system_text, "user": row.user_text, **row.parameters}
    if row.format_text is not None:
        request["answer_format"] = json.loads(row.format_text)
    error = row.error or {}
    raw = "" if row.raw_text is None else RAW_MARK + row.raw_text
    return {
        "id": row.id,
        "state": "answered" if row.answer_hash is not None else row.outcome,
        "request": json.dumps(request, sort_keys=True),
        "answer": None if row.answer_hash is None else json.dumps(_old_answer(row)),
        "error_code": error.get("failure_source"),
        "error_message": f"{error['message']}{raw}" if error else None,
    }


def _old_answer(row: Row[Any]) -> dict[str, Any]:
    return {
        "model": row.answer_model,
        "content": row.answer_text,
        "tokens_in": row.tokens_in,
        "tokens_out": row.tokens_out,
        "latency_ms": row.latency_ms,
        "finish_reason": row.finish_reason,
        "request_id": row.request_id,
    }
