"""Fills, cash and positions in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from decimal import Decimal

from aaos.adapters.memory.account_books import account_row, books_moved, put_in_doubt
from aaos.adapters.memory.tables import MemoryDatabase
from aaos.adapters.memory.trading_rows import EquityPoint, FillRow
from aaos.domain.booking import Booking, funded, new_fills, new_flows, thinned
from aaos.domain.orders import CashFlow, VenueFill
from aaos.domain.positions import Fill, Position
from aaos.ports import AccountBooks


class MemoryTradingBooks:
    """Implements `ports.TradingBooks`."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database

    # --- booking ----------------------------------------------------------------------------------------

    def book(self, account: str, fills: Sequence[VenueFill], flows: Sequence[CashFlow]) -> Sequence[Fill]:
        """See the port."""
        with self._database.transaction():
            booked = self._book_fills(account, fills)
            self._book_flows(account, flows)
            return booked

    def _book_fills(self, account: str, told: Sequence[VenueFill]) -> list[Fill]:
        tables = self._database.tables
        known = frozenset(row.fill.trade_id for row in tables.fills.values() if row.fill.account == account)
        new = new_fills(told, known)
        if not new:
            return []
        rows = [FillRow(self._database.next_id(), self._order_of(each), each) for each in new]
        tables.fills |= {row.id: row for row in rows}
        booking = Booking(
            orders={row.order.id: row.order for row in tables.orders.values()},
            approvals=tables.risk_approvals,
            open={each.symbol: each for each in self._positions(account) if each.closed_at is None},
        )
        booked = [self._fill(row) for row in rows]
        for fill in booked:
            booking.enter(fill)
        self._store(account, booking)
        return booked

    def _order_of(self, fill: VenueFill) -> int | None:
        for row in self._database.tables.orders.values():
            order = row.order
            by_name = order.client_order_id == fill.client_order_id
            if order.account == fill.account and (by_name or order.venue_order_id == fill.venue_order_id):
                return order.id
        return None

    def _store(self, account: str, booking: Booking) -> None:
        tables = self._database.tables
        for order in booking.orders.values():
            row = tables.orders[order.id]
            if order != row.order:
                still = order.state is row.order.state
                tables.orders[order.id] = replace(row, order=order, released=row.released and still)
        for position in (*booking.closed, *booking.open.values()):
            position_id = self._database.next_id() if position.id is None else position.id
            tables.positions[position_id] = replace(position, id=position_id)
        self._database.note(booking.alerts)
        books_moved(self._database, account, booking.cash)
        if booking.doubt is not None:
            put_in_doubt(self._database, account, booking.doubt)

    def _book_flows(self, account: str, told: Sequence[CashFlow]) -> None:
        tables = self._database.tables
        known = frozenset(flow_id for of_account, flow_id in tables.flows if of_account == account)
        for flow in new_flows(told, known):
            tables.flows[account, flow.flow_id] = flow
            books_moved(self._database, account, flow.amount)
            position = funded([each for each in self._positions(account) if each.symbol == flow.symbol], flow)
            if position is not None and position.id is not None:
                tables.positions[position.id] = position

    def newest_fill_at(self, account: str) -> datetime | None:
        """See the port."""
        with self._database.transaction() as tables:
            fills = (row.fill.filled_at for row in tables.fills.values() if row.fill.account == account)
            flows = (flow.at for flow in tables.flows.values() if flow.account == account)
            return max((*fills, *flows), default=None)

    # --- being looked at --------------------------------------------------------------------------------

    def fills(self, limit: int, account: str | None = None, symbol: str | None = None) -> Sequence[Fill]:
        """See the port."""
        with self._database.transaction() as tables:
            found = [
                self._fill(row)
                for _, row in sorted(tables.fills.items())
                if account in (None, row.fill.account) and symbol in (None, row.fill.symbol)
            ]
        return found if limit == 0 else found[::-1][:limit]

    def cash(self, account: str) -> Decimal:
        """See the port."""
        with self._database.transaction():
            return account_row(self._database, account).cash

    def open_positions(self, account: str | None = None) -> Sequence[Position]:
        """See the port."""
        with self._database.transaction():
            return [each for each in self._positions(account) if each.closed_at is None]

    def closed_positions(self, limit: int, account: str | None = None) -> Sequence[Position]:
        """See the port."""
        with self._database.transaction():
            closed = [(each.closed_at, each.id, each) for each in self._positions(account) if each.closed_at]
        newest = sorted(closed, key=lambda each: each[:2], reverse=True)
        return [position for _, _, position in newest[:limit]]

    def raise_stop(self, position_id: int, stop_price: Decimal) -> bool:
        """See the port."""
        with self._database.transaction() as tables:
            position = tables.positions.get(position_id)
            if position is None or position.closed_at is not None:
                return False
            now = position.stop_price
            if now is not None and (stop_price <= now if position.is_long else stop_price >= now):
                return False
            tables.positions[position_id] = replace(position, stop_price=stop_price)
            return True

    # --- equity -----------------------------------------------------------------------------------------

    def record_equity(self, account: str, cash: Decimal, unrealised: Decimal) -> None:
        """See the port."""
        with self._database.transaction() as tables:
            point = EquityPoint(account, self._database.clock.now(), cash + unrealised)
            tables.equity[self._database.next_id()] = point

    def equity(self, account: str, since: datetime, limit: int) -> Sequence[tuple[datetime, Decimal]]:
        """See the port."""
        with self._database.transaction() as tables:
            points = sorted((each.at, number, each.equity) for number, each in tables.equity.items()
                            if each.account == account and each.at >= since)  # fmt: skip
        return thinned([(at, equity) for at, _, equity in points], limit)

    # --- doubts -----------------------------------------------------------------------------------------

    def books(self, account: str) -> AccountBooks:
        """See the port."""
        with self._database.transaction():
            row = account_row(self._database, account)
            return AccountBooks(account, row.why, row.dirty_version, row.reconciled_at)

    def doubt(self, account: str, why: str) -> None:
        """See the port."""
        with self._database.transaction():
            put_in_doubt(self._database, account, why)

    def reconciled(self, account: str, dirty_version: int) -> bool:
        """See the port."""
        with self._database.transaction() as tables:
            row = account_row(self._database, account)
            if row.dirty_version != dirty_version:
                return False
            tables.accounts[account] = replace(row, why=None, reconciled_at=self._database.clock.now())
            return True

    @contextmanager
    def watching(self, account: str) -> Iterator[bool]:
        """See the port."""
        with self._database.transaction():
            held = account not in self._database.watched
            self._database.watched.add(account)
        try:
            yield held
        finally:
            if held:
                self._database.watched.discard(account)

    # --- shared; all of it inside a transaction ---------------------------------------------------------

    def _positions(self, account: str | None) -> list[Position]:
        found = sorted(self._database.tables.positions.items())
        return [each for _, each in found if account in (None, each.account)]

    def _fill(self, row: FillRow) -> Fill:
        order = None if row.order_id is None else self._database.tables.orders[row.order_id].order
        told = row.fill
        return Fill(
            id=row.id,
            account=told.account,
            trade_id=told.trade_id,
            order_id=row.order_id,
            source=None if order is None else order.source,
            leg=None if order is None else order.leg,
            symbol=told.symbol,
            side=told.side,
            quantity=told.quantity,
            price=told.price,
            fee=told.fee,
            filled_at=told.filled_at,
        )
