"""The watch over an account: what became of its orders, what has filled, and whether every position has its stop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal

import structlog

from aaos.domain.orders import Order, OrderState, VenueOrder
from aaos.errors import AmbiguousReply, DatabaseUnavailable, VenueUnavailable
from aaos.ports import Clock, OrderBooks
from aaos.services.book_fills import book_fills
from aaos.services.cover_position import Guarded
from aaos.services.guard_positions import guard_positions
from aaos.services.reconcile_orders import tell_turned_up
from aaos.services.trading_desk import TradingDesk

log = structlog.get_logger()

# With no order and no position nothing can fill but what the venue tells late, of an order that is over: such trades
# are looked for this far back. Older ones are found by the reconciliation, which asks without this shortcut.
QUIET_LOOK_BACK = timedelta(seconds=60)
OPEN = (OrderState.INTENT, OrderState.WORKING, OrderState.UNKNOWN)


@dataclass(slots=True)
class Watched:
    """What one look did.

    Attributes:
        quiet: there was nothing to watch.
        others: another process is watching the account just now.
        booked: fills that were new.
        settled: orders of which the venue said something new.
        guarded: see `guard_positions`; None where it did not come to that.
        failed: steps that did not succeed; the next look repeats them.
    """

    quiet: bool = False
    others: bool = False
    booked: int = 0
    settled: int = 0
    guarded: Guarded | None = None
    failed: list[str] = field(default_factory=list)


def watch_positions(desk: TradingDesk, market: OrderBooks, clock: Clock, stop_roi_percent: Decimal) -> Watched:
    """Fetches what became of working orders, books fills, and guards positions; returns what it did.

    Any number of processes may call it as often as they like: one of them looks, the others step aside. A step that
    fails (the venue does not answer a question) does not keep the next from being tried. Where nothing is open it
    costs two statements and one request.

    Args:
        desk: the account.
        market: see `guard_positions`, as for the others.
        clock: of the database.
        stop_roi_percent: `risk.stop_roi_percent`.
    """
    seen = Watched()
    try:
        if _is_quiet(desk, clock):
            seen.quiet = True
            return seen
        with desk.books.watching(desk.account) as ours:
            seen.others = not ours
            if ours:
                _look(desk, market, clock, stop_roi_percent, seen)
    except DatabaseUnavailable as error:
        seen.failed.append("database")
        log.warning("positions_not_watched", account=desk.account, why=str(error))
    return seen


def _is_quiet(desk: TradingDesk, clock: Clock) -> bool:
    if any(order.state in OPEN for order in desk.orders.unsettled(desk.account)):
        return False
    if desk.books.open_positions(desk.account):
        return False
    try:
        return not desk.broker.fills(clock.now() - QUIET_LOOK_BACK)
    except (VenueUnavailable, AmbiguousReply) as away:
        desk.gate.lost()
        log.warning("venue_away", account=desk.account, why=str(away))
        return True


def _look(desk: TradingDesk, market: OrderBooks, clock: Clock, stop_roi_percent: Decimal, seen: Watched) -> None:
    def settle() -> None:
        seen.settled = settle_working(desk)

    def book() -> None:
        seen.booked = len(book_fills(desk))

    def guard() -> None:
        seen.guarded = guard_positions(desk, market, clock, stop_roi_percent)

    # States before fills: what an order is known to have filled is then among the fills.
    for step in (settle, book, guard):
        _try(step, desk, seen)
    if seen.booked or seen.settled or seen.failed:
        log.info(
            "positions_watched", account=desk.account, booked=seen.booked, settled=seen.settled, failed=seen.failed
        )


def _try(step: Callable[[], None], desk: TradingDesk, seen: Watched) -> None:
    try:
        step()
    except (VenueUnavailable, AmbiguousReply) as away:
        desk.gate.lost()
        seen.failed.append(step.__name__)
        log.warning("watch_step_failed", account=desk.account, step=step.__name__, why=str(away))


def settle_working(desk: TradingDesk) -> int:
    """Settles orders that the venue no longer lists as open, and adopts those it lists after all; returns how many.

    One that it does not know at all is left to the reconciliation.

    Raises:
        VenueUnavailable, AmbiguousReply: some of them may not be settled.
    """
    orders = desk.orders.unsettled(desk.account)
    if not orders:
        return 0
    listed = {each.client_order_id: each for each in desk.broker.open_orders()}
    return sum(_settled(order, listed.get(order.client_order_id), desk) for order in orders)


def _settled(order: Order, listed: VenueOrder | None, desk: TradingDesk) -> bool:
    is_working = order.state is OrderState.WORKING
    if is_working == (listed is not None):
        return False
    found = listed or desk.broker.order(order.client_order_id, order.symbol)
    if found is None:
        return False
    settled = desk.orders.settle(order.id, found)
    if order.state is OrderState.QUARANTINED and settled.state is not order.state:
        tell_turned_up(settled, desk)
    return settled.state is not order.state
