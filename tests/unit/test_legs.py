"""Legs after an entry: their names, and how often one that comes to nothing is tried again."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from aaos.domain.execution.legs import PAUSE_MAX_S, entry_of, left_of, legs_of, next_leg, pause_s
from aaos.domain.orders import Order, OrderState

D = Decimal


def an_order(leg: str, state: str = "working", age_s: float = 0.0, **changes: Any) -> Order:
    kind = leg.partition(":")[0]
    types = {"stop": "stop_market", "take_profit": "take_profit_market", "exit": "market", "entry": "limit"}
    given: dict[str, Any] = {
        "id": 1,
        "client_order_id": leg,
        "approval_id": 1,
        "source": "decision:1",
        "source_hash": "ab",
        "account": "paper",
        "leg": leg,
        "symbol": "BTC/USDT",
        "side": "sell",
        "type": types[kind],
        "quantity": D(2),
        "leverage": D(5),
        "price": None,
        "trigger_price": None,
        "reduce_only": kind != "entry",
        "state": OrderState(state),
        "stop_epoch": 1,
        "filled": D(0),
        "venue_order_id": None,
        "reason": None,
        "created_at": datetime(2026, 1, 1, tzinfo=UTC),
        "age_s": age_s,
    }
    return Order(**given | changes)


def legs(kind: str, *states: str, age_s: float = 0.0) -> list[Order]:
    return [an_order(f"{kind}:{number}", state, age_s) for number, state in enumerate(states, 1)]


def test_legs_are_numbered_on_whatever_became_of_those_before():
    orders = [an_order("entry"), *legs("stop", *["canceled"] * 10), an_order("take_profit:1"), an_order("stop:weird")]
    assert next_leg(orders, "stop") == "stop:11"
    assert next_leg(orders, "take_profit") == "take_profit:2"
    assert next_leg(orders, "exit") == "exit:1"
    assert [order.leg for order in legs_of(reversed(orders), "stop")][-2:] == ["stop:9", "stop:10"]


def test_an_entry_that_only_reduces_is_none():
    assert entry_of([an_order("stop:1")]) is None
    assert entry_of([an_order("entry", reduce_only=True)]) is None
    assert left_of(an_order("entry", filled=D("0.5"))) == D("1.5")


@pytest.mark.parametrize(
    ("failures", "pause"), [(0, 0), (2, 0), (3, 1), (4, 2), (6, 8), (9, PAUSE_MAX_S), (90, PAUSE_MAX_S)]
)
def test_after_three_failures_in_a_row_each_doubles_the_pause_up_to_a_minute(failures, pause):
    assert pause_s([an_order("stop:0"), *legs("stop", *["rejected"] * failures)], "stop") == pause


def test_a_pause_runs_from_the_last_failure_and_ends():
    assert pause_s(legs("stop", *["rejected"] * 4, age_s=1.5), "stop") == 0.5
    assert pause_s(legs("stop", *["rejected"] * 4, age_s=2.5), "stop") == 0


def test_one_that_stood_or_filled_something_or_was_replaced_by_us_ends_the_row_of_failures():
    rejected = ["rejected"] * 3
    assert pause_s(legs("stop", *rejected, "canceled"), "stop") == 0
    assert pause_s(legs("exit", *rejected, "canceled"), "exit") == 2
    assert pause_s(legs("stop", *rejected, "working"), "stop") == 0
    some = [*legs("exit", *rejected), an_order("exit:4", "canceled", filled=D("0.1"))]
    assert pause_s(some, "exit") == 0
    assert pause_s([*legs("stop", "working"), *legs("exit", *rejected)], "exit") == 1
