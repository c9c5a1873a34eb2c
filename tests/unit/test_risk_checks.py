"""The seven checks: each with its figure and limit, all of them always, and what makes each refuse."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from market_examples import candles_of
from risk_examples import (
    RULES,
    SYMBOL,
    a_book,
    a_proposal,
    a_snapshot,
    an_exposure,
    an_instrument,
    assessed,
    calm,
    candles_from,
    check,
    evidence,
    failed,
    measure,
    returns,
    seen,
)

from aaos.domain.risk.account import AccountSnapshot
from aaos.domain.risk.checks import Check, Trade, seven_checks
from aaos.domain.risk.proposal import Seen, decision_terms

D = Decimal
NAMES = (
    "position_size",
    "leverage",
    "drawdown",
    "consecutive_losses",
    "correlation",
    "break_even",
    "liquidation_buffer",
)


@pytest.mark.requirement("ENG-3")
def test_a_sound_trade_passes_all_seven_and_each_names_figure_limit_and_reason() -> None:
    found = assessed()
    assert tuple(each.name for each in found.checks) == NAMES
    assert failed(found) == []
    assert found.approved
    for each in found.checks:
        told = each.to_dict()
        assert told["figure"] is not None
        assert told["limit"] is not None
        assert told["unit"]
        assert told["why"]


@pytest.mark.requirement("ENG-3")
def test_a_trade_is_a_tenth_of_equity_whatever_its_leverage_and_on_the_grid() -> None:
    quiet, wild = assessed(), assessed(evidence(candles=calm(sigma=0.004)))
    assert quiet.sizing.price == D("99.91")
    assert quiet.sizing.quantity == wild.sizing.quantity == D("10.009")
    assert quiet.sizing.leverage > wild.sizing.leverage == 1


def test_the_stop_is_the_price_move_that_costs_a_tenth_of_the_margin() -> None:
    found = assessed()
    at = found.sizing.leverage
    assert found.sizing.stop_price == an_instrument().price(D("99.91") * (1 - D("0.1") / at), "sell")
    assert found.sizing.take_profit_price == an_instrument().price(D("99.91") * (1 + D("0.2") / at), "sell")


@pytest.mark.parametrize("step", ["0.01", "1", "40", "90"])
@pytest.mark.parametrize("side", ["buy", "sell"])
def test_no_grid_is_so_coarse_that_an_exit_stands_on_the_wrong_side(step: str, side: str) -> None:
    known = evidence(instrument=an_instrument(price_step=D(step)))
    sizing = assessed(known, a_proposal(side)).sizing
    stop, profit = sizing.stop_price, sizing.take_profit_price
    assert stop is not None
    assert profit is not None
    assert stop < sizing.price < profit if side == "buy" else profit < sizing.price < stop


def test_a_stop_that_would_stand_at_nothing_is_refused() -> None:
    known = evidence(instrument=an_instrument(price_step=D(60)))
    assert "liquidation_buffer" in failed(assessed(known))


@pytest.mark.requirement("ENG-3")
def test_all_seven_are_told_even_when_all_of_them_fail() -> None:
    snapshot = a_snapshot(
        an_exposure(SYMBOL, "30"), an_exposure("ETH/USDT", "30"), cash="10000", losses_in_a_row=9, peak_equity=D(99_999)
    )
    ruthless = {"max_leverage": D(100), "target_leverage": D(100), "target_atr_percent": D(100)}
    venue = an_instrument(max_leverage=D(125), taker_fee=D("0.01"))
    found = assessed(evidence(snapshot, instrument=venue), **ruthless)
    assert failed(found) == [name for name in NAMES if name != "leverage"]
    assert len(found.checks) == 7
    assert not found.approved
    assert found.approval(60) is None


@pytest.mark.requirement("ENG-3")
@pytest.mark.parametrize("name", NAMES)
def test_one_failed_check_is_enough(name: str) -> None:
    found = assessed()
    broken = tuple(
        Check(each.name, tuple(replace(m, passed=False) for m in each.measures)) if each.name == name else each
        for each in found.checks
    )
    refused = replace(found, checks=broken)
    assert found.approval(60) is not None
    assert refused.approval(60) is None
    assert [each.code for each in refused.failed] == [f"RISK_{name.upper()}"]


def test_a_position_larger_than_its_limit_is_refused_with_the_figure() -> None:
    found = assessed(base_risk=D("0.25"))
    told = measure(found, "position_size", "position")
    assert failed(found) == ["position_size"]
    assert round(told.figure) == 25
    assert told.limit == 20


def test_exposure_counts_positions_pending_approvals_and_working_entries() -> None:
    there = [an_exposure(f"S{n}/USDT", "20", "100", is_open=n == 0) for n in range(3)]
    told = measure(assessed(evidence(a_snapshot(*there))), "position_size", "exposure")
    assert not told.passed
    assert told.figure > 60


def test_no_more_positions_than_allowed_counted_by_symbol() -> None:
    four = [an_exposure(f"S{n}/USDT", "1", "1") for n in range(4)]
    twice = an_exposure("S0/USDT", "1", "1", is_open=False)
    assert measure(assessed(evidence(a_snapshot(*four, twice))), "position_size", "positions").passed
    five = [*four, an_exposure("S4/USDT", "1", "1")]
    told = measure(assessed(evidence(a_snapshot(*five))), "position_size", "positions")
    assert (told.passed, told.figure, told.limit) == (False, 6, 5)


@pytest.mark.requirement("R6")
@pytest.mark.parametrize("is_open", [True, False])
@pytest.mark.parametrize("quantity", ["1", "-1"])
def test_one_position_or_unused_approval_per_symbol(is_open: bool, quantity: str) -> None:
    there = an_exposure(SYMBOL, quantity, "1", is_open=is_open, source="decision:3")
    found = assessed(evidence(a_snapshot(there)))
    told = measure(found, "position_size", "one_per_symbol")
    assert not told.passed
    assert "decision:3" in told.why
    assert found.approval(60) is None


def test_margin_must_be_free() -> None:
    rules = replace(RULES, max_exposure_percent=D(500), max_position_percent=D(100), max_correlated_percent=D(500))
    there = an_exposure("ETH/USDT", "95", "100", leverage=D(1))
    told = measure(assessed(evidence(a_snapshot(there), others=seen()), rules=rules, base_risk=D(1)), *_FREE)
    assert not told.passed
    assert round(told.limit) == 500


_FREE = ("position_size", "free_margin")


@pytest.mark.parametrize(
    ("change", "part"), [({"min_quantity": D(20)}, "min_quantity"), ({"min_notional": D(2000)}, "min_notional")]
)
def test_what_the_venue_does_not_take_is_refused_with_the_remedy(change: dict[str, Any], part: str) -> None:
    told = measure(assessed(evidence(instrument=an_instrument(**change))), "position_size", part)
    assert not told.passed
    assert "base_risk" in told.why


@pytest.mark.parametrize("cash", ["0", "-50"])
def test_an_account_without_equity_trades_nothing(cash: str) -> None:
    found = assessed(evidence(a_snapshot(cash=cash)))
    assert not found.approved
    assert found.sizing.quantity == 0
    assert measure(found, "position_size", "position").figure is None


def test_leverage_is_limited_by_volatility_the_configuration_and_the_venue() -> None:
    assert assessed().sizing.leverage == assessed().sizing.max_leverage == 6
    assert assessed(max_leverage=D(2)).sizing.leverage == 2
    assert assessed(evidence(instrument=an_instrument(max_leverage=D(3)))).sizing.leverage == 3
    assert assessed(evidence(candles=candles_of(np.full(240, 100.0)))).sizing.leverage == 1


def test_the_arbiter_only_ever_lowers() -> None:
    plain = assessed().sizing
    lower = assessed(proposal=a_proposal(leverage=D("2.9"), size_fraction=D("0.5"))).sizing
    higher = assessed(proposal=a_proposal(leverage=D(9), size_fraction=D(7))).sizing
    assert (lower.leverage, lower.quantity) == (2, D("5.004"))
    assert (higher.leverage, higher.quantity) == (plain.leverage, plain.quantity)


@pytest.mark.requirement("ENG-3")
@pytest.mark.parametrize(
    ("field", "reference", "part", "passes"),
    [
        ("day_equity", "10500", "day", True),
        ("day_equity", "10527", "day", False),
        ("week_equity", "11111", "week", True),
        ("week_equity", "11112", "week", False),
        ("peak_equity", "12499", "peak", True),
        ("peak_equity", "12500", "peak", False),
    ],
)
def test_drawdown_of_day_week_and_peak_stays_below_its_limit(
    field: str, reference: str, part: str, passes: bool
) -> None:
    found = assessed(evidence(a_snapshot(**{field: D(reference)})))
    assert measure(found, "drawdown", part).passed is passes
    assert check(found, "drawdown").passed is passes


def test_an_account_without_history_has_no_drawdown_and_says_so() -> None:
    found = assessed(evidence(a_snapshot(day_equity=None, week_equity=None, peak_equity=None)))
    assert found.approved
    assert "no equity was recorded" in measure(found, "drawdown", "peak").why


def test_unrealised_losses_count_towards_drawdown() -> None:
    losing = an_exposure("ETH/USDT", "10", "160")
    found = assessed(evidence(a_snapshot(losing), others=seen()))
    assert found.account.equity == 9400
    assert failed(found) == ["drawdown"]


@pytest.mark.requirement("ENG-3")
@pytest.mark.parametrize(("losses", "passes"), [(4, True), (5, False), (6, False)])
def test_so_many_losses_in_a_row_stop_trading(losses: int, passes: bool) -> None:
    found = assessed(evidence(a_snapshot(losses_in_a_row=losses)))
    assert check(found, "consecutive_losses").passed is passes


def correlated(other: Seen, quantity: str = "35", **changes: Any) -> Check:
    there = an_exposure("ETH/USDT", quantity, "100")
    rules = replace(RULES, max_position_percent=D(100), max_exposure_percent=D(100))
    return check(assessed(evidence(a_snapshot(there), others={"ETH/USDT": other}), rules=rules), "correlation")


@pytest.mark.requirement("ENG-3")
def test_positions_that_move_together_are_one_bet() -> None:
    same = calm("ETH/USDT", seed=1)
    told = correlated(Seen(a_book(symbol="ETH/USDT"), same))
    assert not told.passed
    assert round(told.leading.figure or 0) == 45
    assert "ETH/USDT (1)" in told.leading.why


def test_positions_that_do_not_move_together_are_not() -> None:
    told = correlated(Seen(a_book(symbol="ETH/USDT"), calm("ETH/USDT", seed=2)))
    assert told.passed
    assert round(told.leading.figure or 0) == 10


def test_a_position_nobody_can_measure_counts_as_the_same_bet() -> None:
    told = correlated(Seen(a_book(symbol="ETH/USDT"), None))
    assert not told.passed
    assert "no candles" in told.leading.why


def test_what_moves_against_it_is_the_same_bet_too() -> None:
    mirrored = candles_from(-returns(1), "ETH/USDT")
    told = correlated(Seen(a_book(symbol="ETH/USDT"), mirrored))
    assert not told.passed
    assert "ETH/USDT (-1)" in told.leading.why


def judged(name: str, **changes: Any) -> Check:
    """One check of a trade whose sizing somebody got wrong."""
    found = assessed()
    terms = decision_terms(RULES)
    sizing = replace(found.sizing, **changes)
    trade = Trade(found.proposal, sizing, an_instrument(), found.account, found.correlations, terms, RULES)
    return next(each for each in seven_checks(trade) if each.name == name)


@pytest.mark.requirement("ENG-3")
def test_checks_do_not_trust_the_sizing() -> None:
    assert judged("leverage").passed
    assert not judged("leverage", leverage=D(7)).passed
    assert judged("liquidation_buffer").passed
    assert not judged("liquidation_buffer", stop_price=D("99.91")).passed
    assert not judged("liquidation_buffer", stop_price=D(101)).passed
    assert not judged("liquidation_buffer", stop_price=D(0), liquidation_price=D(-9)).passed
    assert not judged("position_size", quantity=D(50)).passed
    assert not judged("break_even", take_profit_price=D(90)).passed


def test_a_shorts_profit_beyond_its_price_is_taken_at_the_lowest_price_there_is() -> None:
    quiet = evidence(candles=calm(sigma=0.004))
    found = assessed(quiet, a_proposal("sell"), take_profit_roi_percent=D(200))
    assert (found.sizing.leverage, found.sizing.take_profit_price) == (1, D("0.01"))


def test_an_exit_that_would_rest_at_nothing_is_refused() -> None:
    coarse = evidence(instrument=an_instrument(price_step=D(180)))
    assert "break_even" in failed(assessed(coarse, a_proposal("sell")))


def test_fees_that_eat_the_profit_are_refused() -> None:
    found = assessed(evidence(instrument=an_instrument(taker_fee=D("0.03"))))
    assert failed(found) == ["break_even"]
    told = check(found, "break_even").leading
    assert told.figure == D("0.03") * 2 * 6 * 100 + D("0.05")


def test_a_stop_too_near_to_liquidation_is_refused() -> None:
    ruthless = {"max_leverage": D(20), "target_leverage": D(20)}
    found = assessed(**ruthless)
    assert failed(found) == ["liquidation_buffer"]
    told = check(found, "liquidation_buffer").leading
    assert told.figure is not None
    assert D(4) < told.figure < 5


def test_the_report_is_text_and_plain_json_with_every_figure() -> None:
    found = assessed(evidence(a_snapshot(an_exposure()), others=seen()))
    told = found.to_dict()
    assert told["sizing"]["quantity"] == "10.009"
    assert told["figures"]["correlations"][0]["symbol"] == "ETH/USDT"
    assert told["figures"]["exposures"][0]["marked_by"] == "book"
    assert _numbers(told) <= {found.account.snapshot.version, 0, 239}


def _numbers(value: Any) -> set[float]:
    """Every number that is not text: counts and versions are, amounts are not."""
    if isinstance(value, dict):
        return set().union(*(_numbers(each) for each in value.values()))
    if isinstance(value, list):
        return set().union(*(_numbers(each) for each in value)) if value else set()
    return {value} if isinstance(value, int | float) and not isinstance(value, bool) else set()


def test_an_approval_carries_what_was_assessed() -> None:
    snapshot: AccountSnapshot = a_snapshot(version=41)
    approval = assessed(evidence(snapshot), a_proposal("sell", limit_price=D("100.5"))).approval(45)
    assert approval is not None
    assert (approval.book_version, approval.side, approval.limit_price) == (41, "sell", D("100.5"))
    assert (approval.entry_price, approval.expires_after_s) == (D("100.5"), 45)
    assert approval.source_hash == "ab" * 32
