"""What differs between our books and the venue's: the pure comparison."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aaos.domain.execution.expiry import expiry
from aaos.domain.execution.reconciliation import (
    CASH_TOLERANCE,
    compare_holdings,
    compare_orders,
    foreign_orders,
    revived,
)
from aaos.domain.orders import Order, OrderState, VenueOrder, VenuePosition
from aaos.domain.positions import Position

D = Decimal
NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
IN_FLIGHT_S = 17.0


def an_order(number: int = 1, state: OrderState = OrderState.WORKING, **changes: object) -> Order:
    order = Order(
        id=number, client_order_id=f"aa{number}", approval_id=1, source=f"decision:{number}", source_hash="ab",
        account="paper", leg="entry", symbol="BTC/USDT", side="buy", type="limit", quantity=D(2), leverage=D(5),
        price=D(99), trigger_price=None, reduce_only=False, state=state, stop_epoch=0, filled=D(0),
        venue_order_id=f"v{number}", reason=None, created_at=NOW, age_s=100.0,
    )  # fmt: skip
    return replace(order, **changes)  # type: ignore[arg-type]


def seen(order: Order, **changes: object) -> VenueOrder:
    found = VenueOrder(
        f"v{order.id}", order.client_order_id, order.symbol, order.side, order.type, "working", order.quantity,
        order.filled, order.price, order.trigger_price, order.reduce_only, NOW,
    )  # fmt: skip
    return replace(found, **changes)  # type: ignore[arg-type]


def a_position(symbol: str, quantity: Decimal) -> Position:
    return Position(
        1, "paper", symbol, None, quantity, D(100), abs(quantity), D(5), D(0), D(0), D(0), None, None, NOW, None
    )  # fmt: skip


@pytest.mark.requirement("R4")
def test_books_that_agree_need_nothing() -> None:
    ours = [an_order(number) for number in range(1, 4)]
    found = compare_orders(ours, [seen(order) for order in ours], IN_FLIGHT_S)
    assert (found.settle, found.ask, found.strangers, found.differences) == ((), (), (), ())


@pytest.mark.parametrize("state", [OrderState.INTENT, OrderState.UNKNOWN, OrderState.QUARANTINED])
def test_an_open_order_whose_fate_we_did_not_know_is_settled(state: OrderState) -> None:
    order = an_order(state=state, venue_order_id=None)
    found = compare_orders([order], [seen(order)], IN_FLIGHT_S)
    assert found.settle == ((order, seen(order)),)


def test_an_order_that_is_not_listed_is_asked_for_and_one_being_sent_is_left_alone() -> None:
    working, unknown = an_order(1), an_order(2, OrderState.UNKNOWN)
    sending = an_order(3, OrderState.INTENT, age_s=IN_FLIGHT_S - 0.1)
    forgotten = an_order(4, OrderState.INTENT, age_s=IN_FLIGHT_S)
    found = compare_orders([working, unknown, sending, forgotten], [], IN_FLIGHT_S)
    assert found.ask == (working, unknown, forgotten)


def test_an_order_that_says_something_else_than_we_wrote_down_differs() -> None:
    order = an_order()
    (told,) = compare_orders([order], [seen(order, quantity=D(3))], IN_FLIGHT_S).differences
    assert (told.what, told.subject) == ("order", "aa1")
    assert "3" in told.theirs


@pytest.mark.requirement("R2")
def test_two_open_orders_under_one_name_differ() -> None:
    order = an_order()
    twin = seen(order, venue_order_id="v99")
    found = compare_orders([order], [seen(order), twin], IN_FLIGHT_S)
    assert [each.theirs for each in found.differences] == ["2 under one name"]


def test_only_orders_that_nobody_here_wrote_down_are_foreign() -> None:
    over = an_order(1, OrderState.CANCELED)
    strangers = [seen(over), seen(an_order(2)), replace(seen(an_order(3)), client_order_id=None)]
    assert foreign_orders(strangers, {"aa1": over}) == (strangers[1], strangers[2])


def test_an_order_that_ended_here_and_works_there_is_odd_and_one_that_ended_there_too_is_not() -> None:
    over = an_order(1, OrderState.CANCELED)
    assert revived(over, seen(over)) is not None
    assert revived(over, seen(over, state="canceled")) is None
    assert revived(over, None) is None
    assert revived(an_order(), seen(an_order())) is None


@pytest.mark.requirement("R4")
@given(
    st.dictionaries(st.integers(1, 30), st.sampled_from([*list(OrderState)[:3], OrderState.QUARANTINED]), max_size=12),
    st.sets(st.integers(1, 40), max_size=20),
    st.floats(0, 60),
)
def test_each_order_is_looked_after_exactly_once(states: dict[int, OrderState], listed: set[int], age_s: float) -> None:
    ours = [an_order(number, state, age_s=age_s) for number, state in states.items()]
    theirs = [seen(an_order(number)) for number in sorted(listed)]
    found = compare_orders(ours, theirs, IN_FLIGHT_S)
    settled = [order.id for order, _ in found.settle]
    asked = [order.id for order in found.ask]
    quiet = [
        order.id
        for order in ours
        if (order.id in listed and order.state is OrderState.WORKING)
        or (order.id not in listed and order.state is OrderState.INTENT and age_s < IN_FLIGHT_S)
    ]
    assert Counter([*settled, *asked, *quiet]) == Counter(list(states))
    assert {int(each.venue_order_id[1:]) for each in found.strangers} == listed - set(states)
    assert all(order.client_order_id == told.client_order_id for order, told in found.settle)
    assert found.differences == ()


quantities = st.dictionaries(
    st.sampled_from(["BTC/USDT", "ETH/USDT", "SOL/USDT"]), st.decimals("-5", "5", places=3).filter(bool), max_size=3
)


@pytest.mark.requirement("R4")
@given(quantities, quantities, st.decimals("-1", "1", places=6))
def test_holdings_agree_exactly_when_every_position_and_the_cash_do(
    ours: dict[str, Decimal], theirs: dict[str, Decimal], off: Decimal
) -> None:
    here = [a_position(symbol, quantity) for symbol, quantity in ours.items()]
    there = [VenuePosition(symbol, quantity, D(100)) for symbol, quantity in theirs.items()]
    found = compare_holdings(here, there, D(1000), D(1000) + off)
    unequal = {symbol for symbol in ours.keys() | theirs.keys() if ours.get(symbol) != theirs.get(symbol)}
    assert {each.subject for each in found if each.what == "position"} == unequal
    assert any(each.what == "cash" for each in found) == (not unequal and abs(off) > CASH_TOLERANCE)


@pytest.mark.requirement("R4")
def test_a_trade_told_late_may_be_split_otherwise_between_realised_and_open() -> None:
    # Bought 1 at 100 and 1 at 110, sold 1 at 120. The venue: average 105, 15 realised. Here the second purchase came
    # last: 20 realised, and what is open has cost 110.
    here = [replace(a_position("BTC/USDT", D(1)), average_entry=D(110))]
    there = [VenuePosition("BTC/USDT", D(1), D(105))]
    assert compare_holdings(here, there, D(1020), D(1015)) == ()
    (told,) = compare_holdings(here, there, D(1020), D(1020))
    assert told.what == "cash"


def test_a_difference_says_both_sides() -> None:
    (told,) = compare_holdings([a_position("BTC/USDT", D(2))], [], D(1), D(1))
    assert str(told) == "position BTC/USDT: 2 here, 0 at the venue"


# --- expiry ---------------------------------------------------------------------------------------------

DAY_S = 86_400.0


@pytest.mark.requirement("HARD-1.3")
def test_a_working_order_expires_by_its_age_or_for_having_none() -> None:
    old, young = an_order(age_s=DAY_S + 1), an_order(age_s=DAY_S)
    assert "86401 s" in str(expiry(old, seen(old), set(), DAY_S))
    assert expiry(young, seen(young), set(), DAY_S) is None
    assert "no creation time" in str(expiry(young, seen(young, created_at=None), set(), DAY_S))


@pytest.mark.requirement("HARD-1.3")
@pytest.mark.requirement("R5")
@pytest.mark.parametrize("kind", ["stop_market", "take_profit_market"])
def test_what_protects_an_open_position_never_expires(kind: str) -> None:
    stop = an_order(leg="stop:1", type=kind, reduce_only=True, age_s=99 * DAY_S)
    assert expiry(stop, seen(stop, created_at=None), {"BTC/USDT"}, DAY_S) is None
    assert expiry(stop, seen(stop), {"ETH/USDT"}, DAY_S) is not None, "its position is gone"
    entry = an_order(age_s=99 * DAY_S)
    assert expiry(entry, seen(entry), {"BTC/USDT"}, DAY_S) is not None, "an entry protects nothing"
