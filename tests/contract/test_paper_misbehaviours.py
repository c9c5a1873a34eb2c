"""The paper venue misbehaving on demand, in memory and on PostgreSQL: as real venues do, for all processes alike."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest
from support.venues import START, SYMBOL, Venue, an_order

from aaos.adapters.brokers.paper import MisbehavingBooks
from aaos.domain.venue.misbehaviours import MODES, describe, misbehaviour
from aaos.errors import AmbiguousReply, ConfigError, OrderRejected, VenueUnavailable

D = Decimal


@pytest.mark.requirement("R2")
@pytest.mark.parametrize(
    ("mode", "known", "error"),
    [
        ("timeout_after", True, AmbiguousReply),
        ("error_after", True, AmbiguousReply),
        ("error_before", False, AmbiguousReply),
        ("disconnect", False, VenueUnavailable),
        ("rejected", False, OrderRejected),
    ],
)
def test_a_reply_goes_wrong_as_a_real_venues_does(venue: Venue, mode: str, known: bool, error: type[Exception]) -> None:
    broker = venue.broker()
    venue.store.behave(misbehaviour(mode, calls=1))
    with pytest.raises(error):
        broker.place(an_order(price=95))
    assert (broker.order("a", SYMBOL) is not None) is known
    assert len(venue.store.orders("paper", 10)) == known
    assert venue.store.misbehaviours() == []
    assert venue.broker().place(an_order(price=95, name="next")).state == "working"


def test_an_order_that_queries_do_not_see_is_there_all_the_same_and_appears(venue: Venue) -> None:
    broker = venue.broker()
    venue.store.behave(misbehaviour("not_found", seconds=3, calls=1))
    with pytest.raises(AmbiguousReply):
        broker.place(an_order(quantity=7, price=100.1))
    venue.clock.advance(2.9)
    assert (broker.order("a", SYMBOL), broker.open_orders(), broker.fills(None)) == (None, [], [])
    assert broker.cancel(an_order()) is None
    venue.clock.advance(0.2)
    found = broker.order("a", SYMBOL)
    assert found is not None
    assert found.filled > 0
    assert len(broker.fills(None)) == 2


@pytest.mark.parametrize(("mode", "error"), [("timeout_after", AmbiguousReply), ("error_before", AmbiguousReply)])
def test_cancelling_goes_wrong_too(venue: Venue, mode: str, error: type[Exception]) -> None:
    broker, order = venue.broker(), an_order(price=95)
    broker.place(order)
    venue.store.behave(misbehaviour(mode, calls=1, methods=("cancel",)))
    with pytest.raises(error):
        broker.cancel(order)
    assert len(broker.open_orders()) == (mode == "error_before")


def test_a_slow_answer_comes_late_and_after_the_time_limit_not_at_all(venue: Venue) -> None:
    broker = venue.broker()
    venue.store.behave(misbehaviour("slow", seconds=0.5, calls=1))
    assert broker.place(an_order()).state == "filled"
    venue.store.behave(misbehaviour("slow", seconds=60, calls=1))
    with pytest.raises(AmbiguousReply, match="no answer within 5 s"):
        broker.place(an_order(name="b"))
    assert venue.slept == [0.5, 5.0]
    assert broker.positions()[0].quantity == 2
    venue.store.behave(misbehaviour("slow", seconds=1, calls=1, methods=("cash",)))
    assert broker.cash() < 10_000
    assert venue.slept[-1] == 1


def test_trades_are_told_twice_mixed_up_or_late_and_stay_the_same_trades(venue: Venue) -> None:
    broker = venue.broker()
    venue.store.behave(misbehaviour("late_fills", seconds=5, calls=1))
    broker.place(an_order(name="late"))
    venue.clock.advance(1)
    broker.place(an_order(name="b"))
    assert [fill.client_order_id for fill in broker.fills(None)] == ["b"]
    assert broker.positions()[0].quantity == 2  # the venue knows better than it tells
    venue.clock.advance(4)
    fills = broker.fills(None)
    assert [(fill.client_order_id, fill.filled_at) for fill in fills] == [
        ("late", START), ("b", START + timedelta(seconds=1)),
    ]  # fmt: skip
    venue.store.behave(misbehaviour("duplicate_fills", calls=1))
    assert broker.fills(None) == [fills[0], fills[0], fills[1], fills[1]]
    venue.store.behave(misbehaviour("reordered_fills", calls=1))
    assert broker.fills(None) == fills[::-1]
    assert broker.fills(None) == fills


def test_reading_may_fail_and_changes_nothing(venue: Venue) -> None:
    broker = venue.broker()
    venue.store.behave(misbehaviour("reads_fail", calls=6))
    reads = (broker.open_orders, broker.positions, broker.cash, lambda: broker.fills(None))
    for read in (*reads, lambda: broker.cash_flows(None), lambda: broker.order("a", SYMBOL)):
        with pytest.raises(VenueUnavailable, match="did not answer"):
            read()
    assert broker.cash() == 10_000


@pytest.mark.requirement("R7")
@pytest.mark.parametrize(
    ("mode", "fault"), [("stale_book", "BOOK_STALE"), ("empty_book", "BOOK_EMPTY"), ("crossed_book", "BOOK_CROSSED")]
)
def test_those_who_trade_see_a_spoilt_book_and_the_venue_still_trades_exits(
    venue: Venue, mode: str, fault: str
) -> None:
    broker, feed = venue.broker(), MisbehavingBooks(venue.books, venue.store)
    broker.place(an_order())
    assert feed.book(SYMBOL, START).fault(90) is None
    venue.store.behave(misbehaviour(mode, seconds=100))
    assert feed.book(SYMBOL, START).fault(90) == fault
    assert broker.place(an_order("sell", 1, "exit", reduce_only=True)).state == "filled"
    assert feed.books_between(SYMBOL, None, START) == venue.books.books_between(SYMBOL, None, START)
    assert feed.market_time(SYMBOL, START) == START
    assert venue.store.behave_well() == 1
    assert feed.book(SYMBOL, START).fault(90) is None


def test_a_share_of_the_calls_is_struck_the_same_ones_for_the_same_seed(venue: Venue) -> None:
    def struck(seed: int) -> list[int]:
        venue.store.behave_well()
        venue.store.behave(misbehaviour("disconnect", share=0.2, seed=seed))
        hit = []
        for index in range(100):
            try:
                venue.broker().cancel(an_order())
            except VenueUnavailable:
                hit.append(index)
        return hit

    first = struck(1)
    assert 10 <= len(first) <= 30
    assert struck(1) == first
    assert struck(2) != first


def test_a_misbehaviour_may_be_meant_for_one_account_and_a_number_of_calls(venue: Venue) -> None:
    venue.store.behave(misbehaviour("rejected", account="paper", calls=2))
    other = replace(an_order(), account="paper-portfolio")
    assert venue.broker("paper-portfolio").place(other).state == "filled"
    for _ in range(2):
        with pytest.raises(OrderRejected):
            venue.broker().place(an_order())
    assert venue.broker().place(an_order()).state == "filled"


def test_the_first_misbehaviour_that_strikes_is_the_one_that_counts(venue: Venue) -> None:
    venue.store.behave(misbehaviour("rejected", calls=1))
    venue.store.behave(misbehaviour("disconnect", calls=1))
    with pytest.raises(OrderRejected):
        venue.broker().place(an_order())
    with pytest.raises(VenueUnavailable):
        venue.broker().place(an_order())


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"mode": "nonsense"}, "choose one of timeout_after"),
        ({"mode": "slow", "methods": ("sleep",)}, "no method 'sleep'"),
        ({"mode": "late_fills", "methods": ("place",)}, "late_fills strikes match"),
        ({"mode": "rejected", "methods": ("cancel",)}, "rejected strikes place"),
        ({"mode": "slow", "share": 0}, "share is 0"),
        ({"mode": "slow", "share": 1.1}, "at most 1"),
        ({"mode": "slow", "seconds": -1}, "seconds is -1"),
        ({"mode": "slow", "calls": 0}, "calls is 0"),
    ],
)
def test_a_misbehaviour_that_makes_no_sense_is_refused_with_what_does(asked: dict[str, object], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        misbehaviour(**asked)  # type: ignore[arg-type]


def test_every_way_to_misbehave_is_described() -> None:
    assert [line.split()[0] for line in describe().splitlines()] == list(MODES)
