"""What the database itself refuses, tried with plain SQL by the owner of the tables (R1, R2, R5)."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from random import Random
from typing import Any

import psycopg
import pytest
from support.desk import ACCOUNT, approved, entry, opened, seen, stop
from support.worlds import PostgresWorld

from aaos.domain.order_refusals import broken_rule
from aaos.domain.orders import OrderState, RiskApproval

REFUSED = psycopg.errors.IntegrityError
INSERT = """
    INSERT INTO orders (client_order_id, approval_id, source, source_hash, account, leg, symbol, side, type, quantity,
                        leverage, price, trigger_price, reduce_only, stop_epoch)
    VALUES (%(client_order_id)s, %(approval_id)s, %(source)s, %(source_hash)s, %(account)s, %(leg)s, %(symbol)s,
            %(side)s, %(type)s, %(quantity)s, %(leverage)s, %(price)s, %(trigger_price)s, %(reduce_only)s,
            (SELECT epoch FROM trading_switch) + %(epochs_off)s)
    RETURNING id
"""


@pytest.fixture
def world(real_world: PostgresWorld) -> PostgresWorld:
    """The real one, emptied."""
    real_world.reset()
    return real_world


def columns(approval: RiskApproval, **changes: Any) -> dict[str, Any]:
    order = entry(approval)
    fields = {name: getattr(order, name) for name in type(order).__dataclass_fields__}
    return fields | {"client_order_id": "typed-by-hand", "epochs_off": 0} | changes


def insert(world: PostgresWorld, approval: RiskApproval, **changes: Any) -> int:
    """Inserts an order by hand; returns its id."""
    row = world.session.execute(INSERT, columns(approval, **changes)).fetchone()
    assert row is not None
    return int(row[0])


def as_stop(approval: RiskApproval, **changes: Any) -> dict[str, Any]:
    order = stop(approval)
    names = ("leg", "side", "type", "price", "trigger_price", "reduce_only")
    return {name: getattr(order, name) for name in names} | changes


# --- R1: no order without its approval --------------------------------------------------------------------


@pytest.mark.requirement("R1")
def test_an_order_typed_by_hand_within_its_approval_uses_it_up(world: PostgresWorld) -> None:
    approval = approved(world)
    order_id = insert(world, approval)
    used = world.session.execute("SELECT used_by, used_at IS NOT NULL FROM risk_approvals").fetchone()
    assert used == (order_id, True)


ENTRIES: dict[str, tuple[dict[str, Any], str]] = {
    "without an approval": ({"approval_id": 999_999}, "approval_exists"),
    "of another content": ({"source_hash": "another"}, "approval_is_of_this"),
    "of another source": ({"source": "decision:2"}, "approval_is_of_this"),
    "of another account": ({"account": "elsewhere"}, "approval_is_of_this"),
    "of another symbol": ({"symbol": "ETH/USDT"}, "approval_is_of_this"),
    "larger": ({"quantity": Decimal("2.0001")}, "quantity_is_approved"),
    "with more leverage": ({"leverage": Decimal(6)}, "leverage_is_approved"),
    "on the other side": ({"side": "sell"}, "side_is_approved"),
    "at a worse price": ({"price": Decimal(102)}, "price_is_approved"),
    "under an old epoch": ({"epochs_off": -1}, "trading_is_not_stopped"),
    "of no number": ({"quantity": Decimal("NaN")}, "positive_amount"),
    "of no end": ({"quantity": Decimal("Infinity")}, "positive_amount"),
    "of nothing": ({"quantity": Decimal(0)}, "positive_amount"),
}


@pytest.mark.requirement("R1")
@pytest.mark.parametrize("what", ENTRIES)
def test_no_entry_is_inserted(world: PostgresWorld, what: str) -> None:
    approval = approved(world)
    changes, rule = ENTRIES[what]
    with pytest.raises(REFUSED) as refused:
        insert(world, approval, **changes)
    assert rule in (refused.value.diag.constraint_name or refused.value.diag.datatype_name or "")
    assert world.session.execute("SELECT count(*) FROM orders").fetchone() == (0,)
    assert world.session.execute("SELECT used_at FROM risk_approvals").fetchone() == (None,)


@pytest.mark.requirement("R1")
def test_no_entry_is_inserted_on_an_expired_or_used_approval_or_while_stopped(world: PostgresWorld) -> None:
    late = approved(world, "decision:1")
    world.pass_time(61)
    with pytest.raises(REFUSED, match="approval_unexpired"):
        insert(world, late)
    approval, _ = opened(world, "decision:2")
    with pytest.raises(REFUSED, match="one_order_per_leg"):
        insert(world, approval)
    with pytest.raises(REFUSED, match="exits_only_reduce"):
        insert(world, approval, leg="entry:2")
    world.switch.stop("ada", "odd")
    with pytest.raises(REFUSED, match="trading_is_not_stopped"):
        insert(world, approved(world, "decision:3"))


@pytest.mark.requirement("R1")
@pytest.mark.parametrize("column", ["state = 'working'", "filled = 1", "venue_order_id = 'v1'"])
def test_an_order_begins_as_an_intent(world: PostgresWorld, column: str) -> None:
    name, value = column.split(" = ")
    statement = INSERT.replace("stop_epoch)", f"stop_epoch, {name})", 1).replace(
        "+ %(epochs_off)s)", f"+ %(epochs_off)s, {value})"
    )
    with pytest.raises(REFUSED, match="orders_begin_as_intents"):
        world.session.execute(statement, columns(approved(world)))


EXITS: dict[str, tuple[dict[str, Any], str]] = {
    "larger than the position": ({"quantity": Decimal("2.01")}, "exits_close_what_is_open"),
    "not reduce-only": ({"reduce_only": False}, "exits_only_reduce"),
    "on the side that opens": ({"side": "buy"}, "exits_are_on_the_other_side"),
    "of another content": ({"source_hash": "another"}, "approval_is_of_this"),
    "with more leverage": ({"leverage": Decimal(6)}, "leverage_is_approved"),
}


@pytest.mark.requirement("R1")
@pytest.mark.parametrize("what", EXITS)
def test_no_exit_is_inserted_that_does_more_than_close(world: PostgresWorld, what: str) -> None:
    approval, _ = opened(world)
    changes, rule = EXITS[what]
    with pytest.raises(REFUSED, match=rule):
        insert(world, approval, **as_stop(approval, **changes))
    assert insert(world, approval, **as_stop(approval))


def test_no_exit_is_inserted_before_its_entry(world: PostgresWorld) -> None:
    approval = approved(world)
    with pytest.raises(REFUSED, match="exits_follow_an_entry"):
        insert(world, approval, **as_stop(approval))


# --- what was written stays -------------------------------------------------------------------------------

CHANGES = [
    "UPDATE orders SET quantity = quantity * 10",
    "UPDATE orders SET leverage = 1",
    "UPDATE orders SET price = 1",
    "UPDATE orders SET side = 'sell'",
    "UPDATE orders SET client_order_id = 'another'",
    "UPDATE orders SET leg = 'entry:2'",
    "UPDATE orders SET stop_epoch = stop_epoch + 1",
    "UPDATE orders SET source = 'decision:2'",
    "UPDATE orders SET filled = 0",
    "UPDATE orders SET state = 'intent'",
    "UPDATE orders SET venue_order_id = 'another'",
    "DELETE FROM orders",
    "TRUNCATE orders CASCADE",
    "UPDATE risk_approvals SET quantity = 100",
    "UPDATE risk_approvals SET leverage = 100",
    "UPDATE risk_approvals SET expires_at = expires_at + interval '1 day'",
    "UPDATE risk_approvals SET used_at = NULL, used_by = NULL",
    "DELETE FROM risk_approvals",
    "TRUNCATE risk_approvals CASCADE",
    "UPDATE fills SET quantity = 1",
    "DELETE FROM fills",
    "TRUNCATE fills",
    "UPDATE cash_flows SET amount = 1",
    "DELETE FROM cash_flows",
    "UPDATE equity_points SET cash = 1",
    "DELETE FROM positions",
    "UPDATE positions SET quantity = -quantity",
    "UPDATE positions SET symbol = 'ETH/USDT'",
    "UPDATE account_books SET version = version - 1",
    "UPDATE account_books SET dirty_version = -1",
    "DELETE FROM account_books",
]


@pytest.mark.requirement("R1")
@pytest.mark.parametrize("statement", CHANGES)
def test_what_was_written_is_not_rewritten(world: PostgresWorld, statement: str) -> None:
    opened(world)
    before = world.orders.orders(9)[0].quantity, world.books.open_positions(), world.desk.snapshot(ACCOUNT).version
    with pytest.raises(REFUSED):
        world.session.execute(statement)
    after = world.orders.orders(9)[0].quantity, world.books.open_positions(), world.desk.snapshot(ACCOUNT).version
    assert after == before


@pytest.mark.requirement("R1")
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE risk_approvals SET quantity = 100",
        "UPDATE risk_approvals SET expires_at = expires_at + interval '1 day'",
        "UPDATE risk_approvals SET used_at = clock_timestamp()",
        "UPDATE risk_approvals SET used_at = clock_timestamp(), used_by = 1",
    ],
)
def test_an_unused_approval_is_neither_raised_nor_used_without_an_order(world: PostgresWorld, statement: str) -> None:
    approved(world)
    with pytest.raises(REFUSED):
        world.session.execute(statement)


def test_an_order_goes_forward_only(world: PostgresWorld) -> None:
    _, order = opened(world)
    for state in OrderState:
        if state is not OrderState.FILLED:
            with pytest.raises(REFUSED, match="does not become"):
                world.session.execute("UPDATE orders SET state = %s WHERE id = %s", (state.value, order.id))


def test_an_order_that_is_at_the_venue_is_not_withdrawn_by_hand(world: PostgresWorld) -> None:
    order = world.orders.intend(entry(approved(world))).order
    world.orders.settle(order.id, seen(order))
    with pytest.raises(REFUSED, match="does not become"):
        world.session.execute("UPDATE orders SET state = 'withdrawn'")


# --- R5 ---------------------------------------------------------------------------------------------------


@pytest.mark.requirement("R5")
@pytest.mark.parametrize(
    ("side", "looser", "tighter"), [("buy", ["97.9", "1"], "98.1"), ("sell", ["102.1", "999"], "101.9")]
)
def test_a_stop_is_never_loosened(world: PostgresWorld, side: str, looser: list[str], tighter: str) -> None:
    limit, first = (Decimal(101), Decimal(98)) if side == "buy" else (Decimal(99), Decimal(102))
    opened(world, side=side, limit_price=limit, stop_price=first)
    for price in (*looser, None):
        with pytest.raises(REFUSED, match="it is not loosened"):
            world.session.execute("UPDATE positions SET stop_price = %s", (price,))
    world.session.execute("UPDATE positions SET stop_price = %s", (tighter,))
    with pytest.raises(REFUSED, match="it is not loosened"):
        world.session.execute("UPDATE positions SET stop_price = %s", (first,))


def test_a_symbol_has_one_open_position(world: PostgresWorld) -> None:
    opened(world)
    with pytest.raises(REFUSED, match="one_open_position"):
        world.session.execute("""
            INSERT INTO positions (account, symbol, quantity, average_entry, peak_quantity, leverage, realised, fees,
                                   funding, opened_at)
            VALUES ('paper', 'BTC/USDT', 1, 1, 1, 1, 0, 0, 0, now())
        """)


# --- the rules stand twice --------------------------------------------------------------------------------


@pytest.mark.requirement("R1")
def test_the_database_and_the_tables_in_memory_refuse_the_same_orders_by_the_same_rule(world: PostgresWorld) -> None:
    chance = Random(18)
    approval, order = opened(world, quantity=Decimal(2))
    fresh = approved(world, "decision:2", side="sell", limit_price=Decimal(99), stop_price=Decimal(102))
    sale = approved(world, "trade:1", side="sell", limit_price=None, stop_price=None, reduce_only=True)
    stored = {each.source: each for each in world.desk.approvals(9)}
    refused, accepted = 0, 0
    for number in range(400):
        given = chance.choice([approval, fresh, sale])
        wanted = stop(given) if chance.random() < 0.5 else entry(given)
        changes: dict[str, Any] = {
            "quantity": Decimal(chance.choice(["0.5", "2", "2", "2.5"])),
            "leverage": Decimal(chance.choice(["1", "5", "5", "5.5"])),
            "side": chance.choice([wanted.side, wanted.side, "buy", "sell"]),
            "source_hash": chance.choice([wanted.source_hash] * 5 + ["other"]),
            "reduce_only": chance.choice([wanted.reduce_only] * 4 + [True, False]),
            "leg": wanted.leg if wanted.leg != "entry" or given.source != "decision:1" else "exit:9",
        }
        if wanted.type == "limit":
            changes["price"] = Decimal(chance.choice(["98", "100", "102"]))
        else:
            changes["trigger_price"] = Decimal(97)
        wanted = replace(wanted, **changes)
        closable = {"decision:1": order.quantity, "decision:2": None, "trade:1": sale.quantity}[given.source]
        expected = broken_rule(wanted, stored[given.source], stopped=False, closable=closable)
        fields = {name: getattr(wanted, name) for name in type(wanted).__dataclass_fields__}
        said = None
        with world.session.transaction(force_rollback=True):
            try:
                with world.session.transaction():
                    world.session.execute(INSERT, fields | {"client_order_id": f"n{number}", "epochs_off": 0})
            except REFUSED as error:
                said = error.diag.constraint_name
        assert said == expected, f"{wanted}: the database says {said}, we say {expected}"
        refused, accepted = refused + (said is not None), accepted + (said is None)
    assert refused > 50
    assert accepted > 30
