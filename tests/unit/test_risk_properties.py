"""Whatever market and account: what is approved keeps every limit, and each refusal has its reason."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from risk_examples import SYMBOL, a_book, a_proposal, a_snapshot, an_exposure, an_instrument, calm, evidence, seen

from aaos.domain.risk.gate import Assessment, assess
from aaos.domain.risk.proposal import Evidence, decision_terms
from aaos.domain.risk.rules import RiskRules

D = Decimal
sides = st.sampled_from(["buy", "sell"])
positive = st.decimals("0.01", "100000", places=2)
rules = st.builds(
    RiskRules,
    base_risk=st.decimals("0.01", "1", places=2),
    target_leverage=st.integers(1, 30).map(Decimal),
    max_leverage=st.integers(1, 30).map(Decimal),
    target_atr_percent=st.decimals("0.05", "5", places=2),
    stop_roi_percent=st.decimals("0.5", "60", places=1),
    take_profit_roi_percent=st.decimals("0.5", "60", places=1),
    max_position_percent=st.decimals("1", "100", places=1),
    max_exposure_percent=st.decimals("1", "200", places=1),
)
exposures = st.lists(
    st.builds(
        lambda n, quantity, is_open: an_exposure(f"S{n}/USDT", quantity, "50", is_open=is_open),
        st.integers(0, 5),
        st.sampled_from(["-9", "-1", "1", "9"]),
        st.booleans(),
    ),
    max_size=5,
)
worlds = st.builds(
    lambda cash, there, sigma, seed, mid, step: evidence(
        a_snapshot(*there, cash=str(cash)),
        candles=calm(seed=seed, sigma=sigma),
        book=a_book(mid, step=str(mid / 10_000)),
        instrument=an_instrument(price_step=step, max_leverage=D(25)),
    ),
    positive,
    exposures,
    st.floats(0.0001, 0.02),
    st.integers(0, 5),
    st.decimals("0.5", "60000", places=2),
    st.sampled_from([D("0.0001"), D("0.01"), D("0.1")]),
)


def of(known: Evidence, chosen: RiskRules, side: str = "buy") -> Assessment:
    return assess(a_proposal(side), known, chosen, decision_terms(chosen), 9, 90.0)


@pytest.mark.requirement("R6")
@settings(deadline=None, max_examples=200)
@given(worlds, rules, sides)
def test_what_is_approved_keeps_every_limit(known: Evidence, chosen: RiskRules, side: str) -> None:
    found = of(known, chosen, side)
    approval = found.approval(60)
    if approval is None:
        assert found.failed[0].leading.why
        return
    equity, notional = found.account.equity, approval.quantity * approval.entry_price
    all_of_it = notional + sum(each.notional for each in found.account.grows)
    assert 0 < notional <= chosen.base_risk * equity
    assert notional <= chosen.max_position_percent * equity / 100
    assert all_of_it <= chosen.max_exposure_percent * equity / 100
    assert notional / approval.leverage <= found.account.free
    assert 1 <= approval.leverage <= min(chosen.max_leverage, known.instrument.max_leverage)
    assert approval.quantity % known.instrument.quantity_step == 0
    assert len({each.exposure.symbol for each in found.account.grows} | {SYMBOL}) <= chosen.max_positions


@pytest.mark.requirement("ENG-3")
@settings(deadline=None, max_examples=200)
@given(worlds, rules, sides)
def test_an_approved_stop_stands_between_entry_and_liquidation_with_the_buffer(
    known: Evidence, chosen: RiskRules, side: str
) -> None:
    found = of(known, chosen, side)
    approval = found.approval(60)
    if approval is None or approval.stop_price is None:
        return
    entry, stop, liquidated = approval.entry_price, approval.stop_price, found.sizing.liquidation_price
    room = chosen.min_liquidation_buffer_percent * entry / 100
    if side == "buy":
        assert liquidated + room <= stop < entry < (approval.take_profit_price or entry + 1)
    else:
        assert (approval.take_profit_price or entry - 1) < entry < stop <= liquidated - room
    assert stop % known.instrument.price_step == 0


@settings(deadline=None, max_examples=50)
@given(st.floats(0.0001, 0.02), st.floats(1.0, 10.0), rules)
def test_a_wilder_market_never_gets_more_leverage(sigma: float, factor: float, chosen: RiskRules) -> None:
    calmer = of(evidence(candles=calm(sigma=sigma)), chosen).sizing
    wilder = of(evidence(candles=calm(sigma=sigma * factor)), chosen).sizing
    assert wilder.leverage <= calmer.leverage


@settings(deadline=None, max_examples=50)
@given(worlds, rules, st.decimals("0.01", "1", places=2), st.integers(1, 30))
def test_what_an_arbiter_asks_for_only_lowers(
    known: Evidence, chosen: RiskRules, fraction: Decimal, leverage: int
) -> None:
    plain = of(known, chosen).sizing
    asked = a_proposal(size_fraction=fraction, leverage=D(leverage))
    lowered = assess(asked, known, chosen, decision_terms(chosen), 9, 90.0).sizing
    assert lowered.quantity <= plain.quantity
    assert lowered.leverage <= max(plain.leverage, 1)
    assert lowered.leverage <= leverage


@settings(deadline=None, max_examples=50)
@given(rules, st.integers(0, 5), positive)
def test_a_short_mirrors_a_long(chosen: RiskRules, seed: int, cash: Decimal) -> None:
    fine = an_instrument(price_step=D("1e-12"), quantity_step=D("1e-12"), maintenance_margin=D(0))
    known = evidence(a_snapshot(cash=str(cash)), candles=calm(seed=seed), instrument=fine)
    flat = replace(known, book=a_book("100", step="0.00001"))
    long, short = of(flat, chosen), of(flat, chosen, "sell")
    assert long.sizing.leverage == short.sizing.leverage
    for name in ("stop_price", "liquidation_price"):
        below, above = getattr(long.sizing, name), getattr(short.sizing, name)
        assert abs((100 - below) - (above - 100)) < D("0.001")
    assert [each.passed for each in long.checks] == [each.passed for each in short.checks]


@settings(deadline=None, max_examples=50)
@given(exposures, positive)
def test_equity_is_cash_and_unrealised_profit_at_the_books_middle(there: list[object], cash: Decimal) -> None:
    snapshot = a_snapshot(*there, cash=str(cash))  # type: ignore[arg-type]
    markets = {symbol: view for n in range(6) for symbol, view in seen(f"S{n}/USDT", mid="55").items()}
    found = of(evidence(snapshot, others=markets), RiskRules())
    profit = sum((each.quantity * 5 for each in snapshot.exposures if each.is_open), D(0))
    assert found.account.equity == cash + profit
