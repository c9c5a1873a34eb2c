"""Positions watched at the paper venue itself: stops fill there, answers get lost, and at the end both books agree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal, localcontext

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.guarded_floor import SOURCE, SYMBOL, D, GuardedFloor, a_market
from support.recomputed import cash_of, differences, positions_of
from venue_examples import RULES

from aaos.adapters.brokers.paper.broker import PaperBroker
from aaos.adapters.brokers.paper.memory_store import MemoryVenueStore
from aaos.domain.order_book import OrderBook
from aaos.domain.positions import EXACT_DIGITS, Terms
from aaos.domain.venue.misbehaviours import misbehaviour
from aaos.services.flatten_positions import flatten_positions
from aaos.services.watch_positions import watch_positions


class Path:
    """Implements `ports.OrderBooks`: a price that jumps from instant to instant, and every jump can be looked up."""

    def __init__(self, at: datetime, mid: str) -> None:
        self.steps: list[OrderBook] = [a_market(mid, as_of=at)]

    def jumps(self, at: datetime, mid: str) -> None:
        self.steps.append(a_market(mid, as_of=at))

    def book(self, symbol: str, at: datetime) -> OrderBook:
        return [each for each in self.steps if each.as_of <= at][-1]

    def books_between(self, symbol: str, after: datetime | None, until: datetime) -> Sequence[OrderBook]:
        newest = self.book(symbol, until)
        return [newest] if after is None else [e for e in self.steps if after < e.as_of <= until] or [newest]

    def market_time(self, symbol: str, at: datetime) -> datetime:
        return at


class PaperFloor(GuardedFloor):
    """The guarded floor, with the paper venue's engine and ledger in memory."""

    def __init__(self) -> None:
        super().__init__()
        self.store = MemoryVenueStore()
        self.path = Path(self.world.now(), "100")
        self.paper = PaperBroker("paper", self.store, self.path, self.world.clock, RULES)
        self.desk = self.process(broker=self.paper)

    def look(self, mid: str | None = None, *, restarts: bool = False):
        self.pass_time(1)
        if mid is not None:
            self.path.jumps(self.world.now(), mid)
        desk = self.process(broker=self.paper) if restarts else self.desk
        return watch_positions(desk, self.path, self.world.clock, D(10))

    def enter(self) -> None:
        """Opens 2 at 99.99 or so: the entry takes what the book offers at 100."""
        self.path.jumps(self.world.now(), "99.95")
        self.open("0")

    def held_there(self) -> Decimal:
        """Returns what the venue's own trades add up to; it is not asked, so that it cannot misbehave."""
        trades = [each.fill for each in self.store.newest_trades("paper", 10_000)]
        return sum((each.quantity if each.side == "buy" else -each.quantity for each in trades), D(0))

    def stops(self) -> list[tuple[str, object, object]]:
        return [
            (each.side, each.quantity - each.filled, each.trigger_price)
            for each in self.paper.open_orders()
            if each.type == "stop_market"
        ]

    def check_books_agree(self) -> None:
        held = [(each.symbol, each.quantity) for each in self.paper.positions()]
        ours = self.books.open_positions("paper")
        assert held == [(each.symbol, each.quantity) for each in ours]
        fills, flows = self.books.fills(0, "paper", SYMBOL), self.paper.cash_flows(None)
        stored = [*self.books.closed_positions(1000, "paper"), *ours]
        terms = {SOURCE: Terms(D(5), D(98), D(104))}
        with localcontext(prec=EXACT_DIGITS):
            cost = sum((each.quantity * each.average_entry for each in ours), D(0))
            theirs = sum((each.quantity * each.average_entry for each in self.paper.positions()), D(0))
            assert abs((self.books.cash("paper") - cost) - (self.paper.cash() - theirs)) < D("1e-9")
            assert abs(self.books.cash("paper") - cash_of(fills, flows)) < D("1e-9")
        assert differences(stored, positions_of(fills, flows, terms)) == ()


@pytest.fixture
def floor() -> PaperFloor:
    return PaperFloor()


@pytest.mark.requirement("R5")
def test_a_position_is_stopped_out_at_its_trailed_stop_and_nothing_is_left(floor):
    floor.enter()
    floor.look()
    assert floor.stops() == [("sell", 2, 98)]
    floor.look("102")
    (stop,) = floor.stops()
    assert stop[2] > 101
    floor.look("101.2")
    floor.look()
    assert list(floor.paper.open_orders()) == []
    assert list(floor.paper.positions()) == []
    (closed,) = floor.books.closed_positions(10, "paper")
    assert closed.realised > 2
    floor.check_books_agree()


def test_profit_is_taken_at_the_agreed_price_and_the_stop_goes(floor):
    floor.enter()
    floor.look()
    floor.look("103.9")
    floor.look("104.1")
    floor.look()
    assert (list(floor.paper.open_orders()), list(floor.paper.positions())) == ([], [])
    floor.check_books_agree()


def test_what_a_stop_could_not_sell_to_a_thin_book_is_sold_at_market_a_look_later(floor):
    floor.enter()
    floor.look()
    thin = a_market("97")
    bids = (replace(thin.bids[0], size=D("0.5")),)
    floor.path.steps.append(replace(thin, bids=bids, as_of=floor.world.now()))
    floor.look()
    floor.look("97")
    floor.look()
    assert list(floor.paper.positions()) == []
    floor.check_books_agree()


def test_flattening_closes_everything_at_the_venue(floor):
    floor.enter()
    floor.look()
    assert flatten_positions(floor.desk, "a test").failed == []
    floor.look()
    assert (list(floor.paper.open_orders()), list(floor.paper.positions())) == ([], [])
    assert flatten_positions(floor.desk, "a test").open == []
    floor.check_books_agree()


FAULTS = ["timeout_after", "error_before", "error_after", "not_found", "disconnect", "rejected", "reads_fail",
          "duplicate_fills", "reordered_fills", "late_fills"]  # fmt: skip
STEPS = st.tuples(
    st.sampled_from(["99", "100", "101.2", "102.5", "103.5", "97.5", None]),
    st.sampled_from([None, *FAULTS]),
    st.booleans(),
)


@pytest.mark.requirement("R4")
@pytest.mark.requirement("R5")
@settings(max_examples=40, deadline=None)
@given(st.lists(STEPS, max_size=12))
def test_whatever_goes_wrong_the_position_never_turns_over_and_at_the_end_it_has_its_stop_or_is_gone(story):
    floor = PaperFloor()
    floor.enter()
    floor.look()
    trailed = [D(98)]
    for mid, fault, restarts in story:
        if fault is not None:
            floor.store.behave(misbehaviour(fault, calls=2))
        floor.look(mid, restarts=restarts)
        assert 0 <= floor.held_there() <= 2
        trailed += [each.stop_price for each in floor.books.open_positions("paper")]
    assert trailed == sorted(trailed)
    floor.store.behave_well()
    for seconds in (60, 0, 60, 0):
        floor.pass_time(seconds)
        floor.look()
    floor.check_books_agree()
    wanted = [("sell", each.quantity, each.stop_price) for each in floor.books.open_positions("paper")]
    assert floor.stops() == wanted
