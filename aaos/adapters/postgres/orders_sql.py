"""The statements of the book of orders, named. What they may change stands in migration 0005."""

from __future__ import annotations

from sqlalchemy import text

FIELDS = """
    id, client_order_id, approval_id, source, source_hash, account, leg, symbol, side, type, quantity, leverage, price,
    trigger_price, reduce_only, state, stop_epoch, filled, venue_order_id, reason, created_at,
    reported_filled
"""
AGE = "EXTRACT(EPOCH FROM clock_timestamp() - created_at)::float8 AS age_s"
COLUMNS = f"{FIELDS}, {AGE}"
WRITTEN = ", ".join(f"(written).{name.strip()}" for name in FIELDS.split(","))
WRITTEN_AGE = "EXTRACT(EPOCH FROM clock_timestamp() - (written).created_at)::float8 AS age_s"

NAMESPACE = text("SELECT CAST(id AS text) AS id FROM trading_namespace")
INTEND = text(f"""
    SELECT created, {WRITTEN}, {WRITTEN_AGE}
    FROM intend_order(CAST(:wanted AS jsonb), CAST(:run_id AS bigint), CAST(:fence AS bigint),
                      CAST(:max_intent_age_s AS float8))
""")
SETTLE = text(f"""
    SELECT moved, {WRITTEN}, {WRITTEN_AGE}
    FROM settle_order(CAST(:id AS bigint), CAST(:state AS text), CAST(:reason AS text), CAST(:venue_order_id AS text),
                      CAST(:filled AS numeric))
""")
MAY_SEND = text("""
    SELECT o.leg = 'entry' AND a.expires_at <= clock_timestamp() AS expired
    FROM orders o JOIN risk_approvals a ON a.id = o.approval_id, trading_switch s
    WHERE o.id = :id AND o.state = 'intent' AND (o.leg <> 'entry' OR (NOT s.stopped AND s.epoch = o.stop_epoch))
""")
LOCK = text("SELECT lock_account(account) AS version FROM orders WHERE id = :id")
RELEASE = text("""
    UPDATE orders SET released_at = clock_timestamp(), released_by = :by, changed_at = clock_timestamp()
    WHERE id = :id AND state = 'quarantined' AND released_at IS NULL
    RETURNING id
""")

ONE = text(f"SELECT {COLUMNS} FROM orders WHERE id = :id")
OF_LEG = text(f"SELECT {COLUMNS} FROM orders WHERE source = :source AND leg = :leg")
OF_SOURCE = text(f"SELECT {COLUMNS} FROM orders WHERE source = :source ORDER BY id")
BY_CLIENT_IDS = text(f"SELECT {COLUMNS} FROM orders WHERE client_order_id = ANY(:client_order_ids)")
UNSETTLED = text(f"""
    SELECT {COLUMNS} FROM orders
    WHERE account = :account AND state IN ('intent', 'working', 'unknown', 'quarantined') AND released_at IS NULL
    ORDER BY id
""")
NEWEST = text(f"""
    SELECT {COLUMNS} FROM orders
    WHERE (CAST(:symbol AS text) IS NULL OR symbol = :symbol) AND (CAST(:state AS text) IS NULL OR state = :state)
    ORDER BY id DESC LIMIT :limit
""")
