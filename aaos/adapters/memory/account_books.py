"""An account's row in memory: the version of its books, its cash, its doubts. All of it inside a transaction."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from aaos.adapters.memory.tables import MemoryDatabase
from aaos.adapters.memory.trading_rows import AccountRow


def account_row(database: MemoryDatabase, account: str) -> AccountRow:
    """Returns the account's row."""
    return database.tables.accounts.get(account, AccountRow())


def books_moved(database: MemoryDatabase, account: str, cash: Decimal = Decimal(0)) -> None:
    """Raises the version of an account's books; `cash` came in."""
    row = account_row(database, account)
    database.tables.accounts[account] = replace(row, version=row.version + 1, cash=row.cash + cash)


def put_in_doubt(database: MemoryDatabase, account: str, why: str) -> None:
    """No entries until the account's books are reconciled."""
    row = account_row(database, account)
    database.tables.accounts[account] = replace(row, why=why, dirty_version=row.dirty_version + 1)
