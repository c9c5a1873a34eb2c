"""Orders written down at once: one per leg, and none after a stop. On the real database, with threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
from support.desk import approved, entry
from support.worlds import PostgresWorld, World

from aaos.domain.orders import Intent, NewOrder
from aaos.errors import EntriesHeld, OrderDenied


def race(world: World, wanted: list[NewOrder]) -> list[Intent | Exception]:
    """Writes all of them down at once; returns what each was told."""
    start = Barrier(len(wanted))

    def attempt(order: NewOrder) -> Intent | Exception:
        start.wait(10)
        try:
            return world.orders.intend(order)
        except (OrderDenied, EntriesHeld) as error:
            return error

    with ThreadPoolExecutor(len(wanted)) as room:
        return list(room.map(attempt, wanted))


@pytest.mark.requirement("R2")
def test_of_many_executors_at_one_leg_exactly_one_creates_its_order(postgres_world: PostgresWorld) -> None:
    for number in range(8):
        approval = approved(postgres_world, f"decision:{number}")
        told = race(postgres_world, [entry(approval)] * 8)
        intents = [each for each in told if isinstance(each, Intent)]
        assert len(intents) == 8, told
        assert [each.created for each in intents].count(True) == 1
        assert len({each.order.id for each in intents}) == 1


def test_once_a_stop_is_committed_no_entry_is_written_down(postgres_world: PostgresWorld) -> None:
    world = postgres_world
    for number in range(6):
        approvals = [approved(world, f"decision:{number}-{each}", account=f"a{each}") for each in range(6)]
        start = Barrier(7)
        stopped_at: list[int] = []

        def halt(start: Barrier = start, stopped_at: list[int] = stopped_at) -> None:
            start.wait(10)
            stopped_at.append(world.switch.stop("ada", "race").epoch)

        def attempt(approval: Any, start: Barrier = start, stopped_at: list[int] = stopped_at) -> bool:
            start.wait(10)
            was_stopped = bool(stopped_at)
            try:
                world.orders.intend(entry(approval))
            except OrderDenied as denied:
                return denied.code == "TRADING_STOPPED"
            return not was_stopped

        with ThreadPoolExecutor(7) as room:
            halting = room.submit(halt)
            told = list(room.map(attempt, approvals))
            halting.result()
        assert all(told), "an entry was written down after the stop had been confirmed, or denied for something else"
        epoch = world.switch.read().epoch
        written = [each for each in world.orders.orders(6) if each.source.startswith(f"decision:{number}-")]
        assert all(each.stop_epoch < epoch and not world.orders.may_send(each.id) for each in written)
        for approval in approvals:
            left = world.orders.of_leg(approval.source, "entry") is None
            if left:
                with pytest.raises(OrderDenied, match="stopped"):
                    world.orders.intend(entry(approval))
        world.switch.resume("ada", "next")


INTENT = """
    SELECT intend_order(jsonb_build_object('client_order_id', 'mine', 'approval_id', id, 'source', source,
        'source_hash', source_hash, 'account', account, 'leg', 'entry', 'symbol', symbol, 'side', side,
        'type', 'limit', 'quantity', quantity, 'leverage', leverage, 'price', entry_price,
        'reduce_only', reduce_only), NULL, NULL, 12) FROM risk_approvals
"""
STOP = "UPDATE trading_switch SET stopped = true, epoch = epoch + 1"


def test_a_stop_waits_for_the_entry_that_is_being_written_down(postgres_world: PostgresWorld) -> None:
    world = postgres_world
    approved(world)
    with ThreadPoolExecutor(1) as room:
        with world.session.transaction():
            world.session.execute(INTENT)
            halting = room.submit(world.switch.stop, "ada", "odd")
            with pytest.raises(TimeoutError):
                halting.result(0.5)
        assert halting.result(10).stopped
    [order] = world.orders.orders(9)
    assert not world.orders.may_send(order.id)


def test_an_entry_waits_for_the_stop_that_is_being_written_down_and_is_denied(postgres_world: PostgresWorld) -> None:
    world = postgres_world
    approval = approved(world)
    with ThreadPoolExecutor(1) as room:
        with world.session.transaction():
            world.session.execute(STOP)
            intending = room.submit(world.orders.intend, entry(approval))
            with pytest.raises(TimeoutError):
                intending.result(0.5)
        with pytest.raises(OrderDenied, match="trading is stopped"):
            intending.result(10)
    assert list(world.orders.orders(9)) == []
