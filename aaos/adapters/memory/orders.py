"""Our book of orders in memory: what migration 0005's functions and triggers do, done here step by step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import timedelta
from decimal import Decimal

from aaos.adapters.memory.account_books import account_row, books_moved, put_in_doubt
from aaos.adapters.memory.audit import append_entries
from aaos.adapters.memory.risk_desk import as_of
from aaos.adapters.memory.tables import MemoryDatabase
from aaos.adapters.memory.trading_rows import MAY_BECOME, NAMESPACE, OrderRow
from aaos.domain.execution.rules import ExecutionRules
from aaos.domain.order_refusals import (
    broken_rule,
    entries_held,
    expired_unsent,
    intent_is_old_after_s,
    no_such_order,
    not_quarantined,
    order_denied,
    quarantine_alert,
    release_entry,
)
from aaos.domain.orders import (
    ENTRY,
    Intent,
    NewOrder,
    Order,
    OrderState,
    RiskApproval,
    VenueOrder,
    client_order_id,
    venue_state_of,
)
from aaos.domain.runs import ClaimedRun, State
from aaos.errors import FenceLost

ZERO = Decimal(0)


class MemoryOrders:
    """Implements `ports.Orders`."""

    def __init__(self, database: MemoryDatabase, rules: ExecutionRules) -> None:
        self._database = database
        self._rules = rules

    @property
    def namespace(self) -> str:
        """See the port."""
        return NAMESPACE

    # --- before anything is sent ------------------------------------------------------------------------

    def intend(self, order: NewOrder, run: ClaimedRun | None = None) -> Intent:
        """See the port."""
        with self._database.transaction() as tables:
            if run is not None:
                self._check_fence(run)
            existing = self._find(lambda each: (each.source, each.leg) == (order.source, order.leg))
            if existing:
                return Intent(existing[0], created=False)
            approval = tables.risk_approvals.get(order.approval_id)
            now = self._database.clock.now()
            as_now = None if approval is None else as_of(approval, now)
            broken = broken_rule(order, as_now, stopped=tables.switch.stopped, closable=self._closable(order, approval))
            if broken is not None or approval is None:
                raise order_denied(broken or "approval_exists", order)
            if order.leg == ENTRY:
                self._check_held(order)
                tables.risk_approvals[approval.id] = replace(approval, used_at=now)
            return Intent(self._insert(order), created=True)

    def _check_fence(self, run: ClaimedRun) -> None:
        row = self._database.tables.runs.get(run.id)
        ours = row is not None and (row.fence, row.state) == (run.fence, State.RUNNING)
        if row is None or not ours or row.deadline <= self._database.clock.now():
            raise FenceLost(f"run {run.id} is no longer held under fence {run.fence}: nothing was written down")

    def _closable(self, order: NewOrder, approval: RiskApproval | None) -> Decimal | None:
        tables = self._database.tables
        rows = [row for row in tables.orders.values() if row.order.source == order.source]
        if approval is None:
            return None
        if approval.reduce_only:
            return approval.quantity - sum((row.order.filled + row.rest for row in rows), ZERO)
        entry = next((row.order.filled for row in rows if row.order.leg == ENTRY), None)
        opened = next(
            (
                abs(each.quantity)
                for each in tables.positions.values()
                if (each.source, each.account, each.symbol) == (order.source, order.account, order.symbol)
                and each.closed_at is None
                and each.is_long == (approval.side == "buy")
            ),
            ZERO,
        )
        return None if entry is None else max(entry, opened)

    def _check_held(self, order: NewOrder) -> None:
        row, now = account_row(self._database, order.account), self._database.clock.now()
        if row.why is not None:
            raise entries_held(f"the books of {order.account} are in doubt: {row.why}")
        oldest = now - timedelta(seconds=intent_is_old_after_s(self._rules))
        for each in self._database.tables.orders.values():
            other = each.order
            if other.account != order.account or not each.unsettled:
                continue
            if other.state is OrderState.UNKNOWN:
                raise entries_held(f"order {other.id} ({other.client_order_id}) is unknown")
            if other.state is OrderState.INTENT and other.created_at < oldest:
                why = f"order {other.id} ({other.client_order_id}) was written down, and nobody said what became of it"
                raise entries_held(why)
            if other.state is OrderState.QUARANTINED and (other.symbol, other.leg) == (order.symbol, ENTRY):
                raise entries_held(f"order {other.id} of {other.symbol} is quarantined")

    def _insert(self, new: NewOrder) -> Order:
        tables = self._database.tables
        order = Order(
            **asdict(new),
            id=self._database.next_id(),
            client_order_id=client_order_id(self.namespace, new.account, new.source, new.leg),
            state=OrderState.INTENT,
            stop_epoch=tables.switch.epoch,
            filled=ZERO,
            venue_order_id=None,
            reason=None,
            created_at=self._database.clock.now(),
            age_s=0.0,
        )
        tables.orders[order.id] = OrderRow(order)
        books_moved(self._database, order.account)
        return order

    def may_send(self, order_id: int) -> bool:
        """See the port."""
        with self._database.transaction() as tables:
            row = tables.orders.get(order_id)
            if row is None or row.order.state is not OrderState.INTENT:
                return False
            switch = tables.switch
            if row.order.leg != ENTRY:
                return True
            if switch.stopped or switch.epoch != row.order.stop_epoch:
                return False
            if tables.risk_approvals[row.order.approval_id].expires_at <= self._database.clock.now():
                raise expired_unsent(order_id)
            return True

    # --- what became of it ------------------------------------------------------------------------------

    def withdraw(self, order_id: int, reason: str) -> None:
        """See the port."""
        self._settle(order_id, OrderState.WITHDRAWN, reason)

    def settle(self, order_id: int, seen: VenueOrder) -> Order:
        """See the port."""
        return self._settle(order_id, venue_state_of(seen), seen.reason, seen)[1]

    def reject(self, order_id: int, reason: str) -> None:
        """See the port."""
        self._settle(order_id, OrderState.REJECTED, reason)

    def doubt(self, order_id: int, reason: str) -> None:
        """See the port."""
        with self._database.transaction():
            moved, order = self._settle(order_id, OrderState.UNKNOWN, reason)
            if moved:
                put_in_doubt(self._database, order.account, f"order {order.client_order_id}: {reason}")

    def quarantine(self, order_id: int, reason: str) -> None:
        """See the port."""
        with self._database.transaction():
            moved, order = self._settle(order_id, OrderState.QUARANTINED, reason)
            if moved:
                self._database.note([quarantine_alert(order, reason)])

    def release(self, order_id: int, by: str, reason: str) -> Order:
        """See the port."""
        with self._database.transaction() as tables:
            order = self._one(order_id)
            if order.state is not OrderState.QUARANTINED:
                raise not_quarantined(order)
            row = tables.orders[order_id]
            if not row.released:
                tables.orders[order_id] = replace(row, released=True)
                books_moved(self._database, order.account)
                append_entries(self._database, [release_entry(order, by, reason)])
            return self._one(order_id)

    def _settle(
        self, order_id: int, state: OrderState, reason: str | None, seen: VenueOrder | None = None
    ) -> tuple[bool, Order]:
        with self._database.transaction() as tables:
            order = self._one(order_id)
            row = tables.orders[order_id]
            moved = state in MAY_BECOME.get(order.state, ())
            told = row.told if seen is None else max(row.told, seen.filled)
            order = replace(order, reported=told)
            if seen is not None and order.venue_order_id is None:
                order = replace(order, venue_order_id=seen.venue_order_id)
            if moved:
                order = replace(order, state=state, reason=reason or order.reason)
            tables.orders[order_id] = OrderRow(order, told, row.released and not moved)
            if moved or told != row.told:
                books_moved(self._database, order.account)
            return moved, order

    # --- being looked at --------------------------------------------------------------------------------

    def order(self, order_id: int) -> Order:
        """See the port."""
        with self._database.transaction():
            return self._one(order_id)

    def of_leg(self, source: str, leg: str) -> Order | None:
        """See the port."""
        return next(iter(self._find(lambda each: (each.source, each.leg) == (source, leg))), None)

    def of_source(self, source: str) -> Sequence[Order]:
        """See the port."""
        return self._find(lambda each: each.source == source)

    def by_client_ids(self, client_order_ids: Sequence[str]) -> Mapping[str, Order]:
        """See the port."""
        wanted = frozenset(client_order_ids)
        return {each.client_order_id: each for each in self._find(lambda each: each.client_order_id in wanted)}

    def unsettled(self, account: str) -> Sequence[Order]:
        """See the port."""
        with self._database.transaction() as tables:
            return self._find(lambda each: each.account == account and tables.orders[each.id].unsettled)

    def orders(self, limit: int, symbol: str | None = None, state: OrderState | None = None) -> Sequence[Order]:
        """See the port."""
        found = self._find(lambda each: symbol in (None, each.symbol) and state in (None, each.state))
        return found[::-1][:limit]

    def _find(self, fits: Callable[[Order], bool]) -> list[Order]:
        with self._database.transaction() as tables:
            return [self._one(order_id) for order_id, row in sorted(tables.orders.items()) if fits(row.order)]

    def _one(self, order_id: int) -> Order:
        row = self._database.tables.orders.get(order_id)
        if row is None:
            raise no_such_order(order_id)
        age_s = (self._database.clock.now() - row.order.created_at).total_seconds()
        return replace(row.order, age_s=age_s, reported=row.told)
