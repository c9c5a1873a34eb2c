"""Approvals of risk, orders, fills, cash, positions, and the trading switch."""

from alembic import op

from aaos.adapters.postgres.trading_guards import ORDER_RULES, ORDER_STEPS, POSITION_RULES

revision = "0005"
down_revision = "0004"

# Who may do what to these tables stands in docs/trading-store.md. In short: what one process could get wrong, or one
# stolen login could try, the tables themselves refuse. Everything that changes an account locks its row of
# account_books first (lock_account), then what it needs of positions, orders and approvals, in that order.
AMOUNTS = """
-- NaN lies above Infinity in PostgreSQL: what is below it is a number.
CREATE DOMAIN amount AS numeric CHECK (VALUE > '-Infinity' AND VALUE < 'Infinity');
CREATE DOMAIN positive_amount AS numeric CHECK (VALUE > 0 AND VALUE < 'Infinity');
"""

ACCOUNTS = """
CREATE TABLE trading_namespace (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    id uuid NOT NULL DEFAULT gen_random_uuid()
);
INSERT INTO trading_namespace DEFAULT VALUES;
CREATE TRIGGER never_changed BEFORE UPDATE OR DELETE OR TRUNCATE ON trading_namespace
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE TABLE trading_switch (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    epoch bigint NOT NULL,
    stopped boolean NOT NULL,
    changed_by text NOT NULL,
    reason text NOT NULL,
    changed_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
INSERT INTO trading_switch (epoch, stopped, changed_by, reason) VALUES (1, false, 'migration', 'never stopped');
CREATE TRIGGER never_removed BEFORE DELETE OR TRUNCATE ON trading_switch
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
-- Whoever read an epoch and finds it again knows that nothing was stopped in between.
CREATE FUNCTION epoch_rises() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.epoch <= OLD.epoch THEN
        RAISE EXCEPTION 'the epoch of the trading switch only rises: % after % refused', NEW.epoch, OLD.epoch
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER epoch_rises BEFORE UPDATE ON trading_switch FOR EACH ROW EXECUTE FUNCTION epoch_rises();

-- `version` counts what changed an account's risk, `dirty_version` what put its books in doubt (`why` says what).
CREATE TABLE account_books (
    account text PRIMARY KEY,
    version bigint NOT NULL DEFAULT 0,
    cash amount NOT NULL DEFAULT 0,
    why text,
    dirty_version bigint NOT NULL DEFAULT 0,
    reconciled_at timestamptz
) WITH (fillfactor = 50);
ALTER TABLE account_books SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200);
CREATE FUNCTION versions_rise() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.version < OLD.version OR NEW.dirty_version < OLD.dirty_version OR NEW.account <> OLD.account THEN
        RAISE EXCEPTION 'the versions of account % only rise', OLD.account
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER versions_rise BEFORE UPDATE ON account_books FOR EACH ROW EXECUTE FUNCTION versions_rise();
CREATE TRIGGER never_removed BEFORE DELETE OR TRUNCATE ON account_books
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- The first lock of whoever changes an account. A function, since what follows in it, and after it, sees what was
-- committed while it waited; definer's rights, since a lock on a row asks for the right to change it.
CREATE FUNCTION lock_account(name text) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    found_version bigint;
BEGIN
    SELECT version INTO found_version FROM account_books WHERE account = name FOR UPDATE;
    IF NOT FOUND THEN
        INSERT INTO account_books (account) VALUES (name) ON CONFLICT DO NOTHING;
        SELECT version INTO STRICT found_version FROM account_books WHERE account = name FOR UPDATE;
    END IF;
    RETURN found_version;
END
$$;

CREATE FUNCTION books_moved() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    INSERT INTO account_books (account, version) VALUES (NEW.account, 1)
    ON CONFLICT (account) DO UPDATE SET version = account_books.version + 1;
    RETURN NULL;
END
$$;
"""

APPROVALS = """
CREATE TABLE risk_approvals (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_id bigint NOT NULL REFERENCES runs,
    source text NOT NULL UNIQUE,
    source_hash text NOT NULL,
    account text NOT NULL,
    symbol text NOT NULL,
    side text NOT NULL CHECK (side IN ('buy', 'sell')),
    quantity positive_amount NOT NULL,
    leverage positive_amount NOT NULL,
    entry_price positive_amount NOT NULL,
    limit_price positive_amount,
    stop_price positive_amount,
    take_profit_price positive_amount,
    reduce_only boolean NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at timestamptz NOT NULL,
    used_at timestamptz,
    used_by bigint UNIQUE,
    CONSTRAINT approvals_end CHECK (expires_at > created_at AND expires_at < 'infinity'),
    CONSTRAINT used_up_by_an_order CHECK ((used_at IS NULL) = (used_by IS NULL))
);
CREATE INDEX risk_approvals_unused ON risk_approvals (account, expires_at) WHERE used_at IS NULL;
CREATE TRIGGER never_removed BEFORE DELETE OR TRUNCATE ON risk_approvals
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE FUNCTION approval_is_used_once() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.used_at IS NOT NULL THEN
        RAISE EXCEPTION 'the approval of % is used up: no change', OLD.source
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'approval_unused';
    END IF;
    OLD.used_at := NEW.used_at;
    OLD.used_by := NEW.used_by;
    IF OLD IS DISTINCT FROM NEW THEN
        RAISE EXCEPTION 'what was approved for % stays as it is', NEW.source
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'approval_unchanged';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER used_once BEFORE UPDATE ON risk_approvals FOR EACH ROW EXECUTE FUNCTION approval_is_used_once();
CREATE TRIGGER books_moved AFTER INSERT OR UPDATE ON risk_approvals FOR EACH ROW EXECUTE FUNCTION books_moved();
"""

ORDERS = """
CREATE TABLE orders (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    client_order_id text NOT NULL UNIQUE CHECK (client_order_id ~ '^[A-Za-z0-9_-]{1,36}$'),
    approval_id bigint NOT NULL CONSTRAINT approval_exists REFERENCES risk_approvals,
    source text NOT NULL,
    source_hash text NOT NULL,
    account text NOT NULL,
    leg text NOT NULL,
    symbol text NOT NULL,
    side text NOT NULL CHECK (side IN ('buy', 'sell')),
    type text NOT NULL CHECK (type IN ('limit', 'market', 'stop_market', 'take_profit_market')),
    quantity positive_amount NOT NULL,
    leverage positive_amount NOT NULL,
    price positive_amount,
    trigger_price positive_amount,
    reduce_only boolean NOT NULL,
    stop_epoch bigint NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- What may change after that, each in one direction:
    state text NOT NULL DEFAULT 'intent' CHECK (state IN ('intent', 'working', 'unknown', 'filled', 'canceled',
        'rejected', 'expired', 'withdrawn', 'quarantined')),
    filled amount NOT NULL DEFAULT 0 CHECK (filled >= 0),  -- the sum of its fills
    reported_filled amount NOT NULL DEFAULT 0 CHECK (reported_filled >= 0),  -- the venue's word, ahead of its fills
    venue_order_id text,
    reason text,
    released_at timestamptz,
    released_by text,
    changed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT one_order_per_leg UNIQUE (source, leg),
    CONSTRAINT orders_of_approvals UNIQUE (id, approval_id),
    CONSTRAINT limits_have_a_price CHECK ((type = 'limit') = (price IS NOT NULL)),
    CONSTRAINT stops_have_a_trigger
        CHECK ((type IN ('stop_market', 'take_profit_market')) = (trigger_price IS NOT NULL)),
    CONSTRAINT only_quarantined_orders_are_released
        CHECK (num_nulls(released_at, released_by) IN (0, 2) AND (released_at IS NULL OR state = 'quarantined'))
);
ALTER TABLE risk_approvals ADD CONSTRAINT used_by_its_own_order
    FOREIGN KEY (used_by, id) REFERENCES orders (id, approval_id);
CREATE INDEX orders_unsettled ON orders (account, state, id)
    WHERE state IN ('intent', 'working', 'unknown', 'quarantined') AND released_at IS NULL;
CREATE INDEX orders_ahead_of_fills ON orders (account) WHERE reported_filled > filled;
CREATE INDEX orders_at_the_venue ON orders (account, venue_order_id) WHERE venue_order_id IS NOT NULL;
CREATE INDEX orders_by_symbol ON orders (symbol, id);
ALTER TABLE orders SET (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 500);
CREATE TRIGGER never_removed BEFORE DELETE OR TRUNCATE ON orders
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
"""

BOOKS = """
CREATE TABLE positions (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account text NOT NULL,
    symbol text NOT NULL,
    source text,
    quantity amount NOT NULL,
    average_entry positive_amount NOT NULL,
    peak_quantity positive_amount NOT NULL,
    leverage positive_amount NOT NULL,
    realised amount NOT NULL,
    fees amount NOT NULL,
    funding amount NOT NULL,
    net amount NOT NULL GENERATED ALWAYS AS (realised - fees + funding) STORED,
    stop_price positive_amount,
    take_profit_price positive_amount,
    opened_at timestamptz NOT NULL,
    closed_at timestamptz,
    CONSTRAINT closed_positions_are_flat CHECK ((quantity = 0) = (closed_at IS NOT NULL)),
    CONSTRAINT positions_close_after_they_open CHECK (closed_at >= opened_at)
);
CREATE UNIQUE INDEX one_open_position ON positions (account, symbol) WHERE closed_at IS NULL;
CREATE INDEX positions_closed ON positions (account, closed_at DESC, id DESC) WHERE closed_at IS NOT NULL;
CREATE INDEX positions_by_opening ON positions (account, symbol, opened_at DESC, id DESC);
CREATE TRIGGER never_removed BEFORE DELETE OR TRUNCATE ON positions
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER books_moved_by_insert AFTER INSERT ON positions FOR EACH ROW EXECUTE FUNCTION books_moved();
CREATE TRIGGER books_moved_by_update AFTER UPDATE ON positions FOR EACH ROW
    WHEN (OLD.quantity <> NEW.quantity OR OLD.average_entry <> NEW.average_entry OR OLD.net <> NEW.net)
    EXECUTE FUNCTION books_moved();

CREATE TABLE fills (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account text NOT NULL,
    trade_id text NOT NULL,
    order_id bigint REFERENCES orders,
    venue_order_id text NOT NULL,
    client_order_id text,
    symbol text NOT NULL,
    side text NOT NULL CHECK (side IN ('buy', 'sell')),
    quantity positive_amount NOT NULL,
    price positive_amount NOT NULL,
    fee amount NOT NULL,
    liquidity text NOT NULL CHECK (liquidity IN ('maker', 'taker')),
    filled_at timestamptz NOT NULL,
    booked_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT one_fill_per_trade UNIQUE (account, trade_id)
);
CREATE INDEX fills_of_order ON fills (order_id);
CREATE INDEX fills_newest ON fills (account, filled_at);
CREATE TABLE cash_flows (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account text NOT NULL,
    flow_id text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('deposit', 'withdrawal', 'funding', 'liquidation_fee')),
    symbol text,
    amount amount NOT NULL,
    at timestamptz NOT NULL,
    booked_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT one_flow_per_id UNIQUE (account, flow_id)
);
CREATE INDEX cash_flows_newest ON cash_flows (account, at);
CREATE TABLE equity_points (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account text NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    cash amount NOT NULL,
    unrealised amount NOT NULL,
    equity amount NOT NULL GENERATED ALWAYS AS (cash + unrealised) STORED
);
CREATE INDEX equity_points_by_time ON equity_points (account, at, id);
CREATE INDEX equity_points_by_height ON equity_points (account, equity DESC);
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON fills
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON cash_flows
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON equity_points
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER books_moved AFTER INSERT ON fills FOR EACH ROW EXECUTE FUNCTION books_moved();
CREATE TRIGGER books_moved AFTER INSERT ON cash_flows FOR EACH ROW EXECUTE FUNCTION books_moved();
"""


def upgrade() -> None:
    for block in (AMOUNTS, ACCOUNTS, APPROVALS, ORDERS, BOOKS, ORDER_RULES, ORDER_STEPS, POSITION_RULES):
        op.execute(block)
    # Triggers fire all the same; nobody hangs these functions, with their owner's rights, on a table of their own.
    op.execute("REVOKE EXECUTE ON FUNCTION books_moved(), order_is_approved() FROM PUBLIC")


def downgrade() -> None:
    op.execute("""
        DROP FUNCTION intend_order, settle_order, entries_held, entry_breaks, exit_breaks;
        DROP TABLE equity_points, cash_flows, fills, positions, orders, risk_approvals CASCADE;
        DROP TABLE account_books, trading_switch, trading_namespace;
        DROP FUNCTION order_is_approved, order_keeps_its_word, order_may_become, approval_is_used_once,
            position_keeps_its_side, books_moved, lock_account, versions_rise, epoch_rises;
        DROP DOMAIN amount, positive_amount;
    """)
