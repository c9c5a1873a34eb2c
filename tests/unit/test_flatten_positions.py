"""The emergency exit: entries gone, positions closed at market, again and again without doing anything twice."""

from __future__ import annotations

import pytest
from broker_examples import AWAY, LOST_AFTER, LOST_BEFORE, REFUSED
from support.guarded_floor import SYMBOL, D, GuardedFloor

from aaos.services.flatten_positions import WATCH_WAIT_S, flatten_positions


@pytest.fixture
def floor() -> GuardedFloor:
    return GuardedFloor()


def flatten(floor):
    return flatten_positions(floor.desk, "a test")


def test_entries_are_cancelled_and_positions_closed_and_the_stop_stays_until_they_are(floor):
    floor.open("1.5")
    floor.watch()
    done = flatten(floor)
    assert (done.cancelled, done.closing, done.open, done.failed) == (1, ["decision:17 exit:1"], [SYMBOL], [])
    assert set(floor.live()) == {"stop:1", "take_profit:1", "exit:1"}
    floor.fill(floor.legs("exit")[0], "1.5")
    assert (flatten(floor).open, flatten(floor).closing) == ([], [])
    floor.watch()
    assert floor.live() == {}


@pytest.mark.requirement("R2")
def test_called_again_and_again_it_sends_nothing_twice(floor):
    floor.open()
    for _ in range(5):
        flatten(floor)
    assert [order.leg for order in floor.venue.accepted] == ["entry", "exit:1"]


def test_what_has_filled_but_is_not_booked_yet_is_closed_too(floor):
    floor.open("1")
    assert flatten(floor).closing == ["decision:17 exit:1"]
    assert floor.live()["exit:1"] == ("sell", 1, None)


@pytest.mark.parametrize("fault", [AWAY, LOST_BEFORE])
def test_a_step_that_fails_keeps_no_other_from_being_tried_and_is_told(floor, fault):
    floor.open("1.5")
    floor.watch()
    floor.venue.faults["cancel"] = [fault]
    floor.venue.faults["fills"] = [fault]
    done = flatten(floor)
    assert done.closing == ["decision:17 exit:1"]
    assert [step.split(":")[0] for step in done.failed] == [f"cancel order {floor.entry().id}", "fetch fills"]
    assert done.entries == [floor.entry().id]
    assert "not_flat" in floor.alert_kinds()
    assert flatten(floor).entries == []


def test_an_exit_whose_answer_was_lost_is_looked_for_and_one_that_is_nowhere_is_followed_by_the_next(floor):
    floor.open()
    floor.venue.faults["place"] = [LOST_BEFORE, LOST_AFTER]
    assert flatten(floor).closing == ["decision:17 exit:2"]
    assert floor.live()["exit:2"] == ("sell", 2, None)


def test_a_refused_exit_is_told(floor):
    floor.open()
    floor.venue.faults["place"] = [REFUSED]
    assert flatten(floor).failed == [f"close {SYMBOL}: see its alert"]
    assert {"position_unguarded", "not_flat"} <= set(floor.alert_kinds())


def test_an_entry_that_may_be_at_the_venue_is_cancelled_without_asking_first(floor):
    floor.open("0")
    floor.orders.doubt(floor.entry().id, "a test")
    assert flatten(floor).cancelled == 1
    assert floor.live() == {}


def test_an_entry_that_the_venue_does_not_know_takes_no_time_and_is_named(floor):
    floor.open("0")
    floor.venue.book.clear()
    done = flatten(floor)
    assert (done.cancelled, done.entries) == (0, [floor.entry().id])
    assert floor.slept == []
    assert floor.entry().state.value == "unknown"


def test_it_waits_for_the_watch_and_not_for_a_frozen_one(floor):
    floor.open()
    with floor.books.watching("paper"):
        flatten(floor)
    assert sum(floor.slept) == pytest.approx(WATCH_WAIT_S, abs=0.1)
    assert floor.live()["exit:1"] == ("sell", D(2), None)
