"""Placing orders and comparing the books, in memory and on a real PostgreSQL: the same services, the same answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from support.crashing import Crash, Crashing, Fuse
from support.trading_floor import ACCOUNT, LOST_AFTER, LOST_BEFORE, Floor
from support.worlds import World

from aaos.domain.orders import OrderState
from aaos.domain.runs import ClaimedRun, Completed
from aaos.errors import EntriesHeld
from aaos.services.expire_orders import expire_orders
from aaos.services.place_order import Execution, place_order
from aaos.services.reconcile_orders import reconcile_orders

D = Decimal


@pytest.fixture
def floor(world: World) -> Floor:
    return Floor(world=world)


@pytest.mark.requirement("ENG-4")
def test_an_approved_trade_is_placed_filled_and_booked(floor: Floor) -> None:
    floor.approve()
    floor.venue.fills_at_once = D("0.25")
    run = floor.claim()
    done = floor.place(run)
    told = {key: done.body[key] for key in ("placed", "state", "price", "quantity", "filled", "slippage", "adopted")}
    assert told == {
        "placed": True,
        "state": "working",
        "price": "99.91",
        "quantity": "2",
        "filled": "0.5",
        "slippage": "0.0009",
        "adopted": False,
    }
    floor.runs.complete(run, done, False)
    assert [position.quantity for position in floor.books.open_positions(ACCOUNT)] == [D("0.5")]
    assert floor.books.cash(ACCOUNT) == floor.venue.cash()


@pytest.mark.requirement("R2")
def test_a_lost_answer_is_asked_for_and_the_order_adopted(floor: Floor) -> None:
    floor.approve()
    floor.venue.faults["place"] = [LOST_AFTER]
    floor.venue.fills_at_once = D(1)
    assert floor.place().body["state"] == "filled"
    assert len(floor.venue.accepted) == 1
    assert reconcile_orders(floor.desk).in_order


@pytest.mark.requirement("R2")
def test_a_quarantine_holds_the_symbol_until_a_person_releases_it(floor: Floor) -> None:
    floor.approve()
    floor.venue.faults["place"] = [LOST_BEFORE]
    assert floor.place().body["state"] == "quarantined"
    assert floor.slept == [floor.rules.visible_within_s]
    floor.approve("decision:18")
    run = floor.claim("decision:18")
    with pytest.raises(EntriesHeld) as held:
        floor.place(run)
    floor.orders.release(floor.entry().id, "ada", "looked at the venue")
    assert floor.place(floor.put_back(run, held.value)).body["placed"] is True


@pytest.mark.requirement("R4")
def test_books_that_differ_hold_entries_and_agreement_lets_them_through(floor: Floor) -> None:
    floor.approve()
    floor.place()
    floor.venue.fill(floor.entry().client_order_id, D(2), told=False)
    found = reconcile_orders(floor.desk)
    assert [str(each) for each in found.differences] != []
    assert floor.books.books(ACCOUNT).why == found.why
    floor.venue.tell()
    assert reconcile_orders(floor.desk).in_order
    assert floor.books.books(ACCOUNT).why is None


@pytest.mark.requirement("E1")
def test_a_stop_refuses_what_is_not_sent_yet(floor: Floor) -> None:
    floor.approve()
    floor.switch.stop("ada", "drill")
    done = floor.place()
    assert (done.body["denial"], floor.venue.accepted) == ("TRADING_STOPPED", [])


@pytest.mark.requirement("HARD-1.3")
def test_an_old_order_expires(floor: Floor) -> None:
    floor.approve()
    floor.place()
    floor.pass_time(86_401)
    assert [order.state for order in expire_orders(floor.desk)] == [OrderState.EXPIRED]
    assert reconcile_orders(floor.desk).in_order


SCRIPTS: dict[str, Callable[[Floor], None]] = {
    "fills at once": lambda floor: setattr(floor.venue, "fills_at_once", D(1)),
    "lost after": lambda floor: floor.venue.faults["place"].append(LOST_AFTER),
}


def crashed(floor: Floor, run: ClaimedRun, calls: int, after: bool) -> bool:
    """Places in a process that dies at that call; returns False when it never got so far."""
    fuse = Fuse()
    ports: dict[str, Any] = {"broker": floor.venue, "orders": floor.orders, "books": floor.books}
    desk = floor.process(**{name: Crashing(name, port, fuse) for name, port in ports.items()})
    parts = {"risk": floor.risk, "market": floor.market, "clock": floor.world.clock}
    execution = Execution(
        **{name: Crashing(name, part, fuse) for name, part in parts.items()}, protect=floor.protected.append
    )
    fuse.set(calls, after)
    try:
        place_order(run, {ACCOUNT: desk}, execution)
    except Crash:
        return True
    except EntriesHeld:
        return False
    return False


def finished(floor: Floor, run: ClaimedRun) -> Completed:
    """Takes the run up in new processes until it is over."""
    for _ in range(40):
        try:
            return floor.place(run, floor.process())
        except EntriesHeld as held:
            run = floor.put_back(run, held)
    raise AssertionError("it never ended")


@pytest.mark.requirement("R2")
@pytest.mark.requirement("R4")
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("script", SCRIPTS)
def test_a_crash_at_any_call_makes_no_second_order(floor: Floor, script: str, after: bool) -> None:
    calls = 0
    while True:
        source = f"decision:{calls}"
        floor.approve(source, expires_after_s=600.0)
        floor.venue.faults.clear()
        SCRIPTS[script](floor)
        run = floor.claim(source)
        died = crashed(floor, run, calls, after)
        finished(floor, floor.again(run))
        order = floor.orders.of_leg(source, "entry")
        sent = [each for each in floor.venue.accepted if each.source == source]
        assert len(sent) <= 1
        assert (order is not None and order.state in (OrderState.WORKING, OrderState.FILLED)) == bool(sent), order
        assert reconcile_orders(floor.process()).in_order
        if order is not None and order.state is OrderState.QUARANTINED:
            floor.orders.release(order.id, "ada", "seen")
        if not died:
            break
        calls += 1
    assert calls > 8, "the calls were really counted"
    assert set(Counter(floor.venue.names()).values()) == {1}
