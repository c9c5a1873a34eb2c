"""The paper venue: its own accounts, orders, trades and positions."""

from alembic import op

revision = "0006"
down_revision = "0005"

# A schema of its own, and no reference from or to our books: the venue's word and ours can be compared because
# neither is made from the other. The row of an account is the lock under which everything of it changes.
LEDGER = """
CREATE SCHEMA paper;

CREATE TABLE paper.accounts (
    name text PRIMARY KEY,
    opened_at timestamptz NOT NULL,
    seen_at timestamptz NOT NULL,
    deposits numeric NOT NULL DEFAULT 0,
    realised numeric NOT NULL DEFAULT 0,
    fees numeric NOT NULL DEFAULT 0 CHECK (fees >= 0),
    funding numeric NOT NULL DEFAULT 0,
    liquidation_fees numeric NOT NULL DEFAULT 0 CHECK (liquidation_fees >= 0),
    cash numeric GENERATED ALWAYS AS (deposits + realised - fees + funding - liquidation_fees) STORED,
    next_number bigint NOT NULL DEFAULT 1
);

CREATE TABLE paper.instruments (
    symbol text PRIMARY KEY,
    price_step numeric NOT NULL CHECK (price_step > 0),
    quantity_step numeric NOT NULL CHECK (quantity_step > 0),
    min_quantity numeric NOT NULL CHECK (min_quantity > 0),
    listed_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE paper.orders (
    account text NOT NULL REFERENCES paper.accounts (name),
    number bigint NOT NULL,
    venue_order_id text NOT NULL,
    client_order_id text,
    symbol text NOT NULL,
    side text NOT NULL CHECK (side IN ('buy', 'sell')),
    type text NOT NULL CHECK (type IN ('limit', 'market', 'stop_market', 'take_profit_market')),
    quantity numeric NOT NULL CHECK (quantity > 0),
    leverage numeric NOT NULL CHECK (leverage >= 1),
    price numeric CHECK (price > 0),
    trigger_price numeric CHECK (trigger_price > 0),
    reduce_only boolean NOT NULL,
    state text NOT NULL CHECK (state IN ('working', 'filled', 'canceled', 'rejected', 'expired')),
    filled numeric NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    visible_at timestamptz NOT NULL,
    triggered boolean NOT NULL,
    reason text,
    PRIMARY KEY (account, number),
    CONSTRAINT no_more_is_filled_than_was_ordered CHECK (filled BETWEEN 0 AND quantity),
    CONSTRAINT filled_means_all_of_it CHECK ((state = 'filled') = (filled = quantity))
);
-- As at real venues a client's id is taken among open orders only: whoever sends again after the end buys twice.
CREATE UNIQUE INDEX client_ids_of_open_orders ON paper.orders (account, client_order_id) WHERE state = 'working';
CREATE INDEX paper_orders_open ON paper.orders (account, number) WHERE state = 'working';
CREATE INDEX paper_orders_by_client_id ON paper.orders (account, client_order_id, number);

CREATE TABLE paper.trades (
    account text NOT NULL,
    number bigint NOT NULL,
    order_number bigint NOT NULL,
    trade_id text NOT NULL,
    symbol text NOT NULL,
    side text NOT NULL CHECK (side IN ('buy', 'sell')),
    quantity numeric NOT NULL CHECK (quantity > 0),
    price numeric NOT NULL CHECK (price > 0),
    fee numeric NOT NULL CHECK (fee >= 0),
    liquidity text NOT NULL CHECK (liquidity IN ('maker', 'taker')),
    realised numeric NOT NULL,
    filled_at timestamptz NOT NULL,
    reported_at timestamptz NOT NULL,
    PRIMARY KEY (account, number),
    UNIQUE (account, trade_id),
    FOREIGN KEY (account, order_number) REFERENCES paper.orders (account, number)
);
CREATE INDEX paper_trades_by_time ON paper.trades (account, filled_at, number);
CREATE INDEX paper_trades_by_order ON paper.trades (account, order_number);

CREATE TABLE paper.positions (
    account text NOT NULL REFERENCES paper.accounts (name),
    symbol text NOT NULL,
    quantity numeric NOT NULL CHECK (quantity <> 0),
    cost numeric NOT NULL CHECK (cost > 0),
    margin numeric NOT NULL CHECK (margin >= 0),
    PRIMARY KEY (account, symbol)
);

CREATE TABLE paper.cash_flows (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account text NOT NULL REFERENCES paper.accounts (name),
    flow_id text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('deposit', 'withdrawal', 'funding', 'liquidation_fee')),
    symbol text,
    amount numeric NOT NULL,
    at timestamptz NOT NULL,
    UNIQUE (account, flow_id)
);
CREATE INDEX paper_cash_flows_by_time ON paper.cash_flows (account, at, id);

-- How far each account has been matched with each market, and what of the newest book it has taken.
CREATE TABLE paper.views (
    account text NOT NULL REFERENCES paper.accounts (name),
    symbol text NOT NULL,
    looked_until timestamptz NOT NULL,
    as_of timestamptz NOT NULL,
    mid numeric,
    used json NOT NULL,
    PRIMARY KEY (account, symbol)
);

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON paper.trades
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON paper.cash_flows
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
"""

CONDUCT = """
CREATE TABLE paper.misbehaviours (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    mode text NOT NULL,
    account text,
    methods text[] NOT NULL,
    share double precision NOT NULL CHECK (share > 0 AND share <= 1),
    seconds double precision NOT NULL CHECK (seconds >= 0),
    seed bigint NOT NULL,
    calls_left bigint CHECK (calls_left >= 0),
    seen bigint NOT NULL DEFAULT 0,
    made_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX paper_misbehaviours_in_force ON paper.misbehaviours (id) WHERE calls_left IS DISTINCT FROM 0;

CREATE TABLE paper.requests (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL,
    account text NOT NULL,
    method text NOT NULL,
    outcome text NOT NULL,
    client_order_id text,
    venue_order_id text,
    symbol text,
    reduce_only boolean,
    misbehaviour text
);
CREATE INDEX paper_requests_by_account ON paper.requests (account, id);
"""


def upgrade() -> None:
    for block in (LEDGER, CONDUCT):
        op.execute(block)


def downgrade() -> None:
    op.execute("DROP SCHEMA paper CASCADE")
