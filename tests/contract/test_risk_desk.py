"""Risk's approvals: stored with their run or not at all, on the very books that were assessed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from decimal import Decimal
from threading import Barrier
from typing import Any

import pytest
from support.desk import ACCOUNT, FILLED_AT, SYMBOL, approved, assessing, entry, new_approval, opened, seen, stop, trade
from support.worlds import PostgresWorld, World, analysis, born, taken

from aaos.domain.orders import CashFlow, OrderState
from aaos.domain.risk.account import Exposure
from aaos.domain.runs import Completed
from aaos.errors import InputError, RiskBookMoved

D = Decimal


def deposit(world: World, amount: object, account: str = ACCOUNT, flow_id: str = "d1") -> None:
    world.books.book(account, [], [CashFlow(account, flow_id, "deposit", None, D(str(amount)), FILLED_AT)])


# --- approvals --------------------------------------------------------------------------------------------


@pytest.mark.requirement("R1")
def test_an_approval_is_stored_with_the_run_that_gave_it(world: World) -> None:
    claim = assessing(world)
    new = new_approval(world, expires_after_s=60.0)
    ended = world.runs().complete(claim, Completed({"approved": True}, approval=new), False)
    assert ended.result_id is not None
    stored = world.desk.of_source("decision:1")
    assert stored is not None
    for field in ("source_hash", "account", "symbol", "side", "quantity", "leverage", "entry_price", "limit_price"):
        assert getattr(stored, field) == getattr(new, field)
    assert (stored.run_id, stored.used_at, stored.expired) == (claim.id, None, False)
    assert stored.expires_at - stored.created_at == pytest.approx(timedelta(seconds=60), abs=timedelta(seconds=1))
    assert [each.id for each in world.desk.approvals(9)] == [stored.id]
    assert world.desk.of_source("decision:2") is None
    world.pass_time(61)
    late = world.desk.of_source("decision:1")
    assert late is not None
    assert late.expired


def test_a_source_has_one_approval_ever(world: World) -> None:
    approved(world)
    claim = assessing(world)
    with pytest.raises(InputError, match="decision:1 has an approval already"):
        world.runs().complete(claim, Completed({}, approval=new_approval(world)), False)
    assert world.rows()[claim.id].state == "running"
    assert len(world.desk.approvals(9)) == 1


@pytest.mark.requirement("R6")
def test_an_approval_on_books_that_moved_is_refused_and_nothing_of_its_run_is_stored(world: World) -> None:
    claim = assessing(world)
    stale = new_approval(world)
    approved(world, "decision:2")
    start = analysis(kind="execution", request_key="execution:decision:1")
    with pytest.raises(RiskBookMoved, match=r"on version \d+ of the books of paper, which are at \d+ by now"):
        world.runs().complete(claim, Completed({"approved": True}, approval=stale, starts=[start]), True)
    assert world.desk.of_source("decision:1") is None
    assert world.rows()[claim.id].state == "running"
    assert world.results.result_of_run(claim.id) is None
    assert [row.kind for row in world.rows().values()].count("execution") == 0
    ended = world.runs().complete(
        claim, Completed({"approved": True}, approval=new_approval(world), starts=[start]), True
    )
    assert world.desk.of_source("decision:1") is not None
    assert [kind for _, kind in ended.starts] == ["execution"]


def test_books_of_another_account_may_move(world: World) -> None:
    claim = assessing(world)
    new = new_approval(world)
    opened(world, "trade:1", account="paper-portfolio")
    world.runs().complete(claim, Completed({}, approval=new), False)
    assert world.desk.of_source("decision:1") is not None


@pytest.mark.requirement("R6")
@pytest.mark.parametrize("what", ["approval", "order", "state", "fill", "flow", "release"])
def test_whatever_changes_an_accounts_risk_raises_the_version_of_its_books(world: World, what: str) -> None:
    approval = approved(world)
    order = None if what in ("approval", "order", "flow") else world.orders.intend(entry(approval)).order
    if order is not None and what == "release":
        world.orders.quarantine(order.id, "gone")
    before = world.desk.snapshot(ACCOUNT).version
    if what == "approval":
        approved(world, "decision:2")
    elif what == "flow":
        deposit(world, 5)
    elif order is None:
        world.orders.intend(entry(approval))
    elif what == "state":
        world.orders.settle(order.id, seen(order, "canceled"))
    elif what == "fill":
        world.books.book(ACCOUNT, [trade(order, "0.1")], [])
    else:
        world.orders.release(order.id, "ada", "gone for good")
    assert world.desk.snapshot(ACCOUNT).version > before


def test_a_stop_that_follows_leaves_the_version_alone(world: World) -> None:
    opened(world)
    [position] = world.books.open_positions()
    before = world.desk.snapshot(ACCOUNT).version
    assert position.id is not None
    assert world.books.raise_stop(position.id, D("98.5"))
    assert world.desk.snapshot(ACCOUNT).version == before


@pytest.mark.requirement("R6")
def test_of_approvals_that_rest_on_one_version_exactly_one_is_stored(postgres_world: PostgresWorld) -> None:
    world = postgres_world
    for number in range(8):
        claims = [assessing(world, f"decision:{number}-{each}") for each in range(4)]
        offers = [new_approval(world, f"decision:{number}-{each}") for each in range(4)]
        start = Barrier(4)

        def attempt(pair: tuple[Any, Any], start: Barrier = start) -> bool:
            start.wait(10)
            try:
                world.runs().complete(pair[0], Completed({}, approval=pair[1]), False)
            except RiskBookMoved:
                return False
            return True

        with ThreadPoolExecutor(4) as room:
            assert sum(room.map(attempt, zip(claims, offers, strict=True))) == 1
    assert len(world.desk.approvals(99)) == 8


# --- runs that begin with the end of another --------------------------------------------------------------


def test_a_run_that_is_started_is_pending_wanted_once_and_nobody_waits_for_it(world: World) -> None:
    runs = world.runs()
    start = analysis(kind="risk_assessment", request_key="risk:decision:1", params={"source": "decision:1"})
    first = taken(runs, born(runs, kind="trading_decision"))
    [(run_id, kind)] = runs.complete(first, Completed({"signal": "BUY"}, starts=[start]), True).starts
    assert (kind, world.rows()[run_id].state, world.rows()[run_id].hinted) == ("risk_assessment", "pending", True)
    second = taken(runs, born(runs, kind="trading_decision", slot=FILLED_AT + timedelta(hours=1)))
    assert list(runs.complete(second, Completed({}, starts=[start]), True).starts) == [(run_id, kind)]
    assert taken(runs, run_id).params == {"source": "decision:1"}


def test_a_started_run_whose_hint_is_lost_is_found_by_the_sweep(world: World) -> None:
    runs = world.runs()
    claim = taken(runs, born(runs, kind="trading_decision"))
    start = analysis(kind="risk_assessment", request_key="risk:decision:1")
    [(run_id, _)] = runs.complete(claim, Completed({}, starts=[start]), True).starts
    world.pass_time(20)
    assert list(runs.hint_again("risk_assessment", 9)) == [run_id]


# --- what risk looks at -----------------------------------------------------------------------------------


def exposures(world: World) -> list[tuple[str | None, Decimal, Decimal, bool]]:
    return [(each.source, each.quantity, each.price, each.is_open) for each in world.desk.snapshot(ACCOUNT).exposures]


def test_an_empty_account_is_empty(world: World) -> None:
    found = world.desk.snapshot("paper")
    assert (found.version, found.cash, found.exposures, found.losses_in_a_row) == (0, 0, (), 0)
    assert (found.peak_equity, found.day_equity, found.week_equity) == (None, None, None)


@pytest.mark.requirement("R6")
def test_what_was_approved_is_exposed_from_then_on_whatever_becomes_of_it(world: World) -> None:
    approval = approved(world)
    assert exposures(world) == [("decision:1", D(2), D(100), False)]
    order = world.orders.intend(entry(approval, price=D(99))).order
    assert exposures(world) == [("decision:1", D(2), D(99), False)]
    world.books.book(ACCOUNT, [trade(order, "0.5", 99)], [])
    assert exposures(world) == [("decision:1", D("0.5"), D(99), True), ("decision:1", D("1.5"), D(99), False)]
    # The venue says that all of it is filled, and the fills are still on their way.
    world.orders.settle(order.id, seen(order, "filled"))
    assert exposures(world) == [("decision:1", D("0.5"), D(99), True), ("decision:1", D("1.5"), D(99), False)]
    world.books.book(ACCOUNT, [trade(order, "1.5", 99)], [])
    assert exposures(world) == [("decision:1", D(2), D(99), True)]
    assert world.desk.snapshot(ACCOUNT).exposures == (Exposure("decision:1", SYMBOL, D(2), D(99), D(5), True),)


def test_what_was_cancelled_expired_or_only_reduces_is_no_exposure(world: World) -> None:
    cancelled = world.orders.intend(entry(approved(world))).order
    world.orders.settle(cancelled.id, seen(cancelled, "canceled"))
    approved(world, "decision:2", expires_after_s=30.0)
    approved(world, "decision:3", side="sell", limit_price=None, reduce_only=True)
    assert exposures(world) == [("decision:2", D(2), D(100), False)]
    world.pass_time(31)
    assert exposures(world) == []


def test_a_quarantined_order_is_exposure_until_it_is_released(world: World) -> None:
    order = world.orders.intend(entry(approved(world))).order
    world.orders.quarantine(order.id, "not there")
    assert exposures(world) == [("decision:1", D(2), D(100), False)]
    world.orders.release(order.id, "ada", "gone")
    assert exposures(world) == []


def test_a_short_is_negative(world: World) -> None:
    approval = approved(world, side="sell", limit_price=D(99), stop_price=D(102))
    assert exposures(world) == [("decision:1", D(-2), D(100), False)]
    order = world.orders.intend(entry(approval)).order
    assert exposures(world) == [("decision:1", D(-2), D(100), False)]
    world.books.book(ACCOUNT, [trade(order)], [])
    assert exposures(world) == [("decision:1", D(-2), D(100), True)]


def test_equity_at_the_start_of_day_and_week_is_the_first_record_of_it_else_the_last_before(world: World) -> None:
    now = world.now()
    into_day = now - now.replace(hour=0, minute=0, second=0, microsecond=0)
    world.books.record_equity(ACCOUNT, D(900), D(100))
    world.pass_time(8 * 86_400)
    assert world.desk.snapshot(ACCOUNT).day_equity == 1000
    assert world.desk.snapshot(ACCOUNT).week_equity == 1000
    world.books.record_equity(ACCOUNT, D(1100), D(-50))
    world.books.record_equity(ACCOUNT, D(1000), D(-20))
    found = world.desk.snapshot(ACCOUNT)
    assert (found.peak_equity, found.day_equity, found.week_equity) == (1050, 1050, 1050)
    assert into_day >= timedelta(0)


def closed(world: World, source: str, price: object) -> None:
    """Buys 2 at 100 and sells them again; the fees are 0.2."""
    approval, _ = opened(world, source)
    order = world.orders.intend(stop(approval)).order
    world.orders.settle(order.id, seen(order, "filled"))
    world.books.book(ACCOUNT, [trade(order, price=price, filled_at=FILLED_AT + timedelta(seconds=1))], [])


def test_losses_in_a_row_are_counted_back_to_the_newest_position_without_a_loss(world: World) -> None:
    closed(world, "decision:1", 90)
    closed(world, "decision:2", 110)
    assert world.desk.snapshot(ACCOUNT).losses_in_a_row == 0
    closed(world, "decision:3", "100.05")  # gained 0.1 and paid 0.2 for it
    closed(world, "decision:4", 99)
    found = world.desk.snapshot(ACCOUNT)
    assert (found.losses_in_a_row, found.exposures) == (2, ())
    assert found.cash == D(-20) + 20 + D("0.1") - 2 - D("0.8")
    assert [each.state for each in world.orders.of_source("decision:4")] == [OrderState.FILLED] * 2
