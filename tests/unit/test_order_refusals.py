"""Each rule of R1 and R3 by itself: one thing wrong with an order, one rule that says so."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from aaos.domain.order_refusals import RULES, broken_rule, order_denied
from aaos.domain.orders import NewOrder, RiskApproval

D = Decimal
AT = datetime(2026, 1, 1, tzinfo=UTC)
APPROVAL = RiskApproval(
    id=3, run_id=18, source="decision:17", source_hash="h", account="paper", symbol="BTC/USDT", side="buy",
    quantity=D(2), leverage=D(5), entry_price=D(100), limit_price=D(101), stop_price=D(98), take_profit_price=None,
    reduce_only=False, created_at=AT, expires_at=AT + timedelta(seconds=60), used_at=None,
)  # fmt: skip
USED = replace(APPROVAL, used_at=AT)
ENTRY = NewOrder(3, "decision:17", "h", "paper", "entry", "BTC/USDT", "buy", "limit", D(2), D(5), price=D(100))
STOP = replace(ENTRY, leg="stop:1", side="sell", type="stop_market", price=None, trigger_price=D(98), reduce_only=True)


def broken(order: NewOrder, approval: RiskApproval | None = APPROVAL, **now: Any) -> str | None:
    return broken_rule(order, approval, **{"stopped": False, "closable": D(2), **now})


@pytest.mark.requirement("R1")
def test_what_was_approved_may_be_written_down_to_the_last_digit() -> None:
    assert broken(ENTRY) is None
    assert broken(replace(ENTRY, price=D(101))) is None
    assert broken(STOP, USED) is None
    assert broken(STOP, replace(USED, expired=True), stopped=True) is None, "exits need no more than a position"


@pytest.mark.requirement("R1")
@pytest.mark.parametrize(
    ("order", "approval", "rule"),
    [
        (ENTRY, None, "approval_exists"),
        (replace(ENTRY, source="decision:18"), APPROVAL, "approval_is_of_this"),
        (replace(ENTRY, source_hash="other"), APPROVAL, "approval_is_of_this"),
        (replace(ENTRY, account="paper-portfolio"), APPROVAL, "approval_is_of_this"),
        (replace(ENTRY, symbol="ETH/USDT"), APPROVAL, "approval_is_of_this"),
        (replace(ENTRY, leverage=D("5.01")), APPROVAL, "leverage_is_approved"),
        (replace(STOP, leverage=D("5.01")), USED, "leverage_is_approved"),
        (ENTRY, USED, "approval_unused"),
        (ENTRY, replace(APPROVAL, expired=True), "approval_unexpired"),
        (replace(ENTRY, side="sell"), APPROVAL, "side_is_approved"),
        (replace(ENTRY, reduce_only=True), APPROVAL, "side_is_approved"),
        (replace(ENTRY, price=D("101.01")), APPROVAL, "price_is_approved"),
        (replace(ENTRY, type="market", price=None), APPROVAL, "price_is_approved"),
        (replace(STOP, reduce_only=False), USED, "exits_only_reduce"),
        (STOP, APPROVAL, "exits_follow_an_entry"),
        (replace(STOP, side="buy"), USED, "exits_are_on_the_other_side"),
    ],
)
def test_one_thing_that_was_not_approved_is_enough(order: NewOrder, approval: RiskApproval | None, rule: str) -> None:
    assert broken(order, approval) == rule


@pytest.mark.requirement("R1")
def test_no_entry_is_written_down_while_trading_is_stopped() -> None:
    assert broken(ENTRY, stopped=True) == "trading_is_not_stopped"


@pytest.mark.requirement("R1")
@pytest.mark.requirement("R3")
def test_no_entry_is_larger_than_approved_and_no_exit_larger_than_what_is_open() -> None:
    assert broken(replace(ENTRY, quantity=D("2.001"))) == "quantity_is_approved"
    assert broken(replace(STOP, quantity=D("2.001")), USED) == "exits_close_what_is_open"
    assert broken(STOP, USED, closable=None) == "exits_close_what_is_open"


@pytest.mark.parametrize("rule", RULES)
def test_each_refusal_names_the_order_and_a_code(rule: str) -> None:
    denied = order_denied(rule, ENTRY)
    assert "entry of decision:17 (buy 2 BTC/USDT)" in str(denied)
    assert denied.code == RULES[rule][0]
