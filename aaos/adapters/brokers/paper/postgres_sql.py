"""The statements of the paper venue's ledger."""

from __future__ import annotations

from sqlalchemy import text

OPEN_ACCOUNT = text("""
    INSERT INTO paper.accounts (name, opened_at, seen_at) VALUES (:account, :now, :now) ON CONFLICT (name) DO NOTHING
""")
HOLD_ACCOUNT = text("""
    SELECT seen_at, deposits, realised, fees, funding, liquidation_fees, next_number,
           EXISTS (SELECT FROM paper.misbehaviours WHERE calls_left IS DISTINCT FROM 0) AS misbehaves
    FROM paper.accounts WHERE name = :account FOR UPDATE
""")
OPEN_ORDERS = text("""
    SELECT number, venue_order_id, client_order_id, symbol, side, type, quantity, leverage, price, trigger_price,
           reduce_only, state, filled, created_at, updated_at, visible_at, triggered, reason
    FROM paper.orders WHERE account = :account AND state = 'working' ORDER BY number
""")
NAMED_ORDER = text("""
    SELECT number, venue_order_id, client_order_id, symbol, side, type, quantity, leverage, price, trigger_price,
           reduce_only, state, filled, created_at, updated_at, visible_at, triggered, reason
    FROM paper.orders WHERE account = :account AND client_order_id = :client_order_id AND symbol = :symbol
    ORDER BY number DESC LIMIT 1
""")
NEWEST_ORDERS = text("""
    SELECT number, venue_order_id, client_order_id, symbol, side, type, quantity, leverage, price, trigger_price,
           reduce_only, state, filled, created_at, updated_at, visible_at, triggered, reason
    FROM paper.orders WHERE account = :account AND (NOT :open_only OR state = 'working')
    ORDER BY number DESC LIMIT :limit
""")
POSITIONS = text("SELECT symbol, quantity, cost, margin FROM paper.positions WHERE account = :account")
VIEWS = text("SELECT symbol, looked_until, as_of, mid, used FROM paper.views WHERE account = :account")
GRID = text("SELECT price_step, quantity_step, min_quantity FROM paper.instruments WHERE symbol = :symbol")
LIST_SYMBOL = text("""
    INSERT INTO paper.instruments (symbol, price_step, quantity_step, min_quantity)
    VALUES (:symbol, :price_step, :quantity_step, :min_quantity) ON CONFLICT (symbol) DO NOTHING
""")

SAVE_ACCOUNT = text("""
    UPDATE paper.accounts SET seen_at = :seen_at, deposits = :deposits, realised = :realised, fees = :fees,
        funding = :funding, liquidation_fees = :liquidation_fees, next_number = :next_number
    WHERE name = :account
""")
SAVE_ORDERS = text("""
    INSERT INTO paper.orders (account, number, venue_order_id, client_order_id, symbol, side, type, quantity, leverage,
        price, trigger_price, reduce_only, state, filled, created_at, updated_at, visible_at, triggered, reason)
    SELECT :account, n.* FROM json_to_recordset(CAST(:rows AS json)) AS n(
        number bigint, venue_order_id text, client_order_id text, symbol text, side text, type text, quantity numeric,
        leverage numeric, price numeric, trigger_price numeric, reduce_only boolean, state text, filled numeric,
        created_at timestamptz, updated_at timestamptz, visible_at timestamptz, triggered boolean, reason text)
    ON CONFLICT (account, number) DO UPDATE SET state = EXCLUDED.state, filled = EXCLUDED.filled,
        updated_at = EXCLUDED.updated_at, visible_at = EXCLUDED.visible_at, triggered = EXCLUDED.triggered,
        reason = EXCLUDED.reason
""")
SAVE_TRADES = text("""
    INSERT INTO paper.trades (account, number, order_number, trade_id, symbol, side, quantity, price, fee, liquidity,
        realised, filled_at, reported_at)
    SELECT :account, n.* FROM json_to_recordset(CAST(:rows AS json)) AS n(
        number bigint, order_number bigint, trade_id text, symbol text, side text, quantity numeric, price numeric,
        fee numeric, liquidity text, realised numeric, filled_at timestamptz, reported_at timestamptz)
""")
SAVE_FLOWS = text("""
    INSERT INTO paper.cash_flows (account, flow_id, kind, symbol, amount, at)
    SELECT :account, n.* FROM json_to_recordset(CAST(:rows AS json)) AS n(
        flow_id text, kind text, symbol text, amount numeric, at timestamptz)
""")
SAVE_POSITIONS = text("""
    INSERT INTO paper.positions (account, symbol, quantity, cost, margin)
    SELECT :account, n.* FROM json_to_recordset(CAST(:rows AS json)) AS n(
        symbol text, quantity numeric, cost numeric, margin numeric)
    ON CONFLICT (account, symbol) DO UPDATE
        SET quantity = EXCLUDED.quantity, cost = EXCLUDED.cost, margin = EXCLUDED.margin
""")
CLOSE_POSITIONS = text("DELETE FROM paper.positions WHERE account = :account AND NOT symbol = ANY(:symbols)")
SAVE_VIEWS = text("""
    INSERT INTO paper.views (account, symbol, looked_until, as_of, mid, used)
    SELECT :account, n.* FROM json_to_recordset(CAST(:rows AS json)) AS n(
        symbol text, looked_until timestamptz, as_of timestamptz, mid numeric, used json)
    ON CONFLICT (account, symbol) DO UPDATE SET looked_until = EXCLUDED.looked_until, as_of = EXCLUDED.as_of,
        mid = EXCLUDED.mid, used = EXCLUDED.used
""")

TRADES = text("""
    SELECT t.number, t.order_number, t.trade_id, t.symbol, t.side, t.quantity, t.price, t.fee, t.liquidity, t.realised,
           t.filled_at, t.reported_at, o.venue_order_id, o.client_order_id
    FROM paper.trades t JOIN paper.orders o ON o.account = t.account AND o.number = t.order_number
    WHERE t.account = :account AND t.filled_at >= :since AND t.reported_at <= :told_by
    ORDER BY t.filled_at, t.number
""")
NEWEST_TRADES = text("""
    SELECT t.number, t.order_number, t.trade_id, t.symbol, t.side, t.quantity, t.price, t.fee, t.liquidity, t.realised,
           t.filled_at, t.reported_at, o.venue_order_id, o.client_order_id
    FROM paper.trades t JOIN paper.orders o ON o.account = t.account AND o.number = t.order_number
    WHERE t.account = :account ORDER BY t.number DESC LIMIT :limit
""")
FLOWS = text("""
    SELECT flow_id, kind, symbol, amount, at FROM paper.cash_flows
    WHERE account = :account AND at >= :since ORDER BY at, id
""")
ACCOUNTS = text("SELECT name FROM paper.accounts ORDER BY name")

BEHAVE = text("""
    INSERT INTO paper.misbehaviours (mode, account, methods, share, seconds, seed, calls_left)
    VALUES (:mode, :account, :methods, :share, :seconds, :seed, :calls_left) RETURNING id, made_at
""")
BEHAVE_WELL = text("UPDATE paper.misbehaviours SET calls_left = 0 WHERE calls_left IS DISTINCT FROM 0")
IN_FORCE = text("""
    SELECT mode, account, methods, share, seconds, seed, calls_left, seen, id, made_at
    FROM paper.misbehaviours WHERE calls_left IS DISTINCT FROM 0 ORDER BY id
""")
HOLD_IN_FORCE = text("""
    SELECT mode, account, methods, share, seconds, seed, calls_left, seen, id, made_at
    FROM paper.misbehaviours WHERE calls_left IS DISTINCT FROM 0 ORDER BY id FOR UPDATE
""")
COUNT_CALL = text("UPDATE paper.misbehaviours SET seen = :seen, calls_left = :calls_left WHERE id = :id")

RECORD = text("""
    INSERT INTO paper.requests (at, account, method, outcome, client_order_id, venue_order_id, symbol, reduce_only,
        misbehaviour)
    VALUES (:at, :account, :method, :outcome, :client_order_id, :venue_order_id, :symbol, :reduce_only, :misbehaviour)
""")
REQUESTS = text("""
    SELECT at, account, method, outcome, client_order_id, venue_order_id, symbol, reduce_only, misbehaviour
    FROM paper.requests ORDER BY id DESC LIMIT :limit
""")
REQUESTS_OF = text("""
    SELECT at, account, method, outcome, client_order_id, venue_order_id, symbol, reduce_only, misbehaviour
    FROM paper.requests WHERE account = :account ORDER BY id DESC LIMIT :limit
""")
# By number, so that one look at the index says what is too old; ids that were lost to a crash count as kept.
FORGET_REQUESTS = text("DELETE FROM paper.requests WHERE id <= (SELECT max(id) FROM paper.requests) - :keep")
