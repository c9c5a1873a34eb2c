"""The rebalance as a run: what it reads, what it stores, when it plans nothing; release and close around it."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any, cast

import pytest
from portfolio_examples import ACCOUNT, Office, OrdersOf, book, order, position, rules
from support.examples import changed_settings
from support.worlds import SLOT, analysis, born, taken

from aaos.adapters.memory import StillLeaseKeeper
from aaos.domain.portfolio.trades import OpenTrades, Step, TradePlan, UnderWay, outcome_of
from aaos.domain.runs import ClaimedRun, Completed, Dependency, Failed, State
from aaos.errors import EntriesHeld, VenueUnavailable
from aaos.ports import Orders
from aaos.services.close_trades import close_trades
from aaos.services.execute_run import KindLimits, execute_run
from aaos.services.rebalance_portfolio import rebalance_portfolio
from aaos.services.release_trades import release_trades
from aaos.settings import Settings

D = Decimal


def settings(**changes: Any) -> Settings:
    return changed_settings(portfolio=rules(**changes))


def run_of(office: Office, number: int = 0) -> ClaimedRun:
    slot = SLOT + timedelta(hours=number)
    return taken(office.world.runs(), born(office.world.runs(), "*", slot, kind="portfolio_rebalance"))


def rebalanced(office: Office, number: int = 0, using: Settings | None = None, *needed: Dependency) -> Completed:
    run = run_of(office, number)
    done = rebalance_portfolio(run, needed, office.desk, using or settings())
    office.world.runs().complete(run, done, publish=True)
    return done


@pytest.fixture
def office() -> Office:
    return Office()


# --- the rebalance ----------------------------------------------------------------------------------------------------


@pytest.mark.requirement("ENG-4")
def test_trades_towards_the_targets_are_stored_with_the_run_and_audited(office: Office) -> None:
    done = rebalanced(office)
    trades = office.world.trades.trades(10)
    assert [(each.side, each.symbol, each.quantity, each.batch) for each in trades] == [
        ("buy", "BTC/USDT", D("13.3334"), 0),
        ("buy", "BTC/USDT", D("13.3333"), 1),
        ("buy", "BTC/USDT", D("13.3333"), 2),
    ]
    assert (done.body["equity"], done.body["drift_threshold"]) == ("10000", "0.05")
    [entry] = office.world.audit.entries(10)
    assert (entry.action, entry.subject) == ("portfolio.rebalanced", f"account:{ACCOUNT}")
    assert entry.details["trades"][0] == "buy 13.3334 BTC/USDT"


def test_a_portfolio_that_is_where_it_shall_be_plans_nothing_and_leaves_no_audit_entry(office: Office) -> None:
    office.ledger.positions = [position("BTC/USDT", "41", "100")]
    done = rebalanced(office)
    assert done.trades == TradePlan(ACCOUNT, 0, (), ())
    assert done.body["lines"][0]["note"] == "IN_BAND"
    assert office.world.audit.entries(10) == []


def test_what_is_held_without_a_target_is_looked_at_too(office: Office) -> None:
    office.market.listed["OLD/USDT"] = book("OLD/USDT", "10")
    office.ledger.positions = [position("OLD/USDT", "100", "10")]
    done = rebalanced(office)
    assert [line["symbol"] for line in done.body["lines"]] == ["BTC/USDT", "OLD/USDT"]
    assert {each.side for each in office.world.trades.trades(10) if each.symbol == "OLD/USDT"} == {"sell"}


@pytest.mark.requirement("R7")
def test_a_stale_empty_or_crossed_book_gives_no_price_and_says_why(office: Office) -> None:
    office.market.listed["BTC/USDT"] = book("BTC/USDT", "100", age_s=400.0)
    done = rebalanced(office)
    [line] = done.body["lines"]
    assert line["note"] == "NO_PRICE"
    assert line["detail"] == "BOOK_STALE: the order book as of 2026-01-01T00:00:00+00:00, 400 s old"
    assert done.trades == TradePlan(ACCOUNT, 0, (), ())


def test_a_target_that_the_market_does_not_list_is_left_alone(office: Office) -> None:
    done = rebalanced(office, 0, settings(targets={"BTC/USDT": D("0.4"), "SOL/USDT": D("0.1")}))
    unlisted = done.body["lines"][1]
    assert (unlisted["symbol"], unlisted["note"]) == ("SOL/USDT", "NO_PRICE")
    assert unlisted["detail"] == "no symbol 'SOL/USDT' in this market; it has: BTC/USDT"
    assert {each.symbol for each in office.world.trades.trades(10)} == {"BTC/USDT"}


def test_books_in_doubt_carry_no_plan(office: Office) -> None:
    office.ledger.doubt = "order 7 is unknown"
    with pytest.raises(EntriesHeld, match="our books of paper-portfolio are in doubt: order 7 is unknown"):
        rebalance_portfolio(run_of(office), (), office.desk, settings())


def test_a_venue_that_is_away_puts_the_run_back(office: Office) -> None:
    class Away:
        account = ACCOUNT

        def instrument(self, symbol: str) -> None:
            raise VenueUnavailable("the venue is away")

    desk = cast("Any", office.desk)
    away = type(desk)(desk.books, Away(), desk.ledger, desk.trades, desk.clock)
    with pytest.raises(VenueUnavailable):
        rebalance_portfolio(run_of(office), (), away, settings())


def test_pauses_between_parts_shrink_with_the_speed_of_a_replay(office: Office) -> None:
    using = changed_settings(portfolio=rules(), speed=60.0)
    done = rebalanced(office, 0, using)
    assert done.trades is not None
    assert [each.due_after_s for each in done.trades.trades] == [0.0, 1.0, 2.0]


def test_decisions_it_waited_for_are_in_its_lineage_and_those_that_failed_are_named(office: Office) -> None:
    good = Dependency(5, "trading_decision", "BTC/USDT", False, State.COMPLETED, None, 50, SLOT, "abc", {})
    bad = Dependency(6, "trading_decision", "ETH/USDT", False, State.FAILED, "too slow", None, None, None, None)
    done = rebalanced(office, 0, None, good, bad)
    assert [each.name for each in done.inputs] == ["targets", "holdings", "trading_decision"]
    assert done.inputs[2].result_id == 50
    assert [(each["run"], each["state"], each["reason"]) for each in done.body["waited_for"]] == [
        (5, "completed", None),
        (6, "failed", "too slow"),
    ]


@pytest.mark.requirement("F07")
def test_the_next_rebalance_replaces_what_is_planned_and_leaves_what_is_under_way_alone(office: Office) -> None:
    rebalanced(office)
    release_trades(office.world.trades, settings())
    done = rebalanced(office, 1)
    first, second, third = office.world.trades.trades(10)
    assert [each.state for each in (first, second, third)] == ["released", "skipped", "skipped"]
    assert done.body["superseded"] == [second.id, third.id]
    assert done.body["under_way"] == [first.id]
    [line] = done.body["lines"]
    assert (line["note"], line["trade"]) == ("UNDER_WAY", "0")


@pytest.mark.requirement("F07")
def test_a_trade_released_while_the_rebalance_was_thinking_makes_it_think_again(office: Office) -> None:
    rebalanced(office)
    runs, world = office.world.runs(), office.world
    run_id = born(runs, "*", SLOT + timedelta(hours=1), kind="portfolio_rebalance")
    released: list[int] = []

    def work(run: ClaimedRun, dependencies: Any) -> Completed:
        done = rebalance_portfolio(run, dependencies, office.desk, settings())
        if not released:
            released.extend(release_trades(world.trades, settings()))
        return done

    for _ in range(2):
        execute_run(run_id, "w", KindLimits(3, True), work, runs, StillLeaseKeeper(), settings().runs)
    assert runs.run(run_id).state is State.COMPLETED
    assert runs.run(run_id).attempt == 1  # the first one was given back
    bought = [each for each in world.trades.trades(100) if each.state in ("released", "planned")]
    assert sum(each.quantity for each in bought) == D("13.3334")


# --- release ----------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("F07")
def test_due_trades_become_risk_runs_under_the_limits_of_their_kind(office: Office) -> None:
    rebalanced(office)
    [run_id] = release_trades(office.world.trades, settings())
    assert release_trades(office.world.trades, settings()) == []
    run = office.world.runs().run(run_id)
    assert (run.kind, run.symbol) == ("risk_assessment", "BTC/USDT")
    assert abs(office.world.rows()[run_id].deadline_left_s - 900) < 1  # the trade's own end, before the kind's limit


def test_trades_whose_time_is_over_end_instead_of_being_released(office: Office) -> None:
    rebalanced(office)
    office.world.pass_time(10_000)
    assert release_trades(office.world.trades, settings()) == []
    assert {each.state for each in office.world.trades.trades(10)} == {"expired"}


# --- close ------------------------------------------------------------------------------------------------------------


def closed(office: Office, *orders: Any) -> list[int]:
    by_source: dict[str, list[Any]] = {}
    for each in orders:
        by_source.setdefault(each.source, []).append(each)
    return list(close_trades(office.world.trades, cast("Orders", OrdersOf(by_source))))


def test_a_trade_that_risk_refuses_is_skipped_with_what_risk_said(office: Office) -> None:
    rebalanced(office)
    [run_id] = release_trades(office.world.trades, settings())
    assert closed(office) == []
    runs = office.world.runs()
    runs.complete(taken(runs, run_id), Completed({"approved": False, "reason": "DRAWDOWN 6 > 5"}), publish=False)
    [trade_id] = closed(office)
    assert office.world.trades.trade(trade_id).state == "skipped"
    assert office.world.trades.trade(trade_id).outcome == f"risk_assessment (run {run_id}): DRAWDOWN 6 > 5"
    assert closed(office) == []


def test_a_trade_whose_order_was_filled_is_done_once_its_run_is_over(office: Office) -> None:
    rebalanced(office)
    [run_id] = release_trades(office.world.trades, settings())
    trade = office.world.trades.open_trades(ACCOUNT).released[0]
    runs = office.world.runs()
    runs.complete(taken(runs, run_id), Completed({"approved": True}), publish=False)
    executing, _ = runs.insert_request(analysis("execution", request_key=f"execution:{trade.source}"))
    filled = order(trade.source, "filled", "0.5")
    assert closed(office, filled) == []
    runs.complete(taken(runs, executing), Completed({"placed": True}), publish=False)
    assert closed(office, order(trade.source, "working", "0.2")) == []
    assert closed(office, order(trade.source, "unknown")) == []
    assert closed(office, filled) == [trade.id]
    done = office.world.trades.trade(trade.id)
    assert (done.state, done.outcome) == ("done", "order 7 filled, filled 0.5 of 0.5")


def under_way(office: Office, *, execution: Step | None) -> UnderWay:
    rebalanced(office)
    release_trades(office.world.trades, settings())
    [found] = office.world.trades.under_way()
    return UnderWay(found.trade, Step(8, "risk_assessment", True, True, None), execution)


ENDED = Step(9, "execution", True, True, None, "SLIPPAGE_EXCEEDED 0.009 > 0.005")


@pytest.mark.parametrize(
    ("state", "filled", "ended"),
    [
        ("canceled", "0.1", ("done", "order 7 canceled, filled 0.1 of 0.5")),
        ("canceled", "0", ("skipped", "order 7 canceled, filled 0 of 0.5")),
        ("expired", "0", ("expired", "order 7 expired, filled 0 of 0.5")),
        ("rejected", "0", ("skipped", "order 7 rejected, filled 0 of 0.5")),
        ("quarantined", "0", ("skipped", "order 7 quarantined, filled 0 of 0.5")),
    ],
)
def test_what_an_order_came_to_is_what_its_trade_came_to(
    office: Office, state: str, filled: str, ended: tuple[str, str]
) -> None:
    released = under_way(office, execution=ENDED)
    assert outcome_of(released, [order(released.trade.source, state, filled)]) == ended


def test_an_execution_that_ended_without_an_order_says_why(office: Office) -> None:
    released = under_way(office, execution=ENDED)
    assert outcome_of(released, []) == ("skipped", "execution (run 9): SLIPPAGE_EXCEEDED 0.009 > 0.005")


@pytest.mark.parametrize(
    ("state", "filled", "reported"), [("filled", "0", "0.5"), ("filled", "0.2", "0.2"), ("canceled", "0", "0.1")]
)
def test_a_trade_is_not_over_before_the_fills_of_its_order_are_booked(
    office: Office, state: str, filled: str, reported: str
) -> None:
    released = under_way(office, execution=ENDED)
    assert outcome_of(released, [order(released.trade.source, state, filled, reported=D(reported))]) is None


def test_protective_stops_of_a_trade_do_not_keep_it_open(office: Office) -> None:
    released = under_way(office, execution=ENDED)
    source = released.trade.source
    stop = order(source, "working", leg="stop:1", id=8)
    assert outcome_of(released, [order(source, "filled", "0.5"), stop]) == (
        "done",
        "order 7 filled, filled 0.5 of 0.5",
    )


def test_a_risk_run_that_failed_ends_its_trade(office: Office) -> None:
    rebalanced(office)
    [run_id] = release_trades(office.world.trades, settings())
    runs = office.world.runs()
    runs.end(taken(runs, run_id), Failed("network", "the venue is away"))
    [trade_id] = closed(office)
    assert office.world.trades.trade(trade_id).outcome == f"risk_assessment (run {run_id}): the venue is away"


def test_open_trades_of_nothing_are_nothing() -> None:
    assert OpenTrades.of([]) == OpenTrades(0, (), ())
