"""An account's row: the first lock of whoever changes the account, its version, its doubts; and alerts beside it."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, text

from aaos.adapters.postgres.runs_sql import ALERT
from aaos.domain.results import canonical_json
from aaos.domain.runs import NewAlert

LOCK_ACCOUNT = text("SELECT lock_account(:account) AS version")
DOUBT = text("""
    INSERT INTO account_books (account, why, dirty_version) VALUES (:account, :why, 1)
    ON CONFLICT (account) DO UPDATE SET why = excluded.why, dirty_version = account_books.dirty_version + 1
""")


def lock_account(connection: Connection, account: str) -> int:
    """Locks the account until the transaction ends; returns the version of its books."""
    return int(connection.execute(LOCK_ACCOUNT, {"account": account}).scalar_one())


def put_in_doubt(connection: Connection, account: str, why: str) -> None:
    """No entries until the account's books are reconciled."""
    connection.execute(DOUBT, {"account": account, "why": why})


def raise_alerts(connection: Connection, alerts: Sequence[NewAlert]) -> None:
    """Stores alerts inside somebody's transaction."""
    if alerts:
        told = [(each.kind, each.message, canonical_json(each.details).decode()) for each in alerts]
        kinds, messages, details = zip(*told, strict=True)
        connection.execute(ALERT, {"kinds": list(kinds), "messages": list(messages), "details": list(details)})
