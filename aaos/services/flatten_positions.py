"""The emergency exit of an account: entries cancelled, positions closed at market."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import structlog

from aaos.domain.orders import ENTRY, Order, OrderState
from aaos.domain.positions import Position
from aaos.errors import AaosError
from aaos.services.book_fills import book_fills
from aaos.services.cover_position import Guarded, cancel_order, close_position
from aaos.services.trading_desk import TradingDesk

log = structlog.get_logger()

NOT_FLAT = "not_flat"
# The watch and this would take each other's orders for a dead process's. A watch is over in a moment; one that is
# frozen for longer than this holds nobody up.
WATCH_WAIT_S = 5.0
WATCH_POLL_S = 0.05


@dataclass(slots=True)
class Flattened:
    """What was done, and what is left: to be called again until `open` and `entries` are empty.

    Attributes:
        cancelled: entries.
        closing: legs that were sent at market.
        open: symbols that are not flat, as far as the fills are booked.
        entries: orders that may still fill: one was being sent just then, or a cancellation was not answered.
        failed: steps that did not succeed, with their reasons.
    """

    cancelled: int = 0
    closing: list[str] = field(default_factory=list)
    open: list[str] = field(default_factory=list)
    entries: list[int] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


def flatten_positions(desk: TradingDesk, why: str) -> Flattened:
    """Cancels every entry of the account and closes every position at market, reduce-only; returns what it did.

    To be called again, at any time and by anybody: what is on its way out is not sent for twice. A step that fails
    does not keep the next from being tried. Stops stay where they are until their positions are closed (the watch then
    cancels them). It stops nobody from entering again: that is what the trading switch is for, first.

    Raises:
        DatabaseUnavailable: the orders or positions cannot be read.
    """
    done, guarded = Flattened(), Guarded()
    # Whatever may be at the venue, asked about or not: cancelling what is not there costs a request.
    for order in _entries(desk):
        done.cancelled += _try(partial(cancel_order, order, desk), f"cancel order {order.id}", done)
    _once_unwatched(desk, lambda: _close_all(desk, why, done, guarded))
    done.closing = guarded.placed
    done.open = [position.symbol for position in desk.books.open_positions(desk.account)]
    done.entries = [order.id for order in _entries(desk) if order.state is not OrderState.QUARANTINED]
    log.warning(
        "positions_flattened", account=desk.account, why=why, cancelled=done.cancelled, closing=done.closing,
        open=done.open, entries=done.entries, failed=done.failed,
    )  # fmt: skip
    if done.failed:
        details = {"account": desk.account, "failed": done.failed, "open": done.open}
        message = f"flattening {desk.account} did not wholly succeed: call it again; close what is left at the venue"
        desk.alerts.raise_alert(NOT_FLAT, message, details)
    return done


def _entries(desk: TradingDesk) -> list[Order]:
    return [order for order in desk.orders.unsettled(desk.account) if order.leg == ENTRY]


def _close_all(desk: TradingDesk, why: str, done: Flattened, guarded: Guarded) -> None:
    _try(lambda: bool(book_fills(desk)), "fetch fills", done)
    positions: Sequence[Position] = desk.books.open_positions(desk.account)
    for position in positions:
        _try(partial(_close, desk, position, why, guarded), f"close {position.symbol}", done)
    done.failed += [f"close {symbol}: see its alert" for symbol in guarded.unguarded]


def _close(desk: TradingDesk, position: Position, why: str, guarded: Guarded) -> bool:
    close_position(desk, position, why, guarded)
    return True


def _once_unwatched(desk: TradingDesk, act: Callable[[], None]) -> None:
    give_up_at = desk.clock() + WATCH_WAIT_S
    while True:
        with desk.books.watching(desk.account) as ours:
            if ours or desk.clock() >= give_up_at:
                act()
                return
        desk.sleep(WATCH_POLL_S)


def _try(step: Callable[[], bool], name: str, done: Flattened) -> bool:
    try:
        return step()
    except AaosError as error:
        done.failed.append(f"{name}: {error}")
        log.error("flatten_step_failed", step=name, why=str(error))
        return False
