"""Positions that nobody here opened, and orders that closed ones left behind."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from broker_examples import LOST_AFTER, LOST_BEFORE
from support.guarded_floor import SYMBOL, D, GuardedFloor, a_market

from aaos.domain.orders import NewOrder, client_order_id
from aaos.services.guard_positions import bare_first

FULL = {"stop:1": ("sell", 2, 98), "take_profit:1": ("sell", 2, 104)}


@pytest.fixture
def floor() -> GuardedFloor:
    return GuardedFloor()


def test_a_position_that_nobody_here_opened_gets_no_order_and_an_alert_with_the_remedy(floor):
    floor.venue.foreign()
    floor.venue.fill("somebody-else", D(1))
    floor.watch()
    assert floor.venue.accepted == []
    assert floor.watch().guarded.unguarded == [SYMBOL]
    assert any("close it at the venue" in message for message in floor.world.alert_messages())


def test_a_position_left_over_by_a_sell_that_was_to_reduce_gets_no_order_and_an_alert(floor):
    approval = floor.approve("trade:4", "sell", reduce_only=True, stop_price=None, take_profit_price=None)
    floor.open("0")
    sell = floor.desk.orders.intend(_reducing(approval)).order
    floor.venue._take(sell)
    floor.fill(sell, "1")
    floor.watch()
    assert [order.leg for order in floor.venue.accepted] == ["entry"]
    assert any("was to make a position smaller" in message for message in floor.world.alert_messages())


def _reducing(approval):
    return NewOrder(
        approval.id, approval.source, approval.source_hash, "paper", "entry", SYMBOL, "sell", "limit", D(2), D(5),
        price=D(100), reduce_only=True,
    )  # fmt: skip


def test_once_a_position_is_closed_its_other_legs_and_the_rest_of_its_entry_are_cancelled(floor):
    floor.open("1.5")
    floor.watch()
    floor.fill(floor.legs("stop")[0], "1.5")
    assert floor.watch().guarded.cancelled == 2
    assert floor.live() == {}
    assert floor.books.open_positions("paper") == []


@pytest.mark.parametrize("fault", [None, LOST_BEFORE])
def test_with_the_exit_at_market_the_rest_of_the_entry_is_cancelled(floor, fault):
    """Else it would fill again at a price beyond the stop, be closed again, and so on, a loss each second."""
    floor.open("0.5")
    floor.market.moves_to("97")
    floor.venue.faults["cancel"] = [fault]
    floor.watch()
    floor.watch()
    assert floor.live() == {"exit:1": ("sell", D("0.5"), None)}


def test_once_a_stop_has_filled_the_rest_of_the_entry_is_cancelled_though_more_of_it_has_filled(floor):
    entry = floor.open("0.5")
    floor.watch()
    floor.fill(floor.legs("stop")[0], "0.5")
    floor.fill(entry, "0.3")
    floor.market.standing = a_market("97", age_s=1000.0)
    floor.watch()
    assert "entry" not in floor.live()
    assert floor.live()["stop:2"][1] == D("0.3")


def test_one_cancellation_that_fails_does_not_keep_the_next_from_being_tried(floor):
    floor.open("1.5")
    floor.watch()
    floor.fill(floor.legs("stop")[0], "1.5")
    floor.venue.faults["cancel"] = [LOST_BEFORE]
    assert floor.watch().guarded.cancelled == 1
    assert floor.watch().guarded.cancelled == 1
    assert floor.live() == {}


def test_a_working_entry_that_has_not_filled_is_left_alone(floor):
    floor.open("0")
    floor.watch()
    assert set(floor.live()) == {"entry"}


def test_a_stop_in_doubt_of_a_closed_position_is_asked_about_and_cancelled(floor):
    floor.open(take_profit_price=None)
    floor.watch()
    floor.orders.doubt(floor.legs("stop")[0].id, "a test")
    exit_order = floor.venue.foreign("by-hand", "sell")
    floor.venue.book["by-hand"] = replace(exit_order, quantity=D(2))
    floor.venue.fill("by-hand", D(2))
    floor.watch()
    assert floor.live() == {}
    assert [order.state.value for order in floor.legs("stop")] == ["canceled"]


def test_a_leg_of_a_position_before_this_one_is_cancelled_though_it_is_on_the_same_side(floor):
    """Its answer was lost, and it turned up late: at its own price it would close what it was not meant for."""
    floor.open(take_profit_price=None)
    floor.venue.faults["place"] = [LOST_AFTER]
    floor.venue.hidden = {_name(floor, "stop:1"): 9}
    floor.watch()
    floor.fill(floor.legs("stop")[1], "2")
    floor.watch()
    floor.books.reconciled("paper", floor.books.books("paper").dirty_version)
    floor.open(source="decision:18", take_profit_price=None)
    floor.venue.hidden = {}
    floor.watch()
    floor.watch()
    assert [order.state.value for order in floor.legs("stop")] == ["canceled", "filled"]
    assert [order.state.value for order in floor.legs("stop", "decision:18")] == ["working"]
    assert set(floor.live()) == {"stop:1"}


def _name(floor, leg):
    return client_order_id(floor.orders.namespace, "paper", "decision:17", leg)


def test_one_position_that_fails_does_not_keep_another_from_its_stop(floor):
    floor.open()
    foreign = replace(floor.venue.foreign("x"), symbol="ETH/USDT")
    floor.venue.book["x"] = foreign
    floor.venue.fill("x", D(1), at=floor.venue.now - timedelta(seconds=9))
    seen = floor.watch()
    assert seen.guarded.unguarded == ["ETH/USDT"]
    assert floor.live() == FULL


@pytest.mark.requirement("R5")
def test_a_position_without_a_stop_is_seen_to_before_stops_that_stand_are_moved(floor):
    floor.open("2")
    floor.watch()
    guarded = floor.position()
    bare = replace(guarded, id=99, symbol="ETH/USDT")
    working = floor.desk.orders.unsettled("paper")
    assert [each.symbol for each in bare_first([guarded, bare], working)] == ["ETH/USDT", SYMBOL]
    # A stop of the other side, or one that nobody knows to be there, is none.
    assert bare_first([bare, guarded], [replace(each, side="buy") for each in working]) == [bare, guarded]
