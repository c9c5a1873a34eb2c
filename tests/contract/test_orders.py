"""Our book of orders: written down once per leg, under an approval, and moved in one direction only."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from support.desk import ACCOUNT, approved, assessing, entry, new_approval, opened, seen, stop, trade
from support.worlds import World

from aaos.domain.orders import OrderState, client_order_id
from aaos.domain.runs import Completed
from aaos.errors import EntriesHeld, FenceLost, InputError, OrderDenied, RiskBookMoved

# --- writing down -----------------------------------------------------------------------------------------


@pytest.mark.requirement("R1")
def test_an_intent_uses_its_approval_up_and_bears_the_name_that_follows_from_its_leg(world: World) -> None:
    approval = approved(world)
    written = world.orders.intend(entry(approval))
    order = written.order
    assert (written.created, order.state, order.filled, order.venue_order_id) == (True, OrderState.INTENT, 0, None)
    assert order.client_order_id == client_order_id(world.orders.namespace, ACCOUNT, "decision:1", "entry")
    assert (order.quantity, order.price, order.leverage) == (Decimal(2), Decimal(100), Decimal(5))
    assert order.stop_epoch == world.switch.read().epoch
    assert 0 <= order.age_s < 5
    used = world.desk.of_source("decision:1")
    assert used is not None
    assert used.used_at is not None
    stored = world.orders.order(order.id)
    assert stored == replace(order, age_s=stored.age_s)


@pytest.mark.requirement("R2")
def test_a_leg_that_is_there_already_is_returned_as_it_stands_and_nothing_is_created(world: World) -> None:
    approval = approved(world)
    first = world.orders.intend(entry(approval)).order
    world.orders.settle(first.id, seen(first))
    again = world.orders.intend(entry(approval, price=Decimal(99)))
    assert (again.created, again.order.id, again.order.state) == (False, first.id, OrderState.WORKING)
    assert again.order.price == Decimal(100)
    world.pass_time(61)
    assert not world.orders.intend(entry(approval)).created
    assert len(world.orders.orders(9)) == 1


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "another content": ({"source_hash": "other"}, "another source, content"),
    "another symbol": ({"symbol": "ETH/USDT"}, "another source, content"),
    "another account": ({"account": "paper-portfolio"}, "another source, content"),
    "another source": ({"source": "decision:2"}, "another source, content"),
    "no approval": ({"approval_id": 999_999}, "no such approval"),
    "more leverage": ({"leverage": Decimal("5.1")}, "leverage is higher"),
    "a larger quantity": ({"quantity": Decimal("2.00000001")}, "larger than approved"),
    "the other side": ({"side": "sell"}, "the other side"),
    "another effect": ({"reduce_only": True}, "the other side"),
    "a worse price": ({"price": Decimal("101.1")}, "price is worse"),
    "no price at all": ({"type": "market", "price": None}, "price is worse"),
}


@pytest.mark.requirement("R1")
@pytest.mark.parametrize("what", WRONG)
def test_an_entry_beyond_its_approval_is_denied_and_uses_nothing_up(world: World, what: str) -> None:
    approval = approved(world)
    changes, why = WRONG[what]
    with pytest.raises(OrderDenied, match=why) as denied:
        world.orders.intend(entry(approval, **changes))
    assert denied.value.code == "NO_APPROVAL"
    assert list(world.orders.orders(9)) == []
    assert world.orders.intend(entry(approval)).created


@pytest.mark.requirement("R1")
def test_an_expired_approval_is_void(world: World) -> None:
    approval = approved(world)
    world.pass_time(60.5)
    with pytest.raises(OrderDenied, match="has expired") as denied:
        world.orders.intend(entry(approval))
    assert denied.value.code == "APPROVAL_EXPIRED"


def test_a_smaller_less_leveraged_and_better_priced_entry_is_within_its_approval(world: World) -> None:
    approval = approved(world)
    wanted = entry(approval, quantity=Decimal(1), leverage=Decimal(2), price=Decimal(99))
    assert world.orders.intend(wanted).order.quantity == 1


def test_a_sale_may_not_be_priced_below_its_limit(world: World) -> None:
    approval = approved(world, side="sell", limit_price=Decimal(99), stop_price=Decimal(102))
    with pytest.raises(OrderDenied, match="price is worse"):
        world.orders.intend(entry(approval, price=Decimal("98.9")))
    assert world.orders.intend(entry(approval, price=Decimal(99))).created


# --- other legs -------------------------------------------------------------------------------------------


@pytest.mark.requirement("R1")
def test_a_stop_follows_a_filled_entry_and_is_no_larger_than_that(world: World) -> None:
    approval = approved(world)
    with pytest.raises(OrderDenied, match="no entry has used"):
        world.orders.intend(stop(approval))
    order = world.orders.intend(entry(approval)).order
    with pytest.raises(OrderDenied, match="larger than what there is to close"):
        world.orders.intend(stop(approval))
    world.books.book(ACCOUNT, [trade(order, "0.5")], [])
    with pytest.raises(OrderDenied, match="larger than what there is to close"):
        world.orders.intend(stop(approval, quantity=Decimal("0.6")))
    assert world.orders.intend(stop(approval, quantity=Decimal("0.5"))).created


@pytest.mark.requirement("R1")
@pytest.mark.parametrize(
    ("changes", "why"),
    [({"reduce_only": False}, "only an entry"), ({"side": "buy"}, "the side that closes")],
)
def test_no_exit_makes_a_position_larger(world: World, changes: dict[str, Any], why: str) -> None:
    approval, _ = opened(world)
    with pytest.raises(OrderDenied, match=why):
        world.orders.intend(stop(approval, **changes))


def test_an_exit_needs_no_unexpired_approval_and_no_running_switch(world: World) -> None:
    approval, _ = opened(world)
    world.pass_time(3600)
    world.switch.stop("ada", "odd")
    written = world.orders.intend(stop(approval))
    assert written.created
    assert world.orders.may_send(written.order.id)


def test_the_source_that_opened_a_position_may_close_what_others_added_to_it(world: World) -> None:
    first, _ = opened(world)
    opened(world, "decision:2", quantity=Decimal(3))
    [position] = world.books.open_positions(ACCOUNT)
    assert position.quantity == 5
    assert world.orders.intend(stop(first, quantity=Decimal(5))).created
    with pytest.raises(OrderDenied, match="larger than what there is to close"):
        world.orders.intend(stop(first, leg="stop:2", quantity=Decimal("5.1")))


def test_legs_of_an_approval_to_reduce_share_what_was_approved(world: World) -> None:
    approval = approved(world, side="sell", limit_price=None, stop_price=None, reduce_only=True)
    order = world.orders.intend(entry(approval, quantity=Decimal("1.5"))).order
    rest = entry(approval, leg="exit:1", type="market", price=None, quantity=Decimal("0.6"))
    with pytest.raises(OrderDenied, match="larger than what there is to close"):
        world.orders.intend(rest)
    assert world.orders.intend(replace(rest, quantity=Decimal("0.5"))).created
    world.orders.settle(order.id, seen(order, "canceled", filled=Decimal(1)))
    assert world.orders.intend(replace(rest, leg="exit:2", quantity=Decimal("0.5"))).created


# --- the stop, the fence, what holds entries back ----------------------------------------------------------


def test_a_stop_denies_entries_and_makes_those_written_down_unsendable(world: World) -> None:
    first = world.orders.intend(entry(approved(world))).order
    assert world.orders.may_send(first.id)
    world.switch.stop("ada", "odd")
    assert not world.orders.may_send(first.id)
    second = approved(world, "decision:2")
    with pytest.raises(OrderDenied, match="trading is stopped") as denied:
        world.orders.intend(entry(second))
    assert denied.value.code == "TRADING_STOPPED"
    world.switch.resume("ada", "fine")
    assert not world.orders.may_send(first.id), "its epoch is over"
    assert world.orders.may_send(world.orders.intend(entry(second)).order.id)


@pytest.mark.requirement("R1")
def test_an_entry_whose_approval_ends_before_it_leaves_is_not_sent(world: World) -> None:
    """Whoever wrote it down was frozen, or the whole machine asleep; the price is as old as that."""
    order = world.orders.intend(entry(approved(world))).order
    world.pass_time(3600)
    with pytest.raises(OrderDenied, match="approval has expired") as denied:
        world.orders.may_send(order.id)
    assert denied.value.code == "APPROVAL_EXPIRED"


def test_what_is_no_intent_any_more_is_never_sent(world: World) -> None:
    order = world.orders.intend(entry(approved(world))).order
    world.orders.settle(order.id, seen(order))
    assert not world.orders.may_send(order.id)
    assert not world.orders.may_send(order.id + 1000)


def test_whoever_lost_the_run_writes_nothing_down(world: World) -> None:
    approval = approved(world)
    claim = assessing(world)
    with pytest.raises(FenceLost, match="nothing was written down"):
        world.orders.intend(entry(approval), replace(claim, fence=claim.fence + 1))
    assert list(world.orders.orders(9)) == []
    world.pass_time(31)
    with pytest.raises(FenceLost):
        world.orders.intend(entry(approval), claim)
    assert world.orders.intend(entry(approval), assessing(world)).created


def test_an_unknown_order_holds_all_entries_of_its_account_and_no_exit(world: World) -> None:
    approval, _ = opened(world)
    waiting = approved(world, "decision:2", symbol="ETH/USDT")
    elsewhere = approved(world, "trade:1", account="paper-portfolio")
    unsure = world.orders.intend(entry(approved(world, "decision:3"))).order
    world.orders.doubt(unsure.id, "no answer within 5 s")
    version = world.books.books(ACCOUNT).dirty_version
    assert "no answer within 5 s" in str(world.books.books(ACCOUNT).why)
    with pytest.raises(EntriesHeld, match="are in doubt") as held:
        world.orders.intend(entry(waiting))
    assert held.value.retry_after_s > 0
    assert world.books.reconciled(ACCOUNT, version)
    with pytest.raises(EntriesHeld, match=f"order {unsure.id} .* is unknown"):
        world.orders.intend(entry(waiting))
    assert world.orders.intend(entry(elsewhere)).created
    assert world.orders.intend(stop(approval)).created
    found = world.orders.settle(unsure.id, seen(unsure))
    assert found.state is OrderState.WORKING
    assert world.orders.intend(entry(waiting)).created


def test_an_intent_that_nobody_ended_holds_entries_once_its_sender_must_be_gone(world: World) -> None:
    left = world.orders.intend(entry(approved(world))).order
    other = approved(world, "decision:2", expires_after_s=600.0)
    world.pass_time(11)
    third = approved(world, "decision:3", expires_after_s=600.0)
    assert world.orders.intend(entry(third)).created
    world.pass_time(2)
    with pytest.raises(EntriesHeld, match=rf"order {left.id} .*nobody said what became of it"):
        world.orders.intend(entry(other))
    world.orders.withdraw(left.id, "nothing was sent")
    assert world.orders.intend(entry(other)).created


def test_a_quarantined_order_holds_its_symbol_until_a_person_releases_it(world: World) -> None:
    order = world.orders.intend(entry(approved(world))).order
    world.orders.doubt(order.id, "no answer")
    world.orders.quarantine(order.id, "not at the venue after 2 s")
    assert world.books.reconciled(ACCOUNT, world.books.books(ACCOUNT).dirty_version)
    assert any("quarantined (not at the venue after 2 s)" in each for each in world.alert_messages())
    same, other = approved(world, "decision:2"), approved(world, "decision:3", symbol="ETH/USDT")
    with pytest.raises(EntriesHeld, match="is quarantined"):
        world.orders.intend(entry(same))
    assert world.orders.intend(entry(other)).created
    assert order.id in [each.id for each in world.orders.unsettled(ACCOUNT)]
    world.orders.release(order.id, "ada", "the venue confirms")
    world.orders.release(order.id, "bob", "so do I")
    assert order.id not in [each.id for each in world.orders.unsettled(ACCOUNT)]
    assert world.orders.intend(entry(same)).created
    [told] = world.audit.entries(9, action="order.released")
    assert (told.actor, told.subject, told.details["reason"]) == ("ada", f"order:{order.id}", "the venue confirms")


def test_a_quarantined_stop_holds_no_entry_back(world: World) -> None:
    """It can only make something smaller; the watch cancels it, should it turn up."""
    approval, _ = opened(world)
    order = world.orders.intend(stop(approval)).order
    world.orders.doubt(order.id, "no answer")
    world.orders.quarantine(order.id, "not at the venue")
    assert world.books.reconciled(ACCOUNT, world.books.books(ACCOUNT).dirty_version)
    assert not any("entries of BTC/USDT wait" in each for each in world.alert_messages())
    assert world.orders.intend(entry(approved(world, "decision:2"))).created


def test_only_a_quarantined_order_can_be_released(world: World) -> None:
    order = world.orders.intend(entry(approved(world))).order
    with pytest.raises(InputError, match=r"is intent: only a quarantined one .*aaos orders"):
        world.orders.release(order.id, "ada", "why not")
    with pytest.raises(InputError, match="no order 999999; `aaos orders`"):
        world.orders.release(999_999, "ada", "why not")


# --- what became of it ------------------------------------------------------------------------------------


def test_an_older_word_never_undoes_a_final_state(world: World) -> None:
    order = world.orders.intend(entry(approved(world))).order
    assert world.orders.settle(order.id, seen(order)).state is OrderState.WORKING
    done = world.orders.settle(order.id, seen(order, "canceled", reason="by us"))
    assert (done.state, done.reason, done.venue_order_id) == (OrderState.CANCELED, "by us", f"v{order.id}")
    for late in ("working", "filled", "rejected", "expired"):
        assert world.orders.settle(order.id, seen(order, late)).state is OrderState.CANCELED
    world.orders.reject(order.id, "late")
    world.orders.doubt(order.id, "late")
    world.orders.withdraw(order.id, "late")
    world.orders.quarantine(order.id, "late")
    assert world.orders.order(order.id).state is OrderState.CANCELED
    assert world.orders.order(order.id).reason == "by us"
    assert world.books.books(ACCOUNT).why is None
    assert list(world.alert_messages()) == []


def test_the_same_word_twice_changes_nothing_not_even_the_version_of_the_books(world: World) -> None:
    order = world.orders.intend(entry(approved(world))).order
    world.orders.settle(order.id, seen(order))
    version = world.desk.snapshot(ACCOUNT).version
    world.orders.settle(order.id, seen(order))
    world.orders.settle(order.id, seen(order))
    assert world.desk.snapshot(ACCOUNT).version == version


def test_a_rejected_and_a_withdrawn_order_say_why(world: World) -> None:
    first = world.orders.intend(entry(approved(world))).order
    world.orders.reject(first.id, "price off the grid")
    second = world.orders.intend(entry(approved(world, "decision:2"))).order
    world.orders.withdraw(second.id, "the epoch moved on")
    states = [(each.state, each.reason) for each in world.orders.orders(9)]
    assert states == [
        (OrderState.WITHDRAWN, "the epoch moved on"),
        (OrderState.REJECTED, "price off the grid"),
    ]


def test_a_sent_order_cannot_be_withdrawn(world: World) -> None:
    order = world.orders.intend(entry(approved(world))).order
    world.orders.settle(order.id, seen(order))
    world.orders.withdraw(order.id, "too late")
    assert world.orders.order(order.id).state is OrderState.WORKING


def test_a_quarantined_order_that_turns_up_is_adopted_even_after_its_release(world: World) -> None:
    order = world.orders.intend(entry(approved(world))).order
    world.orders.doubt(order.id, "no answer")
    world.orders.quarantine(order.id, "not there")
    world.orders.release(order.id, "ada", "gone")
    assert world.orders.settle(order.id, seen(order)).state is OrderState.WORKING
    assert [each.id for each in world.orders.unsettled(ACCOUNT)] == [order.id]


def test_orders_are_found_by_leg_source_name_symbol_and_state(world: World) -> None:
    approval, order = opened(world)
    exit_order = world.orders.intend(stop(approval)).order
    other = world.orders.intend(entry(approved(world, "decision:2", symbol="ETH/USDT"))).order
    found = world.orders.of_leg("decision:1", "entry")
    assert found is not None
    assert found.id == order.id
    assert world.orders.of_leg("decision:1", "stop:9") is None
    assert [each.id for each in world.orders.of_source("decision:1")] == [order.id, exit_order.id]
    names = world.orders.by_client_ids([other.client_order_id, "nobody's"])
    assert {name: each.id for name, each in names.items()} == {other.client_order_id: other.id}
    assert [each.id for each in world.orders.orders(9, symbol="ETH/USDT")] == [other.id]
    assert [each.id for each in world.orders.orders(9, state=OrderState.FILLED)] == [order.id]
    assert [each.id for each in world.orders.orders(2)] == [other.id, exit_order.id]
    assert [each.id for each in world.orders.unsettled(ACCOUNT)] == [exit_order.id, other.id]
    with pytest.raises(InputError, match="no order 999999; `aaos orders`"):
        world.orders.order(999_999)


def test_an_approval_that_is_not_stored_leaves_its_run_to_be_put_back(world: World) -> None:
    claim = assessing(world)
    new = new_approval(world)
    opened(world, "decision:7")
    with pytest.raises(RiskBookMoved):
        world.runs().complete(claim, Completed({"approved": True}, approval=new), False)
    assert world.runs().release(claim, 0.0, "moved", spent=False)
