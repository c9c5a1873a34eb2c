"""Runs, results, outbox, Sovereign ledger, alerts, candles."""

from alembic import op

revision = "0001"
down_revision = None

# A run is the task; the message only points at it. Which rows the partial indexes hold stays small
# however many old runs there are, so that the hot statements cost the same on an empty and on a full table.
RUNS = """
CREATE SEQUENCE run_fence;

CREATE TABLE runs (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind text NOT NULL,
    symbol text NOT NULL,
    slot timestamptz NOT NULL,
    request_key text,
    state text NOT NULL DEFAULT 'pending'
        CHECK (state IN ('pending', 'running', 'completed', 'failed', 'skipped')),
    dependent boolean NOT NULL DEFAULT false,
    parked boolean NOT NULL DEFAULT false,
    attempt smallint NOT NULL DEFAULT 0,
    hints smallint NOT NULL DEFAULT 0,
    timeout_s real NOT NULL CHECK (timeout_s > 0),
    start_within_s real NOT NULL CHECK (start_within_s > 0),
    due_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    deadline timestamptz NOT NULL,
    not_after timestamptz,
    hinted_at timestamptz,
    owner text,
    fence bigint,
    lease_expires_at timestamptz,
    params json NOT NULL DEFAULT '{}',
    reason text,
    failure_source text,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    started_at timestamptz,
    finished_at timestamptz,
    CONSTRAINT final_runs_have_an_end CHECK ((state IN ('completed', 'failed', 'skipped')) = (finished_at IS NOT NULL)),
    CONSTRAINT running_runs_are_leased
        CHECK (state <> 'running' OR (fence IS NOT NULL AND lease_expires_at IS NOT NULL)),
    CONSTRAINT failures_name_their_source CHECK ((state = 'failed') = (failure_source IS NOT NULL)),
    CONSTRAINT skips_give_a_reason CHECK (state <> 'skipped' OR reason IS NOT NULL)
);
-- (kind, slot, symbol) rather than (kind, symbol, slot): a tick then appends to one place of the index.
CREATE UNIQUE INDEX runs_one_per_slot ON runs (kind, slot, symbol) WHERE request_key IS NULL;
CREATE UNIQUE INDEX runs_one_per_request ON runs (request_key) WHERE request_key IS NOT NULL;
CREATE INDEX runs_pending ON runs (kind, slot, id) WHERE state = 'pending';
CREATE INDEX runs_parked ON runs (kind, slot, id) WHERE state = 'pending' AND parked;
CREATE INDEX runs_running ON runs (kind) WHERE state = 'running';
-- Dead row versions of a queue table make every index probe dearer; vacuum by the hundred, not by the fifth.
ALTER TABLE runs SET (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 500,
                      autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.02);

CREATE TABLE run_dependencies (
    run_id bigint NOT NULL REFERENCES runs,
    depends_on_id bigint NOT NULL REFERENCES runs,
    required boolean NOT NULL,
    PRIMARY KEY (run_id, depends_on_id),
    CHECK (run_id <> depends_on_id)
);
CREATE INDEX run_dependencies_reverse ON run_dependencies (depends_on_id);

-- Whether one more run of a kind may start. A function, because only a function's inner query sees what
-- was committed while it waited for the lock: counted in the claim's own snapshot, racing claims would overshoot.
CREATE FUNCTION kind_has_room(claimed_id bigint, claimed_kind text, max_of_kind integer, max_overall integer)
RETURNS boolean LANGUAGE plpgsql VOLATILE COST 10000 AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('aaos.claim'));
    RETURN (
        SELECT count(*) FILTER (WHERE kind = claimed_kind) < max_of_kind AND count(*) < max_overall
        FROM runs WHERE state = 'running' AND id <> claimed_id
    );
END
$$;
"""

RESULTS = """
CREATE TABLE results (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_id bigint NOT NULL UNIQUE REFERENCES runs,
    fence bigint NOT NULL,
    kind text NOT NULL,
    symbol text NOT NULL,
    slot timestamptz NOT NULL,
    scheduled boolean NOT NULL,
    analyzed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    schema_version smallint NOT NULL DEFAULT 1,
    body json NOT NULL,  -- json, not jsonb: the text is kept to the byte, so its hash can be checked
    content_hash text NOT NULL,
    inputs json NOT NULL
);
CREATE INDEX results_by_symbol ON results (symbol, kind, slot DESC);

CREATE TABLE outbox (
    result_id bigint PRIMARY KEY REFERENCES results,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    published_at timestamptz,
    stream_id text
);
CREATE INDEX outbox_waiting ON outbox (result_id) WHERE published_at IS NULL;
ALTER TABLE outbox SET (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 500);
"""

LEDGER = """
CREATE TABLE sovereign_calls (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_id bigint NOT NULL REFERENCES runs,
    fence bigint NOT NULL,
    model text NOT NULL,
    prompt_hash text NOT NULL,
    request json NOT NULL,
    state text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'answered', 'failed', 'abandoned')),
    answer json,
    tokens_in integer,
    tokens_out integer,
    latency_ms real,
    error_code text,
    error_message text,
    began_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended_at timestamptz
);
CREATE INDEX sovereign_calls_of_run ON sovereign_calls (run_id);
-- One accepted answer, so one charge, per run and prompt.
CREATE UNIQUE INDEX sovereign_calls_one_answer ON sovereign_calls (run_id, prompt_hash) WHERE state = 'answered';

CREATE TABLE alerts (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    kind text NOT NULL,
    message text NOT NULL,
    details json NOT NULL DEFAULT '{}'
);
CREATE INDEX alerts_recent ON alerts (created_at);
"""

MARKET = """
CREATE TABLE market_series (
    source text NOT NULL,
    symbol text NOT NULL,
    timeframe text NOT NULL,
    content_hash text NOT NULL,
    first_open_ms bigint NOT NULL,
    last_open_ms bigint NOT NULL,
    active boolean NOT NULL DEFAULT true,
    PRIMARY KEY (source, symbol, timeframe)
);
-- How the market's time maps to the wall clock; appended to, so that an old slot always maps as it did.
CREATE TABLE market_anchors (
    source text NOT NULL,
    symbol text NOT NULL,
    wall_ms bigint NOT NULL,
    market_ms bigint NOT NULL,
    speed double precision NOT NULL CHECK (speed > 0),
    PRIMARY KEY (source, symbol, wall_ms)
);
CREATE TABLE candles (
    source text NOT NULL,
    symbol text NOT NULL,
    timeframe text NOT NULL,
    open_ms bigint NOT NULL,
    open double precision NOT NULL,
    high double precision NOT NULL,
    low double precision NOT NULL,
    close double precision NOT NULL,
    volume double precision NOT NULL,
    PRIMARY KEY (source, symbol, timeframe, open_ms)
);
"""


def upgrade() -> None:
    for block in (RUNS, RESULTS, LEDGER, MARKET):
        op.execute(block)


def downgrade() -> None:
    op.execute("DROP TABLE candles, market_anchors, market_series, alerts, sovereign_calls, outbox, results")
    op.execute("DROP TABLE run_dependencies, runs")
    op.execute("DROP FUNCTION kind_has_room")
    op.execute("DROP SEQUENCE run_fence")
