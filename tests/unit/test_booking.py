"""Entering fills and cash flows: each counts once, whatever order they come in, and what is odd is told."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.recomputed import cash_of, positions_of

from aaos.domain.booking import Booking, funded, new_fills, new_flows, thinned
from aaos.domain.orders import CashFlow, Order, OrderState, RiskApproval, VenueFill
from aaos.domain.positions import Fill, Position, Terms

AT = datetime(2026, 1, 1, 12, tzinfo=UTC)
D = Decimal
SYMBOL = "BTC/USDT"


def approval(number: int = 1, **changes: Any) -> RiskApproval:
    fields: dict[str, Any] = dict.fromkeys(("limit_price", "take_profit_price", "used_at"))
    fields |= {"id": number, "run_id": 1, "source": f"decision:{number}", "source_hash": "h", "account": "paper"}
    fields |= {"symbol": SYMBOL, "side": "buy", "quantity": D(2), "leverage": D(5), "entry_price": D(100)}
    fields |= {"stop_price": D(98), "reduce_only": False, "created_at": AT, "expires_at": AT}
    return RiskApproval(**(fields | changes))


def order(number: int = 1, **changes: Any) -> Order:
    fields: dict[str, Any] = {"id": number, "client_order_id": f"c{number}", "approval_id": number}
    fields |= {"source": f"decision:{number}", "source_hash": "h", "account": "paper", "leg": "entry"}
    fields |= {"symbol": SYMBOL, "side": "buy", "type": "limit", "quantity": D(2), "leverage": D(5), "price": D(100)}
    fields |= {"trigger_price": None, "reduce_only": False, "state": OrderState.WORKING, "stop_epoch": 1}
    fields |= {"filled": D(0), "venue_order_id": f"v{number}", "reason": None, "created_at": AT, "age_s": 0.0}
    return Order(**(fields | changes))


def fill(number: int, of: Order | None, quantity: object, price: object = 100, side: Any = None) -> Fill:
    return Fill(
        id=number,
        account="paper",
        trade_id=f"t{number}",
        order_id=None if of is None else of.id,
        source=None if of is None else of.source,
        leg=None if of is None else of.leg,
        symbol=SYMBOL,
        side=side or (of.side if of else "buy"),
        quantity=D(str(quantity)),
        price=D(str(price)),
        fee=D("0.1"),
        filled_at=AT + timedelta(seconds=number),
    )


def booking(*orders: Order) -> Booking:
    return Booking({each.id: each for each in orders}, {each.id: approval(each.approval_id) for each in orders}, {})


@pytest.mark.parametrize("state", list(OrderState))
def test_a_fill_moves_an_order_only_where_more_was_expected_of_it(state: OrderState) -> None:
    books = booking(order(state=state))
    books.enter(fill(1, books.orders[1], 1))
    books.enter(fill(2, books.orders[1], 1))
    expected_more = state in (OrderState.INTENT, OrderState.WORKING, OrderState.UNKNOWN, OrderState.QUARANTINED)
    assert books.orders[1].state is (OrderState.FILLED if expected_more else state)
    assert books.orders[1].filled == 2
    assert (books.doubt is not None) == (state in (OrderState.REJECTED, OrderState.WITHDRAWN))


@pytest.mark.requirement("R3")
@pytest.mark.parametrize(
    ("odd", "kind"),
    [
        (fill(1, None, 1), "unknown_fill"),
        (fill(1, order(), "2.1"), "overfilled_order"),
        (fill(1, order(), 1, side="sell"), "misplaced_fill"),
        (replace(fill(1, order(), 1), symbol="ETH/USDT"), "misplaced_fill"),
        (fill(1, order(2), 1), "unexpected_fill"),
    ],
)
def test_what_the_books_cannot_explain_is_booked_told_and_puts_them_in_doubt(odd: Fill, kind: str) -> None:
    books = booking(order(), order(2, state=OrderState.REJECTED))
    books.enter(odd)
    assert [alert.kind for alert in books.alerts] == [kind]
    assert books.doubt == books.alerts[0].message
    assert abs(books.open[odd.symbol].quantity) == odd.quantity
    assert books.cash == D("-0.1")


fills_of = st.lists(
    st.tuples(
        st.sampled_from([1, 2, None]),
        st.decimals(D("0.001"), D(50), places=3),
        st.decimals(D("0.01"), D(500), places=2),
    ),
    max_size=30,
)


@pytest.mark.requirement("R4")
@given(fills_of)
def test_positions_and_cash_entered_one_by_one_are_those_of_all_fills_at_once(told: list[Any]) -> None:
    books = booking(order(1, quantity=D(10)), order(2, side="sell", quantity=D(10)))
    fills = [fill(n, books.orders.get(of or 0), quantity, price) for n, (of, quantity, price) in enumerate(told, 1)]
    for each in fills:
        books.enter(each)
    terms = {each.source: Terms(D(5), D(98), None) for each in books.orders.values()}
    assert (*books.closed, *books.open.values()) == tuple(
        sorted(positions_of(fills, (), terms), key=lambda each: each.closed_at is None)
    )
    assert books.cash == cash_of(fills, ())
    for known in books.orders.values():
        assert known.filled == sum(each.quantity for each in fills if each.order_id == known.id)


def venue_fill(trade_id: str, seconds: float) -> VenueFill:
    at = AT + timedelta(seconds=seconds)
    return VenueFill("paper", trade_id, "v", None, SYMBOL, "buy", D(1), D(1), D(0), "taker", at)


def test_what_is_new_comes_once_in_the_order_it_happened() -> None:
    told = [venue_fill("c", 3), venue_fill("b", 1), venue_fill("a", 1), venue_fill("c", 3), venue_fill("known", 0)]
    assert [each.trade_id for each in new_fills(told, frozenset(["known"]))] == ["a", "b", "c"]
    flows = [
        CashFlow("paper", name, "deposit", None, D(1), AT + timedelta(seconds=n)) for name, n in (("y", 2), ("x", 1))
    ]
    assert [each.flow_id for each in new_flows([*flows, *flows], frozenset())] == ["x", "y"]


def test_trades_of_one_instant_come_in_the_order_of_their_numbers() -> None:
    """A venue that counts has made t9 before t10: what t9 opened is there for t10 to close."""
    told = [venue_fill(name, 1) for name in ("t10", "t9", "t100")]
    assert [each.trade_id for each in new_fills(told, frozenset())] == ["t9", "t10", "t100"]


def test_funding_goes_to_the_position_that_was_open_then() -> None:
    books = booking(order())
    books.enter(fill(5, books.orders[1], 2))
    [position] = books.open.values()
    late, early = (CashFlow("paper", "f", "funding", SYMBOL, D(-3), AT + timedelta(seconds=s)) for s in (9, 1))
    paid = funded([position], late)
    assert paid is not None
    assert paid.funding == -3
    assert funded([position], early) is None
    assert funded([position], replace(late, kind="deposit")) is None
    older: Position = replace(position, id=1, opened_at=AT)
    assert funded([older, replace(position, id=2)], early) == replace(older, funding=D(-3))


@given(st.integers(0, 300), st.integers(1, 50))
def test_thinning_keeps_both_ends_and_no_more_than_asked(total: int, limit: int) -> None:
    kept = thinned(range(total), limit)
    assert len(kept) == min(total, limit)
    assert len(set(kept)) == len(kept)
    if total and limit > 1:
        assert (kept[0], kept[-1]) == (0, total - 1)
    gaps = {b - a for a, b in pairwise(kept)}
    assert not gaps or max(gaps) - min(gaps) <= 1
