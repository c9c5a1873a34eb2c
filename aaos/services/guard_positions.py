"""A live stop for every position, never looser than it was; profit taken where agreed; nothing left of closed ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import partial

import structlog

from aaos.domain.execution.stops import Staircase, default_stop, exit_side, trailed_stop
from aaos.domain.order_book import Instrument
from aaos.domain.orders import ENTRY, Order, OrderState
from aaos.domain.positions import Position
from aaos.errors import AmbiguousReply, InputError, VenueUnavailable
from aaos.ports import Clock, OrderBooks
from aaos.services.cover_position import (
    IN_DOUBT,
    Guarded,
    cancel_order,
    cover_position,
    in_haste,
    is_covered,
    tell_unguarded,
)
from aaos.services.settle_doubts import settle_doubts
from aaos.services.trading_desk import TradingDesk

log = structlog.get_logger()

# As the source of a position that is not there; None is that of one whose entry nobody here sent.
NOBODY = ""


def guard_positions(desk: TradingDesk, market: OrderBooks, clock: Clock, stop_roi_percent: Decimal) -> Guarded:
    """Protects every open position of the account and cancels what closed ones left behind; returns what it did.

    One process at a time (`TradingBooks.watching`): whatever it finds half done, a dead process left. It may be called
    at any time and again: a position that is protected costs no statement and changes nothing. One that fails does not
    keep the others from being protected.

    Args:
        desk: the account.
        market: for the mark: the middle of a book that is young, and neither empty nor crossed. Without one stops
            stand where they stand, and are placed all the same.
        clock: of the database.
        stop_roi_percent: where a position's stop goes when its approval named none (`risk.stop_roi_percent`).

    Raises:
        DatabaseUnavailable: the rest is done at the next call.
    """
    guard = _Guard(desk, market, clock, stop_roi_percent, Guarded())
    # Orders before positions: an order that has filled is then never without the position that it made.
    unsettled = desk.orders.unsettled(desk.account)
    positions = desk.books.open_positions(desk.account)
    for position in bare_first(positions, unsettled):
        guard.step(position.symbol, partial(guard.protect, position, unsettled))
    for order in leftovers(unsettled, positions):
        guard.step(order.symbol, partial(guard.clear, order))
    return guard.done


def bare_first(positions: Sequence[Position], unsettled: Sequence[Order]) -> list[Position]:
    """Returns the positions, those without any live stop first: moving a stop that stands can wait for a first one."""
    stops = {(order.symbol, order.side) for order in unsettled if _is_live_stop(order)}
    return sorted(positions, key=lambda position: (position.symbol, exit_side(position)) in stops)


def _is_live_stop(order: Order) -> bool:
    return order.type == "stop_market" and order.state is OrderState.WORKING


def leftovers(unsettled: Sequence[Order], positions: Sequence[Position]) -> list[Order]:
    """Returns the orders that positions left behind: exits with nothing to close, and rests of entries after it.

    The rest of an entry whose position was stopped out would open it again, without anybody having decided so. An exit
    that turns up once another source's position stands there would close that one, at a price it was not meant for.
    """
    exits = {(position.symbol, exit_side(position)): position.source for position in positions}
    symbols = {position.symbol for position in positions}
    left = []
    for order in unsettled:
        if order.leg != ENTRY:
            source = exits.get((order.symbol, order.side), NOBODY)
            behind = source not in (None, order.source) and order.state is not OrderState.QUARANTINED
        else:
            behind = order.symbol not in symbols and order.filled > 0 and order.state is OrderState.WORKING
        if behind:
            left.append(order)
    return left


@dataclass(frozen=True, slots=True)
class _Guard:
    desk: TradingDesk
    market: OrderBooks
    clock: Clock
    stop_roi_percent: Decimal
    done: Guarded

    def step(self, symbol: str, act: Callable[[], None]) -> None:
        """Does one thing; what goes wrong with it is told, and the next thing is done."""
        try:
            act()
        except (VenueUnavailable, AmbiguousReply) as away:
            self.desk.gate.lost()
            self.done.unguarded.append(symbol)
            log.warning("guard_step_failed", account=self.desk.account, symbol=symbol, why=str(away))
        except InputError as refused:
            remedy = "look at its orders (aaos orders), and close it at the venue if no stop is there"
            tell_unguarded(self.desk, symbol, str(refused), remedy, self.done)

    def clear(self, order: Order) -> None:
        """Cancels an order, asking about it first where nobody knows whether it is there."""
        if order.state in IN_DOUBT:
            (order,) = settle_doubts([order], in_haste(self.desk))
        if order.state is OrderState.WORKING and cancel_order(order, self.desk):
            self.done.cancelled += 1

    def protect(self, position: Position, unsettled: Sequence[Order]) -> None:
        """Sees to one position: its stop raised, live and of its size, its profit taken, or all of it closed."""
        instrument = self.desk.broker.instrument(position.symbol)
        mark = self._mark(position.symbol)
        raised = position if position.source is None else self._raise(position, mark, instrument)
        if raised is not None and not is_covered(raised, unsettled, instrument):
            cover_position(self.desk, raised, instrument, mark, self.done)

    def _mark(self, symbol: str) -> Decimal | None:
        try:
            book = self.market.book(symbol, self.clock.now())
        except InputError as gone:  # the market was switched, and the new one does not list it
            log.warning("no_mark", symbol=symbol, why=str(gone))
            return None
        return None if book.fault(self.desk.rules.max_book_age_s) else book.mid

    def _raise(self, position: Position, mark: Decimal | None, instrument: Instrument) -> Position | None:
        """Returns the position with its stop where it belongs now; None when another has just moved it further."""
        wanted = position.stop_price or default_stop(position, self.stop_roi_percent, instrument)
        if mark is not None:
            wanted = trailed_stop(replace(position, stop_price=wanted), mark, self._stairs(), instrument) or wanted
        if wanted == position.stop_price:
            return position
        if position.id is None or not self.desk.books.raise_stop(position.id, wanted):
            return None
        self.done.raised += 1
        log.info(
            "stop_raised", account=position.account, symbol=position.symbol, source=position.source,
            was=str(position.stop_price), stop=str(wanted), mark=str(mark),
        )  # fmt: skip
        return replace(position, stop_price=wanted)

    def _stairs(self) -> Staircase:
        rules = self.desk.rules
        return Staircase(
            rules.trail_activation_roi_percent, rules.trail_step_roi_percent, rules.trail_distance_roi_percent
        )
