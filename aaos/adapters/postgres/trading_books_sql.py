"""The statements of the trading books, named."""

from __future__ import annotations

from sqlalchemy import text

KNOWN_FILLS = text("SELECT trade_id FROM fills WHERE account = :account AND trade_id = ANY(:ids)")
KNOWN_FLOWS = text("SELECT flow_id FROM cash_flows WHERE account = :account AND flow_id = ANY(:ids)")

# The order of a fill: by our name for it, else by the venue's.
ORDERS_OF_FILLS = """
    SELECT {columns} FROM orders
    WHERE client_order_id = ANY(:client_order_ids) AND account = :account
    UNION
    SELECT {columns} FROM orders
    WHERE account = :account AND venue_order_id = ANY(:venue_order_ids)
"""
ADD_FILLS = text("""
    INSERT INTO fills (account, trade_id, order_id, venue_order_id, client_order_id, symbol, side, quantity, price, fee,
                       liquidity, filled_at)
    SELECT :account, f.trade_id, f.order_id, f.venue_order_id, f.client_order_id, f.symbol, f.side, f.quantity,
           f.price, f.fee, f.liquidity, f.filled_at
    FROM jsonb_to_recordset(CAST(:fills AS jsonb)) AS f(trade_id text, order_id bigint, venue_order_id text,
        client_order_id text, symbol text, side text, quantity numeric, price numeric, fee numeric, liquidity text,
        filled_at timestamptz, position bigint)
    ORDER BY f.position
    RETURNING id, trade_id
""")
ADD_FLOWS = text("""
    INSERT INTO cash_flows (account, flow_id, kind, symbol, amount, at)
    SELECT :account, f.flow_id, f.kind, f.symbol, f.amount, f.at
    FROM jsonb_to_recordset(CAST(:flows AS jsonb)) AS f(flow_id text, kind text, symbol text, amount numeric,
        at timestamptz, position bigint)
    ORDER BY f.position
""")
FILL_ORDER = text("""
    UPDATE orders SET filled = :filled, state = :state, changed_at = clock_timestamp(),
        released_at = CASE WHEN state = :state THEN released_at END,
        released_by = CASE WHEN state = :state THEN released_by END
    WHERE id = :id
""")

POSITION_COLUMNS = """
    id, account, symbol, source, quantity, average_entry, peak_quantity, leverage, realised, fees, funding, stop_price,
    take_profit_price, opened_at, closed_at
"""
LOCK_OPEN = text(f"""
    SELECT {POSITION_COLUMNS} FROM positions WHERE account = :account AND closed_at IS NULL ORDER BY id FOR UPDATE
""")
OPENED_BY = text(f"""
    SELECT {POSITION_COLUMNS} FROM positions WHERE account = :account AND symbol = :symbol AND opened_at <= :at
    ORDER BY opened_at DESC, id DESC LIMIT 1 FOR UPDATE
""")
ADD_POSITION = text("""
    INSERT INTO positions (account, symbol, source, quantity, average_entry, peak_quantity, leverage, realised, fees,
                           funding, stop_price, take_profit_price, opened_at, closed_at)
    VALUES (:account, :symbol, :source, :quantity, :average_entry, :peak_quantity, :leverage, :realised, :fees,
            :funding, :stop_price, :take_profit_price, :opened_at, :closed_at)
""")
CHANGE_POSITION = text("""
    UPDATE positions SET source = :source, quantity = :quantity, average_entry = :average_entry,
        peak_quantity = :peak_quantity, leverage = :leverage, realised = :realised, fees = :fees, funding = :funding,
        stop_price = :stop_price, take_profit_price = :take_profit_price, opened_at = :opened_at,
        closed_at = :closed_at
    WHERE id = :id
""")
ADD_CASH = text("UPDATE account_books SET cash = cash + :cash WHERE account = :account")

NEWEST_AT = text("""
    SELECT GREATEST((SELECT max(filled_at) FROM fills WHERE account = :account),
                    (SELECT max(at) FROM cash_flows WHERE account = :account)) AS at
""")
FILLS = """
    SELECT f.id, f.account, f.trade_id, f.order_id, o.source, o.leg, f.symbol, f.side, f.quantity, f.price, f.fee,
           f.filled_at
    FROM fills f LEFT JOIN orders o ON o.id = f.order_id
    WHERE (CAST(:account AS text) IS NULL OR f.account = :account)
      AND (CAST(:symbol AS text) IS NULL OR f.symbol = :symbol)
"""
NEWEST_FILLS = text(f"{FILLS} ORDER BY f.id DESC LIMIT :limit")
ALL_FILLS = text(f"{FILLS} ORDER BY f.id")
CASH = text("SELECT cash FROM account_books WHERE account = :account")
OPEN = text(f"""
    SELECT {POSITION_COLUMNS} FROM positions
    WHERE closed_at IS NULL AND (CAST(:account AS text) IS NULL OR account = :account) ORDER BY id
""")
CLOSED = text(f"""
    SELECT {POSITION_COLUMNS} FROM positions
    WHERE closed_at IS NOT NULL AND (CAST(:account AS text) IS NULL OR account = :account)
    ORDER BY closed_at DESC, id DESC LIMIT :limit
""")
RAISE_STOP = text("""
    UPDATE positions SET stop_price = :stop_price
    WHERE id = :id AND closed_at IS NULL
      AND (stop_price IS NULL OR CASE WHEN quantity > 0 THEN stop_price < :stop_price ELSE stop_price > :stop_price END)
    RETURNING id
""")

RECORD_EQUITY = text("""
    INSERT INTO equity_points (account, cash, unrealised) VALUES (:account, :cash, :unrealised)
""")
# As `domain.booking.thinned`: evenly spread, the first and the last among them.
EQUITY = text("""
    WITH numbered AS (
        SELECT at, equity, row_number() OVER (ORDER BY at, id) - 1 AS position, count(*) OVER () AS total
        FROM equity_points WHERE account = :account AND at >= :since
    )
    SELECT at, equity FROM numbered
    WHERE total <= :limit OR CASE WHEN CAST(:limit AS bigint) <= 1 THEN position >= total - :limit
        ELSE position IN (SELECT i * (total - 1) / NULLIF(CAST(:limit AS bigint) - 1, 0)
                          FROM generate_series(0, CAST(:limit AS bigint) - 1) AS i) END
    ORDER BY position
""")

BOOKS = text("SELECT why, dirty_version, reconciled_at FROM account_books WHERE account = :account")
RECONCILED = text("""
    INSERT INTO account_books AS b (account, reconciled_at)
    SELECT :account, clock_timestamp() WHERE CAST(:dirty_version AS bigint) = 0
        OR EXISTS (SELECT 1 FROM account_books WHERE account = :account)
    ON CONFLICT (account) DO UPDATE SET why = NULL, reconciled_at = clock_timestamp()
    WHERE b.dirty_version = :dirty_version
    RETURNING account
""")
# Gone with the transaction: when it ends, when its process dies, and when it is frozen for longer than a transaction
# may be idle. No row, so that nothing has to be cleaned up after anybody.
WATCH = text("SELECT pg_try_advisory_xact_lock(hashtext('aaos.watch'), hashtext(:account)) AS held")
