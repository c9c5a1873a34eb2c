"""Scheduled trades: planned with their rebalance, released once each, sells before buys, ended with an outcome."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from support.worlds import SLOT, MemoryWorld, PostgresWorld, World, analysis, born, taken

from aaos.domain.portfolio.trades import NewTrade, ScheduledTrade, TradePlan
from aaos.domain.runs import ClaimedRun, Completed, Failed, NewRun, Skipped, State
from aaos.errors import DatabaseUnavailable, FenceLost, InputError, InvariantViolation, RiskBookMoved

ACCOUNT = "paper-portfolio"
RISK = NewRun("risk_assessment", "", timeout_s=60.0, start_within_s=3600.0, request_key="risk:trade")
WHY = "holds 0.10 of the equity, target 0.40"


def sell(symbol: str = "BTC/USDT", **changes: Any) -> NewTrade:
    return trade(symbol, "sell", **changes)


def buy(symbol: str = "ETH/USDT", **changes: Any) -> NewTrade:
    return trade(symbol, "buy", **changes)


def trade(symbol: str, side: str, **changes: Any) -> NewTrade:
    given = {"quantity": Decimal("0.5"), "batch": 0, "due_after_s": 0.0, "expires_after_s": 900.0, "why": WHY}
    return NewTrade(ACCOUNT, symbol, side, **(given | changes))  # type: ignore[arg-type]


def rebalanced(world: World, *trades: NewTrade, number: int = 0) -> Sequence[ScheduledTrade]:
    """Completes a rebalance that knows of everything planned so far; returns its trades."""
    run = begun(world, number)
    world.runs().complete(run, Completed({}, trades=plan(world, *trades)), publish=False)
    return world.trades.trades(100, run.id)


def begun(world: World, number: int = 0) -> ClaimedRun:
    slot = SLOT + timedelta(hours=number)
    return taken(world.runs(), born(world.runs(), "*", slot, kind="portfolio_rebalance"))


def plan(world: World, *trades: NewTrade) -> TradePlan:
    known = world.trades.open_trades(ACCOUNT)
    return TradePlan(ACCOUNT, known.newest, tuple(each.id for each in known.planned), trades)


def states(world: World) -> dict[int, str]:
    return {each.id: each.state for each in world.trades.trades(1000)}


# --- planned with the rebalance ---------------------------------------------------------------------------------------


@pytest.mark.requirement("F07")
def test_trades_are_stored_with_the_rebalance_that_planned_them(world: World) -> None:
    now = world.now()
    first, second = rebalanced(world, sell(), buy(batch=1, due_after_s=60.0, quantity=Decimal("0.000125")))
    assert (first.symbol, first.side, first.quantity, first.state, first.why) == (
        "BTC/USDT",
        "sell",
        Decimal("0.5"),
        "planned",
        WHY,
    )
    assert (second.batch, second.quantity, second.source) == (1, Decimal("0.000125"), f"trade:{second.id}")
    assert second.risk_run is second.outcome is None
    assert abs((second.due_at - now).total_seconds() - 60) < 5
    assert second.expires_at - second.due_at == timedelta(seconds=900)


@pytest.mark.requirement("F07")
def test_a_rebalance_whose_claim_was_lost_plans_nothing(world: World) -> None:
    run = begun(world)
    world.pass_time(60)
    with pytest.raises(FenceLost):
        world.runs().complete(run, Completed({}, trades=plan(world, sell())), publish=False)
    assert states(world) == {}


@pytest.mark.requirement("F07")
def test_a_confirmation_that_got_lost_does_not_plan_twice() -> None:
    world = MemoryWorld()
    run, planned = begun(world), plan(world, sell(), buy())
    world.database.lose_confirmations = 1
    with pytest.raises(DatabaseUnavailable):
        world.runs().complete(run, Completed({}, trades=planned), publish=False)
    world.runs().complete(run, Completed({}, trades=planned), publish=False)
    assert len(states(world)) == 2


def test_an_outcome_that_cannot_be_stored_plans_nothing(world: World) -> None:
    run = begun(world)
    with world.broken_outbox(), pytest.raises(InvariantViolation):
        world.runs().complete(run, Completed({}, trades=plan(world, sell())), publish=True)
    assert states(world) == {}


# --- a new rebalance replaces what is still planned -------------------------------------------------------------------


@pytest.mark.requirement("F07")
def test_a_new_rebalance_replaces_what_is_still_planned_and_leaves_what_was_released(world: World) -> None:
    released, planned = rebalanced(world, sell(), sell(batch=1, due_after_s=60.0))
    world.trades.release_due(RISK, 10)
    [new] = rebalanced(world, buy(), number=1)
    assert states(world) == {released.id: "released", planned.id: "skipped", new.id: "planned"}
    assert world.trades.trade(planned.id).outcome == f"superseded by rebalance {new.rebalance_run}"


@pytest.mark.requirement("F07")
def test_a_rebalance_that_finds_everything_in_its_place_ends_what_earlier_ones_planned(world: World) -> None:
    [old] = rebalanced(world, buy())
    rebalanced(world, number=1)
    assert states(world) == {old.id: "skipped"}


@pytest.mark.requirement("F07")
def test_a_plan_made_before_a_trade_was_released_is_refused_whole(world: World) -> None:
    [old] = rebalanced(world, buy(quantity=Decimal(3)))
    run, rests_on_old_holdings = begun(world, 1), plan(world, buy(quantity=Decimal(3)))
    world.trades.release_due(RISK, 10)
    with pytest.raises(RiskBookMoved, match=f"trades {old.id} of paper-portfolio were planned or released"):
        world.runs().complete(run, Completed({}, trades=rests_on_old_holdings), publish=False)
    assert states(world) == {old.id: "released"}
    assert world.rows()[run.id].state == "running"
    world.runs().complete(run, Completed({}, trades=plan(world)), publish=False)


@pytest.mark.requirement("F07")
def test_a_trade_that_was_released_and_is_over_again_still_counts_as_moved(world: World) -> None:
    [old] = rebalanced(world, buy())
    run, rests_on_old_holdings = begun(world, 1), plan(world, buy())
    world.trades.release_due(RISK, 10)
    world.trades.close(old.id, "done", "order 1 filled")
    with pytest.raises(RiskBookMoved):
        world.runs().complete(run, Completed({}, trades=rests_on_old_holdings), publish=False)


@pytest.mark.requirement("F07")
def test_of_two_rebalances_that_read_the_same_holdings_one_plans(world: World) -> None:
    first, second = begun(world, 1), begun(world, 2)
    same = plan(world, buy())
    world.runs().complete(first, Completed({}, trades=same), publish=False)
    world.trades.release_due(RISK, 10)
    with pytest.raises(RiskBookMoved):
        world.runs().complete(second, Completed({}, trades=same), publish=False)
    assert list(states(world).values()) == ["released"]


@pytest.mark.requirement("F07")
def test_of_racing_rebalances_one_plans(postgres_world: PostgresWorld) -> None:
    world = postgres_world
    for number in range(5):
        racing = [begun(world, 10 * number + n) for n in range(4)]
        same = plan(world, buy(), buy("SOL/USDT"))

        def complete(run: ClaimedRun, same: TradePlan = same) -> bool:
            try:
                world.runs().complete(run, Completed({}, trades=same), publish=False)
            except RiskBookMoved:
                return False
            return True

        with ThreadPoolExecutor(4) as pool:
            assert sum(pool.map(complete, racing)) == 1
        assert len(world.trades.open_trades(ACCOUNT).planned) == 2


# --- released once ----------------------------------------------------------------------------------------------------


@pytest.mark.requirement("F07")
def test_a_due_trade_gets_one_risk_run_of_its_own(world: World) -> None:
    [due] = rebalanced(world, sell())
    [(trade_id, run_id)] = world.trades.release_due(RISK, 10)
    assert world.trades.release_due(RISK, 10) == []
    assert trade_id == due.id
    run = world.runs().run(run_id)
    assert (run.kind, run.symbol, run.request_key) == ("risk_assessment", "BTC/USDT", f"risk:trade:{due.id}")
    claim = taken(world.runs(), run_id)
    assert claim.params == {"source": f"trade:{due.id}"}
    assert not claim.dependent
    stored = world.trades.trade(due.id)
    assert (stored.state, stored.risk_run) == ("released", run_id)


def test_a_trade_that_is_not_due_yet_waits(world: World) -> None:
    rebalanced(world, sell(due_after_s=60.0))
    assert world.trades.release_due(RISK, 10) == []
    world.pass_time(61)
    assert len(world.trades.release_due(RISK, 10)) == 1


def test_no_more_than_asked_for_are_released_and_those_due_first_come_first(world: World) -> None:
    trades = rebalanced(world, *(sell(f"S{n}/USDT", due_after_s=10.0 - n) for n in range(5)))
    world.pass_time(20)
    released = [trade_id for trade_id, _ in world.trades.release_due(RISK, 3)]
    assert released == [each.id for each in (trades[4], trades[3], trades[2])]


def test_a_risk_run_has_no_more_time_than_its_trade(world: World) -> None:
    rebalanced(world, sell(expires_after_s=20.0))
    [(_, run_id)] = world.trades.release_due(RISK, 10)
    assert world.rows()[run_id].deadline_left_s <= 20


@pytest.mark.requirement("F07")
def test_a_buy_waits_until_every_sell_of_its_rebalance_is_over(world: World) -> None:
    first, second, bought = rebalanced(world, sell(), sell("SOL/USDT", due_after_s=5.0), buy())
    assert [each for each, _ in world.trades.release_due(RISK, 10)] == [first.id]
    world.pass_time(6)
    assert [each for each, _ in world.trades.release_due(RISK, 10)] == [second.id]
    assert world.trades.close(first.id, "done", "order 1 filled")
    assert world.trades.release_due(RISK, 10) == []
    assert world.trades.close(second.id, "skipped", "risk: refused")
    assert [each for each, _ in world.trades.release_due(RISK, 10)] == [bought.id]


def test_sells_of_another_rebalance_hold_up_no_buy(world: World) -> None:
    rebalanced(world, sell())
    world.trades.release_due(RISK, 10)
    [bought] = rebalanced(world, buy(), number=1)
    assert [each for each, _ in world.trades.release_due(RISK, 10)] == [bought.id]


@pytest.mark.requirement("F07")
def test_eight_racing_workers_release_every_trade_once(postgres_world: PostgresWorld) -> None:
    world = postgres_world
    trades = rebalanced(world, *(sell(f"S{n}/USDT") for n in range(60)))

    def release(_: int) -> list[tuple[int, int]]:
        released: list[tuple[int, int]] = []
        for _ in range(40):
            released += world.trades.release_due(RISK, 4)
        return released

    with ThreadPoolExecutor(8) as pool:
        released = [pair for found in pool.map(release, range(8)) for pair in found]
    assert sorted(trade_id for trade_id, _ in released) == [each.id for each in trades]
    runs = world.runs().runs(1000, kind="risk_assessment")
    assert sorted(run.id for run in runs) == sorted(run_id for _, run_id in released)


@pytest.mark.requirement("F07")
def test_a_trade_that_one_worker_holds_is_skipped_by_the_others_not_waited_for(postgres_world: PostgresWorld) -> None:
    world = postgres_world
    held, free = rebalanced(world, sell(), sell("SOL/USDT"))
    with world.session.transaction():
        world.session.execute("SELECT 1 FROM scheduled_trades WHERE id = %s FOR UPDATE", (held.id,))
        assert [each for each, _ in world.trades.release_due(RISK, 10)] == [free.id]
    assert [each for each, _ in world.trades.release_due(RISK, 10)] == [held.id]


@pytest.mark.requirement("F07")
def test_a_release_that_cannot_be_stored_leaves_the_trade_planned_and_no_run(postgres_world: PostgresWorld) -> None:
    world = postgres_world
    [due] = rebalanced(world, sell())
    world.runs().insert_request(analysis("risk_assessment", request_key=f"risk:trade:{due.id}"))
    with pytest.raises(InvariantViolation):
        world.trades.release_due(RISK, 10)
    assert states(world) == {due.id: "planned"}


# --- ended ------------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("F07")
def test_a_trade_ends_once_with_its_outcome(world: World) -> None:
    [due] = rebalanced(world, sell())
    assert not world.trades.close(due.id, "done", "too early")
    world.trades.release_due(RISK, 10)
    assert world.trades.close(due.id, "done", "order 7 filled, filled 0.5 of 0.5")
    assert not world.trades.close(due.id, "skipped", "again")
    assert not world.trades.close(due.id + 1000, "done", "unknown")
    stored = world.trades.trade(due.id)
    assert (stored.state, stored.outcome) == ("done", "order 7 filled, filled 0.5 of 0.5")


def test_a_planned_trade_whose_time_is_over_expires_and_is_not_released(world: World) -> None:
    sold, bought = rebalanced(world, sell(expires_after_s=100.0), buy(expires_after_s=10.0))
    world.trades.release_due(RISK, 10)
    world.pass_time(11)
    assert world.trades.release_due(RISK, 10) == []
    assert list(world.trades.expire()) == [bought.id]
    assert world.trades.expire() == []
    assert world.trades.trade(bought.id).state == "expired"
    assert world.trades.trade(bought.id).outcome == "not released within 10 s: sells of its rebalance were not over"
    assert world.trades.trade(sold.id).state == "released"


def test_open_trades_are_sorted_out_and_the_newest_is_known_when_all_are_over(world: World) -> None:
    assert world.trades.open_trades(ACCOUNT).newest == 0
    sold, bought = rebalanced(world, sell(), buy())
    world.trades.release_due(RISK, 10)
    found = world.trades.open_trades(ACCOUNT)
    assert [each.id for each in found.released] == [sold.id]
    assert [each.id for each in found.planned] == [bought.id]
    world.trades.close(sold.id, "done", "filled")
    world.pass_time(1000)
    world.trades.expire()
    over = world.trades.open_trades(ACCOUNT)
    assert (over.newest, over.planned, over.released) == (bought.id, (), ())
    assert world.trades.open_trades("paper").newest == 0


def test_trades_are_listed_newest_rebalance_first_each_in_order(world: World) -> None:
    older = rebalanced(world, sell(), buy())
    newer = rebalanced(world, buy("SOL/USDT"), buy(), number=1)
    assert [each.id for each in world.trades.trades(3)] == [newer[0].id, newer[1].id, older[0].id]
    assert [each.id for each in world.trades.trades(9, older[0].rebalance_run)] == [each.id for each in older]


def test_a_trade_that_is_not_there_is_refused_with_where_to_look(world: World) -> None:
    with pytest.raises(InputError, match="no scheduled trade 17; `aaos portfolio trades` lists them"):
        world.trades.trade(17)


# --- under way: its runs ----------------------------------------------------------------------------------------------


def test_what_is_under_way_shows_its_runs_and_what_they_said(world: World) -> None:
    runs = world.runs()
    refused, approved, failed = rebalanced(world, sell("A/USDT"), sell("B/USDT"), sell("C/USDT"))
    of_trade = dict(world.trades.release_due(RISK, 10))
    assert [(each.trade.id, each.risk.final, each.execution) for each in world.trades.under_way()] == [
        (each.id, False, None) for each in (refused, approved, failed)
    ]
    body = {"approved": False, "reason": "exposure 0.9 > 0.6"}
    runs.complete(taken(runs, of_trade[refused.id]), Completed(body), publish=False)
    runs.complete(taken(runs, of_trade[approved.id]), Completed({"approved": True}), publish=False)
    executing, _ = runs.insert_request(
        analysis("execution", "B/USDT", request_key=f"execution:{approved.source}", start_within_s=600.0)
    )
    runs.end(taken(runs, of_trade[failed.id]), Failed("network", "the venue is away"))
    first, second, third = world.trades.under_way()
    assert (first.risk.completed, first.risk.says, first.execution) == (True, "exposure 0.9 > 0.6", None)
    assert second.execution is not None
    assert (second.execution.run_id, second.execution.final) == (executing, False)
    assert (third.risk.final, third.risk.completed, third.risk.reason) == (True, False, "the venue is away")
    runs.end(taken(runs, executing), Skipped("disabled"))
    again = world.trades.under_way()[1].execution
    assert again is not None
    assert (again.final, again.reason) == (True, "disabled")
    for each in (refused, approved, failed):
        world.trades.close(each.id, "skipped", "seen")
    assert world.trades.under_way() == []
    assert runs.run(executing).state is State.SKIPPED


# --- what the database itself refuses ---------------------------------------------------------------------------------


@pytest.mark.requirement("F07")
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("state = 'planned', risk_run = NULL, released_at = NULL", "never released again"),
        ("risk_run = rebalance_run", "gets no other"),
        ("quantity = 2 * quantity", "what was planned is never changed"),
        ("side = 'buy'", "what was planned is never changed"),
        ("state = 'done'", "ends_have_an_outcome"),
        ("state = 'planned'", "never released again"),
    ],
)
def test_a_released_trade_cannot_be_made_ready_for_another_release(
    postgres_world: PostgresWorld, change: str, said: str
) -> None:
    [due] = rebalanced(postgres_world, sell())
    postgres_world.trades.release_due(RISK, 10)
    with pytest.raises(psycopg.IntegrityError, match=said):
        postgres_world.session.execute(f"UPDATE scheduled_trades SET {change} WHERE id = {due.id}")


@pytest.mark.requirement("F07")
def test_an_ended_trade_is_never_changed(postgres_world: PostgresWorld) -> None:
    [due] = rebalanced(postgres_world, sell())
    postgres_world.trades.release_due(RISK, 10)
    postgres_world.trades.close(due.id, "done", "filled")
    with pytest.raises(psycopg.IntegrityError, match="that is never changed"):
        postgres_world.session.execute("UPDATE scheduled_trades SET outcome = 'otherwise'")
