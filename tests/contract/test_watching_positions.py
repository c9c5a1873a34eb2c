"""Watching positions, in memory and on a real PostgreSQL: the tables let every leg through and hold the ratchet."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.guarded_floor import SYMBOL, D, GuardedFloor
from support.recomputed import cash_of, differences, positions_of
from support.worlds import World

from aaos.domain.positions import Terms
from aaos.services.flatten_positions import flatten_positions
from aaos.services.record_equity import record_equity

TERMS = {"decision:17": Terms(D(5), D(98), D(104))}


@pytest.fixture
def floor(world: World) -> GuardedFloor:
    return GuardedFloor(world)


def check_books(floor: GuardedFloor) -> None:
    fills = floor.books.fills(0, "paper", SYMBOL)
    stored = [*floor.books.closed_positions(100, "paper"), *floor.books.open_positions("paper")]
    assert differences(stored, positions_of(fills, floor.venue.flows, TERMS)) == ()
    assert floor.books.cash("paper") == cash_of(fills, floor.venue.flows)


@pytest.mark.requirement("ENG-4")
@pytest.mark.requirement("R5")
def test_a_position_is_protected_followed_and_stopped_out_and_its_figures_are_those_of_its_fills(floor):
    entry = floor.open("0.5")
    floor.watch()
    floor.fill(entry, "1")
    floor.watch()
    assert floor.live()["stop:2"] == ("sell", D("1.5"), 98)
    floor.market.moves_to("102")
    floor.watch()
    assert floor.live()["stop:3"] == ("sell", D("1.5"), D("101.5"))
    floor.market.moves_to("101.6")
    floor.watch(floor.process())
    assert floor.position().stop_price == D("101.5")
    assert record_equity(floor.desk, floor.market, floor.world.clock) == floor.books.cash("paper") + D("2.4")
    check_books(floor)
    floor.fill(floor.legs("stop:3")[0], "1.5")
    floor.watch()
    floor.watch()
    assert floor.live() == {}
    check_books(floor)


@pytest.mark.requirement("R5")
def test_the_tables_refuse_to_loosen_a_stop(floor):
    floor.open()
    floor.watch()
    position = floor.position()
    assert position.id is not None
    assert floor.books.raise_stop(position.id, D(99))
    assert not floor.books.raise_stop(position.id, D("98.5"))
    assert floor.position().stop_price == 99


def test_a_short_is_protected_and_flattened(floor):
    floor.open("2", side="sell", take_profit_price=None)
    floor.watch()
    assert floor.live() == {"stop:1": ("buy", 2, 102)}
    floor.market.moves_to("98")
    floor.watch()
    assert floor.live() == {"stop:2": ("buy", 2, D("98.5"))}
    assert flatten_positions(floor.desk, "a test").closing == ["decision:17 exit:1"]
    floor.fill(floor.legs("exit")[0], "2")
    floor.watch()
    assert floor.live() == {}
    assert flatten_positions(floor.desk, "a test").open == []
    check_books(floor)


def test_a_watch_under_way_keeps_others_out_and_not_itself_from_its_work(floor):
    floor.open()
    with floor.books.watching("paper") as ours:
        assert ours
        assert floor.watch().others
        assert floor.guard().placed == []  # nothing is booked yet
    assert floor.watch().guarded.placed == ["decision:17 stop:1", "decision:17 take_profit:1"]


def test_a_position_that_another_decision_adds_to_is_covered_whole_by_the_legs_of_the_first(floor):
    floor.open("2", take_profit_price=None)
    floor.watch()
    floor.open("2", source="decision:18", stop_price=D(99), take_profit_price=None)
    floor.watch()
    assert replace(floor.position(), id=None).quantity == 4
    assert floor.live() == {"stop:2": ("sell", 4, 99)}
