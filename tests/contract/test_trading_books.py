"""Fills, cash and positions: each booked once, whatever order they come in, and nothing dropped."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from threading import Barrier
from typing import Any

import pytest
from support.desk import ACCOUNT, FILLED_AT, SYMBOL, approved, entry, opened, seen, stop, trade
from support.recomputed import cash_of, differences, positions_of
from support.worlds import PostgresWorld, World

from aaos.domain.orders import CashFlow, NewOrder, OrderState
from aaos.domain.positions import Terms
from aaos.errors import AaosError

D = Decimal


def flow(kind: Any, amount: object, flow_id: str, seconds: float = 0, symbol: str | None = None) -> CashFlow:
    return CashFlow(ACCOUNT, flow_id, kind, symbol, D(str(amount)), FILLED_AT + timedelta(seconds=seconds))


# --- booking ----------------------------------------------------------------------------------------------


def test_partial_fills_add_up_to_a_position_and_a_filled_order(world: World) -> None:
    order = world.orders.intend(entry(approved(world))).order
    first, second = trade(order, "0.5", 100), trade(order, "1.5", 96)
    [booked] = world.books.book(ACCOUNT, [first], [])
    assert (booked.trade_id, booked.order_id, booked.source, booked.leg) == (
        first.trade_id,
        order.id,
        "decision:1",
        "entry",
    )
    half = world.orders.order(order.id)
    assert (half.state, half.filled) == (OrderState.WORKING, D("0.5"))
    world.books.book(ACCOUNT, [second], [])
    whole = world.orders.order(order.id)
    assert (whole.state, whole.filled) == (OrderState.FILLED, D(2))
    [position] = world.books.open_positions(ACCOUNT)
    assert (position.source, position.quantity, position.average_entry) == ("decision:1", D(2), D(97))
    assert (position.leverage, position.stop_price, position.take_profit_price) == (D(5), D(98), D(104))
    assert (position.fees, world.books.cash(ACCOUNT)) == (D("0.2"), D("-0.2"))


@pytest.mark.requirement("R3")
def test_a_fill_that_comes_again_is_booked_once(world: World) -> None:
    order = world.orders.intend(entry(approved(world))).order
    told = trade(order, 1)
    assert len(world.books.book(ACCOUNT, [told, told], [])) == 1
    version = world.desk.snapshot(ACCOUNT).version
    assert list(world.books.book(ACCOUNT, [told], [])) == []
    assert world.desk.snapshot(ACCOUNT).version == version
    assert len(world.books.book(ACCOUNT, [told, trade(order, 1)], [])) == 1
    assert world.orders.order(order.id).filled == 2


def test_a_trade_id_is_an_accounts_own(world: World) -> None:
    first = world.orders.intend(entry(approved(world))).order
    second = world.orders.intend(entry(approved(world, "trade:1", account="paper-portfolio"))).order
    world.books.book(ACCOUNT, [trade(first, 1, trade_id="7")], [])
    assert len(world.books.book("paper-portfolio", [trade(second, 1, trade_id="7")], [])) == 1


@pytest.mark.requirement("R3")
def test_fills_beyond_an_order_are_booked_with_an_alert_and_hold_entries_back(world: World) -> None:
    order = world.orders.intend(entry(approved(world))).order
    world.books.book(ACCOUNT, [trade(order, 2), trade(order, "0.5", filled_at=FILLED_AT + timedelta(seconds=1))], [])
    assert world.orders.order(order.id).filled == D("2.5")
    [position] = world.books.open_positions(ACCOUNT)
    assert position.quantity == D("2.5")
    assert any(f"fills order {order.id} beyond its 2: 2.5 now" in each for each in world.alert_messages())
    assert "beyond its 2" in str(world.books.books(ACCOUNT).why)


def test_a_fill_of_an_order_that_nobody_here_sent_is_booked_with_an_alert(world: World) -> None:
    order = world.orders.intend(entry(approved(world))).order
    stray = trade(order, 1, client_order_id="somebody-else", venue_order_id="v-else", symbol="ETH/USDT")
    [booked] = world.books.book(ACCOUNT, [stray], [])
    assert (booked.order_id, booked.source, booked.leg) == (None, None, None)
    [position] = world.books.open_positions(ACCOUNT)
    assert (position.symbol, position.source, position.stop_price) == ("ETH/USDT", None, None)
    assert any("of an order that nobody here sent" in each for each in world.alert_messages())
    assert world.books.books(ACCOUNT).why is not None


def test_a_fill_without_our_name_is_recognised_by_the_venues(world: World) -> None:
    order = world.orders.intend(entry(approved(world))).order
    world.orders.settle(order.id, seen(order))
    [booked] = world.books.book(ACCOUNT, [trade(order, 1, client_order_id=None)], [])
    assert booked.order_id == order.id
    assert list(world.alert_messages()) == []


@pytest.mark.parametrize("state", ["unknown", "quarantined", "released"])
def test_a_fill_makes_an_unknown_or_quarantined_order_known(world: World, state: str) -> None:
    order = world.orders.intend(entry(approved(world))).order
    world.orders.doubt(order.id, "no answer")
    if state != "unknown":
        world.orders.quarantine(order.id, "not there")
    if state == "released":
        world.orders.release(order.id, "ada", "gone")
    world.books.book(ACCOUNT, [trade(order, 1)], [])
    assert world.orders.order(order.id).state is OrderState.WORKING
    assert [each.id for each in world.orders.unsettled(ACCOUNT)] == [order.id]


def test_a_late_fill_of_a_cancelled_order_counts_and_leaves_it_cancelled(world: World) -> None:
    order = world.orders.intend(entry(approved(world))).order
    world.orders.settle(order.id, seen(order, "canceled", filled=D(1)))
    world.books.book(ACCOUNT, [trade(order, 1)], [])
    found = world.orders.order(order.id)
    assert (found.state, found.filled) == (OrderState.CANCELED, 1)
    assert list(world.alert_messages()) == []


def test_a_fill_of_an_order_that_was_never_sent_as_far_as_we_know_raises_an_alert(world: World) -> None:
    order = world.orders.intend(entry(approved(world))).order
    world.orders.reject(order.id, "margin")
    world.books.book(ACCOUNT, [trade(order, 1)], [])
    found = world.orders.order(order.id)
    assert (found.state, found.filled) == (OrderState.REJECTED, 1)
    assert any("which our books have as rejected" in each for each in world.alert_messages())


def test_an_exit_closes_the_position_and_the_cash_is_what_the_fills_say(world: World) -> None:
    world.books.book(ACCOUNT, [], [flow("deposit", 1000, "d1")])
    approval, _ = opened(world)
    order = world.orders.intend(stop(approval)).order
    later = FILLED_AT + timedelta(seconds=9)
    world.books.book(ACCOUNT, [trade(order, 2, 98, filled_at=later)], [flow("funding", "-0.3", "f1", 5, SYMBOL)])
    assert list(world.books.open_positions()) == []
    [position] = world.books.closed_positions(9)
    assert (position.realised, position.fees, position.funding) == (D(-4), D("0.2"), D("-0.3"))
    assert position.closed_at == later
    assert world.books.cash(ACCOUNT) == D(1000) - 4 - D("0.2") - D("0.3")
    assert world.desk.snapshot(ACCOUNT).cash == world.books.cash(ACCOUNT)


def test_an_entry_on_the_other_side_closes_one_position_and_opens_the_next(world: World) -> None:
    opened(world)
    short = approved(world, "decision:2", side="sell", quantity=D(3), limit_price=D(99), stop_price=D(103))
    order = world.orders.intend(entry(short)).order
    world.books.book(ACCOUNT, [trade(order, 3, 101, filled_at=FILLED_AT + timedelta(seconds=1))], [])
    [over], [now] = world.books.closed_positions(9), world.books.open_positions()
    assert (over.source, over.realised) == ("decision:1", D(2))
    assert (now.source, now.quantity, now.stop_price) == ("decision:2", D(-1), D(103))


def test_a_flow_is_booked_once_and_funding_belongs_to_the_position_open_then(world: World) -> None:
    opened(world)
    paid = flow("funding", "-1", "f1", 1, SYMBOL)
    world.books.book(ACCOUNT, [], [paid, paid, flow("funding", "-5", "f0", -60, SYMBOL)])
    world.books.book(ACCOUNT, [], [paid])
    [position] = world.books.open_positions()
    assert position.funding == -1
    assert world.books.cash(ACCOUNT) == D("-6.1")


def test_fills_and_flows_are_found_newest_first_or_all_oldest_first(world: World) -> None:
    assert world.books.newest_fill_at(ACCOUNT) is None
    order = world.orders.intend(entry(approved(world))).order
    late, early = trade(order, 1, filled_at=FILLED_AT + timedelta(seconds=9)), trade(order, 1)
    world.books.book(ACCOUNT, [late, early], [])
    assert [each.trade_id for each in world.books.fills(0)] == [early.trade_id, late.trade_id]
    assert [each.trade_id for each in world.books.fills(1)] == [late.trade_id]
    assert list(world.books.fills(9, symbol="ETH/USDT")) == []
    assert len(world.books.fills(9, account=ACCOUNT, symbol=SYMBOL)) == 2
    assert world.books.newest_fill_at(ACCOUNT) == late.filled_at
    world.books.book(ACCOUNT, [], [flow("deposit", 1, "d1", 60)])
    assert world.books.newest_fill_at(ACCOUNT) == FILLED_AT + timedelta(seconds=60)


def test_positions_and_cash_are_what_the_fills_alone_make_of_them(world: World) -> None:
    terms = {}
    flows = [flow("deposit", 500, "d0")]
    for number, (side, price) in enumerate([("buy", "100"), ("sell", "103.33"), ("sell", "97.1"), ("buy", "96.07")]):
        limit = D(200) if side == "buy" else D(1)
        source = f"decision:{number}"
        quantity = D(number + 1) * D("0.4")
        given = approved(world, source, side=side, quantity=quantity, limit_price=limit, stop_price=None)
        terms[source] = Terms(given.leverage, given.stop_price, given.take_profit_price)
        order = world.orders.intend(entry(given)).order
        world.orders.settle(order.id, seen(order, "filled"))
        at = FILLED_AT + timedelta(minutes=number)
        told = [trade(order, order.quantity / 4 * part, price, filled_at=at) for part in (1, 3)]
        world.books.book(ACCOUNT, told, flows)
    stored = [*world.books.open_positions(), *world.books.closed_positions(99)]
    assert len(stored) > 1
    assert differences(stored, positions_of(world.books.fills(0), flows, terms)) == ()
    assert world.books.cash(ACCOUNT) == cash_of(world.books.fills(0), flows)


# --- stops, equity, doubts --------------------------------------------------------------------------------


@pytest.mark.requirement("R5")
def test_a_stop_follows_in_its_positions_favour_only(world: World) -> None:
    opened(world)
    [position] = world.books.open_positions()
    assert position.id is not None
    assert world.books.raise_stop(position.id, D(99))
    assert not world.books.raise_stop(position.id, D(99))
    assert not world.books.raise_stop(position.id, D("98.9"))
    assert not world.books.raise_stop(position.id + 999, D(100))
    assert world.books.open_positions()[0].stop_price == 99


@pytest.mark.requirement("R5")
def test_a_shorts_stop_falls_only(world: World) -> None:
    opened(world, side="sell", limit_price=D(99), stop_price=D(102))
    [position] = world.books.open_positions()
    assert position.id is not None
    assert not world.books.raise_stop(position.id, D("102.5"))
    assert world.books.raise_stop(position.id, D("101.5"))


def test_the_equity_curve_is_thinned_evenly_and_keeps_both_ends(world: World) -> None:
    for number in range(11):
        world.books.record_equity(ACCOUNT, D(number), D("0.5"))
        world.pass_time(1)
    since = world.now() - timedelta(seconds=60)
    curve = [equity for _, equity in world.books.equity(ACCOUNT, since, 100)]
    assert curve == [D(number) + D("0.5") for number in range(11)]
    assert [equity for _, equity in world.books.equity(ACCOUNT, since, 3)] == [D("0.5"), D("5.5"), D("10.5")]
    assert [equity for _, equity in world.books.equity(ACCOUNT, since, 4)] == [curve[0], curve[3], curve[6], curve[10]]
    assert [equity for _, equity in world.books.equity(ACCOUNT, since, 1)] == [D("10.5")]
    newest = world.books.equity(ACCOUNT, world.now() - timedelta(seconds=3.5), 100)
    assert [equity for _, equity in newest] == curve[-3:]
    assert list(world.books.equity("elsewhere", since, 9)) == []


def test_a_doubt_ends_with_a_reconciliation_that_saw_the_newest_of_it(world: World) -> None:
    fresh = world.books.books(ACCOUNT)
    assert (fresh.why, fresh.dirty_version, fresh.reconciled_at) == (None, 0, None)
    assert world.books.reconciled(ACCOUNT, 0)
    assert world.books.books(ACCOUNT).reconciled_at is not None
    world.books.doubt(ACCOUNT, "the connection was lost")
    seen_then = world.books.books(ACCOUNT)
    assert seen_then.why == "the connection was lost"
    world.books.doubt(ACCOUNT, "and again")
    assert not world.books.reconciled(ACCOUNT, seen_then.dirty_version)
    assert world.books.books(ACCOUNT).why == "and again"
    assert world.books.reconciled(ACCOUNT, world.books.books(ACCOUNT).dirty_version)
    assert world.books.books(ACCOUNT).why is None


def test_one_process_watches_an_account_at_a_time(world: World) -> None:
    with world.books.watching(ACCOUNT) as first:
        with world.books.watching(ACCOUNT) as second, world.books.watching("paper-portfolio") as other:
            assert (first, second, other) == (True, False, True)
        with world.books.watching(ACCOUNT) as third:
            assert not third
    with world.books.watching(ACCOUNT) as again:
        assert again


def test_a_watch_that_fails_lets_go(world: World) -> None:
    with pytest.raises(ZeroDivisionError), world.books.watching(ACCOUNT):
        _ = 1 / 0
    with world.books.watching(ACCOUNT) as held:
        assert held


# --- on the real database ---------------------------------------------------------------------------------


@pytest.mark.requirement("R3")
def test_many_watchers_that_hear_the_same_fills_book_each_once(postgres_world: PostgresWorld) -> None:
    world = postgres_world
    order = world.orders.intend(entry(approved(world))).order
    told = [trade(order, "0.1", filled_at=FILLED_AT + timedelta(seconds=n)) for n in range(20)]
    start = Barrier(6)

    def hear(number: int) -> int:
        start.wait(10)
        settled = 0
        for first in range(0, 20, 4):
            settled += len(world.books.book(ACCOUNT, told[first : first + 4 + number], []))
            world.orders.settle(order.id, seen(order))
        return settled

    with ThreadPoolExecutor(6) as room:
        assert sum(room.map(hear, range(6))) == 20
    assert world.orders.order(order.id).filled == 2
    assert world.books.open_positions()[0].quantity == 2


def test_bookings_settlements_intents_and_approvals_at_once_never_deadlock(postgres_world: PostgresWorld) -> None:
    world = postgres_world
    orders = [world.orders.intend(entry(approved(world, f"decision:{n}"))).order for n in range(8)]
    approvals = {each.source: world.desk.of_source(each.source) for each in orders}
    start = Barrier(8)

    def work(number: int) -> None:
        start.wait(10)
        order = orders[number]
        approval = approvals[order.source]
        assert approval is not None
        for part in range(4):
            world.orders.settle(order.id, seen(order))
            world.books.book(ACCOUNT, [trade(order, "0.5")], [flow("funding", 1, f"{number}-{part}", 9, SYMBOL)])
            exit_order: NewOrder = stop(approval, leg=f"stop:{part}", quantity=D("0.5"))
            world.orders.settle(world.orders.intend(exit_order).order.id, seen(order, "canceled"))
            world.books.doubt(ACCOUNT, "busy")

    with ThreadPoolExecutor(8) as room:
        list(room.map(work, range(8)))
    assert world.books.open_positions()[0].quantity == 16
    assert world.books.open_positions()[0].funding == 32


def test_a_watch_ends_with_its_session(postgres_world: PostgresWorld) -> None:
    world = postgres_world
    with world.books.watching(ACCOUNT) as held:
        assert held
        world.session.execute("""
            SELECT pg_terminate_backend(pid) FROM pg_locks
            WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
        """)
        with world.books.watching(ACCOUNT) as other:
            assert other


def test_what_cannot_be_booked_whole_is_not_booked_at_all(postgres_world: PostgresWorld) -> None:
    world = postgres_world
    order = world.orders.intend(entry(approved(world))).order
    broken = replace(trade(order, 1), price=D(0))
    with pytest.raises(AaosError, match=r"refused a row|cannot store"):
        world.books.book(ACCOUNT, [trade(order, 1), broken], [])
    assert (list(world.books.fills(0)), list(world.books.open_positions())) == ([], [])
    assert world.orders.order(order.id).filled == 0
