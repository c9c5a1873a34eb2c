"""Risk's approvals and what it looks at, in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

from aaos.adapters.memory.account_books import account_row, books_moved
from aaos.adapters.memory.tables import MemoryDatabase
from aaos.adapters.memory.trading_rows import EquityPoint
from aaos.domain.order_book import Side
from aaos.domain.order_refusals import approved_before, books_have_moved
from aaos.domain.orders import ENTRY, NewRiskApproval, RiskApproval
from aaos.domain.risk.account import AccountSnapshot, Exposure


class MemoryRiskDesk:
    """Implements `ports.RiskDesk`."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database

    def of_source(self, source: str) -> RiskApproval | None:
        """See the port."""
        with self._database.transaction() as tables:
            found = (each for each in tables.risk_approvals.values() if each.source == source)
            return next((as_of(each, self._database.clock.now()) for each in found), None)

    def approvals(self, limit: int) -> Sequence[RiskApproval]:
        """See the port."""
        with self._database.transaction() as tables:
            newest = sorted(tables.risk_approvals.values(), key=lambda each: each.id, reverse=True)
            return [as_of(each, self._database.clock.now()) for each in newest[:limit]]

    def snapshot(self, account: str) -> AccountSnapshot:
        """See the port."""
        with self._database.transaction():
            row, now = account_row(self._database, account), self._database.clock.now()
            day = now.replace(hour=0, minute=0, second=0, microsecond=0)
            return AccountSnapshot(
                account=account,
                version=row.version,
                cash=row.cash,
                exposures=tuple(self._exposures(account, now)),
                peak_equity=max((point.equity for point in self._points(account)), default=None),
                day_equity=self._equity_at_start(account, day),
                week_equity=self._equity_at_start(account, day - timedelta(days=day.weekday())),
                losses_in_a_row=self._losses_in_a_row(account),
                read_at=now,
            )

    def _exposures(self, account: str, now: datetime) -> Iterator[Exposure]:
        tables = self._database.tables
        for each in tables.positions.values():
            if each.account == account and each.closed_at is None:
                yield Exposure(each.source, each.symbol, each.quantity, each.average_entry, each.leverage, True)
        for given in tables.risk_approvals.values():
            unused = given.used_at is None and now < given.expires_at
            if given.account == account and unused and not given.reduce_only:
                quantity = signed(given.side, given.quantity)
                yield Exposure(given.source, given.symbol, quantity, given.entry_price, given.leverage, False)
        for row in tables.orders.values():
            order = row.order
            if order.account == account and order.leg == ENTRY and not order.reduce_only and row.rest > 0:
                price = order.price or tables.risk_approvals[order.approval_id].entry_price
                quantity = signed(order.side, row.rest)
                yield Exposure(order.source, order.symbol, quantity, price, order.leverage, False)

    def _points(self, account: str) -> list[EquityPoint]:
        return [point for point in self._database.tables.equity.values() if point.account == account]

    def _equity_at_start(self, account: str, start: datetime) -> Decimal | None:
        points = sorted(self._points(account), key=lambda point: point.at)
        first = next((point.equity for point in points if point.at >= start), None)
        last_before = next((point.equity for point in reversed(points) if point.at < start), None)
        return first if first is not None else last_before

    def _losses_in_a_row(self, account: str) -> int:
        closed = [
            (each.closed_at, each.id, each.net)
            for each in self._database.tables.positions.values()
            if each.account == account and each.closed_at is not None
        ]
        nets = [net for _, _, net in sorted(closed, reverse=True)]
        return next((count for count, net in enumerate(nets) if net >= 0), len(nets))


def as_of(approval: RiskApproval, now: datetime) -> RiskApproval:
    """Returns the approval as it stands at that instant."""
    return replace(approval, expired=approval.expires_at <= now)


def signed(side: Side, quantity: Decimal) -> Decimal:
    """Returns the quantity, negative when it is sold."""
    return quantity if side == "buy" else -quantity


def store_risk_approval(database: MemoryDatabase, run_id: int, new: NewRiskApproval) -> None:
    """Stores an approval; to be called inside the transaction that completes the run.

    Raises:
        RiskBookMoved: the account's books are no longer those it rests on.
        InputError: its source has one already.
    """
    now, version = database.clock.now(), account_row(database, new.account).version
    if version != new.book_version:
        raise books_have_moved(new, version)
    if any(each.source == new.source for each in database.tables.risk_approvals.values()):
        raise approved_before(new.source)
    approval = RiskApproval(
        id=database.next_id(),
        run_id=run_id,
        source=new.source,
        source_hash=new.source_hash,
        account=new.account,
        symbol=new.symbol,
        side=new.side,
        quantity=new.quantity,
        leverage=new.leverage,
        entry_price=new.entry_price,
        limit_price=new.limit_price,
        stop_price=new.stop_price,
        take_profit_price=new.take_profit_price,
        reduce_only=new.reduce_only,
        created_at=now,
        expires_at=now + timedelta(seconds=new.expires_after_s),
        used_at=None,
    )
    database.tables.risk_approvals[approval.id] = approval
    books_moved(database, new.account)
