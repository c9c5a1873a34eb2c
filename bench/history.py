"""Old runs by the million: what a year leaves behind, made by generate_series."""

from __future__ import annotations

import time

import psycopg

CHUNK = 500_000
KINDS = "ARRAY['bench_noop', 'technical_analysis', 'regime_detection', 'trading_analysis', 'trading_decision']"
# Five kinds, a thousand symbols, one slot a minute, ending yesterday.
RUNS = f"""
    INSERT INTO runs (kind, symbol, slot, state, attempt, hints, timeout_s, start_within_s, due_at, deadline,
                      hinted_at, owner, fence, created_at, started_at, finished_at)
    SELECT ({KINDS})[1 + n %% 5], 'S' || lpad((n / 5 %% 1000)::text, 6, '0') || '/USDT', at, 'completed', 1, 0, 30, 120,
           at, at + interval '30 s', at, 'old:1:' || n, nextval('run_fence'), at, at + interval '5 ms',
           at + interval '20 ms'
    FROM generate_series(%s::bigint, %s::bigint) AS n,
         LATERAL (SELECT date_trunc('minute', clock_timestamp()) - interval '1 day'
                         - (%s::bigint - n) / 5000 * interval '1 minute' AS at) AS slots
"""
RESULTS = """
    INSERT INTO results (run_id, fence, kind, symbol, slot, scheduled, analyzed_at, body, content_hash, inputs)
    SELECT id, fence, kind, symbol, slot, true, finished_at, '{"answer":1,"symbol":"OLD"}', md5(id::text), '[]'
    FROM runs WHERE id > %s
"""
OUTBOX = """
    INSERT INTO outbox (result_id, created_at, published_at, stream_id)
    SELECT id, analyzed_at, analyzed_at + interval '10 ms', '1-1' FROM results WHERE run_id > %s
"""


def generate(url: str, rows: int) -> float:
    """Fills runs, results and outbox with that many finished runs each; returns the seconds it took."""
    began = time.monotonic()
    with psycopg.connect(url, autocommit=True) as database:
        # Loading only: foreign keys are checked by construction, and a crash would mean loading again.
        database.execute("SET session_replication_role = replica")
        database.execute("SET synchronous_commit = off")
        for first in range(1, rows + 1, CHUNK):
            newest = database.execute("SELECT COALESCE(max(id), 0) FROM runs").fetchone()
            database.execute(RUNS, (first, min(first + CHUNK - 1, rows), rows))
            database.execute(RESULTS, newest)
            database.execute(OUTBOX, newest)
            print(f"  {min(first + CHUNK - 1, rows):,} old runs", flush=True)
        database.execute("VACUUM (ANALYZE) runs, results, outbox")
        database.execute("CHECKPOINT")
    return time.monotonic() - began
