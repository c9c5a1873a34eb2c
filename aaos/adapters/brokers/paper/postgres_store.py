"""The paper venue's ledger on PostgreSQL, in a schema of its own."""

from __future__ import annotations

import json
import threading
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, fields, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, TextClause

from aaos.adapters.brokers.paper import postgres_sql as sql
from aaos.adapters.brokers.paper.store import OPENING_FLOW, Request
from aaos.adapters.postgres.database import Database
from aaos.domain.orders import CashFlow, VenueFill
from aaos.domain.venue.misbehaviours import Misbehaviour, counted
from aaos.domain.venue.rules import InstrumentRules
from aaos.domain.venue.state import Holding, MarketView, VenueAccount, VenueEntry, VenueTrade
from aaos.errors import InvariantViolation

BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
SUMS = ("deposits", "realised", "fees", "funding", "liquidation_fees", "next_number", "seen_at")


class PostgresVenueStore:
    """Implements `VenueStore`.

    The row of an account is locked from the first look to the commit. Within a process one thread at a time gets so
    far: the others would wait in the database, each with a connection that the first may need for its candles.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._turns: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    @contextmanager
    def ledger(self, account: str, deposit: Decimal, now: datetime) -> Iterator[_PostgresBooks]:
        """See the protocol."""
        with self._turns[account], self._database.transaction() as connection:
            books = _PostgresBooks(connection, account, deposit, now)
            yield books
            books.save()

    def grid(self, symbol: str) -> InstrumentRules | None:
        """See the protocol."""
        row = self._database.row(sql.GRID, {"symbol": symbol})
        return None if row is None else InstrumentRules(*row)

    def list_symbol(self, symbol: str, grid: InstrumentRules) -> InstrumentRules:
        """See the protocol."""
        self._database.execute(sql.LIST_SYMBOL, {"symbol": symbol, **asdict(grid)})
        return self.grid(symbol) or grid

    def behave(self, misbehaviour: Misbehaviour) -> Misbehaviour:
        """See the protocol."""
        row = self._database.rows(sql.BEHAVE, asdict(misbehaviour) | {"methods": list(misbehaviour.methods)})[0]
        return replace(misbehaviour, id=row.id, made_at=row.made_at)

    def behave_well(self) -> int:
        """See the protocol."""
        return self._database.execute(sql.BEHAVE_WELL)

    def misbehaviours(self) -> Sequence[Misbehaviour]:
        """See the protocol."""
        return [_misbehaviour(row) for row in self._database.rows(sql.IN_FORCE)]

    def struck(self, method: str, account: str | None) -> Misbehaviour | None:
        """See the protocol."""
        if not self._database.rows(sql.IN_FORCE):  # as usual
            return None
        with self._database.transaction() as connection:
            return _struck(connection, method, account)

    def accounts(self) -> Sequence[str]:
        """See the protocol."""
        return [row.name for row in self._database.rows(sql.ACCOUNTS)]

    def orders(self, account: str, limit: int, open_only: bool = False) -> Sequence[VenueEntry]:
        """See the protocol."""
        wanted = {"account": account, "limit": limit, "open_only": open_only}
        return [VenueEntry(*row) for row in self._database.rows(sql.NEWEST_ORDERS, wanted)]

    def newest_trades(self, account: str, limit: int) -> Sequence[VenueTrade]:
        """See the protocol."""
        rows = self._database.rows(sql.NEWEST_TRADES, {"account": account, "limit": limit})
        return [_trade(account, row) for row in rows]

    def requests(self, limit: int, account: str | None = None) -> Sequence[Request]:
        """See the protocol."""
        statement = sql.REQUESTS if account is None else sql.REQUESTS_OF
        found = self._database.rows(statement, {"limit": limit, "account": account})
        return [Request(**row._asdict()) for row in found]

    def forget_requests(self, keep: int) -> int:
        """See the protocol."""
        return self._database.execute(sql.FORGET_REQUESTS, {"keep": keep})


class _PostgresBooks:
    """Implements `VenueBooks` inside one transaction."""

    def __init__(self, connection: Connection, account: str, deposit: Decimal, now: datetime) -> None:
        self._connection = connection
        row = self._row(sql.HOLD_ACCOUNT, account=account)
        opened = row is None
        if opened:
            # Two processes may open it at once: who inserts nothing waits for the other, and finds its row.
            opened = bool(connection.execute(sql.OPEN_ACCOUNT, {"account": account, "now": now}).rowcount)
            row = self._row(sql.HOLD_ACCOUNT, account=account)
        if row is None:
            raise InvariantViolation(f"the account {account} is gone from the paper venue's ledger")
        self._misbehaves = bool(row.misbehaves)
        self.account = self._loaded(account, row)
        if opened and deposit:
            self.account.flow(OPENING_FLOW, "deposit", None, deposit, now)

    def _loaded(self, name: str, row: Any) -> VenueAccount:
        orders = [VenueEntry(*each) for each in self._rows(sql.OPEN_ORDERS, account=name)]
        positions = [Holding(*each) for each in self._rows(sql.POSITIONS, account=name)]
        views = [_view(each) for each in self._rows(sql.VIEWS, account=name)]
        return VenueAccount(
            name,
            **{each: getattr(row, each) for each in SUMS},
            orders={each.number: each for each in orders},
            holdings={each.symbol: each for each in positions},
            views={each.symbol: each for each in views},
        )

    def save(self) -> None:
        """Writes what is new; one statement a table."""
        account = self.account
        if not (account.changed or account.keep_views):
            return
        self._write(sql.SAVE_ACCOUNT, **{each: getattr(account, each) for each in SUMS})
        self._write_rows(sql.SAVE_ORDERS, [_plain(each) for _, each in sorted(account.touched.items())])
        self._write_rows(sql.SAVE_TRADES, [_trade_row(each) for each in account.trades])
        self._write_rows(sql.SAVE_FLOWS, [_plain(each) for each in account.flows])
        self._write_rows(sql.SAVE_VIEWS, [_view_row(each) for each in account.views.values()])
        if account.trades:
            self._write_rows(sql.SAVE_POSITIONS, [_plain(each) for each in account.holdings.values()])
            self._write(sql.CLOSE_POSITIONS, symbols=list(account.holdings))

    def grid(self, symbol: str) -> InstrumentRules | None:
        row = self._row(sql.GRID, symbol=symbol)
        return None if row is None else InstrumentRules(*row)

    def list_symbol(self, symbol: str, grid: InstrumentRules) -> InstrumentRules:
        self._connection.execute(sql.LIST_SYMBOL, {"symbol": symbol, **asdict(grid)})
        return self.grid(symbol) or grid

    def misbehaviour(self, method: str) -> Misbehaviour | None:
        return _struck(self._connection, method, self.account.name) if self._misbehaves else None

    def named(self, client_order_id: str, symbol: str) -> VenueEntry | None:
        touched = [
            each
            for each in self.account.touched.values()
            if (each.client_order_id, each.symbol) == (client_order_id, symbol)
        ]
        if touched:
            return max(touched, key=lambda each: each.number)
        row = self._row(sql.NAMED_ORDER, account=self.account.name, client_order_id=client_order_id, symbol=symbol)
        return None if row is None else VenueEntry(*row)

    def trades(self, since: datetime | None, told_by: datetime) -> Sequence[VenueTrade]:
        name = self.account.name
        stored = self._rows(sql.TRADES, account=name, since=since or BEGINNING, told_by=told_by)
        new = [each for each in self.account.trades if each.reported_at <= told_by]
        recent = [each for each in new if since is None or each.fill.filled_at >= since]
        found = [*(_trade(name, row) for row in stored), *recent]
        return sorted(found, key=lambda each: (each.fill.filled_at, each.number))

    def flows(self, since: datetime | None) -> Sequence[CashFlow]:
        name = self.account.name
        stored = self._rows(sql.FLOWS, account=name, since=since or BEGINNING)
        new = [each for each in self.account.flows if since is None or each.at >= since]
        return [*(CashFlow(name, *row) for row in stored), *new]

    def record(self, request: Request) -> None:
        self._connection.execute(sql.RECORD, asdict(request))

    def _rows(self, statement: TextClause, **parameters: Any) -> Sequence[Any]:
        return self._connection.execute(statement, parameters).fetchall()

    def _row(self, statement: TextClause, **parameters: Any) -> Any | None:
        return self._connection.execute(statement, parameters).fetchone()

    def _write(self, statement: TextClause, **parameters: Any) -> None:
        self._connection.execute(statement, {"account": self.account.name, **parameters})

    def _write_rows(self, statement: TextClause, rows: Sequence[dict[str, Any]]) -> None:
        if rows:
            self._write(statement, rows=json.dumps(rows, default=str))


def _struck(connection: Connection, method: str, account: str | None) -> Misbehaviour | None:
    for row in connection.execute(sql.HOLD_IN_FORCE).fetchall():
        found = _misbehaviour(row)
        if not found.concerns(method, account):
            continue
        after = counted(found)
        connection.execute(sql.COUNT_CALL, {"id": found.id, "seen": after.seen, "calls_left": after.calls_left})
        if found.strikes_next:
            return found
    return None


def _misbehaviour(row: Any) -> Misbehaviour:
    return Misbehaviour(**{**row._asdict(), "methods": tuple(row.methods)})


def _plain(entry: VenueEntry | Holding | CashFlow) -> dict[str, Any]:
    """Returns a dataclass as JSON takes it; figures and instants become text, which PostgreSQL reads exactly."""
    return {each.name: getattr(entry, each.name) for each in fields(entry)}


def _trade_row(trade: VenueTrade) -> dict[str, Any]:
    fill = trade.fill
    names = ("trade_id", "symbol", "side", "quantity", "price", "fee", "liquidity", "filled_at")
    own = {name: getattr(trade, name) for name in ("number", "order_number", "realised", "reported_at")}
    return own | {name: getattr(fill, name) for name in names}


def _trade(account: str, row: Any) -> VenueTrade:
    fill = VenueFill(
        account, row.trade_id, row.venue_order_id, row.client_order_id, row.symbol, row.side, row.quantity, row.price,
        row.fee, row.liquidity, row.filled_at,
    )  # fmt: skip
    return VenueTrade(row.number, row.order_number, row.realised, row.reported_at, fill)


def _view(row: Any) -> MarketView:
    used = {(side, Decimal(price)): Decimal(size) for side, price, size in row.used}
    return MarketView(row.symbol, row.looked_until, row.as_of, row.mid, used)


def _view_row(view: MarketView) -> dict[str, Any]:
    used = [(side, str(price), str(size)) for (side, price), size in view.used.items()]
    return {name: getattr(view, name) for name in ("symbol", "looked_until", "as_of", "mid")} | {"used": used}
