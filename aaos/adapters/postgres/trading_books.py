"""Fills, cash and positions on PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from decimal import Decimal
from typing import Any

import structlog
from sqlalchemy import Connection, text

from aaos.adapters.postgres import trading_books_sql as sql
from aaos.adapters.postgres.account_books import lock_account, put_in_doubt, raise_alerts
from aaos.adapters.postgres.database import Database
from aaos.adapters.postgres.orders import order_of
from aaos.adapters.postgres.orders_sql import COLUMNS as ORDER_COLUMNS
from aaos.adapters.postgres.risk_desk import OF_IDS, approval_of
from aaos.domain.booking import Booking, funded, new_fills, new_flows
from aaos.domain.orders import CashFlow, Order, VenueFill
from aaos.domain.positions import Fill, Position
from aaos.errors import DatabaseUnavailable
from aaos.ports import AccountBooks

log = structlog.get_logger()
ORDERS_OF_FILLS = text(sql.ORDERS_OF_FILLS.format(columns=ORDER_COLUMNS))


class PostgresTradingBooks:
    """Implements `ports.TradingBooks`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # --- booking ----------------------------------------------------------------------------------------

    def book(self, account: str, fills: Sequence[VenueFill], flows: Sequence[CashFlow]) -> Sequence[Fill]:
        """See the port."""
        # Most of what a watch hears is known: it costs no lock.
        known_fills = self._known(sql.KNOWN_FILLS, account, [each.trade_id for each in fills])
        known_flows = self._known(sql.KNOWN_FLOWS, account, [each.flow_id for each in flows])
        if not new_fills(fills, known_fills) and not new_flows(flows, known_flows):
            return []
        with self._database.transaction() as connection:
            lock_account(connection, account)
            booked = _book_fills(connection, account, fills)
            _book_flows(connection, account, flows)
            return booked

    def _known(self, statement: Any, account: str, ids: Sequence[str]) -> frozenset[str]:
        rows = self._database.rows(statement, {"account": account, "ids": list(ids)}) if ids else ()
        return frozenset(row[0] for row in rows)

    def newest_fill_at(self, account: str) -> datetime | None:
        """See the port."""
        row = self._database.row(sql.NEWEST_AT, {"account": account})
        return None if row is None else row.at

    # --- being looked at --------------------------------------------------------------------------------

    def fills(self, limit: int, account: str | None = None, symbol: str | None = None) -> Sequence[Fill]:
        """See the port."""
        statement = sql.ALL_FILLS if limit == 0 else sql.NEWEST_FILLS
        rows = self._database.rows(statement, {"limit": limit, "account": account, "symbol": symbol})
        return [Fill(**row._asdict()) for row in rows]

    def cash(self, account: str) -> Decimal:
        """See the port."""
        row = self._database.row(sql.CASH, {"account": account})
        return Decimal(0) if row is None else row.cash

    def open_positions(self, account: str | None = None) -> Sequence[Position]:
        """See the port."""
        return [Position(**row._asdict()) for row in self._database.rows(sql.OPEN, {"account": account})]

    def closed_positions(self, limit: int, account: str | None = None) -> Sequence[Position]:
        """See the port."""
        rows = self._database.rows(sql.CLOSED, {"limit": limit, "account": account})
        return [Position(**row._asdict()) for row in rows]

    def raise_stop(self, position_id: int, stop_price: Decimal) -> bool:
        """See the port."""
        return self._database.row(sql.RAISE_STOP, {"id": position_id, "stop_price": stop_price}) is not None

    # --- equity -----------------------------------------------------------------------------------------

    def record_equity(self, account: str, cash: Decimal, unrealised: Decimal) -> None:
        """See the port."""
        self._database.execute(sql.RECORD_EQUITY, {"account": account, "cash": cash, "unrealised": unrealised})

    def equity(self, account: str, since: datetime, limit: int) -> Sequence[tuple[datetime, Decimal]]:
        """See the port."""
        rows = self._database.rows(sql.EQUITY, {"account": account, "since": since, "limit": limit})
        return [(row.at, row.equity) for row in rows]

    # --- doubts -----------------------------------------------------------------------------------------

    def books(self, account: str) -> AccountBooks:
        """See the port."""
        row = self._database.row(sql.BOOKS, {"account": account})
        return AccountBooks(account, None, 0, None) if row is None else AccountBooks(account, *row)

    def doubt(self, account: str, why: str) -> None:
        """See the port."""
        with self._database.transaction() as connection:
            put_in_doubt(connection, account, why)

    def reconciled(self, account: str, dirty_version: int) -> bool:
        """See the port."""
        return self._database.row(sql.RECONCILED, {"account": account, "dirty_version": dirty_version}) is not None

    @contextmanager
    def watching(self, account: str) -> Iterator[bool]:
        """See the port."""
        watched = False
        try:
            with self._database.transaction() as connection:
                held = bool(connection.execute(sql.WATCH, {"account": account}).scalar_one())
                yield held
                watched = True
        except DatabaseUnavailable as error:
            # The server ended an idle transaction, or went away: the watch is over, and so is what was to be watched.
            if not watched:
                raise
            log.warning("watch_lost", account=account, why=str(error))


# --- inside the transaction that books, the account locked ------------------------------------------------


def _book_fills(connection: Connection, account: str, told: Sequence[VenueFill]) -> list[Fill]:
    ids = {"account": account, "ids": [each.trade_id for each in told]}
    new = new_fills(told, frozenset(connection.execute(sql.KNOWN_FILLS, ids).scalars()))
    if not new:
        return []
    open_rows = connection.execute(sql.LOCK_OPEN, {"account": account}).all()
    orders = _orders_of(connection, account, new)
    booking = Booking(
        orders={order.id: order for order in orders},
        approvals=_approvals_of(connection, orders),
        open={row.symbol: Position(**row._asdict()) for row in open_rows},
    )
    before = dict(booking.orders), dict(booking.open)
    booked = _add_fills(connection, account, new, orders)
    for fill in booked:
        booking.enter(fill)
    _store(connection, account, booking, *before)
    return booked


def _orders_of(connection: Connection, account: str, fills: Sequence[VenueFill]) -> list[Order]:
    names = {
        "account": account,
        "client_order_ids": [each.client_order_id for each in fills if each.client_order_id],
        "venue_order_ids": [each.venue_order_id for each in fills],
    }
    return [order_of(row) for row in connection.execute(ORDERS_OF_FILLS, names)]


def _approvals_of(connection: Connection, orders: Sequence[Order]) -> dict[int, Any]:
    ids = sorted({order.approval_id for order in orders})
    return {row.id: approval_of(row) for row in connection.execute(OF_IDS, {"ids": ids})} if ids else {}


def _add_fills(connection: Connection, account: str, new: Sequence[VenueFill], orders: Sequence[Order]) -> list[Fill]:
    by_name = {order.client_order_id: order for order in orders}
    by_venue = {order.venue_order_id: order for order in orders if order.venue_order_id is not None}
    found = {
        each.trade_id: by_name.get(each.client_order_id or "") or by_venue.get(each.venue_order_id) for each in new
    }
    rows = [
        asdict(each) | {"order_id": order.id if (order := found[each.trade_id]) else None, "position": position}
        for position, each in enumerate(new)
    ]
    added = connection.execute(sql.ADD_FILLS, {"account": account, "fills": json.dumps(rows, default=str)})
    ids = {row.trade_id: row.id for row in added}
    return [_fill(ids[each.trade_id], each, found[each.trade_id]) for each in new]


def _fill(fill_id: int, told: VenueFill, order: Order | None) -> Fill:
    return Fill(
        id=fill_id,
        account=told.account,
        trade_id=told.trade_id,
        order_id=None if order is None else order.id,
        source=None if order is None else order.source,
        leg=None if order is None else order.leg,
        symbol=told.symbol,
        side=told.side,
        quantity=told.quantity,
        price=told.price,
        fee=told.fee,
        filled_at=told.filled_at,
    )


def _store(
    connection: Connection,
    account: str,
    booking: Booking,
    orders_before: Mapping[int, Order],
    open_before: Mapping[str, Position],
) -> None:
    """Stores what the fills changed: positions before orders, what is closed before what is opened in its place."""
    for position in booking.closed:
        _store_position(connection, position)
    for symbol, position in booking.open.items():
        if position != open_before.get(symbol):
            _store_position(connection, position)
    for order in booking.orders.values():
        if order != orders_before[order.id]:
            filled = {"id": order.id, "filled": order.filled, "state": order.state.value}
            connection.execute(sql.FILL_ORDER, filled)
    if booking.cash:
        connection.execute(sql.ADD_CASH, {"account": account, "cash": booking.cash})
    raise_alerts(connection, booking.alerts)
    if booking.doubt is not None:
        put_in_doubt(connection, account, booking.doubt)


def _store_position(connection: Connection, position: Position) -> None:
    connection.execute(sql.ADD_POSITION if position.id is None else sql.CHANGE_POSITION, asdict(position))


def _book_flows(connection: Connection, account: str, told: Sequence[CashFlow]) -> None:
    ids = {"account": account, "ids": [each.flow_id for each in told]}
    new = new_flows(told, frozenset(connection.execute(sql.KNOWN_FLOWS, ids).scalars())) if told else []
    if not new:
        return
    rows = [asdict(each) | {"position": position} for position, each in enumerate(new)]
    connection.execute(sql.ADD_FLOWS, {"account": account, "flows": json.dumps(rows, default=str)})
    connection.execute(sql.ADD_CASH, {"account": account, "cash": sum((each.amount for each in new), Decimal(0))})
    for flow in new:
        if flow.kind == "funding":
            asked = {"account": account, "symbol": flow.symbol, "at": flow.at}
            opened = [Position(**row._asdict()) for row in connection.execute(sql.OPENED_BY, asked)]
            position = funded(opened, flow)
            if position is not None:
                _store_position(connection, position)
