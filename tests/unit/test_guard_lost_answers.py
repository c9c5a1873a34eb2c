"""Answers about stops that got lost: nothing grows, and a stop stands as soon as the venue answers."""

from __future__ import annotations

import pytest
from broker_examples import AWAY, LOST_AFTER, LOST_BEFORE, REFUSED
from support.guarded_floor import SOURCE, GuardedFloor

from aaos.domain.orders import client_order_id

FULL = {"stop:1": ("sell", 2, 98), "take_profit:1": ("sell", 2, 104)}


@pytest.fixture
def floor() -> GuardedFloor:
    return GuardedFloor()


def states(floor, kind, source=SOURCE):
    return [order.state.value for order in floor.legs(kind, source)]


@pytest.mark.requirement("R2")
def test_a_stop_whose_answer_was_lost_is_found_by_its_name_and_not_sent_again(floor):
    floor.open()
    floor.venue.faults["place"] = [LOST_AFTER]
    floor.watch()
    assert floor.live() == FULL
    assert states(floor, "stop") == ["working"]


def test_a_lost_stop_is_told_as_asked_for_at_once_and_not_as_0_seconds_later(floor):
    floor.open()
    floor.venue.faults["place"] = [LOST_BEFORE]
    floor.watch()
    (lost,) = [order for order in floor.legs("stop") if order.state.value == "quarantined"]
    assert lost.reason == "the venue does not know it right after it may have been sent"


@pytest.mark.requirement("R5")
def test_a_stop_that_was_lost_on_the_way_is_followed_by_the_next_without_waiting(floor):
    floor.open()
    floor.venue.faults["place"] = [LOST_BEFORE]
    floor.watch()
    assert set(floor.live()) == {"stop:2", "take_profit:1"}
    assert states(floor, "stop") == ["quarantined", "working"]
    assert not any(floor.slept)


@pytest.mark.requirement("R5")
def test_a_stop_that_turns_up_after_all_is_one_too_many_and_goes(floor):
    floor.open(take_profit_price=None)
    floor.venue.hidden = {floor_name(floor, "stop:1"): 4}
    floor.venue.faults["place"] = [LOST_AFTER]
    floor.watch()
    assert states(floor, "stop") == ["quarantined", "working"]
    assert len(floor.live()) == 2
    floor.venue.hidden = {}
    floor.watch()
    assert len(floor.live()) == 1
    assert floor.position().quantity == 2


def floor_name(floor, leg, source=SOURCE):
    return client_order_id(floor.orders.namespace, "paper", source, leg)


@pytest.mark.requirement("R5")
def test_whatever_the_venue_answers_nothing_grows_and_a_stop_stands_once_it_answers(floor):
    floor.open()
    floor.venue.faults["place"] = [LOST_BEFORE, AWAY, AWAY, AWAY, LOST_BEFORE, LOST_AFTER]
    floor.venue.faults["order"] = [LOST_BEFORE, AWAY]
    for _ in range(8):
        floor.watch()
    assert sorted(leg.split(":")[0] for leg in floor.live()) == ["stop", "take_profit"]


def test_what_the_venue_never_takes_is_tried_less_and_less_often_and_told(floor):
    floor.open(take_profit_price=None)
    floor.venue.faults["place"] = [REFUSED] * 500
    for _ in range(120):
        floor.watch()
    assert len(floor.legs("exit")) < 14
    assert len(floor.legs("stop")) < 14
    assert "position_unguarded" in floor.alert_kinds()
    floor.venue.faults["place"] = []
    for _ in range(61):
        floor.watch()
    assert floor.live()
