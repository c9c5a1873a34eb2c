"""The portfolio as a person sees it: tables, notes, JSON without a lost digit."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from portfolio_examples import Office, book, position, rules
from support.examples import changed_settings
from support.worlds import SLOT, born, taken

from aaos.domain.portfolio.rules import PortfolioRules
from aaos.ports import ResultRecord
from aaos.services.rebalance_portfolio import look_at_portfolio, rebalance_portfolio
from aaos.services.release_trades import release_trades
from aaos.shell.portfolio import NO_TRADES, Portfolio, Targets, TradeList
from aaos.shell.results import RebalanceResult, typed
from aaos.shell.tables import UNLIMITED_WIDTH, as_text

SETTINGS = changed_settings(portfolio=rules())


@pytest.fixture
def office() -> Office:
    return Office()


def seen(office: Office) -> Portfolio:
    return Portfolio(look_at_portfolio(office.desk, SETTINGS), SETTINGS.portfolio)


def rebalanced(office: Office) -> ResultRecord:
    runs = office.world.runs()
    run = taken(runs, born(runs, "*", SLOT, kind="portfolio_rebalance"))
    runs.complete(run, rebalance_portfolio(run, (), office.desk, SETTINGS), publish=False)
    found = office.world.results.result_of_run(run.id)
    assert found is not None
    return found


def test_holdings_stand_beside_targets_and_drift_with_cash_below(office: Office) -> None:
    office.ledger.positions = [position("BTC/USDT", "20", "90")]
    shown = seen(office)
    lines = [" ".join(line.split()) for line in as_text(shown, UNLIMITED_WIDTH).splitlines()]
    assert lines == [
        "symbol held price value share target drift to trade note",
        "BTC/USDT 20 100 2,000.00 19.61 % 40.00 % -20.39 % +20.8",
        "(cash) - - 8,200.00 80.39 % 60.00 % +20.39 % -",
    ]
    assert shown.notes() == [
        "account paper-portfolio: equity 10,200.00 as of 2026-01-01 00:00:00Z",
        "`to trade` is what a rebalance would plan now; `aaos portfolio rebalance` does it",
    ]
    assert shown.notes()[0] in repr(shown)


def test_why_a_symbol_is_left_alone_is_shown_with_its_figures(office: Office) -> None:
    office.market.listed["BTC/USDT"] = book("BTC/USDT", "100", age_s=400.0)
    shown = as_text(seen(office), UNLIMITED_WIDTH)
    assert "NO_PRICE: BOOK_STALE: the order book as of 2026-01-01T00:00:00+00:00, 400 s old" in shown


def test_books_in_doubt_are_named(office: Office) -> None:
    office.ledger.doubt = "order 7 is unknown"
    assert "our books of it are in doubt, so nothing is rebalanced: order 7 is unknown" in repr(seen(office))


@pytest.mark.requirement("F07")
def test_trades_not_yet_over_are_listed_with_due_times(office: Office) -> None:
    rebalanced(office)
    release_trades(office.world.trades, SETTINGS)
    shown = seen(office)
    assert [each.state for each in shown.trades] == ["released", "planned", "planned"]
    assert "2026-01-01 00:01:00Z" in repr(shown)
    [first, *_] = shown.to_dict()["open_trades"]
    assert (first["source"], first["quantity"]) == (f"trade:{first['id']}", "13.3334")
    assert repr(TradeList()) == NO_TRADES


def test_json_has_money_as_text(office: Office) -> None:
    found = seen(office).to_dict()
    assert (found["equity"], found["free"], found["drift_threshold"]) == ("10000", "10000", "0.05")
    assert found["lines"][0]["drift"] == "-0.4"


def test_targets_show_what_stays_cash_and_how_trades_are_made() -> None:
    shown = repr(Targets(rules()))
    assert "BTC/USDT  40.00 %" in shown
    assert "(cash)    60.00 %" in shown
    assert "more than 5.00 % of the equity off" in shown
    assert Targets(rules()).to_dict()["cash"] == "0.6"
    assert "no targets: set them in config/portfolio.yaml" in repr(Targets(PortfolioRules()))


def test_a_stored_rebalance_is_typed_and_says_what_it_planned(office: Office) -> None:
    result = typed(rebalanced(office))
    assert isinstance(result, RebalanceResult)
    assert result.headline == "0 sells and 3 buys planned, 1 symbol"
    assert Decimal(result.equity) == 10_000
    assert result.slot == datetime(2026, 1, 1, 12, tzinfo=UTC)
