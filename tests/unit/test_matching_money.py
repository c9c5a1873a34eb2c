"""Money at the venue: margin, funding, liquidation, and that nothing appears or is lost, whatever happens."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from venue_examples import (
    INSTRUMENT,
    RULES,
    START,
    SYMBOL,
    accepted,
    account_with,
    book_at,
    facing,
    held,
    order_of,
    shows,
    traded,
)

from aaos.domain.order_book import OrderBook
from aaos.domain.venue.ledger import bankruptcy_price, liquidation_mark
from aaos.domain.venue.matching import cancel
from aaos.domain.venue.state import Holding, VenueEntry, share

D = Decimal
FUNDED = replace(RULES, funding_rate=D("0.001"), funding_interval_s=3600)


def test_a_round_trip_realises_the_difference_less_both_fees() -> None:
    account = account_with()
    accepted(account, book_at(100), order_of(quantity=2))
    accepted(account, book_at(110), order_of("sell", 2, "b", reduce_only=True))
    assert account.realised == 2 * (D("109.9") - D("100.1"))
    assert account.fees == 2 * (D("109.9") + D("100.1")) * D("0.0006")
    assert account.cash == 10_000 + account.realised - account.fees
    assert account.holdings == {}


def test_closing_in_parts_gives_back_cost_and_margin_in_parts() -> None:
    account = account_with()
    accepted(account, book_at(100), order_of(quantity=3))
    before = account.holdings[SYMBOL]
    assert before.margin == before.cost / 5
    accepted(account, book_at(100), order_of("sell", 1, "b", reduce_only=True))
    after = account.holdings[SYMBOL]
    assert after.quantity == 2
    assert after.cost + D("100.1") == before.cost
    assert abs(after.margin - before.margin * 2 / 3) < D("1e-11")


@pytest.mark.parametrize(("side", "sign"), [("buy", -1), ("sell", 1)])
def test_longs_pay_funding_to_shorts_at_each_instant_of_it_that_the_market_passes(side: str, sign: int) -> None:
    account = account_with()
    accepted(account, book_at(100), order_of(side, 1), FUNDED)  # type: ignore[arg-type]
    for minutes, instants in ((59, 0), (60, 1), (61, 1), (240, 4)):
        facing(account, book_at(100, at=START + timedelta(minutes=minutes)), FUNDED).look()
        assert account.funding == sign * instants * 100 * D("0.001")
    assert len({flow.flow_id for flow in account.flows}) == len(account.flows) == 5


def test_a_market_set_a_year_ahead_does_not_cost_a_years_funding_and_one_set_back_costs_nothing() -> None:
    account = account_with()
    accepted(account, book_at(100), order_of(quantity=1), FUNDED)
    facing(account, book_at(100, at=START + timedelta(days=365)), FUNDED).look()
    assert account.funding == -21 * 100 * D("0.001")
    facing(account, book_at(100, at=START), FUNDED).look()
    assert account.funding == -21 * 100 * D("0.001")


def test_a_position_is_liquidated_when_its_equity_is_down_to_the_maintenance_margin() -> None:
    account = account_with()
    accepted(account, book_at(100), order_of(quantity=10, leverage=10))
    stop = accepted(account, book_at(100), order_of("sell", 10, "stop", trigger_price=80, reduce_only=True))
    entry = accepted(account, book_at(100), order_of(price=91, name="entry"))
    at = liquidation_mark(account.holdings[SYMBOL], INSTRUMENT)
    assert D("90.5") < at < D("90.6")
    shows(account, [90.6])
    assert held(account) == 11  # the entry was filled on the way, and its margin counts
    account = account_with()
    accepted(account, book_at(100), order_of(quantity=10, leverage=10))
    stop = accepted(account, book_at(100), order_of("sell", 10, "stop", trigger_price=80, reduce_only=True))
    entry = accepted(account, book_at(100), order_of(price=85, name="entry"))
    shows(account, [90.5])
    assert held(account) == 0
    assert {account.touched[each.number].reason for each in (stop, entry)} == {"LIQUIDATION"}
    assert account.trades[-1].fill.client_order_id is None
    assert account.liquidation_fees > 0
    assert [flow.kind for flow in account.flows] == ["deposit", "liquidation_fee"]


@pytest.mark.parametrize(("side", "crash"), [("buy", 40), ("sell", 190)])
def test_a_position_loses_no_more_than_its_margin_and_the_trading_fees(side: str, crash: float) -> None:
    account = account_with()
    accepted(account, book_at(100), order_of(side, 20, leverage=10))  # type: ignore[arg-type]
    margin = account.holdings[SYMBOL].margin
    shows(account, [crash])
    assert held(account) == 0
    assert -account.realised <= margin
    assert 10_000 - account.cash <= margin + account.fees


def test_without_leverage_a_long_is_never_liquidated() -> None:
    account = account_with()
    accepted(account, book_at(100), order_of(quantity=1, leverage=1))
    assert liquidation_mark(account.holdings[SYMBOL], INSTRUMENT) <= 0
    shows(account, [50, 5, 1.5])
    assert held(account) == 1


def test_the_bankruptcy_price_lies_on_the_grid_on_the_side_of_the_smaller_loss() -> None:
    long, short = (Holding(SYMBOL, D(q), D(300), D("33.34")) for q in (3, -3))
    assert bankruptcy_price(long, INSTRUMENT) == D("88.9")  # 88.8866…
    assert bankruptcy_price(short, INSTRUMENT) == D("111.1")  # 111.1133…


def test_a_share_of_everything_is_everything_and_parts_add_up() -> None:
    third = share(D(100), D(1), D(3))
    assert third == D("33.333333333333")
    assert third + (D(100) - third) == share(D(100), D(3), D(3)) == 100


class Venue(RuleBasedStateMachine):
    """Any orders, cancels and books in any order; after each, the ledger adds up."""

    def __init__(self) -> None:
        super().__init__()
        self.account = account_with(100_000)
        self.rules = replace(RULES, funding_rate=D("0.0003"), funding_interval_s=600)
        self.mid = D(100)
        self.minutes = 0
        self.names = 0
        self.taken: defaultdict[tuple[OrderBook, str, D], D] = defaultdict(D)

    @property
    def book(self) -> OrderBook:
        return book_at(str(self.mid), "1.5", START + timedelta(minutes=self.minutes))

    def note(self, trades_before: int, book: OrderBook) -> None:
        for trade in self.account.trades[trades_before:]:
            assert trade.fill.quantity > 0
            if trade.fill.liquidity == "taker" and trade.fill.client_order_id is not None:
                self.taken[book, trade.fill.side, trade.fill.price] += trade.fill.quantity

    @rule(move=st.integers(-80, 80), minutes=st.integers(1, 15))
    def market_moves(self, move: int, minutes: int) -> None:
        self.mid = max(D(5), self.mid + D(move) / 10)
        self.minutes += minutes
        before = len(self.account.trades)
        facing(self.account, self.book, self.rules).look()
        self.note(before, self.book)

    @rule(
        side=st.sampled_from(["buy", "sell"]), quantity=st.integers(1, 2000), kind=st.integers(0, 3),
        away=st.integers(-30, 30), leverage=st.integers(1, 100), reduce_only=st.booleans(),
    )  # fmt: skip
    def somebody_orders(self, side: str, quantity: int, kind: int, away: int, leverage: int, reduce_only: bool) -> None:
        self.names += 1
        place = self.mid + D(away) / 10
        figures = [{}, {"price": place}, {"trigger_price": place}, {"trigger_price": place}][kind]
        changes = figures | ({"type": "take_profit_market"} if kind == 3 else {})
        order = order_of(
            side, D(quantity) / 100, f"o{self.names}", leverage=leverage, reduce_only=reduce_only, **changes
        )  # type: ignore[arg-type]
        before, held_before = len(self.account.trades), held(self.account)
        answer = facing(self.account, self.book, self.rules).place(order)
        self.note(before, self.book)
        held_now = held(self.account)
        if reduce_only or not isinstance(answer, VenueEntry):
            assert abs(held_now) <= abs(held_before)
            assert held_now * held_before >= 0
        if not isinstance(answer, VenueEntry):
            assert held_now == held_before

    @precondition(lambda self: self.account.orders)
    @rule(data=st.data())
    def somebody_cancels(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.account.orders)))
        assert cancel(self.account, number, START).state == "canceled"

    @invariant()
    def cash_is_what_came_in_and_what_was_made_of_it(self) -> None:
        a = self.account
        flows = sum((flow.amount for flow in a.flows), D(0))
        fees = sum((trade.fill.fee for trade in a.trades), D(0))
        assert a.cash == flows + sum((trade.realised for trade in a.trades), D(0)) - fees
        assert a.cash == a.deposits + a.realised - a.fees + a.funding - a.liquidation_fees

    @invariant()
    def positions_are_the_sum_of_their_trades_and_profit_that_of_their_prices(self) -> None:
        signed = [t.fill.quantity * (1 if t.fill.side == "buy" else -1) for t in self.account.trades]
        assert held(self.account) == sum(signed, D(0))
        paid = sum((q * t.fill.price for q, t in zip(signed, self.account.trades, strict=True)), D(0))
        holding = self.account.holdings.get(SYMBOL)
        cost = D(0) if holding is None else holding.sign * holding.cost
        # What was realised plus what is still open is exactly what was sold less what was bought.
        assert self.account.realised == cost - paid

    @invariant()
    def orders_hold_their_own_trades_and_no_more_than_was_ordered(self) -> None:
        filled: defaultdict[int, D] = defaultdict(D)
        for trade in self.account.trades:
            filled[trade.order_number] += trade.fill.quantity
        for number, order in self.account.touched.items():
            assert order.filled == filled[number] <= order.quantity
            assert (order.state == "filled") == (order.remaining == 0)
            assert (order.state == "working") == (number in self.account.orders)

    @invariant()
    def no_level_gives_more_than_it_holds(self) -> None:
        assert all(quantity <= D("1.5") for quantity in self.taken.values())

    @invariant()
    def what_only_reduces_has_something_to_reduce(self) -> None:
        for order in self.account.orders.values():
            assert not order.reduce_only or held(self.account) * order.sign < 0

    @invariant()
    def a_position_has_a_margin_and_none_is_under_water(self) -> None:
        for holding in self.account.holdings.values():
            assert holding.cost > 0
            assert holding.margin > 0


TestVenue = Venue.TestCase
TestVenue.settings = settings(max_examples=120, stateful_step_count=40, deadline=None)


def test_taker_trades_are_dated_and_priced_as_the_book_was() -> None:
    account = account_with()
    accepted(account, book_at(100), order_of(quantity=1))
    assert account.trades[0].fill.filled_at == START
    assert traded(account)[0][2] == D("100.1")
