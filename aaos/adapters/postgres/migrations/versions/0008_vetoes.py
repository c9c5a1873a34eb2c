"""The veto ledger: refused trades, and what the market did afterwards."""

from alembic import op

revision = "0008"
down_revision = "0007"

# One row per source and stage, inserted in the transaction of the run that refused. `unread` is all that is done there;
# the scoring task works out what to wait for (`waiting`) and, once the horizon is over, ends it for good (`scored` or
# `unscorable`). Rows reference nothing: they hold all that is needed to compute the outcome again, and outlive what
# retention drops. A numeric's NaN is greater than its infinity, so `< 'Infinity'` keeps both out.
VETOES = """
CREATE TABLE vetoes (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_id bigint NOT NULL,
    vetoed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    source text NOT NULL,
    stage text NOT NULL CHECK (stage IN ('decision', 'review', 'risk', 'execution')),
    code text NOT NULL CHECK (code <> ''),
    reason text NOT NULL,
    symbol text NOT NULL,
    side text NOT NULL CHECK (side IN ('buy', 'sell')),
    market_ms bigint NOT NULL CHECK (market_ms > 0),
    price numeric NOT NULL CHECK (price > 0 AND price < 'Infinity'),
    quantity numeric CHECK (quantity > 0 AND quantity < 'Infinity'),
    leverage numeric CHECK (leverage > 0 AND leverage < 'Infinity'),
    stop_price numeric CHECK (stop_price > 0 AND stop_price < 'Infinity'),
    take_profit_price numeric CHECK (take_profit_price > 0 AND take_profit_price < 'Infinity'),
    state text NOT NULL DEFAULT 'unread' CHECK (state IN ('unread', 'waiting', 'scored', 'unscorable')),
    timeframe text,
    anchor_ms bigint,
    market_candles integer CHECK (market_candles > 0),
    market_hash text,
    horizon_candles integer CHECK (horizon_candles > 0),
    due_ms bigint,
    taker_fee numeric CHECK (taker_fee >= 0 AND taker_fee < 1),
    stop_at numeric CHECK (stop_at > 0),
    profit_at numeric CHECK (profit_at > 0),
    after_ms bigint,
    exit_by text CHECK (exit_by IN ('stop', 'take_profit', 'horizon')),
    exit_price numeric CHECK (exit_price > 0),
    return_pct numeric,
    result_quote numeric,
    why text,
    scored_at timestamptz,
    CONSTRAINT one_veto_per_source_and_stage UNIQUE (source, stage),
    CONSTRAINT waiting_vetoes_can_be_scored CHECK (state NOT IN ('waiting', 'scored') OR num_nulls(
        timeframe, anchor_ms, market_candles, market_hash, horizon_candles, due_ms, taker_fee) = 0),
    CONSTRAINT veto_outcomes_are_whole
        CHECK ((state = 'scored') = (num_nulls(after_ms, exit_by, exit_price, return_pct) = 0)),
    CONSTRAINT veto_outcomes_lie_after_the_veto CHECK (after_ms > anchor_ms AND after_ms <= due_ms),
    CONSTRAINT veto_results_follow_a_quantity
        CHECK (state <> 'scored' OR (result_quote IS NULL) = (quantity IS NULL)),
    CONSTRAINT ended_vetoes_have_an_instant CHECK ((state IN ('unread', 'waiting')) = (scored_at IS NULL)),
    CONSTRAINT unscorable_vetoes_say_why CHECK ((state = 'unscorable') = (why IS NOT NULL))
);
CREATE INDEX vetoes_unread ON vetoes (id) WHERE state = 'unread';
CREATE INDEX vetoes_waiting ON vetoes (symbol, timeframe, due_ms) WHERE state = 'waiting';
CREATE INDEX vetoes_scored ON vetoes (id) WHERE state = 'scored';

-- What was refused, and what became of it, is history: neither changes, and nothing is deleted.
CREATE FUNCTION keep_veto() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' OR OLD.state IN ('scored', 'unscorable')
        OR (OLD.state = 'waiting' AND NEW.state IN ('unread', 'waiting'))
        OR (OLD.run_id, OLD.vetoed_at, OLD.source, OLD.stage, OLD.code, OLD.reason, OLD.symbol, OLD.side,
            OLD.market_ms, OLD.price, OLD.quantity, OLD.leverage, OLD.stop_price, OLD.take_profit_price)
        IS DISTINCT FROM
           (NEW.run_id, NEW.vetoed_at, NEW.source, NEW.stage, NEW.code, NEW.reason, NEW.symbol, NEW.side,
            NEW.market_ms, NEW.price, NEW.quantity, NEW.leverage, NEW.stop_price, NEW.take_profit_price)
    THEN
        RAISE EXCEPTION 'veto % is history: it is scored once and never changed', OLD.id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER vetoes_kept BEFORE UPDATE OR DELETE ON vetoes FOR EACH ROW EXECUTE FUNCTION keep_veto();
CREATE TRIGGER never_emptied BEFORE TRUNCATE ON vetoes FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
"""


def upgrade() -> None:
    op.execute(VETOES)


def downgrade() -> None:
    op.execute("DROP TABLE vetoes")
    op.execute("DROP FUNCTION keep_veto")
