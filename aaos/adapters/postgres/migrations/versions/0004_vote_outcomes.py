"""Outcomes of votes: what the market did afterwards."""

from alembic import op

revision = "0004"
down_revision = "0003"

# One row per stored vote, made in the transaction that stores the vote: nothing has to search for votes that were
# not looked at yet, and none can be missed, whatever order ids commit in. `unread` is all that is done there; the
# scoring task reads the vote (`waiting`, `held` or `unscorable`) and, once its horizon is over, ends it for good
# (`scored` or `unscorable`). Rows do not reference `results`: they hold all that is needed to compute every figure
# again, and outlive what retention drops.
OUTCOMES = """
CREATE TABLE vote_outcomes (
    result_id bigint PRIMARY KEY,
    voted_at timestamptz NOT NULL,
    state text NOT NULL DEFAULT 'unread' CHECK (state IN ('unread', 'waiting', 'held', 'scored', 'unscorable')),
    symbol text NOT NULL,
    voter text,
    model text,
    fallback_used boolean,
    regime text,
    signal text CHECK (signal IN ('BUY', 'SELL', 'HOLD')),
    confidence double precision CHECK (confidence BETWEEN 0 AND 1),
    timeframe text,
    candle_ms bigint,
    close_then double precision CHECK (close_then > 0),
    market_candles integer CHECK (market_candles > 0),
    market_hash text,
    horizon_candles integer CHECK (horizon_candles > 0),
    min_move_fraction double precision CHECK (min_move_fraction >= 0),
    due_ms bigint,
    after_ms bigint,
    close_after double precision CHECK (close_after > 0),
    correct boolean,
    squared_error double precision CHECK (squared_error BETWEEN 0 AND 1),
    reason text,
    scored_at timestamptz,
    CONSTRAINT waiting_votes_can_be_scored CHECK (state NOT IN ('waiting', 'scored') OR (
        num_nulls(voter, model, fallback_used, regime, confidence, timeframe, candle_ms, close_then, market_candles,
                  market_hash, horizon_candles, min_move_fraction, due_ms) = 0 AND signal IN ('BUY', 'SELL'))),
    CONSTRAINT scores_are_whole
        CHECK ((state = 'scored') = (num_nulls(after_ms, close_after, correct, squared_error) = 0)),
    CONSTRAINT outcomes_lie_after_the_vote CHECK (after_ms > candle_ms AND after_ms <= due_ms),
    CONSTRAINT ends_have_an_instant CHECK ((state IN ('unread', 'waiting')) = (scored_at IS NULL)),
    CONSTRAINT what_cannot_be_scored_says_why CHECK (state <> 'unscorable' OR reason IS NOT NULL)
);
CREATE INDEX vote_outcomes_unread ON vote_outcomes (result_id) WHERE state = 'unread';
CREATE INDEX vote_outcomes_waiting ON vote_outcomes (symbol, timeframe, due_ms) WHERE state = 'waiting';
CREATE INDEX vote_outcomes_scored ON vote_outcomes (horizon_candles, result_id) WHERE state = 'scored';
-- Two updates per row, the last one soon after the first: vacuum by the hundred, not by the fifth.
ALTER TABLE vote_outcomes SET (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 500);

CREATE FUNCTION remember_vote() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO vote_outcomes (result_id, voted_at, symbol) VALUES (NEW.id, NEW.analyzed_at, NEW.symbol);
    RETURN NULL;
END
$$;
CREATE TRIGGER votes_remembered AFTER INSERT ON results FOR EACH ROW
WHEN (NEW.kind = 'trading_analysis') EXECUTE FUNCTION remember_vote();

-- The votes that are there already.
INSERT INTO vote_outcomes (result_id, voted_at, symbol)
SELECT id, analyzed_at, symbol FROM results WHERE kind = 'trading_analysis';
"""


def upgrade() -> None:
    op.execute(OUTCOMES)


def downgrade() -> None:
    op.execute("DROP TRIGGER votes_remembered ON results")
    op.execute("DROP FUNCTION remember_vote")
    op.execute("DROP TABLE vote_outcomes")
