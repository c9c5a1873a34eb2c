"""Positions from fills alone: average entry, profit, fees, funding; nothing lost to rounding, order or duplicates."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import localcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st
from position_examples import PRICES, START, SYMBOL, TERMS, D, a_fill, a_position, some_fills, some_flows
from support.recomputed import cash_of, differences, equity_curve, equity_of, positions_of, profit_and_loss

from aaos.domain.execution.profit import roi_percent
from aaos.domain.orders import CashFlow
from aaos.domain.positions import (
    EXACT_DIGITS,
    Position,
    apply_fill,
    apply_funding,
    tighter,
    unrealised,
)


def after(*fills, position=None) -> tuple[Position, ...]:
    """Applies fills one after another to one symbol; returns what the last one changed."""
    changed: tuple[Position, ...] = () if position is None else (position,)
    for fill in fills:
        terms = TERMS.get(fill.source or "", TERMS["decision:1"])
        newest = changed[-1] if changed else None
        changed = apply_fill(newest, fill, terms.leverage, terms.stop_price, terms.take_profit_price)
    return changed


def test_an_entry_in_two_parts_has_their_average_price_and_the_terms_of_its_approval():
    (position,) = after(a_fill(1, quantity="1", price="100", fee=D("0.1")), a_fill(2, quantity="3", price="104"))
    assert (position.quantity, position.average_entry, position.peak_quantity) == (4, 103, 4)
    assert (position.fees, position.realised) == (D("0.1"), 0)
    assert (position.source, position.leverage) == ("decision:1", 5)
    assert (position.stop_price, position.take_profit_price) == (90, 120)
    assert (position.opened_at, position.closed_at) == (START + timedelta(seconds=1), None)


def test_what_is_closed_is_realised_and_what_is_left_keeps_its_entry():
    (position,) = after(a_fill(1, quantity="4", price="103"), a_fill(2, "sell", "1", "110"))
    assert (position.quantity, position.average_entry, position.realised) == (3, 103, 7)
    assert unrealised(position, D(105)) == 6
    (closed,) = after(a_fill(3, "sell", "3", "100"), position=position)
    assert (closed.quantity, closed.realised, closed.average_entry, closed.peak_quantity) == (0, -2, 103, 4)
    assert closed.closed_at == START + timedelta(seconds=3)


def test_a_short_gains_as_the_price_falls():
    entry = a_fill(1, "sell", "2", "100", leg="entry")
    (position,) = after(entry, a_fill(2, "buy", "1", "90", leg="exit:1"))
    assert (position.quantity, position.realised, unrealised(position, D(95))) == (-1, 10, 5)


def test_a_fill_beyond_flat_closes_one_position_and_opens_another_and_shares_its_fee():
    closed, opened = after(
        a_fill(1, quantity="1"), a_fill(2, "sell", "4", "110", fee=D(1), source="decision:2", leg="entry")
    )
    assert (closed.quantity, closed.realised, closed.fees) == (0, 10, D("0.25"))
    assert (opened.quantity, opened.average_entry, opened.fees, opened.source) == (-3, 110, D("0.75"), "decision:2")
    assert (opened.stop_price, opened.leverage, opened.realised) == (95, 10, 0)
    assert closed.closed_at == opened.opened_at


def test_an_exit_that_finds_nothing_to_close_opens_what_is_nobodys_and_gets_no_stop():
    (position,) = after(a_fill(1, "sell", "1", leg="stop:1"))
    assert (position.source, position.stop_price, position.take_profit_price) == (None, None, None)
    (closed,) = after(a_fill(2, "buy", "1", leg="entry"), position=position)
    assert closed.quantity == 0


def test_a_foreign_position_becomes_ours_when_an_entry_of_ours_adds_to_it():
    foreign = after(a_fill(1, source=None, leg=None))[0]
    assert (foreign.source, foreign.leverage, foreign.stop_price) == (None, 1, None)
    (position,) = after(a_fill(2), position=foreign)
    assert (position.source, position.leverage, position.stop_price) == ("decision:1", 5, 90)


@pytest.mark.requirement("R5")
def test_an_increase_takes_the_tighter_stop_and_no_fill_loosens_one():
    (position,) = after(a_fill(1), a_fill(2, source="decision:2"))
    assert (position.source, position.stop_price, position.take_profit_price) == ("decision:1", 95, 120)
    (trailed,) = after(a_fill(3), a_fill(4, "sell", "1"), position=replace(position, stop_price=D(99)))
    assert trailed.stop_price == 99


@pytest.mark.parametrize(("one", "other", "long", "short"), [(90, 95, 95, 90), (None, 95, 95, 95), (90, None, 90, 90)])
def test_the_tighter_of_two_stops_is_a_longs_higher_and_a_shorts_lower_one(one, other, long, short):
    assert tighter(one, other, is_long=True) == long
    assert tighter(one, other, is_long=False) == short


def test_funding_is_received_or_paid_and_counts_in_the_net_profit():
    position = apply_funding(apply_funding(a_position(fees=D(1), realised=D(5)), D("0.5")), D(-2))
    assert (position.funding, position.net) == (D("-1.5"), D("2.5"))


def test_a_trade_that_is_told_late_moves_the_opening_and_never_ends_a_position_before_it_began():
    (position,) = after(a_fill(5), a_fill(6, filled_at=START))
    assert position.opened_at == START
    (closed,) = after(a_fill(7, "sell", "1", filled_at=START - timedelta(1)), position=replace(position, quantity=D(1)))
    assert closed.closed_at == closed.opened_at


# --- nothing is lost ------------------------------------------------------------------------------------


def marks_of(fills, mark):
    return {fill.symbol: mark for fill in fills}


@given(some_fills(), some_flows(), PRICES)
def test_cash_and_unrealised_profit_are_exactly_what_was_paid_and_sold_and_what_is_held(fills, flows, mark):
    positions = positions_of(fills, flows, TERMS)
    marks = marks_of(fills, mark)
    profit = profit_and_loss(positions, marks)
    with localcontext(prec=EXACT_DIGITS):
        assert cash_of(fills, flows) + profit.unrealised == equity_of(fills, flows, marks)
        unclaimed = sum((flow.amount for flow in flows), D(0)) - profit.funding
        assert profit.net + unclaimed == equity_of(fills, flows, marks)
        assert all(position.net == position.realised - position.fees + position.funding for position in positions)


@given(st.data(), some_fills(), PRICES)
def test_the_order_of_fills_changes_neither_what_is_held_nor_realised_and_unrealised_profit_together(data, fills, mark):
    mixed = [replace(fill, id=number) for number, fill in enumerate(data.draw(st.permutations(fills)), 1)]
    marks = marks_of(fills, mark)
    one, other = profit_and_loss(positions_of(fills), marks), profit_and_loss(positions_of(mixed), marks)
    with localcontext(prec=EXACT_DIGITS):
        assert (one.realised + one.unrealised, one.fees) == (other.realised + other.unrealised, other.fees)
    held = [{(each.symbol, each.quantity) for each in positions_of(some) if each.quantity} for some in (fills, mixed)]
    assert held[0] == held[1]


@given(some_fills(), some_flows())
def test_positions_are_round_trips_one_at_a_time_and_as_large_as_their_fills(fills, flows):
    positions = positions_of(fills, flows, TERMS)
    for symbol in {fill.symbol for fill in fills}:
        signed = [each.quantity if each.side == "buy" else -each.quantity for each in fills if each.symbol == symbol]
        trips = [each for each in positions if each.symbol == symbol]
        assert sum((each.quantity for each in trips), D(0)) == sum(signed, D(0))
        assert sum(each.quantity != 0 for each in trips) <= 1
        assert all((each.closed_at is None) == (each.quantity != 0) for each in trips)
        assert all(each.average_entry > 0 and each.peak_quantity >= abs(each.quantity) for each in trips)


@given(some_fills(), some_flows())
def test_the_equity_curve_ends_where_the_last_prices_put_the_equity(fills, flows):
    curve = equity_curve(fills, flows)
    assert len(curve) == len(fills) + len(flows)
    last = {fill.symbol: fill.price for fill in sorted(fills, key=lambda each: each.filled_at)}
    assert curve[-1][1] == equity_of(fills, flows, last)
    assert [at for at, _ in curve] == sorted(at for at, _ in curve)


def test_the_equity_curve_of_a_round_trip_shows_fees_funding_and_profit():
    fills = [a_fill(1, quantity="2", fee=D("0.12")), a_fill(3, "sell", "2", "103", fee=D("0.1236"))]
    flows = [
        CashFlow("paper", "d", "deposit", None, D(1000), START),
        CashFlow("paper", "f", "funding", SYMBOL, D("-0.02"), START + timedelta(seconds=2)),
    ]
    assert [equity for _, equity in equity_curve(fills, flows)] == [
        D(1000), D("999.88"), D("999.86"), D("1005.7364")
    ]  # fmt: skip
    (position,) = positions_of(fills, flows, TERMS)
    assert (position.realised, position.fees, position.funding) == (6, D("0.2436"), D("-0.02"))
    assert cash_of(fills, flows) == D("1005.7364") == 1000 + position.net


def test_an_average_without_an_end_is_rounded_and_what_that_takes_is_realised():
    fills = [a_fill(1, quantity="1", price="100"), a_fill(2, quantity="2", price="101")]
    (position,) = positions_of(fills)
    assert position.average_entry == D("100.6666666666666667")
    assert position.realised == D("1E-16")
    assert unrealised(position, D(101)) + position.realised == 1


def test_funding_belongs_to_the_position_open_at_its_instant_and_else_to_the_one_before():
    fills = [a_fill(2), a_fill(4, "sell"), a_fill(6), a_fill(8, "sell")]
    flows = [CashFlow("paper", str(s), "funding", SYMBOL, D(s), START + timedelta(seconds=s)) for s in (1, 3, 5, 7)]
    assert [each.funding for each in positions_of(fills, flows)] == [8, 7]


# --- stored and recomputed ------------------------------------------------------------------------------


@given(some_fills(), some_flows())
def test_stored_positions_agree_with_the_fills_whatever_their_stops_have_become(fills, flows):
    recomputed = positions_of(fills, flows, TERMS)
    stored = [replace(each, id=number, stop_price=D(1)) for number, each in enumerate(recomputed, 7)]
    assert differences(list(reversed(stored)), recomputed) == ()


def test_each_disagreement_with_the_fills_is_named():
    recomputed = positions_of([a_fill(1), a_fill(2, symbol="ETH/USDT")], terms=TERMS)
    wrong = replace(recomputed[0], quantity=D(2))
    assert differences([wrong, recomputed[1]], recomputed) == (
        "position 1 of BTC/USDT in paper: quantity is stored as 2, the fills say 1",
    )
    assert differences([recomputed[0]], recomputed) == ("position 1 of ETH/USDT in paper is not stored",)
    assert differences(recomputed, recomputed[:1]) == ("position 1 of ETH/USDT in paper is not in the fills",)


def test_return_on_margin_is_the_move_times_the_leverage_for_longs_and_shorts():
    assert roi_percent(a_position("2"), D(101)) == 5
    assert roi_percent(a_position("-2"), D(101)) == -5
