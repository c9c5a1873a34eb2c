"""Scheduled trades of the portfolio."""

from alembic import op

revision = "0007"
down_revision = "0006"

# A trade is made at most once because of three things that the database keeps, whoever asks (F07): a row is claimed
# under its lock; a trade that was released never becomes planned again and never changes its risk run; a risk run
# belongs to one trade. What was planned (symbol, side, quantity, when) is never changed.
TRADES = """
CREATE TABLE scheduled_trades (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    rebalance_run bigint NOT NULL REFERENCES runs,
    account text NOT NULL,
    symbol text NOT NULL,
    side text NOT NULL CHECK (side IN ('buy', 'sell')),
    quantity numeric NOT NULL CHECK (quantity > 0 AND quantity < 'Infinity'),
    batch smallint NOT NULL CHECK (batch >= 0),
    state text NOT NULL DEFAULT 'planned' CHECK (state IN ('planned', 'released', 'done', 'skipped', 'expired')),
    due_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    risk_run bigint UNIQUE REFERENCES runs,
    outcome text,
    why text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    released_at timestamptz,
    ended_at timestamptz,
    CONSTRAINT trades_expire_after_they_are_due CHECK (expires_at > due_at),
    CONSTRAINT planned_trades_have_no_risk_run CHECK (state <> 'planned' OR risk_run IS NULL),
    CONSTRAINT released_trades_have_a_risk_run CHECK (state NOT IN ('released', 'done') OR risk_run IS NOT NULL),
    CONSTRAINT releases_have_an_instant CHECK ((risk_run IS NULL) = (released_at IS NULL)),
    CONSTRAINT ends_have_an_outcome
        CHECK ((state IN ('done', 'skipped', 'expired')) = (num_nulls(outcome, ended_at) = 0))
);
CREATE INDEX scheduled_trades_planned ON scheduled_trades (due_at, id) WHERE state = 'planned';
CREATE INDEX scheduled_trades_by_account ON scheduled_trades (account, id);
CREATE INDEX scheduled_trades_under_way ON scheduled_trades (id) WHERE state = 'released';
CREATE INDEX scheduled_trades_by_rebalance ON scheduled_trades (rebalance_run, id);
ALTER TABLE scheduled_trades SET (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 500);

CREATE FUNCTION keep_trades_going_forward() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.state IN ('done', 'skipped', 'expired') THEN
        RAISE EXCEPTION 'trade % is %; that is never changed', OLD.id, OLD.state
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF OLD.state = 'released' AND NEW.state = 'planned' THEN
        RAISE EXCEPTION 'trade % was released; it is never released again', OLD.id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF OLD.risk_run IS NOT NULL AND NEW.risk_run IS DISTINCT FROM OLD.risk_run THEN
        RAISE EXCEPTION 'trade % has risk run %; it gets no other', OLD.id, OLD.risk_run
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF (NEW.id, NEW.rebalance_run, NEW.account, NEW.symbol, NEW.side, NEW.quantity, NEW.batch)
       IS DISTINCT FROM
       (OLD.id, OLD.rebalance_run, OLD.account, OLD.symbol, OLD.side, OLD.quantity, OLD.batch) THEN
        RAISE EXCEPTION 'trade %: what was planned is never changed', OLD.id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER trades_go_forward BEFORE UPDATE ON scheduled_trades FOR EACH ROW
EXECUTE FUNCTION keep_trades_going_forward();
"""


def upgrade() -> None:
    op.execute(TRADES)


def downgrade() -> None:
    op.execute("DROP TABLE scheduled_trades")
    op.execute("DROP FUNCTION keep_trades_going_forward")
