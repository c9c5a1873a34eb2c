"""Working orders that are too old are cancelled, on load and on schedule; what protects a position never (HARD-1.3)."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest
from broker_examples import ACCOUNT, AWAY, LOST_AFTER, LOST_BEFORE, SOURCE, Floor

from aaos.domain.orders import NewOrder, OrderState
from aaos.services.expire_orders import expire_orders
from aaos.services.reconcile_orders import reconcile_orders
from aaos.services.send_order import send_order

D = Decimal


@pytest.fixture
def floor() -> Floor:
    found = Floor()
    found.approve()
    return found


def name(floor: Floor) -> str:
    return floor.entry().client_order_id


def a_stop(floor: Floor, leg: str = "stop:1") -> NewOrder:
    entry = floor.entry()
    return NewOrder(
        entry.approval_id, SOURCE, entry.source_hash, ACCOUNT, leg, entry.symbol, "sell", "stop_market", D(2), D(5),
        trigger_price=D(98), reduce_only=True,
    )  # fmt: skip


@pytest.mark.requirement("HARD-1.3")
def test_a_working_order_older_than_a_day_is_cancelled_and_what_it_filled_counts(floor: Floor) -> None:
    floor.place()
    floor.venue.fill(name(floor), D("0.5"))
    floor.pass_time(86_400)
    assert expire_orders(floor.desk) == []
    floor.pass_time(1)
    (expired,) = expire_orders(floor.desk)
    assert (expired.state, expired.filled) == (OrderState.EXPIRED, D("0.5"))
    assert "86401 s" in str(expired.reason)
    assert floor.venue.book[name(floor)].state == "canceled"
    assert reconcile_orders(floor.desk).in_order


@pytest.mark.requirement("HARD-1.3")
def test_old_orders_are_cancelled_when_a_process_starts(floor: Floor) -> None:
    floor.place()
    floor.pass_time(86_401)
    reconcile_orders(floor.desk)
    assert floor.entry().state is OrderState.WORKING, "this process has done so before"
    reconcile_orders(floor.process())
    assert floor.entry().state is OrderState.EXPIRED


@pytest.mark.requirement("HARD-1.3")
@pytest.mark.parametrize("leg", ["entry", "stop:1"])
def test_a_desk_may_want_its_entries_for_less_long_and_means_nothing_else_by_it(floor: Floor, leg: str) -> None:
    floor.venue.fills_at_once = D(int(leg != "entry"))
    floor.place()
    floor.venue.fills_at_once = D(0)
    resting = floor.entry() if leg == "entry" else send_order(a_stop(floor), floor.desk).order
    desk = floor.process(entry_max_age_s=900.0)
    floor.pass_time(900)
    assert expire_orders(desk) == []
    floor.pass_time(1)
    assert [each.id for each in expire_orders(desk)] == ([resting.id] if leg == "entry" else [])


@pytest.mark.requirement("HARD-1.3")
def test_no_desk_lets_an_entry_rest_longer_than_any_order_may(floor: Floor) -> None:
    floor.place()
    floor.pass_time(86_401)
    (expired,) = expire_orders(floor.process(entry_max_age_s=90_000.0))
    assert "at most 86400 s" in str(expired.reason)


@pytest.mark.requirement("HARD-1.3")
def test_an_order_without_a_creation_time_is_cancelled_at_once(floor: Floor) -> None:
    floor.place()
    floor.venue.book[name(floor)] = replace(floor.venue.book[name(floor)], created_at=None)
    (expired,) = expire_orders(floor.desk)
    assert expired.state is OrderState.EXPIRED


@pytest.mark.requirement("HARD-1.3")
@pytest.mark.requirement("R5")
def test_the_stop_of_an_open_position_outlives_any_age(floor: Floor) -> None:
    floor.venue.fills_at_once = D(1)
    floor.place()
    floor.venue.fills_at_once = D(0)
    stop = send_order(a_stop(floor), floor.desk).order
    assert stop.state is OrderState.WORKING
    floor.pass_time(10 * 86_400)
    assert expire_orders(floor.desk) == []
    assert floor.orders.order(stop.id).state is OrderState.WORKING


@pytest.mark.requirement("HARD-1.3")
def test_an_order_that_fills_while_it_is_cancelled_stays_filled(floor: Floor) -> None:
    floor.place()
    floor.pass_time(86_401)

    class FillsFirst:
        def __getattr__(self, wanted: str):  # type: ignore[no-untyped-def]
            return getattr(floor.venue, wanted)

        def cancel(self, order):  # type: ignore[no-untyped-def]
            floor.venue.fill(order.client_order_id, D(2))
            return floor.venue.cancel(order)

    (stands,) = expire_orders(floor.process(broker=FillsFirst()))
    assert (stands.state, stands.filled) == (OrderState.FILLED, D(2))


@pytest.mark.parametrize("fault", [AWAY, LOST_BEFORE, LOST_AFTER])
def test_a_cancelling_whose_answer_got_lost_is_done_again(floor: Floor, fault: object) -> None:
    floor.place()
    floor.pass_time(86_401)
    floor.venue.faults["cancel"] = [fault]
    (stands,) = expire_orders(floor.desk)
    assert stands.state is OrderState.WORKING
    assert not floor.desk.gate.open
    reconcile_orders(floor.desk)
    expire_orders(floor.desk)
    assert floor.entry().state in (OrderState.EXPIRED, OrderState.CANCELED)


def test_an_order_that_is_not_ours_is_never_cancelled(floor: Floor) -> None:
    old = floor.venue.foreign()
    floor.venue.book["somebody-else"] = replace(old, created_at=floor.venue.now - timedelta(days=9))
    assert expire_orders(floor.desk) == []
    assert "cancel" not in floor.venue.asked


def test_an_order_that_the_venue_has_just_forgotten_is_left_to_the_reconciliation(floor: Floor) -> None:
    floor.place()
    floor.pass_time(86_401)

    class Forgets:
        def __getattr__(self, wanted: str):  # type: ignore[no-untyped-def]
            return getattr(floor.venue, wanted)

        def cancel(self, order):  # type: ignore[no-untyped-def]
            return None

    desk = floor.process(broker=Forgets())
    (stands,) = expire_orders(desk)
    assert stands.state is OrderState.WORKING
    assert not desk.gate.open
