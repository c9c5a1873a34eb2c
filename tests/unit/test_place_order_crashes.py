"""A worker may die at any moment: before or after any call, again and again. At most one order per leg, always (R2)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import pytest
from broker_examples import ACCOUNT, AWAY, LOST_AFTER, LOST_BEFORE, REFUSED, SOURCE, Floor
from hypothesis import given, settings
from hypothesis import strategies as st

from aaos.domain.orders import OrderState
from aaos.domain.runs import ClaimedRun, Completed
from aaos.errors import DatabaseUnavailable, EntriesHeld
from aaos.services.place_order import Execution, place_order
from aaos.services.reconcile_orders import reconcile_orders
from aaos.services.trading_desk import TradingDesk

D = Decimal
ENOUGH = 60


class Killed(BaseException):
    """The process is gone."""


class Grave:
    """Counts the calls of all ports it stands in for, and ends the process before or after one of them."""

    def __init__(self, at: int, after: bool) -> None:
        self.at, self.after = at, after
        self.calls = 0

    def around(self, port: Any) -> Any:
        return _Mortal(port, self)

    def call(self, method: Callable[..., Any], args: Sequence[Any], named: dict[str, Any]) -> Any:
        self.calls += 1
        if self.calls == self.at and not self.after:
            raise Killed
        if self.calls > self.at:
            raise AssertionError(f"{method} was called by a dead process")
        try:
            return method(*args, **named)
        finally:
            if self.calls == self.at:
                raise Killed


class _Mortal:
    def __init__(self, port: Any, grave: Grave) -> None:
        self._port, self._grave = port, grave

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._port, name)
        if not callable(found):
            return found
        return lambda *args, **named: self._grave.call(found, args, named)


def mortal(floor: Floor, grave: Grave) -> tuple[TradingDesk, Execution]:
    """A process that dies at the grave's call, whichever port that is of."""
    desk = floor.process(
        broker=grave.around(floor.venue),
        orders=grave.around(floor.orders),
        books=grave.around(floor.books),
        alerts=grave.around(floor.world.alerts),
    )
    parts = (floor.risk, floor.market, floor.world.clock)
    return desk, Execution(*(grave.around(part) for part in parts), protect=floor.protected.append)


def crashed(floor: Floor, run: ClaimedRun, at: int, after: bool) -> bool:
    """Runs the service until it dies there; returns False when it never got so far."""
    desk, execution = mortal(floor, Grave(at, after))
    try:
        place_order(run, {ACCOUNT: desk}, execution)
    except Killed:
        return True
    except EntriesHeld:
        return False
    return False


def finished(floor: Floor, run: ClaimedRun) -> Completed:
    """Takes the run up in a new process, as often as it is put back."""
    for _ in range(ENOUGH):
        try:
            return floor.place(run, floor.process())
        except EntriesHeld as held:
            run = floor.put_back(run, held)
    raise AssertionError("it never ended")


def one_order_per_leg(floor: Floor) -> None:
    assert all(times == 1 for times in Counter(floor.venue.names()).values()), floor.venue.names()


def told_truly(floor: Floor, done: Completed) -> None:
    """What our books say of the order is what the venue has of it."""
    order = floor.orders.of_leg(SOURCE, "entry")
    at_venue = [each for each in floor.venue.accepted if each.source == SOURCE]
    assert done.body["placed"] is not True or len(at_venue) == 1
    if at_venue:
        assert order is not None
        assert order.state in (OrderState.WORKING, OrderState.FILLED), order
        assert order.filled == sum((each.quantity for each in floor.venue.trades), D(0))
    else:
        quiet = (OrderState.QUARANTINED, OrderState.REJECTED, OrderState.WITHDRAWN)
        assert order is None or order.state in quiet, order


SCRIPTS: dict[str, Callable[[Floor], None]] = {
    "plain": lambda floor: floor.venue.faults.clear(),
    "fills at once": lambda floor: setattr(floor.venue, "fills_at_once", D(1)),
    "fills a part, told twice": lambda floor: (
        setattr(floor.venue, "fills_at_once", D("0.5")),
        setattr(floor.venue, "twice", True),
    )[0],
    "lost after": lambda floor: floor.venue.faults["place"].append(LOST_AFTER),
    "lost before": lambda floor: floor.venue.faults["place"].append(LOST_BEFORE),
    "refused": lambda floor: floor.venue.faults["place"].append(REFUSED),
    "away once": lambda floor: floor.venue.faults["place"].append(AWAY),
    "away for long": lambda floor: floor.venue.faults["place"].extend([AWAY] * 3),
}


def floored(script: str) -> tuple[Floor, ClaimedRun]:
    floor = Floor()
    floor.approve(expires_after_s=600.0)
    SCRIPTS[script](floor)
    return floor, floor.claim()


@pytest.mark.requirement("R2")
@pytest.mark.requirement("ENG-4")
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("script", SCRIPTS)
def test_a_crash_at_any_call_makes_no_second_order_and_loses_none(script: str, after: bool) -> None:
    at = 1
    while True:
        floor, run = floored(script)
        if not crashed(floor, run, at, after):
            break
        done = finished(floor, floor.again(run))
        one_order_per_leg(floor)
        told_truly(floor, done)
        assert reconcile_orders(floor.process()).in_order
        at += 1
    assert at > 10, "the calls were really counted"


class LosesConfirmation:
    """Our books, of whose calls one commits without anybody hearing of it."""

    def __init__(self, floor: Floor, at: int) -> None:
        self._floor, self.left = floor, at

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._floor.orders, name)
        if not callable(found):
            return found

        def called(*args: Any, **named: Any) -> Any:
            self.left -= 1
            if self.left == 0:
                self._floor.world.database.lose_confirmations = 1
            return found(*args, **named)

        return called


@pytest.mark.requirement("R2")
@pytest.mark.parametrize("script", ["fills at once", "lost after", "refused"])
def test_neither_does_a_commit_whose_confirmation_is_lost(script: str) -> None:
    at = 1
    while True:
        floor, run = floored(script)
        orders = LosesConfirmation(floor, at)
        try:
            done = floor.place(run, floor.process(orders=orders))
        except DatabaseUnavailable:
            done = finished(floor, floor.again(run))
        one_order_per_leg(floor)
        told_truly(floor, done)
        assert reconcile_orders(floor.process()).in_order
        if orders.left > 0:
            break
        at += 1
    assert at > 4, "the calls were really counted"


@pytest.mark.requirement("R2")
@pytest.mark.requirement("R4")
@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(sorted(SCRIPTS)),
    st.lists(st.tuples(st.integers(1, 30), st.booleans()), max_size=2),
    st.lists(st.sampled_from([None, AWAY, LOST_BEFORE]), max_size=4),
    st.integers(0, 3),
)
def test_neither_do_crashes_one_after_another_among_whatever_the_venue_does(
    script: str, crashes: list[tuple[int, bool]], asking: list[Any], hidden: int
) -> None:
    floor, run = floored(script)
    floor.venue.faults["order"] = list(asking)
    for at, after in crashes:
        if not crashed(floor, run, at, after):
            break
        order = floor.orders.of_leg(SOURCE, "entry")
        if order is not None:
            floor.venue.hidden[order.client_order_id] = hidden
        run = floor.again(run)
    else:
        finished(floor, run)
    one_order_per_leg(floor)
    # However late it shows up: once the venue can be asked, it is adopted, and the books agree.
    floor.venue.faults.clear()
    floor.venue.hidden.clear()
    floor.pass_time(60)
    found = reconcile_orders(floor.process())
    assert found.in_order, found
    order = floor.orders.of_leg(SOURCE, "entry")
    if floor.venue.accepted:
        assert order is not None
        assert order.state in (OrderState.WORKING, OrderState.FILLED)
    one_order_per_leg(floor)
