"""The legs of one position: its stop, its take-profit, and, where a stop cannot hold, the way out at market."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Literal

import structlog

from aaos.domain.execution.legs import LegKind, entry_of, is_leg, left_of, legs_of, next_leg, pause_s
from aaos.domain.execution.stops import exit_side, is_passed, stop_on_grid
from aaos.domain.order_book import Instrument
from aaos.domain.orders import ENTRY, NewOrder, Order, OrderState, OrderType
from aaos.domain.positions import ZERO, Position
from aaos.errors import AmbiguousReply, OrderDenied, VenueUnavailable
from aaos.services.book_fills import book_fills
from aaos.services.send_order import send_order
from aaos.services.settle_doubts import settle_doubts
from aaos.services.trading_desk import TradingDesk

log = structlog.get_logger()

UNGUARDED = "position_unguarded"
STOP_REFUSED = "stop_refused"
# A leg whose answer was lost is followed by the next one at once, so often: a second reduce-only order grows nothing.
LEGS_AT_ONCE = 3
IN_DOUBT = (OrderState.INTENT, OrderState.UNKNOWN)
TYPES: dict[LegKind, OrderType] = {"stop": "stop_market", "take_profit": "take_profit_market", "exit": "market"}
Cover = Literal["held", "exit", "wait"]


@dataclass(slots=True)
class Guarded:
    """What was done: legs sent that stand, stops raised, orders cancelled, and symbols that could not be protected."""

    placed: list[str] = field(default_factory=list)
    raised: int = 0
    cancelled: int = 0
    unguarded: list[str] = field(default_factory=list)


def is_covered(position: Position, unsettled: Sequence[Order], instrument: Instrument) -> bool:
    """Returns whether exactly what should be at the venue for a position is there, as far as our books know."""
    legs = [each for each in unsettled if each.symbol == position.symbol and each.leg != ENTRY]
    legs = [each for each in legs if each.state is not OrderState.QUARANTINED]
    wanted: list[LegKind] = ["stop"] if position.take_profit_price is None else ["stop", "take_profit"]
    return len(legs) == len(wanted) and all(
        any(covers(order, kind, position, instrument) for order in legs) for kind in wanted
    )


def covers(order: Order, kind: LegKind, position: Position, instrument: Instrument) -> bool:
    """Returns whether a live order takes care of all of a position, at its price or (a stop) nearer to profit."""
    if not is_leg(order, kind) or order.state is not OrderState.WORKING or order.source != position.source:
        return False
    price, at = trigger_of(kind, position, instrument), order.trigger_price
    if price is None or at is None or order.side != exit_side(position) or left_of(order) != abs(position.quantity):
        return False
    if kind == "take_profit":
        return at == price
    return at >= price if position.is_long else at <= price


def trigger_of(kind: LegKind, position: Position, instrument: Instrument) -> Decimal | None:
    """Returns where that leg of a position triggers, on the venue's grid; None where it has none."""
    if kind == "stop" and position.stop_price is not None:
        return stop_on_grid(position.stop_price, instrument, is_long=position.is_long)
    if kind == "take_profit" and position.take_profit_price is not None:
        return instrument.price(position.take_profit_price)
    return None


def cover_position(
    desk: TradingDesk, position: Position, instrument: Instrument, mark: Decimal | None, done: Guarded
) -> None:
    """Places what a position lacks, first the new and then away with the old, so that it is never without a stop.

    A stop that the market has passed already, or that the venue refuses, is no protection: the position is closed at
    market. A leg whose fate nobody knows is asked for once, and followed by the next.

    Args:
        desk: its account.
        position: with the stop price it should have.
        instrument: of its symbol.
        mark: the market's price; None where nobody knows it.
        done: added to.

    Raises:
        VenueUnavailable, AmbiguousReply: an old leg could not be cancelled, or the next be sent; to be called again.
        InputError: our books refuse a leg.
    """
    cover = _opened_by(desk, position, instrument, done)
    if cover is None:
        return
    if cover.closing() < abs(position.quantity):
        cover.hold_all(mark)
    cover.end_entry()


def close_position(desk: TradingDesk, position: Position, why: str, done: Guarded) -> None:
    """Closes a position at market, reduce-only; what is on its way out already is not sent for again.

    Raises:
        VenueUnavailable, AmbiguousReply, InputError: as `cover_position`.
    """
    cover = _opened_by(desk, position, desk.broker.instrument(position.symbol), done)
    if cover is not None:
        cover.close(why)


def tell_unguarded(desk: TradingDesk, symbol: str, why: str, remedy: str, done: Guarded) -> None:
    """Tells the operator of a position that may have no stop."""
    done.unguarded.append(symbol)
    log.error(UNGUARDED, account=desk.account, symbol=symbol, why=why)
    message = f"the position in {symbol} on {desk.account} may be without a stop: {why}; {remedy}"
    desk.alerts.raise_alert(UNGUARDED, message, {"account": desk.account, "symbol": symbol, "why": why})


def in_haste(desk: TradingDesk) -> TradingDesk:
    """Returns the desk for orders that only reduce: one that is not found at once is quarantined, and the next sent.

    A stop that turns up after another was sent is one too many for a second; no stop may cost the position.
    """
    return replace(desk, rules=replace(desk.rules, visible_within_s=0.0))


def _opened_by(desk: TradingDesk, position: Position, instrument: Instrument, done: Guarded) -> _Cover | None:
    """Returns the position with its source's orders, none in doubt if the venue can be asked; None: nobody's."""
    if position.source is None:
        why = f"{position.quantity} come from an order that nobody here sent, so no approval covers one of ours"
        remedy = "close it at the venue; its closing trade is booked by itself"
        tell_unguarded(desk, position.symbol, why, remedy, done)
        return None
    orders = list(desk.orders.of_source(position.source))
    entry = entry_of(orders)
    if entry is None:
        why = (
            f"{position.quantity} are left of {position.source}, which was to make a position smaller, not to open one"
        )
        remedy = "a trade that the venue tells late ends this by itself; else close it at the venue"
        tell_unguarded(desk, position.symbol, why, remedy, done)
        return None
    doubtful = [order for order in orders if order.leg != ENTRY and order.state in IN_DOUBT]
    if doubtful:
        known = {order.id: order for order in settle_doubts(doubtful, in_haste(desk))}
        orders = [known.get(order.id, order) for order in orders]
    return _Cover(desk, position, instrument, done, entry, orders)


@dataclass(frozen=True, slots=True)
class _Cover:
    """One position and the orders of its source; `orders` grows with what is sent."""

    desk: TradingDesk
    position: Position
    instrument: Instrument
    done: Guarded
    entry: Order
    orders: list[Order]

    def closing(self) -> Decimal:
        """Returns how much is on its way out: market orders at work, and what has filled but is not booked yet."""
        return sum(
            (
                left_of(order)
                for order in self.orders
                if order.leg != ENTRY
                and (order.state is OrderState.FILLED or (order.state is OrderState.WORKING and is_leg(order, "exit")))
            ),
            ZERO,
        )

    def hold_all(self, mark: Decimal | None) -> None:
        """Sees to the stop, then to the take-profit; closes the position where one of them cannot stand."""
        kinds: tuple[LegKind, ...] = ("stop", "take_profit")
        for kind in kinds:
            try:
                held = self.hold(kind, mark)
            except OrderDenied:
                # Another process may have booked its end meanwhile: then there is nothing to protect, nor to tell.
                if not self._has_changed():
                    raise
                return
            if held == "exit":
                self.close(f"{kind} at {trigger_of(kind, self.position, self.instrument)}, market at {mark}")
            if held != "held":
                return

    def end_entry(self) -> None:
        """Cancels the rest of the entry once something of the position was closed, or is to be at market.

        It would open again what is being closed, and beyond the stop once more each time.
        """
        over = any(order.leg != ENTRY and (order.filled or is_leg(order, "exit")) for order in self.orders)
        if over and self.entry.state is OrderState.WORKING:
            self._cancel(self.entry)

    def hold(self, kind: LegKind, mark: Decimal | None) -> Cover:
        """Sees that one leg of that kind stands, and only one.

        Returns:
            `exit`: the position has to be closed at market; `wait`: nothing to be done for it now, look again.
        """
        live = [order for order in legs_of(self.orders, kind) if order.state is OrderState.WORKING]
        good = next((order for order in live if covers(order, kind, self.position, self.instrument)), None)
        trigger = trigger_of(kind, self.position, self.instrument)
        if good is None and trigger is not None:
            if mark is not None and is_passed(trigger, mark, is_long=self.position.is_long == (kind == "stop")):
                return "exit"
            good = self._send(kind, trigger, abs(self.position.quantity))
            if good is None or good.state not in (OrderState.WORKING, OrderState.FILLED):
                return self._without(kind, good)
        for order in live:
            if good is None or order.id != good.id:
                self._cancel(order)
        return "held"

    def close(self, why: str) -> None:
        """Sends what is not on its way out yet at market."""
        quantity = abs(self.position.quantity) - self.closing()
        if quantity <= 0:
            return
        log.warning("position_closed_at_market", symbol=self.position.symbol, quantity=str(quantity), why=why)
        sent = self._send("exit", None, quantity)
        if sent is None or (sent.state not in (OrderState.WORKING, OrderState.FILLED) and not self._has_changed()):
            reason = "it waits before it tries again" if sent is None else f"{sent.state}, {sent.reason}"
            self._tell(f"it has to be closed ({why}) and the market order for it came to nothing: {reason}")

    def _without(self, kind: LegKind, sent: Order | None) -> Cover:
        refused = sent is not None and sent.state is OrderState.REJECTED
        if refused and self._has_changed():
            return "wait"
        reason = "it waits before it tries again" if sent is None else f"{sent.state}, {sent.reason}"
        if kind == "stop" and not refused:
            self._tell(f"its stop came to nothing: {reason}")
        elif sent is not None and refused:
            account, symbol = self.desk.account, self.position.symbol
            then = (
                "it is closed at market" if kind == "stop" else "its stop stands; close it by hand where it should end"
            )
            message = f"the venue refuses the {kind} of {symbol} on {account} ({sent.reason}): {then}"
            self.desk.alerts.raise_alert(STOP_REFUSED, message, {"account": account, "symbol": symbol, "leg": sent.leg})
        return "exit" if kind == "stop" and refused else "wait"

    def _send(self, kind: LegKind, trigger: Decimal | None, quantity: Decimal) -> Order | None:
        """Sends the next leg, and the one after where an answer was lost; None while it pauses after failures."""
        if pause_s(self.orders, kind) > 0:
            return None
        sent = None
        for _ in range(LEGS_AT_ONCE):
            new = NewOrder(
                approval_id=self.entry.approval_id,
                source=self.entry.source,
                source_hash=self.entry.source_hash,
                account=self.entry.account,
                leg=next_leg(self.orders, kind),
                symbol=self.position.symbol,
                side=exit_side(self.position),
                type=TYPES[kind],
                quantity=quantity,
                leverage=self.entry.leverage,
                trigger_price=trigger,
                reduce_only=True,
            )
            sent = send_order(new, in_haste(self.desk)).order
            self.orders.append(sent)
            if sent.state is not OrderState.QUARANTINED:
                break
        if sent is not None and sent.state in (OrderState.WORKING, OrderState.FILLED):
            self.done.placed.append(f"{sent.source} {sent.leg}")
        return sent

    def _has_changed(self) -> bool:
        """Whether the position is no longer what it was: a venue refuses to reduce what has just been closed."""
        try:
            book_fills(self.desk)
        except (VenueUnavailable, AmbiguousReply):
            return False
        now = {each.id: each.quantity for each in self.desk.books.open_positions(self.desk.account)}
        return now.get(self.position.id) != self.position.quantity

    def _cancel(self, order: Order) -> None:
        if cancel_order(order, self.desk):
            self.done.cancelled += 1

    def _tell(self, why: str) -> None:
        remedy = "it is tried again by itself; if that does not end, place a stop or close it at the venue"
        tell_unguarded(self.desk, self.position.symbol, why, remedy, self.done)


def cancel_order(order: Order, desk: TradingDesk) -> bool:
    """Cancels what is left of an order; returns False where the venue does not know it: then reconciling finds out.

    Raises:
        VenueUnavailable: nothing was sent.
        AmbiguousReply: it may be cancelled; the next look tells.
    """
    seen = desk.broker.cancel(order)
    if seen is None:
        if order.state is OrderState.WORKING:
            desk.orders.doubt(order.id, "the venue does not know it when it is to be cancelled")
            desk.gate.lost()
        return False
    desk.orders.settle(order.id, seen)
    log.info("order_cancelled", order=order.id, account=order.account, symbol=order.symbol, leg=order.leg)
    return True
