"""Our book of orders on PostgreSQL; the rules themselves are functions and triggers of migration 0005."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import cached_property
from typing import Any

from aaos.adapters.postgres import orders_sql as sql
from aaos.adapters.postgres.account_books import put_in_doubt, raise_alerts
from aaos.adapters.postgres.audit import append_entries
from aaos.adapters.postgres.database import Database, broken_rule
from aaos.domain.execution.rules import ExecutionRules
from aaos.domain.order_refusals import (
    RULES,
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
    Intent,
    NewOrder,
    Order,
    OrderState,
    VenueOrder,
    client_order_id,
    venue_state_of,
)
from aaos.domain.runs import ClaimedRun
from aaos.errors import FenceLost, InvariantViolation


class PostgresOrders:
    """Implements `ports.Orders`."""

    def __init__(self, database: Database, rules: ExecutionRules) -> None:
        self._database = database
        self._rules = rules

    @cached_property
    def namespace(self) -> str:
        """See the port."""
        row = self._database.row(sql.NAMESPACE)
        if row is None:
            raise InvariantViolation("the row of trading_namespace is gone: restore it, or orders get other names")
        return str(row.id)

    # --- before anything is sent ------------------------------------------------------------------------

    def intend(self, order: NewOrder, run: ClaimedRun | None = None) -> Intent:
        """See the port."""
        name = client_order_id(self.namespace, order.account, order.source, order.leg)
        parameters = {
            "wanted": json.dumps(asdict(order) | {"client_order_id": name}, default=str),
            "run_id": None if run is None else run.id,
            "fence": None if run is None else run.fence,
            "max_intent_age_s": intent_is_old_after_s(self._rules),
        }
        with _refusals(order):
            row = self._database.row(sql.INTEND, parameters)
        if row is None:
            raise InvariantViolation(f"writing down {order.leg} of {order.source} was neither done nor refused")
        return Intent(order_of(row), row.created)

    def may_send(self, order_id: int) -> bool:
        """See the port."""
        row = self._database.row(sql.MAY_SEND, {"id": order_id})
        if row is not None and row.expired:
            raise expired_unsent(order_id)
        return row is not None

    # --- what became of it ------------------------------------------------------------------------------

    def withdraw(self, order_id: int, reason: str) -> None:
        """See the port."""
        self._settle(order_id, OrderState.WITHDRAWN, reason)

    def settle(self, order_id: int, seen: VenueOrder) -> Order:
        """See the port."""
        return self._settle(order_id, venue_state_of(seen), seen.reason, seen)

    def reject(self, order_id: int, reason: str) -> None:
        """See the port."""
        self._settle(order_id, OrderState.REJECTED, reason)

    def _settle(self, order_id: int, state: OrderState, reason: str | None, seen: VenueOrder | None = None) -> Order:
        row = self._database.row(sql.SETTLE, _told(order_id, state, reason, seen))
        if row is None:
            raise no_such_order(order_id)
        return order_of(row)

    def doubt(self, order_id: int, reason: str) -> None:
        """See the port."""
        with self._database.transaction() as connection:
            row = connection.execute(sql.SETTLE, _told(order_id, OrderState.UNKNOWN, reason)).first()
            if row is None:
                raise no_such_order(order_id)
            if row.moved:
                put_in_doubt(connection, row.account, f"order {row.client_order_id}: {reason}")

    def quarantine(self, order_id: int, reason: str) -> None:
        """See the port."""
        with self._database.transaction() as connection:
            row = connection.execute(sql.SETTLE, _told(order_id, OrderState.QUARANTINED, reason)).first()
            if row is None:
                raise no_such_order(order_id)
            if row.moved:
                raise_alerts(connection, [quarantine_alert(order_of(row), reason)])

    def release(self, order_id: int, by: str, reason: str) -> Order:
        """See the port."""
        with self._database.transaction() as connection:
            connection.execute(sql.LOCK, {"id": order_id})
            row = connection.execute(sql.ONE, {"id": order_id}).first()
            if row is None:
                raise no_such_order(order_id)
            order = order_of(row)
            if order.state is not OrderState.QUARANTINED:
                raise not_quarantined(order)
            if connection.execute(sql.RELEASE, {"id": order_id, "by": by}).first() is not None:
                append_entries(connection, [release_entry(order, by, reason)])
            return order

    # --- being looked at --------------------------------------------------------------------------------

    def order(self, order_id: int) -> Order:
        """See the port."""
        row = self._database.row(sql.ONE, {"id": order_id})
        if row is None:
            raise no_such_order(order_id)
        return order_of(row)

    def of_leg(self, source: str, leg: str) -> Order | None:
        """See the port."""
        row = self._database.row(sql.OF_LEG, {"source": source, "leg": leg})
        return None if row is None else order_of(row)

    def of_source(self, source: str) -> Sequence[Order]:
        """See the port."""
        return [order_of(row) for row in self._database.rows(sql.OF_SOURCE, {"source": source})]

    def by_client_ids(self, client_order_ids: Sequence[str]) -> Mapping[str, Order]:
        """See the port."""
        rows = self._database.rows(sql.BY_CLIENT_IDS, {"client_order_ids": list(client_order_ids)})
        return {row.client_order_id: order_of(row) for row in rows}

    def unsettled(self, account: str) -> Sequence[Order]:
        """See the port."""
        return [order_of(row) for row in self._database.rows(sql.UNSETTLED, {"account": account})]

    def orders(self, limit: int, symbol: str | None = None, state: OrderState | None = None) -> Sequence[Order]:
        """See the port."""
        parameters = {"limit": limit, "symbol": symbol, "state": None if state is None else state.value}
        return [order_of(row) for row in self._database.rows(sql.NEWEST, parameters)]


@contextmanager
def _refusals(order: NewOrder) -> Iterator[None]:
    """Says what the database refused in the words of the port."""
    try:
        yield
    except InvariantViolation as error:
        rule, message = broken_rule(error)
        if rule in RULES:
            raise order_denied(rule, order) from error
        if rule == "entries_held":
            raise entries_held(message) from error
        if rule == "run_is_held":
            raise FenceLost(f"{message}: nothing was written down") from error
        raise


def _told(order_id: int, state: OrderState, reason: str | None, seen: VenueOrder | None = None) -> dict[str, Any]:
    return {
        "id": order_id,
        "state": state.value,
        "reason": reason,
        "venue_order_id": None if seen is None else seen.venue_order_id,
        "filled": None if seen is None else seen.filled,
    }


def order_of(row: Any) -> Order:
    """Returns the order in a row of `sql.COLUMNS`."""
    return Order(
        id=row.id,
        client_order_id=row.client_order_id,
        approval_id=row.approval_id,
        source=row.source,
        source_hash=row.source_hash,
        account=row.account,
        leg=row.leg,
        symbol=row.symbol,
        side=row.side,
        type=row.type,
        quantity=row.quantity,
        leverage=row.leverage,
        price=row.price,
        trigger_price=row.trigger_price,
        reduce_only=row.reduce_only,
        state=OrderState(row.state),
        stop_epoch=row.stop_epoch,
        filled=row.filled,
        venue_order_id=row.venue_order_id,
        reason=row.reason,
        created_at=row.created_at,
        age_s=row.age_s,
        reported=row.reported_filled,
    )
