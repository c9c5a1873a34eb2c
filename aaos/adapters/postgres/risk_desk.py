"""Risk's approvals, and what it looks at, on PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, text

from aaos.adapters.postgres.account_books import lock_account
from aaos.adapters.postgres.database import Database
from aaos.domain.order_refusals import approved_before, books_have_moved
from aaos.domain.orders import NewRiskApproval, RiskApproval
from aaos.domain.risk.account import AccountSnapshot, Exposure

COLUMNS = """
    id, run_id, source, source_hash, account, symbol, side, quantity, leverage, entry_price, limit_price, stop_price,
    take_profit_price, reduce_only, created_at, expires_at, used_at, expires_at <= clock_timestamp() AS expired
"""
OF_SOURCE = text(f"SELECT {COLUMNS} FROM risk_approvals WHERE source = :source")
OF_IDS = text(f"SELECT {COLUMNS} FROM risk_approvals WHERE id = ANY(:ids)")
NEWEST = text(f"SELECT {COLUMNS} FROM risk_approvals ORDER BY id DESC LIMIT :limit")
APPROVE = text("""
    INSERT INTO risk_approvals (run_id, source, source_hash, account, symbol, side, quantity, leverage, entry_price,
                                limit_price, stop_price, take_profit_price, reduce_only, expires_at)
    VALUES (:run_id, :source, :source_hash, :account, :symbol, :side, :quantity, :leverage, :entry_price,
            :limit_price, :stop_price, :take_profit_price, :reduce_only,
            clock_timestamp() + make_interval(secs => :expires_after_s))
    ON CONFLICT (source) DO NOTHING
    RETURNING id
""")

# What may still be filled of an order: while it is at the venue, all of the rest; afterwards what the venue says was
# filled and whose fills have not come yet. Both partial indexes stay small however many orders there were.
EXPOSURES = """
    SELECT source, symbol, quantity, average_entry AS price, leverage, true AS is_open, 1 AS rank, id
    FROM positions WHERE account = :account AND closed_at IS NULL
    UNION ALL
    SELECT source, symbol, CASE side WHEN 'buy' THEN quantity ELSE -quantity END, entry_price, leverage, false, 2, id
    FROM risk_approvals
    WHERE account = :account AND used_at IS NULL AND expires_at > clock_timestamp() AND NOT reduce_only
    UNION ALL
    SELECT o.source, o.symbol, CASE o.side WHEN 'buy' THEN o.rest ELSE -o.rest END,
           COALESCE(o.price, a.entry_price), o.leverage, false, 3, o.id
    FROM (
        SELECT *, quantity - filled AS rest FROM orders
        WHERE account = :account AND state IN ('intent', 'working', 'unknown', 'quarantined') AND released_at IS NULL
        UNION ALL
        SELECT *, reported_filled - filled FROM orders
        WHERE account = :account AND reported_filled > filled
          AND NOT (state IN ('intent', 'working', 'unknown', 'quarantined') AND released_at IS NULL)
    ) AS o JOIN risk_approvals a ON a.id = o.approval_id
    WHERE o.leg = 'entry' AND NOT o.reduce_only AND o.rest > 0
"""
START_OF = "date_trunc('{0}', clock_timestamp() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC'"
EQUITY_AT = """
    COALESCE(
        (SELECT equity FROM equity_points WHERE account = :account AND at >= {0} ORDER BY at, id LIMIT 1),
        (SELECT equity FROM equity_points WHERE account = :account AND at < {0} ORDER BY at DESC, id DESC LIMIT 1))
"""
# One statement, so one instant: the version belongs to exactly these figures.
SNAPSHOT = text(f"""
    WITH exposed AS ({EXPOSURES}), gained AS (
        SELECT closed_at, id FROM positions WHERE account = :account AND closed_at IS NOT NULL AND net >= 0
        ORDER BY closed_at DESC, id DESC LIMIT 1
    ), head AS (
        SELECT
            (SELECT version FROM account_books WHERE account = :account) AS version,
            (SELECT cash FROM account_books WHERE account = :account) AS cash,
            (SELECT equity FROM equity_points WHERE account = :account ORDER BY equity DESC LIMIT 1) AS peak_equity,
            {EQUITY_AT.format(START_OF.format("day"))} AS day_equity,
            {EQUITY_AT.format(START_OF.format("week"))} AS week_equity,
            (SELECT count(*) FROM positions WHERE account = :account AND closed_at IS NOT NULL
             AND (closed_at, id) > (COALESCE((SELECT closed_at FROM gained), '-infinity'),
                                    COALESCE((SELECT id FROM gained), 0))) AS losses_in_a_row,
            clock_timestamp() AS read_at
    )
    SELECT head.*, exposed.source, exposed.symbol, exposed.quantity, exposed.price, exposed.leverage, exposed.is_open
    FROM head LEFT JOIN exposed ON true
    ORDER BY exposed.rank, exposed.id
""")


class PostgresRiskDesk:
    """Implements `ports.RiskDesk`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def of_source(self, source: str) -> RiskApproval | None:
        """See the port."""
        row = self._database.row(OF_SOURCE, {"source": source})
        return None if row is None else approval_of(row)

    def approvals(self, limit: int) -> Sequence[RiskApproval]:
        """See the port."""
        return [approval_of(row) for row in self._database.rows(NEWEST, {"limit": limit})]

    def snapshot(self, account: str) -> AccountSnapshot:
        """See the port."""
        rows = self._database.rows(SNAPSHOT, {"account": account})
        head = rows[0]
        return AccountSnapshot(
            account=account,
            version=head.version or 0,
            cash=head.cash or Decimal(0),
            exposures=tuple(
                Exposure(row.source, row.symbol, row.quantity, row.price, row.leverage, row.is_open)
                for row in rows
                if row.symbol is not None
            ),
            peak_equity=head.peak_equity,
            day_equity=head.day_equity,
            week_equity=head.week_equity,
            losses_in_a_row=head.losses_in_a_row,
            read_at=head.read_at,
        )


def approval_of(row: Any) -> RiskApproval:
    """Returns the approval in a row of `COLUMNS`."""
    return RiskApproval(**row._asdict())


def store_risk_approval(connection: Connection, run_id: int, approval: NewRiskApproval) -> None:
    """Stores an approval inside the transaction that completes the run.

    The account stays locked until that ends: of two approvals that rest on one version, one is stored (R6).

    Raises:
        RiskBookMoved: the account's books are no longer those it rests on.
        InputError: its source has one already.
    """
    version = lock_account(connection, approval.account)
    if version != approval.book_version:
        raise books_have_moved(approval, version)
    columns = asdict(approval) | {"run_id": run_id, "expires_after_s": float(approval.expires_after_s)}
    del columns["book_version"]
    if connection.execute(APPROVE, columns).first() is None:
        raise approved_before(approval.source)
