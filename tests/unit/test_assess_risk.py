"""Risk as a run: what it reads, what it refuses before it looks, and what it leaves behind."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from risk_examples import (
    NOW,
    RUN,
    SYMBOL,
    World,
    a_book,
    a_decision,
    a_snapshot,
    a_trade,
    an_exposure,
    calm,
)

from aaos.domain.approvals import Approval
from aaos.domain.orders import RiskApproval
from aaos.domain.portfolio.rules import PortfolioRules
from aaos.domain.results import canonical_json, content_hash
from aaos.domain.runs import Completed
from aaos.errors import AmbiguousReply, InputError, InvariantViolation, UnknownSymbol, VenueUnavailable
from aaos.services.assess_risk import assess_risk
from aaos.settings import Settings, load_settings

D = Decimal


@pytest.fixture(scope="module")
def settings() -> Settings:
    return load_settings()


def assessed(world: World, settings: Settings, **params: Any) -> Completed:
    return assess_risk(replace(RUN, params={"source": "decision:17", **params}), world.ports(), settings)


@pytest.mark.requirement("R1")
def test_an_approved_decision_leaves_an_approval_over_its_hash_and_starts_its_execution(settings: Settings) -> None:
    world = World()
    done = assessed(world, settings)
    assert world.decision is not None
    assert done.body["approved"] is True
    assert done.body["code"] is None
    assert len(done.body["checks"]) == 7
    assert done.veto is None
    assert done.approval is not None
    assert done.approval.source == "decision:17"
    assert done.approval.source_hash == world.decision.content_hash
    assert done.approval.book_version == 7
    assert done.approval.expires_after_s == 60
    (started,) = done.starts
    assert (started.kind, started.request_key) == ("execution", "execution:decision:17")
    assert started.params == {"source": "decision:17"}
    assert [each.action for each in done.audit] == ["risk.approved"]
    assert done.audit[0].subject == "run:17"


def test_the_lineage_names_the_decision_and_what_the_market_showed(settings: Settings) -> None:
    world = World()
    done = assessed(world, settings)
    assert world.decision is not None
    names = {each.name: each for each in done.inputs}
    assert set(names) == {"trading_decision", "candles", "order_book"}
    assert names["trading_decision"].result_id == world.decision.id
    assert names["trading_decision"].content_hash == world.decision.content_hash


def test_the_report_is_json_whose_amounts_are_text_and_says_the_same_when_repeated(settings: Settings) -> None:
    one, again = assessed(World(), settings), assessed(World(), settings)
    assert canonical_json(one.body) == canonical_json(again.body)
    stored = json.loads(canonical_json(one.body))
    assert stored["sizing"]["quantity"] == "10.009"
    assert isinstance(stored["figures"]["equity"], str)
    assert stored["schema_version"] == 1


def test_with_execution_switched_off_it_is_assessed_and_nothing_is_started(settings: Settings) -> None:
    off = settings.model_copy(update={"execution": replace(settings.execution, enabled=False)})
    done = assessed(World(), off)
    assert done.approval is not None
    assert done.starts == ()


@pytest.mark.requirement("R1")
@pytest.mark.parametrize(
    ("decision", "why"),
    [
        (a_decision("HOLD"), "HOLD trades nothing"),
        (a_decision("BUY", tradable=False), "not tradable"),
        (a_decision("BUY", tradable=False, review={"expires_after_s": 900, "why": "x"}), "no person has approved"),
        (a_decision("buy"), "neither BUY nor SELL"),
    ],
)
def test_what_is_not_cleared_is_a_report_that_approves_nothing(decision: Any, why: str, settings: Settings) -> None:
    done = assessed(World(decision=decision), settings)
    assert (done.body["approved"], done.body["code"]) == (False, "NOT_CLEARED")
    assert why in done.body["reason"]
    assert done.approval is None
    assert not done.starts
    # Whoever refused it first has written that down; risk was never asked.
    assert done.veto is None
    assert done.audit == ()


def reviewed(age_s: float, approved_ago_s: float, verdict: str = "approved") -> World:
    decision = a_decision("BUY", tradable=False, age_s=age_s, review={"expires_after_s": 900, "why": "x"})
    at = NOW - timedelta(seconds=approved_ago_s)
    return World(
        decision=decision,
        verdict=Approval(17, decision.content_hash, verdict, "ann", "ok", at),  # type: ignore[arg-type]
    )


@pytest.mark.requirement("R1")
def test_a_persons_approval_clears_a_held_decision_and_counts_its_age_anew(settings: Settings) -> None:
    assert assessed(reviewed(800, 5), settings).approval is not None
    assert assessed(reviewed(800, 400), settings).body["code"] == "RISK_STALE"
    assert assessed(reviewed(901, 5), settings).body["code"] == "NOT_CLEARED"
    assert assessed(reviewed(10, 5, "refused"), settings).body["code"] == "NOT_CLEARED"


@pytest.mark.requirement("D1")
def test_an_old_decision_is_refused_and_kept_in_the_veto_ledger(settings: Settings) -> None:
    assert assessed(World(decision=a_decision(age_s=300)), settings).approval is not None
    done = assessed(World(decision=a_decision(age_s=301)), settings)
    assert done.body["code"] == "RISK_STALE"
    assert done.veto is not None
    assert (done.veto.stage, done.veto.code, done.veto.side) == ("risk", "RISK_STALE", "buy")
    assert [each.action for each in done.audit] == ["risk.rejected"]


@pytest.mark.requirement("R7")
@pytest.mark.parametrize(
    ("book", "code"),
    [
        (a_book(age_s=91), "RISK_BOOK_STALE"),
        (replace(a_book(), bids=()), "RISK_BOOK_EMPTY"),
        (replace(a_book(), bids=a_book().asks, asks=a_book().bids), "RISK_BOOK_CROSSED"),
    ],
)
def test_no_entry_rests_on_a_stale_empty_or_crossed_book(book: Any, code: str, settings: Settings) -> None:
    done = assessed(World(order_books={SYMBOL: book}), settings)
    assert done.body["code"] == code
    assert done.approval is None
    assert done.veto is not None
    assert done.veto.code == code
    assert float(done.veto.price) == pytest.approx(100)


def test_without_candles_a_decision_is_refused_at_the_books_middle(settings: Settings) -> None:
    done = assessed(World(series={}), settings)
    assert done.body["code"] == "RISK_NO_CANDLES"
    assert done.veto is not None
    assert done.veto.price == 100


def test_a_symbol_that_the_market_no_longer_lists_is_refused(settings: Settings) -> None:
    done = assessed(World(order_books={}), settings)
    assert done.body["code"] == "RISK_UNKNOWN_SYMBOL"
    assert done.body["market_time"] is None
    assert done.veto is None


def test_a_symbol_that_the_venue_does_not_list_is_refused(settings: Settings) -> None:
    done = assessed(World(listed=UnknownSymbol("not at paper")), settings)
    assert done.body["code"] == "RISK_UNKNOWN_SYMBOL"
    assert done.veto is not None


@pytest.mark.parametrize("error", [VenueUnavailable("away"), AmbiguousReply("timeout")])
def test_a_venue_that_does_not_answer_is_asked_again_later(error: Exception, settings: Settings) -> None:
    with pytest.raises(VenueUnavailable):
        assessed(World(listed=error), settings)


@pytest.mark.requirement("R2")
def test_a_source_that_was_let_through_is_not_let_through_again(settings: Settings) -> None:
    given = RiskApproval(1, 98, "decision:17", "x", "paper", SYMBOL, "buy", D(1), D(1), *_REST)  # type: ignore[arg-type]
    done = assessed(World(given=given), settings)
    assert done.body["code"] == "ALREADY_APPROVED"
    assert done.approval is None
    assert done.veto is None


_REST = (D(1), None, None, None, False, NOW, NOW, None)


def test_a_failed_check_is_a_veto_with_the_trade_that_was_not_made(settings: Settings) -> None:
    done = assessed(World(account=a_snapshot(losses_in_a_row=5)), settings)
    assert done.body["approved"] is False
    assert done.body["code"] == "RISK_CONSECUTIVE_LOSSES"
    assert "consecutive_losses" in done.body["reason"]
    assert len(done.body["checks"]) == 7
    assert done.veto is not None
    assert done.veto.quantity == D("10.009")
    assert done.veto.stop_price is not None
    assert [each.kind for each in done.alerts] == ["risk_limit"]


def test_two_failed_checks_are_both_told_and_the_first_gives_the_code(settings: Settings) -> None:
    there = an_exposure(SYMBOL, "1", "100")
    done = assessed(World(account=a_snapshot(there, losses_in_a_row=5)), settings)
    assert done.body["code"] == "RISK_POSITION_SIZE"
    assert "consecutive_losses" in done.body["reason"]


def test_positions_elsewhere_are_read_and_one_without_a_market_is_marked_down(settings: Settings) -> None:
    world = World(account=a_snapshot(an_exposure("ETH/USDT", "1", "100"), an_exposure("XRP/USDT", "1", "100")))
    world.order_books["ETH/USDT"] = a_book("110", "ETH/USDT")
    world.series["ETH/USDT"] = calm("ETH/USDT", 2, 110.0)
    done = assessed(world, settings)
    marked = {each["symbol"]: each["marked_by"] for each in done.body["figures"]["exposures"]}
    assert marked == {"ETH/USDT": "book", "XRP/USDT": "margin"}
    assert done.body["figures"]["equity"] == "9990"
    undefined = {each["symbol"]: each["undefined"] for each in done.body["figures"]["correlations"]}
    assert undefined["ETH/USDT"] is None
    assert undefined["XRP/USDT"] is not None


def test_the_arbiters_bounds_are_kept(settings: Settings) -> None:
    arbitration = {"verdict": "modify", "leverage": 2.0, "size_fraction": 0.5, "entry_price": 99.5}
    done = assessed(World(decision=a_decision(arbitration=arbitration)), settings)
    assert done.approval is not None
    assert done.approval.leverage == 2
    assert done.approval.limit_price == D("99.5")
    assert done.approval.quantity == D("5.025")


def test_no_size_is_no_trade(settings: Settings) -> None:
    arbitration = {"leverage": None, "size_fraction": 0.0, "entry_price": None}
    done = assessed(World(decision=a_decision(arbitration=arbitration)), settings)
    assert done.body["code"] == "RISK_POSITION_SIZE"
    assert done.approval is None
    assert done.veto is not None
    assert done.veto.quantity is None


@pytest.mark.requirement("R1")
def test_what_is_no_decision_is_not_traded_whatever_it_says(settings: Settings) -> None:
    done = assessed(World(decision=replace(a_decision(), kind="trading_analysis")), settings)
    assert done.body["code"] == "NOT_CLEARED"
    assert done.approval is None


@pytest.mark.requirement("D4")
@pytest.mark.requirement("D1")
def test_a_changed_decision_halts(settings: Settings) -> None:
    forged = replace(a_decision("SELL"), content_hash=content_hash({"other": 1}))
    with pytest.raises(InvariantViolation, match="content hash"):
        assessed(World(decision=forged), settings)


@pytest.mark.parametrize("source", ["", "decision:", "decision:x", "order:3", "17", "decision:²"])
def test_a_run_without_a_source_says_what_one_looks_like(source: str, settings: Settings) -> None:
    with pytest.raises(InputError, match="decision:RUN or trade:NUMBER"):
        assessed(World(), settings, source=source)


def test_a_decision_that_is_not_stored_is_named(settings: Settings) -> None:
    with pytest.raises(InputError, match="run 18"):
        assessed(World(), settings, source="decision:18")


@pytest.fixture
def holding(settings: Settings) -> Settings:
    targets = PortfolioRules(targets={SYMBOL: D("0.4")})
    return settings.model_copy(update={"portfolio": targets})


def test_a_portfolio_buy_is_let_through_at_one_times_with_a_stop_far_below(holding: Settings) -> None:
    done = assessed(World(trade_row=a_trade("buy", "13")), holding, source="trade:4")
    approval = done.approval
    assert approval is not None
    assert (approval.account, approval.leverage, approval.quantity) == ("paper-portfolio", 1, 13)
    assert approval.stop_price == D("69.94")
    assert approval.take_profit_price is None
    assert done.body["signal"] == "BUY"
    assert done.audit[0].subject == "trade:4"


def test_a_portfolio_sell_only_shrinks_even_after_losses(holding: Settings) -> None:
    there = an_exposure(SYMBOL, "20", "100", leverage=D(1))
    world = World(trade_row=a_trade("sell", "5"), account=a_snapshot(there, losses_in_a_row=9), series={})
    approval = assessed(world, holding, source="trade:4").approval
    assert approval is not None
    assert approval.reduce_only
    assert approval.stop_price is None


def test_a_trade_is_assessed_by_its_own_run_while_its_time_lasts(holding: Settings) -> None:
    def code(**changes: Any) -> str:
        return str(assessed(World(trade_row=a_trade(**changes)), holding, source="trade:4").body["code"])

    assert code(state="expired") == "NOT_CLEARED"
    assert code(risk_run=98) == "NOT_CLEARED"
    assert code(expires_at=NOW) == "RISK_STALE"


def test_an_account_without_a_venue_is_named(holding: Settings) -> None:
    with pytest.raises(InputError, match="'elsewhere'"):
        assessed(World(trade_row=a_trade(account="elsewhere")), holding, source="trade:4")
