"""Every position has a live stop of its size, never looser than before, whatever gets lost on the way."""

from __future__ import annotations

from dataclasses import replace

import pytest
from broker_examples import AWAY, LOST_AFTER, LOST_BEFORE, REFUSED, a_book
from hypothesis import given, settings
from hypothesis import strategies as st
from support.guarded_floor import SOURCE, D, GuardedFloor, a_market

from aaos.errors import InputError
from aaos.services.book_fills import book_fills

FULL = {"stop:1": ("sell", 2, 98), "take_profit:1": ("sell", 2, 104)}


@pytest.fixture
def floor() -> GuardedFloor:
    return GuardedFloor()


def states(floor, kind, source=SOURCE):
    return [order.state.value for order in floor.legs(kind, source)]


# --- placed ---------------------------------------------------------------------------------------------


@pytest.mark.requirement("R5")
def test_one_look_after_its_fill_a_position_has_its_stop_and_take_profit(floor):
    floor.open("2")
    seen = floor.watch()
    assert floor.live() == FULL
    assert all(order.reduce_only for order in floor.venue.accepted[1:])
    assert (seen.booked, seen.guarded.placed) == (1, [f"{SOURCE} stop:1", f"{SOURCE} take_profit:1"])


def test_a_shorts_stop_is_a_buy_above_it(floor):
    floor.open("2", side="sell")
    floor.watch()
    assert floor.live() == {"stop:1": ("buy", 2, 102), "take_profit:1": ("buy", 2, 96)}


def test_a_position_that_is_protected_is_looked_at_and_nothing_else(floor):
    floor.open()
    floor.watch()
    sent, asked = len(floor.venue.accepted), len(floor.venue.asked)
    for _ in range(3):
        assert floor.guard().placed == []
    assert (len(floor.venue.accepted), len(floor.venue.asked)) == (sent, asked)


@pytest.mark.requirement("R5")
def test_the_stop_follows_each_partial_fill_and_the_new_one_is_there_before_the_old_one_goes(floor):
    entry = floor.open("0.5")
    floor.watch()
    assert floor.live()["stop:1"] == ("sell", D("0.5"), 98)
    floor.fill(entry, "1.5")
    floor.venue.asked.clear()
    floor.watch()
    assert floor.live() == {"stop:2": ("sell", 2, 98), "take_profit:2": ("sell", 2, 104)}
    assert [each for each in floor.venue.asked if each in ("place", "cancel")] == ["place", "cancel"] * 2


@pytest.mark.requirement("R5")
def test_with_the_new_stop_lost_the_old_one_stays(floor):
    entry = floor.open("0.5")
    floor.watch()
    floor.fill(entry, "1.5")
    floor.venue.faults["place"] = [AWAY] * 9
    floor.watch()
    assert floor.live()["stop:1"] == ("sell", D("0.5"), 98)
    floor.venue.faults["place"] = []
    floor.pass_time(60)
    floor.watch()
    assert floor.live()["stop:3"] == ("sell", 2, 98)
    assert "stop:1" not in floor.live()


def test_two_stops_become_one_when_the_old_one_could_not_be_cancelled_at_first(floor):
    entry = floor.open("0.5")
    floor.watch()
    floor.fill(entry, "1.5")
    floor.venue.faults["cancel"] = [LOST_BEFORE]
    floor.watch()
    assert {"stop:1", "stop:2"} <= set(floor.live())
    floor.watch()
    assert set(floor.live()) == {"stop:2", "take_profit:2"}


def test_a_stop_shrinks_with_a_position_of_which_some_was_sold(floor):
    floor.open()
    floor.watch()
    floor.fill(floor.legs("take_profit")[0], "0.5")
    floor.watch()
    assert floor.live() == {"stop:2": ("sell", D("1.5"), 98), "take_profit:1": ("sell", 2, 104)}


def test_an_agreed_stop_off_the_venues_grid_goes_to_the_far_side_of_it(floor):
    floor.open(stop_price=D("97.999"), take_profit_price=None)
    floor.watch()
    assert floor.live() == {"stop:1": ("sell", 2, D("97.99"))}
    assert floor.guard().placed == []


@pytest.mark.requirement("R5")
def test_a_position_whose_approval_named_no_stop_gets_the_configured_one(floor):
    floor.open(stop_price=None, take_profit_price=None)
    floor.watch()
    assert floor.position().stop_price == 98
    assert floor.live() == {"stop:1": ("sell", 2, 98)}


@pytest.mark.requirement("R7")
@pytest.mark.parametrize("book", [a_book(age_s=1e6), a_book(levels=0), a_market(100, bids=a_market(200).bids)])
def test_without_a_book_that_may_be_trusted_stops_are_placed_and_none_is_moved(floor, book):
    floor.open()
    floor.market.standing = book
    floor.watch()
    assert floor.live() == FULL


def test_a_symbol_that_the_market_no_longer_lists_keeps_its_stop(floor):
    floor.open()

    def gone(symbol, at):
        raise InputError("no such symbol")

    floor.market.book = gone
    floor.watch()
    assert floor.live() == FULL


# --- raised ---------------------------------------------------------------------------------------------


@pytest.mark.requirement("R5")
def test_as_the_market_climbs_the_stop_climbs_and_never_comes_back(floor):
    floor.open(take_profit_price=None)
    stops = []
    for mid in ("100", "100.99", "101", "102.2", "101.6", "101.51", "103"):
        floor.market.moves_to(mid)
        floor.watch()
        (live,) = floor.live().values()
        stops.append(live[2])
        assert floor.position().stop_price == live[2]
    assert stops == [98, 98, D("100.5"), D("101.5"), D("101.5"), D("101.5"), D("102.5")]


@pytest.mark.requirement("R5")
def test_who_dies_between_raising_and_placing_leaves_the_old_stop_and_the_next_places_the_new_one(floor):
    floor.open(take_profit_price=None)
    floor.watch()
    floor.market.moves_to("102")

    class Killed(BaseException):
        pass

    def die(order):
        raise Killed

    floor.venue.place, place = die, floor.venue.place
    with pytest.raises(Killed):
        floor.watch()
    assert (floor.position().stop_price, set(floor.live())) == (D("101.5"), {"stop:1"})
    floor.venue.place = place
    floor.market.moves_to("101.9")
    floor.watch(floor.process())
    assert floor.live() == {"stop:3": ("sell", 2, D("101.5"))}
    assert states(floor, "stop") == ["canceled", "quarantined", "working"]


def test_a_stop_that_another_has_just_raised_is_left_to_the_next_look(floor):
    floor.open(take_profit_price=None)
    floor.watch()
    floor.market.moves_to("102")
    stale = floor.position()
    floor.books.raise_stop(stale.id, D("101.8"))
    desk = replace(floor.desk, books=_Stale(floor.books, [stale]))
    assert floor.guard(desk).placed == []
    floor.guard()
    assert floor.live() == {"stop:2": ("sell", 2, D("101.8"))}


class _Stale:
    """Books whose positions were read a moment ago."""

    def __init__(self, books, positions):
        self._books, self._positions = books, positions

    def open_positions(self, account=None):
        return self._positions

    def __getattr__(self, name):
        return getattr(self._books, name)


@pytest.mark.requirement("R5")
def test_a_live_stop_that_is_tighter_than_our_books_say_is_not_loosened(floor):
    floor.open(take_profit_price=None)
    older = floor.watch() and floor.position()
    floor.market.moves_to("102")
    floor.watch()
    floor.market.moves_to("101.8")
    desk = replace(floor.desk, books=_Stale(floor.books, [replace(older, stop_price=D("101.2"))]))
    assert floor.guard(desk).placed == []
    assert floor.live() == {"stop:2": ("sell", 2, D("101.5"))}


# --- passed, refused ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mid", "why"), [("97.9", "stop"), ("98", "stop"), ("104", "take_profit"), ("105", "take_profit")]
)
def test_a_market_beyond_the_stop_or_the_target_before_they_stand_closes_the_position_at_once(floor, mid, why):
    floor.open()
    floor.market.moves_to(mid)
    floor.watch()
    assert floor.live()["exit:1"] == ("sell", 2, None)
    assert ("stop:1" in floor.live()) == (why == "take_profit")
    floor.watch()
    assert states(floor, "exit") == ["working"]
    floor.fill(floor.legs("exit")[0], "2")
    floor.watch()
    assert floor.live() == {}
    assert floor.books.open_positions("paper") == []


def test_what_a_thin_book_did_not_take_is_sent_for_again(floor):
    floor.open()
    floor.market.moves_to("97")
    floor.watch()
    exit_order = floor.legs("exit")[0]
    floor.fill(exit_order, "1.5")
    floor.venue._become(exit_order.client_order_id, "canceled")
    floor.watch()
    assert floor.live() == {"exit:2": ("sell", D("0.5"), None)}


def test_an_exit_that_has_filled_and_whose_trades_are_told_late_is_not_sent_for_again(floor):
    floor.open()
    floor.market.moves_to("97")
    floor.watch()
    floor.venue.fill(floor.legs("exit")[0].client_order_id, D(2), told=False)
    for _ in range(3):
        floor.watch()
    assert states(floor, "exit") == ["filled"]
    floor.venue.tell()
    floor.watch()
    assert floor.books.open_positions("paper") == []


def test_a_live_stop_that_the_market_passes_is_the_venues_to_fill(floor):
    floor.open(take_profit_price=None)
    floor.watch()
    floor.market.moves_to("97")
    floor.watch()
    assert set(floor.live()) == {"stop:1"}


def test_a_refused_stop_closes_the_position_at_market_and_is_told(floor):
    floor.open()
    floor.venue.faults["place"] = [REFUSED]
    floor.watch()
    assert floor.live() == {"exit:1": ("sell", 2, None)}
    assert floor.alert_kinds() == ["stop_refused"]
    assert "it is closed at market" in floor.world.alert_messages()[0]


@pytest.mark.parametrize("mid", ["100", "97"])
def test_what_the_venue_refuses_since_the_position_has_just_been_closed_there_alarms_nobody(floor, mid):
    floor.open("1.5", take_profit_price=None)
    floor.market.moves_to(mid)
    place = floor.venue.place

    def closed_meanwhile(order):
        floor.venue.place = place
        floor.venue.foreign("venue", "sell")
        floor.venue.book["venue"] = replace(floor.venue.book["venue"], quantity=D("1.5"))
        floor.venue.fill("venue", D("1.5"))
        raise REFUSED

    floor.venue.place = closed_meanwhile
    floor.watch()
    assert not {"stop_refused", "position_unguarded"} & set(floor.alert_kinds())
    assert "exit:1" not in floor.live()


def test_what_our_books_refuse_since_another_process_has_just_booked_its_end_alarms_nobody(floor):
    floor.open("1", take_profit_price=None)
    floor.open("1", source="decision:18", take_profit_price=None)
    place = floor.venue.place

    def closed_and_booked_meanwhile(order):
        floor.venue.place = place
        floor.venue.foreign("venue", "sell")
        floor.venue.book["venue"] = replace(floor.venue.book["venue"], quantity=D(2))
        floor.venue.fill("venue", D(2))
        book_fills(floor.process())
        raise LOST_BEFORE

    floor.venue.place = closed_and_booked_meanwhile
    floor.watch()
    assert floor.books.open_positions("paper") == []
    assert states(floor, "stop") == ["quarantined"]
    assert "position_unguarded" not in floor.alert_kinds()


def test_a_refused_take_profit_is_told_and_the_stop_stands(floor):
    floor.open()
    floor.venue.faults["place"] = [None, REFUSED]
    floor.watch()
    assert set(floor.live()) == {"stop:1"}
    assert floor.alert_kinds() == ["stop_refused"]


# --- whatever happens ---------------------------------------------------------------------------------


@pytest.mark.requirement("R5")
@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["99", "100", "101", "101.7", "102.4", "103.3", "97.5"]),
            st.sampled_from([None, LOST_BEFORE, LOST_AFTER, AWAY]),
            st.sampled_from([None, None, LOST_BEFORE, LOST_AFTER]),
            st.booleans(),
        ),
        max_size=10,
    )
)
def test_through_any_faults_no_live_stop_is_loosened_and_no_exit_is_larger_than_the_position(story):
    floor = GuardedFloor()
    floor.open(take_profit_price=None)
    floor.watch()
    best = D(0)
    for mid, placing, cancelling, restarts in story:
        floor.market.moves_to(mid)
        floor.venue.faults["place"], floor.venue.faults["cancel"] = [placing], [cancelling]
        floor.watch(floor.process() if restarts else None)
        floor.venue.faults.clear()
        live = [trigger for side, quantity, trigger in floor.live().values() if trigger is not None]
        assert live
        assert max(live) >= best
        best = max(live)
        assert floor.position().stop_price >= best
        assert all(order.reduce_only and order.quantity <= 2 for order in floor.venue.accepted[1:])
    assert len(floor.venue.names()) == len(set(floor.venue.names()))
