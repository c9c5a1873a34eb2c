"""What must hold at every instant of trading (SPEC 19, R1–R6): our books and the venue's own ledger, side by side."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from decimal import Decimal

from aaos.adapters.brokers.paper.store import VenueStore
from aaos.domain.orders import ENTRY, Order, OrderState, RiskApproval
from aaos.domain.positions import Fill, Position
from aaos.domain.risk.rules import RiskRules
from aaos.ports import Broker, Orders, RiskDesk, TradingBooks

ALL = 1_000_000


class Ledgers:
    """Everything that is written down about one account, here and at the venue."""

    def __init__(self, desk: RiskDesk, orders: Orders, books: TradingBooks, broker: Broker, store: VenueStore) -> None:
        self.account = broker.account
        self.approvals: Sequence[RiskApproval] = [a for a in desk.approvals(ALL) if a.account == self.account]
        self.orders: Sequence[Order] = [o for o in orders.orders(ALL) if o.account == self.account]
        self.fills: Sequence[Fill] = books.fills(0, self.account)
        self.open: Sequence[Position] = books.open_positions(self.account)
        self.cash = books.cash(self.account)
        self.at_venue = store.orders(self.account, ALL)
        self.trades = store.newest_trades(self.account, ALL)

    # --- R1, R2, R3: whatever happened until now ----------------------------------------------------------

    def check_prefix(self) -> None:
        """Asserts what holds at every prefix, however many crashes and doubts lie behind it."""
        self.check_approved()
        self.check_once()
        self.check_filled()

    def check_approved(self) -> None:
        """R1: every order rests on an approval over the same content, at least as large and as leveraged, in time."""
        approvals = {each.id: each for each in self.approvals}
        for order in self.orders:
            given = approvals[order.approval_id]
            assert (given.source, given.source_hash, given.symbol) == (order.source, order.source_hash, order.symbol)
            assert order.quantity <= given.quantity, (order, given)
            assert order.leverage <= given.leverage, (order, given)
            if order.leg == ENTRY:
                assert order.side == given.side, (order, given)
                assert order.created_at <= given.expires_at, (order, given)
                assert given.used_at is not None, given
            else:
                assert order.reduce_only, order
                assert order.side != given.side, (order, given)
        used = Counter(order.approval_id for order in self.orders if order.leg == ENTRY)
        assert all(times == 1 for times in used.values()), f"an approval was used twice: {used}"

    def check_once(self) -> None:
        """R2: at the venue there is at most one order per leg, ever, and none that was not written down here first."""
        names = Counter(each.client_order_id for each in self.at_venue)
        assert all(times == 1 for times in names.values()), f"sent twice: {[n for n, t in names.items() if t > 1]}"
        ours = {order.client_order_id for order in self.orders}
        assert set(names) <= ours, f"orders nobody wrote down: {set(names) - ours}"
        legs = Counter((order.source, order.leg) for order in self.orders)
        assert all(times == 1 for times in legs.values())

    def check_filled(self) -> None:
        """R3: what an approval's entry filled, at the venue, is never more than was approved."""
        by_name = {order.client_order_id: order for order in self.orders}
        filled: dict[int, Decimal] = defaultdict(Decimal)
        for trade in self.trades:
            order = by_name[str(trade.fill.client_order_id)]
            if order.leg == ENTRY:
                filled[order.approval_id] += trade.fill.quantity
        for given in self.approvals:
            assert filled[given.id] <= given.quantity, given

    def check_limits(self, rules: RiskRules) -> None:
        """R6: never more positions, and what may become one, than the limit; one per symbol."""
        held = Counter(each.symbol for each in self.open)
        assert all(times == 1 for times in held.values()), held
        assert len(held) <= rules.max_positions, held

    # --- R4, R5: once all is reconciled -------------------------------------------------------------------

    def check_reconciled(self, broker: Broker) -> None:
        """R4: fills, cash, positions and open orders are the venue's; nobody's fate is open (no orphan)."""
        assert {(each.trade_id, each.quantity, each.price, each.fee) for each in self.fills} == {
            (each.fill.trade_id, each.fill.quantity, each.fill.price, each.fill.fee) for each in self.trades
        }
        assert self.cash == broker.cash(), (self.cash, broker.cash())
        assert {each.symbol: each.quantity for each in self.open} == {
            each.symbol: each.quantity for each in broker.positions()
        }
        unsure = [order for order in self.orders if order.state in (OrderState.INTENT, OrderState.UNKNOWN)]
        assert unsure == [], unsure
        assert self.working() == {each.client_order_id for each in broker.open_orders()}

    def working(self) -> set[str]:
        """Returns the names of the orders that are open as far as we know."""
        return {order.client_order_id for order in self.orders if order.state is OrderState.WORKING}

    def check_protected(self) -> None:
        """R5: every position has a live stop over all of it."""
        assert self.unprotected() == []

    def unprotected(self) -> list[Position]:
        """Returns positions without a live stop over all of them."""
        return [position for position in self.open if not self._has_stop(position)]

    def _has_stop(self, position: Position) -> bool:
        return any(
            (order.source, order.type, order.state) == (position.source, "stop_market", OrderState.WORKING)
            and order.quantity - order.filled >= abs(position.quantity)
            for order in self.orders
        )

    def check_stops_never_fall(self, before: dict[int, Decimal]) -> None:
        """R5: no position's stop stands further from profit than it ever stood; `before` is by position, updated."""
        for position in self.open:
            if position.stop_price is None or position.id is None:
                continue
            stood = before.get(position.id, position.stop_price)
            fell = position.stop_price < stood if position.is_long else position.stop_price > stood
            assert not fell, f"the stop stood at {stood}: {position}"
            before[position.id] = position.stop_price
