"""What an account is worth to risk, and the portfolio's holdings: they may add up, and sells only ever shrink them."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from risk_examples import (
    PORTFOLIO,
    RULES,
    SYMBOL,
    a_book,
    a_proposal,
    a_snapshot,
    an_exposure,
    assessed,
    calm,
    check,
    evidence,
    failed,
    held,
    measure,
    seen,
)

from aaos.domain.risk.gate import assess
from aaos.domain.risk.proposal import Seen, holding_terms

D = Decimal


@pytest.mark.parametrize(
    ("other", "unrealised", "by"),
    [
        (Seen(a_book("110", "ETH/USDT")), "100", "book"),
        (Seen(a_book("110", "ETH/USDT", age_s=91), calm("ETH/USDT", 2, 110.0)), "0", "candle"),
        (Seen(a_book("110", "ETH/USDT", age_s=91), calm("ETH/USDT", 2, 90.0)), "-100", "candle"),
        (Seen(None, None), "-200", "margin"),
    ],
)
def test_a_position_without_a_usable_book_is_never_valued_at_what_is_hoped_for(
    other: Seen, unrealised: str, by: str
) -> None:
    there = an_exposure("ETH/USDT", "10", "100", leverage=D(5))
    found = assessed(evidence(a_snapshot(there), others={"ETH/USDT": other}))
    assert [each.by for each in found.account.marks] == [by]
    assert round(found.account.equity - 10_000, 6) == D(unrealised)


@pytest.mark.parametrize("entry", ["90", "130"])
def test_without_a_book_a_position_is_as_large_as_at_the_dearer_of_entry_and_close(entry: str) -> None:
    there = an_exposure("ETH/USDT", "10", entry)
    only_candles = Seen(None, calm("ETH/USDT", 2, 110.0))
    found = assessed(evidence(a_snapshot(there), others={"ETH/USDT": only_candles}))
    assert round(found.account.notional_of("ETH/USDT")) == max(1100, 10 * int(entry))


def test_a_short_gains_when_the_price_falls() -> None:
    there = an_exposure("ETH/USDT", "-10", "100")
    found = assessed(evidence(a_snapshot(there), others=seen(mid="90")))
    assert found.account.equity == 10_100


@pytest.mark.requirement("ENG-3")
def test_a_holding_may_grow_to_its_target_and_the_drift_but_no_further() -> None:
    there = an_exposure(SYMBOL, "30", "100", leverage=D(1))
    small, large = held("buy", "14", there), held("buy", "16", there)
    assert failed(small) == []
    assert small.sizing.leverage == 1
    assert small.sizing.take_profit_price is None
    assert failed(large) == ["position_size"]
    assert measure(large, "position_size", "position").limit == 45


def test_what_is_no_target_is_not_bought() -> None:
    proposal = a_proposal(source="trade:4", quantity=D(1))
    found = assess(proposal, evidence(), RULES, holding_terms(PORTFOLIO, "DOGE/USDT"), 9, 90.0)
    assert failed(found) == ["position_size"]


def test_drawdown_and_losses_stop_a_portfolios_buys_but_not_its_sells() -> None:
    there = an_exposure(SYMBOL, "30", "100", leverage=D(1))
    sad: dict[str, Any] = {"losses_in_a_row": 9, "peak_equity": D(99_999)}
    assert failed(held("buy", "1", there, **sad)) == ["drawdown", "consecutive_losses"]
    sell = held("sell", "10", there, **sad)
    assert failed(sell) == []
    approval = sell.approval(60)
    assert approval is not None
    assert (approval.reduce_only, approval.stop_price, approval.take_profit_price) == (True, None, None)


@pytest.mark.parametrize(
    ("quantity", "pending", "passes"),
    [("30", "0", True), ("31", "0", False), ("20", "-15", False), ("15", "-15", True)],
)
def test_a_sell_only_ever_shrinks_a_holding(quantity: str, pending: str, passes: bool) -> None:
    there = an_exposure(SYMBOL, "30", "100", leverage=D(1))
    selling = replace(there, quantity=D(pending), is_open=False, source="trade:3")
    assert held("sell", quantity, there, selling).approved is passes


def test_nothing_held_nothing_sold() -> None:
    found = held("sell", "1")
    assert failed(found) == ["position_size"]
    assert "the next rebalance" in check(found, "position_size").leading.why


def test_a_pending_sell_is_no_exposure() -> None:
    there = an_exposure(SYMBOL, "30", "100", leverage=D(1))
    selling = replace(there, quantity=D(-30), is_open=False)
    assert held("buy", "10", there, selling).account.notional_of(SYMBOL) == 3000
