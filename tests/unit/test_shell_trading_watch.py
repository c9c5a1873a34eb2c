"""What `aaos status` and `aaos trading` say when nobody compares the books, or nobody can be asked."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from aaos.local.status import StackStatus
from aaos.ports.trading import AccountBooks, Switch
from aaos.shell.orders import OrderList
from aaos.shell.status import Status
from aaos.shell.trading import Trading, TradingNow, not_compared_for_s

NOW = datetime(2026, 1, 2, 12, tzinfo=UTC)
SWITCH = Switch(1, False, "migration", "never stopped", NOW)


def a_container(reconcile_s: float = 30.0) -> Any:
    execution = SimpleNamespace(reconcile_s=reconcile_s)
    return SimpleNamespace(settings=SimpleNamespace(execution=execution), database=SimpleNamespace(now=lambda: NOW))


def books(age_s: float | None, account: str = "paper") -> AccountBooks:
    compared = None if age_s is None else NOW - timedelta(seconds=age_s)
    return AccountBooks(account, None, 0, compared)


@pytest.mark.parametrize(("ages", "told"), [((31, 89), None), ((None, None), None), ((5, 91), 91), ((400, 91), 400)])
def test_books_that_were_not_compared_three_times_in_a_row_are_told_of(ages, told):
    assert not_compared_for_s(a_container(), [books(age) for age in ages]) == told


def test_status_says_that_nobody_watches():
    line = TradingNow(False, True, 2, 0, not_compared_for_s=95.4).line
    assert line.startswith("trading: on, open positions: 2, NOT WATCHED: books not compared for 95 s")
    assert "trader" in line
    assert "NOT WATCHED" not in TradingNow(False, True, 2, 0).line


def test_trading_says_that_nobody_watches_and_what_to_look_at():
    late = Trading(SWITCH, True, (books(95),), OrderList([]), not_compared_for_s=95.0)
    assert any("not compared for 95 s" in line and "trader" in line for line in late.lines())
    assert not any("not compared for" in line for line in Trading(SWITCH, True, (books(5),), OrderList([])).lines())


def test_status_does_not_hide_trading_while_the_database_is_away():
    stack = StackStatus("/state", True, 11, 61.0, 114.0, "http://127.0.0.1:5555", ())
    assert "trading: unknown" in repr(Status(stack, (), (), None, ()))
