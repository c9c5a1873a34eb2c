"""The statements of the Sovereign ledger, each one round trip and one transaction.

Locks are always taken in the same order: the run (shared, against its being taken over meanwhile), rows of calls, then
`llm_spending` (the decision's, then the day's), then `model_texts` by hash. A step reads from the step before it where
that would not follow by itself.
"""

from __future__ import annotations

from sqlalchemy import text

ANSWERED = text("""
    SELECT c.answer_model AS model, t.text AS content, c.tokens_in, c.tokens_out, c.latency_ms, c.finish_reason,
           c.request_id
    FROM sovereign_calls c JOIN model_texts t ON t.hash = c.answer_hash
    WHERE c.run_id = :run_id AND c.prompt_hash = :prompt_hash ORDER BY c.id DESC LIMIT 1
""")

_MINE = """
    SELECT id, fence, CAST(clock_timestamp() AT TIME ZONE 'UTC' AS date) AS day FROM runs
    WHERE id = :run_id AND fence = :fence AND state = 'running' FOR SHARE
"""
# Whoever asks anew has found nothing usable: what an older fence left open has no way in any more, and an answer that
# was accepted for an attempt which died before it stored its vote is not the accepted one any more.
_LEAVE_BEHIND = """
    UPDATE sovereign_calls c SET outcome = 'abandoned', ended_at = coalesce(c.ended_at, clock_timestamp()) FROM mine
    WHERE c.run_id = mine.id AND (c.outcome = 'accepted' OR (c.outcome = 'pending' AND c.fence < mine.fence))
"""
_PLAN = """decision, model, role, purpose, attempt, tier, template, prompt_hash, system_hash, user_hash, format_hash,
    parameters"""
_PLANNED = """CAST(:decision AS bigint), :model, :role, :purpose, :attempt, :tier, :template, :prompt_hash,
    :system_hash, :user_hash, :format_hash, CAST(:parameters AS json)"""

# No row: the fence is lost. `reached` is the cap that leaves no room; then nothing is begun and nothing reserved.
BEGIN = text(f"""
    WITH mine AS MATERIALIZED ({_MINE}), left_behind AS ({_LEAVE_BEHIND} RETURNING c.id), booked AS MATERIALIZED (
        SELECT mine.id, mine.fence, mine.day, book_llm_spending(
            ARRAY['decision:' || CAST(:decision AS bigint), 'day:' || to_char(mine.day, 'YYYY-MM-DD')],
            CAST(:tokens AS bigint), CAST(:cost AS numeric),
            CAST(:token_caps AS bigint[]), CAST(:cost_caps AS numeric[])) AS reached
        FROM mine, (SELECT count(*) FROM left_behind) AS first
    ), texts AS (
        INSERT INTO model_texts (hash, text) SELECT t.hash, t.text
        FROM booked, unnest(CAST(:hashes AS text[]), CAST(:texts AS text[])) AS t (hash, text)
        WHERE booked.reached IS NULL ON CONFLICT DO NOTHING
    ), begun AS (
        INSERT INTO sovereign_calls (run_id, fence, day, {_PLAN}, input_per_million, output_per_million,
            tokens_reserved, tokens_booked, cost)
        SELECT id, fence, day, {_PLANNED}, CAST(:input_per_million AS numeric), CAST(:output_per_million AS numeric),
            CAST(:tokens AS bigint), CAST(:tokens AS bigint), CAST(:cost AS numeric)
        FROM booked WHERE reached IS NULL
        RETURNING id
    )
    SELECT booked.day, booked.reached, (SELECT id FROM begun) AS id FROM booked
""")

# Nothing is reserved and nothing charged; the row says whose answer it is. Its texts are stored with that one.
REUSE = text(f"""
    WITH mine AS MATERIALIZED ({_MINE}), found AS MATERIALIZED (
        SELECT id, answer_hash, answer_model, finish_reason, request_id FROM sovereign_calls
        WHERE prompt_hash = :prompt_hash AND outcome = 'accepted' AND cached_from IS NULL
          AND ended_at > clock_timestamp() - make_interval(secs => :ttl_s)
        ORDER BY ended_at DESC LIMIT 1
    ), left_behind AS ({_LEAVE_BEHIND} AND EXISTS (SELECT FROM found) RETURNING c.id), begun AS (
        INSERT INTO sovereign_calls (run_id, fence, day, {_PLAN}, outcome, answer_hash, answer_model, finish_reason,
            request_id, tokens_in, tokens_out, latency_ms, cached_from, ended_at)
        SELECT mine.id, mine.fence, mine.day, {_PLANNED}, 'accepted', found.answer_hash, found.answer_model,
            found.finish_reason, found.request_id, 0, 0, 0, found.id, clock_timestamp()
        FROM mine, found, (SELECT count(*) FROM left_behind) AS first
        RETURNING answer_hash, answer_model, finish_reason, request_id, tokens_in, tokens_out, latency_ms
    )
    SELECT begun.answer_model AS model, t.text AS content, begun.tokens_in, begun.tokens_out, begun.latency_ms,
           begun.finish_reason, begun.request_id
    FROM begun JOIN model_texts t ON t.hash = begun.answer_hash
""")

_OPEN = "SELECT * FROM sovereign_calls WHERE id = :id AND outcome = 'pending'"


def _trued_up(tokens: str, cost: str) -> str:
    """Books the difference between what an open call had reserved and what it took; caps do not count any more."""
    return f"""
        SELECT id, {cost} AS cost, book_llm_spending(
            array_remove(ARRAY['decision:' || decision, 'day:' || to_char(day, 'YYYY-MM-DD')], NULL),
            {tokens} - tokens_booked, {cost} - cost, NULL, NULL)
        FROM open
    """


_TOKENS = "(CAST(:tokens_in AS bigint) + CAST(:tokens_out AS bigint))"
# A product, not a quotient: numeric division rounds.
_COST = """((input_per_million * CAST(:tokens_in AS bigint) + output_per_million * CAST(:tokens_out AS bigint))
    * 0.000001)"""
# No row: somebody has taken the run over, who may have looked for this answer already, and not found it.
_STILL_MINE = """
    SELECT r.id FROM runs r JOIN sovereign_calls c ON c.run_id = r.id AND c.fence = r.fence WHERE c.id = :id
    FOR SHARE OF r
"""
SETTLE = text(f"""
    WITH mine AS MATERIALIZED ({_STILL_MINE}), open AS MATERIALIZED (
        {_OPEN} AND EXISTS (SELECT FROM mine) FOR UPDATE
    ), booked AS MATERIALIZED ({_trued_up(_TOKENS, _COST)}), texts AS (
        INSERT INTO model_texts (hash, text) SELECT CAST(:answer_hash AS text), CAST(:content AS text) FROM booked
        ON CONFLICT DO NOTHING
    )
    UPDATE sovereign_calls c SET outcome = :outcome, fault = :fault, answer_hash = :answer_hash,
        answer_model = :answer_model, finish_reason = :finish_reason, request_id = :request_id,
        tokens_in = :tokens_in, tokens_out = :tokens_out, tokens_booked = {_TOKENS}, cost = booked.cost,
        latency_ms = :latency_ms, ended_at = clock_timestamp()
    FROM booked WHERE c.id = booked.id
""")

_KEPT = "(CASE WHEN CAST(:free AS boolean) THEN 0 ELSE tokens_booked END)"
_KEPT_COST = "(CASE WHEN CAST(:free AS boolean) THEN 0 ELSE cost END)"
FAIL = text(f"""
    WITH open AS MATERIALIZED ({_OPEN} FOR UPDATE), booked AS MATERIALIZED ({_trued_up(_KEPT, _KEPT_COST)}), texts AS (
        INSERT INTO model_texts (hash, text) SELECT CAST(:raw_hash AS text), CAST(:raw AS text) FROM booked
        WHERE CAST(:raw_hash AS text) IS NOT NULL ON CONFLICT DO NOTHING
    )
    UPDATE sovereign_calls c SET outcome = 'failed', error = CAST(:error AS json), raw_hash = :raw_hash,
        tokens_booked = CASE WHEN CAST(:free AS boolean) THEN 0 ELSE c.tokens_booked END, cost = booked.cost,
        latency_ms = :elapsed_ms, ended_at = clock_timestamp()
    FROM booked WHERE c.id = booked.id
""")

SETTLED = text("SELECT outcome, answer_hash FROM sovereign_calls WHERE id = :id")
SPENT = text("SELECT scope, tokens, cost FROM llm_spending WHERE scope = ANY(CAST(:scopes AS text[]))")

# One alert per cap and scope, ever; a scope that never had room for anything has no row yet.
ALERT_ONCE = text("""
    WITH told AS (
        INSERT INTO llm_spending AS s (scope, alerted) VALUES (:scope, ARRAY[CAST(:cap AS text)])
        ON CONFLICT (scope) DO UPDATE SET alerted = s.alerted || excluded.alerted
        WHERE NOT s.alerted @> excluded.alerted
        RETURNING scope
    )
    INSERT INTO alerts (kind, message, details) SELECT :kind, :message, CAST(:details AS json) FROM told
""")

CALLS = text("""
    SELECT id, run_id, model, role, purpose, attempt, outcome, fault, prompt_hash, tokens_in, tokens_out, latency_ms,
           cached_from, error ->> 'code' AS error_code, began_at
    FROM sovereign_calls WHERE run_id = :run_id ORDER BY id
""")
