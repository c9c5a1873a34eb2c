"""The watch: cheap when nothing is open, one process at a time, and no failing step keeps the next from being tried."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from broker_examples import AWAY, LOST_BEFORE
from support.guarded_floor import SYMBOL, D, GuardedFloor, a_market
from support.recomputed import cash_of, differences, positions_of

from aaos.domain.orders import CashFlow
from aaos.domain.positions import Terms
from aaos.errors import DatabaseUnavailable
from aaos.services.record_equity import record_equity
from aaos.services.watch_positions import settle_working

START_EQUITY = 10_000
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


@pytest.fixture
def floor() -> GuardedFloor:
    return GuardedFloor()


class Counted:
    """Counts the calls of a port."""

    def __init__(self, port):
        self._port, self.calls = port, Counter()

    def __getattr__(self, name):
        self.calls[name] += 1
        return getattr(self._port, name)


def test_with_nothing_open_a_look_costs_two_statements_and_one_request(floor):
    orders, books = Counted(floor.orders), Counted(floor.books)
    seen = floor.watch(floor.process(orders=orders, books=books))
    assert seen.quiet
    assert (orders.calls, books.calls, floor.venue.asked) == ({"unsettled": 1}, {"open_positions": 1}, ["fills"])


def test_a_trade_of_an_order_that_is_over_is_found_though_nothing_is_open(floor):
    entry = floor.open("0")
    floor.venue._become(entry.client_order_id, "canceled")
    floor.watch()
    assert floor.orders.order(entry.id).state.value == "canceled"
    floor.fill(entry, "1")
    seen = floor.watch()
    assert (seen.quiet, seen.booked) == (False, 1)
    assert floor.live()["stop:1"] == ("sell", 1, 98)


def test_an_order_that_the_venue_has_ended_is_settled_and_one_that_works_is_not_asked_about(floor):
    entry = floor.open("0")
    assert settle_working(floor.desk) == 0
    assert "order" not in floor.venue.asked
    floor.venue._become(entry.client_order_id, "expired")
    assert floor.watch().settled == 1
    assert floor.orders.order(entry.id).state.value == "expired"


def test_an_order_that_the_venue_does_not_know_is_left_to_the_reconciliation(floor):
    entry = floor.open("0")
    floor.venue.book.clear()
    assert floor.watch().settled == 0
    assert floor.orders.order(entry.id).state.value == "working"


def test_one_process_watches_and_the_others_step_aside(floor):
    floor.open()
    with floor.books.watching("paper") as ours:
        assert ours
        seen = floor.watch()
    assert (seen.others, seen.booked, floor.live().keys() - {"entry"}) == (True, 0, set())
    assert not floor.watch().others


@pytest.mark.requirement("R5")
@pytest.mark.parametrize(("lost", "step"), [("open_orders", "settle"), ("fills", "book"), ("cash_flows", "book")])
def test_a_question_that_the_venue_does_not_answer_keeps_no_position_from_its_stop(floor, lost, step):
    floor.open("1")
    floor.books.book("paper", floor.venue.fills(None), [])
    floor.venue.faults[lost] = [LOST_BEFORE] * 5
    assert floor.watch().failed == [step]
    assert {"entry", "stop:1", "take_profit:1"} == set(floor.live())
    assert not floor.desk.gate.open


def test_with_the_venue_away_and_nothing_open_the_look_is_over(floor):
    floor.venue.faults["fills"] = [AWAY]
    assert floor.watch().quiet


def test_with_the_database_away_the_look_is_over_and_the_next_one_does_it_all(floor):
    floor.open()

    class Away:
        def unsettled(self, account):
            raise DatabaseUnavailable("away")

    assert floor.watch(floor.process(orders=Away())).failed == ["database"]
    floor.watch()
    assert "stop:1" in floor.live()


# --- the equity curve -----------------------------------------------------------------------------------


def test_equity_is_cash_and_what_positions_would_bring_at_the_middle_of_the_book(floor):
    floor.open(take_profit_price=None)
    floor.watch()
    floor.market.moves_to("100.5")
    fees = D("0.0002") * 200
    assert record_equity(floor.desk, floor.market, floor.world.clock) == START_EQUITY - fees + 1
    assert [equity for _, equity in floor.books.equity("paper", LONG_AGO, 10)] == [START_EQUITY - fees + 1]


def test_no_point_is_recorded_before_the_first_deposit_or_in_doubt_or_without_a_price(floor):
    def recorded():
        return record_equity(floor.desk, floor.market, floor.world.clock)

    assert recorded() is None
    floor.open()
    floor.watch()
    for book in (a_market(100, bids=()), a_market(100, bids=a_market(200).bids)):
        floor.market.standing = book
        assert recorded() is None
    floor.market.standing = a_market(100, age_s=1e9)
    assert recorded() is not None
    floor.books.doubt("paper", "a test")
    assert recorded() is None


def test_a_deposit_alone_is_a_point(floor):
    floor.books.book("paper", [], [CashFlow("paper", "d", "deposit", None, D(500), floor.venue.now)])
    assert record_equity(floor.desk, floor.market, floor.world.clock) == 500


def test_what_the_watch_booked_is_what_the_fills_say(floor):
    entry = floor.open("0.5")
    floor.watch()
    floor.fill(entry, "1.5")
    floor.venue.twice = True
    floor.watch()
    floor.fill(floor.legs("stop")[-1], "2")
    floor.watch()
    fills = floor.books.fills(0, "paper", SYMBOL)
    terms = {"decision:17": Terms(D(5), D(98), D(104))}
    stored = [*floor.books.closed_positions(100, "paper"), *floor.books.open_positions("paper")]
    assert differences(stored, positions_of(fills, floor.venue.flows, terms)) == ()
    assert floor.books.cash("paper") == cash_of(fills, floor.venue.flows)
    assert replace(stored[0], id=None).quantity == 0


def test_a_quarantined_order_that_the_watch_finds_first_is_told_of_as_turned_up(floor):
    floor.open()
    floor.venue.faults["place"] = [LOST_BEFORE]
    floor.watch()
    (lost,) = [order for order in floor.legs("stop") if order.state.value == "quarantined"]
    floor.venue._take(lost)
    settle_working(floor.desk)
    assert floor.alert_kinds() == ["order_quarantined", "order_turned_up"]
