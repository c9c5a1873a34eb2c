"""Our books beside the venue's: adopted, ended, told of; entries only while nothing is in doubt (R4)."""

from __future__ import annotations

import threading
from dataclasses import replace
from decimal import Decimal

import pytest
from broker_examples import ACCOUNT, AWAY, LOST_AFTER, LOST_BEFORE, SOURCE, Floor

from aaos.domain.orders import CashFlow, NewOrder, OrderState
from aaos.errors import AmbiguousReply, EntriesHeld, VenueUnavailable
from aaos.services.reconcile_orders import ensure_reconciled, reconcile_orders
from aaos.services.send_order import adopt_order, send_order

D = Decimal


@pytest.fixture
def floor() -> Floor:
    found = Floor()
    found.approve()
    return found


def name(floor: Floor) -> str:
    return floor.entry().client_order_id


def a_stop(floor: Floor, leg: str = "stop:1") -> NewOrder:
    entry = floor.entry()
    return NewOrder(
        entry.approval_id, SOURCE, entry.source_hash, ACCOUNT, leg, entry.symbol, "sell", "stop_market", D(2), D(5),
        trigger_price=D(98), reduce_only=True,
    )  # fmt: skip


# --- agreement ------------------------------------------------------------------------------------------


@pytest.mark.requirement("R4")
def test_a_quiet_account_is_in_order_and_its_deposit_is_booked(floor: Floor) -> None:
    found = reconcile_orders(floor.desk)
    assert found.in_order
    assert floor.books.cash(ACCOUNT) == 10_000
    assert floor.desk.gate.open
    assert floor.books.books(ACCOUNT).reconciled_at is not None


@pytest.mark.requirement("R4")
def test_fills_that_came_meanwhile_are_booked_once_however_often_and_in_what_order_they_are_told(floor: Floor) -> None:
    floor.place()
    floor.venue.twice = True
    floor.venue.fill(name(floor), D("0.5"))
    floor.venue.fill(name(floor), D("0.7"), told=False)
    assert not reconcile_orders(floor.desk).in_order, "the venue holds more than it told"
    floor.pass_time(60)
    floor.venue.fill(name(floor), D("0.8"))
    floor.venue.tell()
    assert reconcile_orders(floor.desk).in_order
    assert floor.entry().filled == 2
    assert floor.entry().state is OrderState.FILLED
    assert [position.quantity for position in floor.books.open_positions(ACCOUNT)] == [D(2)]
    assert len(floor.books.fills(0, ACCOUNT)) == 3


def test_a_fill_told_minutes_late_is_found_by_the_overlap(floor: Floor) -> None:
    floor.place()
    early = floor.venue.now
    floor.pass_time(200)
    floor.venue.flows.append(CashFlow(ACCOUNT, "f1", "funding", "BTC/USDT", D(-1), floor.venue.now))
    reconcile_orders(floor.desk)
    floor.venue.fill(name(floor), D(2), at=early)
    assert reconcile_orders(floor.desk).in_order
    assert floor.entry().filled == 2


@pytest.mark.requirement("R4")
def test_a_fill_told_later_than_any_overlap_is_found_because_the_holdings_differ(floor: Floor) -> None:
    """Something else was booked long after it: the watch no longer asks for trades that old."""
    floor.place()
    early = floor.venue.now
    floor.pass_time(7200)
    floor.venue.flows.append(CashFlow(ACCOUNT, "f1", "funding", "BTC/USDT", D(-1), floor.venue.now))
    assert reconcile_orders(floor.desk).in_order
    floor.venue.fill(name(floor), D(2), at=early)
    assert reconcile_orders(floor.desk).in_order
    assert floor.entry().filled == 2


def test_orders_that_ended_at_the_venue_end_here(floor: Floor) -> None:
    floor.place()
    floor.venue.cancel(floor.entry())
    found = reconcile_orders(floor.desk)
    assert [order.state for order in found.settled] == [OrderState.CANCELED]
    assert found.in_order
    assert floor.books.books(ACCOUNT).dirty_version == 0, "that is no reason for doubt"


def test_many_open_orders_are_compared_without_a_question_for_each() -> None:
    floor = Floor()
    for number in range(50):
        floor.approve(f"decision:{number}", quantity=D("0.1"))
        floor.place(floor.claim(f"decision:{number}"))
    floor.venue.asked.clear()
    assert reconcile_orders(floor.desk).in_order
    assert floor.venue.asked.count("order") == 0
    assert len(floor.venue.asked) < 10


# --- what turns up --------------------------------------------------------------------------------------


@pytest.mark.requirement("R2")
@pytest.mark.requirement("R4")
def test_a_quarantined_order_that_turns_up_is_adopted_with_its_fills_and_an_alert(floor: Floor) -> None:
    floor.venue.faults["place"] = [LOST_AFTER]
    run = floor.claim()
    floor.venue.hidden = _AlwaysHidden()
    assert floor.place(run).body["state"] == "quarantined"
    floor.venue.hidden = {}
    floor.venue.fill(name(floor), D(1))
    found = reconcile_orders(floor.desk)
    assert found.in_order
    assert floor.entry().state is OrderState.WORKING
    assert floor.entry().filled == 1
    assert floor.alert_kinds() == ["order_quarantined", "order_turned_up"]


class _AlwaysHidden(dict):  # type: ignore[type-arg]
    def get(self, key: object, default: object = None) -> int:
        return 1

    def __getitem__(self, key: object) -> int:
        return 1


def test_a_quarantined_order_that_turns_up_unfilled_is_told_of(floor: Floor) -> None:
    floor.venue.faults["place"] = [LOST_AFTER]
    floor.venue.hidden = _AlwaysHidden()
    floor.place()
    floor.venue.hidden = {}
    reconcile_orders(floor.desk)
    assert floor.entry().state is OrderState.WORKING
    assert "order_turned_up" in floor.alert_kinds()


@pytest.mark.requirement("R6")
@pytest.mark.parametrize(("filled", "held"), [(D(0), []), (D(1), [D(1)])])
def test_an_entry_that_a_person_released_is_cancelled_when_it_turns_up_and_keeps_what_it_filled(
    floor: Floor, filled: Decimal, held: list[Decimal]
) -> None:
    """Nothing was kept free for it any more: another may have been let through in its place."""
    released_entry(floor)
    if filled:
        floor.venue.fill(name(floor), filled, told=False)
    found = reconcile_orders(floor.desk)
    floor.venue.tell()
    found = reconcile_orders(floor.desk)
    assert floor.entry().state is OrderState.CANCELED
    assert floor.venue.book[name(floor)].state == "canceled"
    assert [position.quantity for position in floor.books.open_positions(ACCOUNT)] == held
    assert found.foreign == ()
    assert found.in_order
    assert "order_turned_up" in floor.alert_kinds()


def released_entry(floor: Floor) -> None:
    """The entry is at the venue; nobody saw it there, and a person released it."""
    floor.venue.faults["place"] = [LOST_AFTER]
    floor.venue.hidden = _AlwaysHidden()
    floor.place()
    floor.orders.release(floor.entry().id, "ada", "it is not there")
    floor.venue.hidden = {}


def test_a_released_entry_whose_cancellation_is_not_answered_is_cancelled_at_the_next_comparison(floor: Floor) -> None:
    released_entry(floor)
    floor.venue.faults["cancel"] = [LOST_BEFORE]
    with pytest.raises(AmbiguousReply):
        reconcile_orders(floor.desk)
    assert reconcile_orders(floor.desk).in_order
    assert floor.entry().state is OrderState.CANCELED


def test_an_intent_that_nobody_took_up_is_settled_once_it_cannot_be_on_its_way(floor: Floor) -> None:
    approval = floor.risk.of_source(SOURCE)
    assert approval is not None
    new = NewOrder(
        approval.id, SOURCE, approval.source_hash, ACCOUNT, "entry", approval.symbol, "buy", "limit", D(2), D(5), D(99)
    )  # fmt: skip
    floor.orders.intend(new)
    assert reconcile_orders(floor.desk).in_order
    assert floor.entry().state is OrderState.INTENT, "somebody may be sending it right now"
    floor.pass_time(20)
    found = reconcile_orders(floor.desk)
    assert floor.entry().state is OrderState.QUARANTINED
    assert found.in_order, "what is left of the doubt is the symbol's"


def test_a_working_order_that_the_venue_no_longer_knows_is_quarantined(floor: Floor) -> None:
    floor.place()
    del floor.venue.book[name(floor)]
    reconcile_orders(floor.desk)
    assert floor.entry().state is OrderState.QUARANTINED
    assert floor.slept[-1] == floor.rules.visible_within_s, "it was asked twice"


# --- what differs ---------------------------------------------------------------------------------------


@pytest.mark.requirement("R4")
def test_an_order_that_nobody_here_sent_is_told_of_listed_and_left_alone(floor: Floor) -> None:
    for label in ("somebody-else", None):
        floor.venue.foreign(label)
        found = reconcile_orders(floor.desk)
        assert [each.venue_order_id for each in found.foreign] == ["x1"]
        assert found.in_order, "it has changed nothing yet"
        assert "cancel" not in floor.venue.asked
        floor.venue.book.clear()
    assert floor.alert_kinds().count("foreign_order") == 1, "the same alert within a minute is one"


@pytest.mark.requirement("R4")
def test_cash_that_differs_holds_entries_and_says_why_until_it_agrees_again(floor: Floor) -> None:
    reconcile_orders(floor.desk)
    floor.venue.flows[0] = replace(floor.venue.flows[0], amount=D(9_999))
    found = reconcile_orders(floor.desk)
    assert not found.in_order
    assert floor.books.books(ACCOUNT).why == "cash of the account: 10000 here, 9999 at the venue"
    assert "books_differ" in floor.alert_kinds()
    run = floor.claim()
    with pytest.raises(EntriesHeld, match="cash of the account") as held:
        floor.place(run)
    floor.venue.flows[0] = replace(floor.venue.flows[0], amount=D(10_000))
    assert floor.place(floor.put_back(run, held.value)).body["placed"] is True
    assert floor.books.books(ACCOUNT).why is None


@pytest.mark.requirement("R4")
def test_a_position_that_differs_holds_entries_of_every_process(floor: Floor) -> None:
    other = floor.process()
    reconcile_orders(other)
    floor.place()
    floor.venue.fill(name(floor), D(2), told=False)
    assert not reconcile_orders(floor.desk).in_order
    floor.approve("decision:18")
    with pytest.raises(EntriesHeld, match="in doubt"):
        floor.place(floor.claim("decision:18"), other)
    assert len(floor.venue.accepted) == 1


def test_the_same_difference_seen_again_is_no_new_doubt(floor: Floor) -> None:
    reconcile_orders(floor.desk)
    floor.venue.flows[0] = replace(floor.venue.flows[0], amount=D(1))
    reconcile_orders(floor.desk)
    version = floor.books.books(ACCOUNT).dirty_version
    reconcile_orders(floor.desk)
    assert floor.books.books(ACCOUNT).dirty_version == version


def test_what_fills_while_we_look_is_no_difference(floor: Floor) -> None:
    floor.place()

    class FillsMeanwhile:
        def __getattr__(self, wanted: str):  # type: ignore[no-untyped-def]
            return getattr(floor.venue, wanted)

        def positions(self):  # type: ignore[no-untyped-def]
            if not floor.venue.trades:
                floor.venue.fill(name(floor), D(2))
            return floor.venue.positions()

    assert reconcile_orders(floor.process(broker=FillsMeanwhile())).in_order
    assert floor.alert_kinds() == []


def test_an_order_that_ended_here_and_still_works_there_is_a_difference(floor: Floor) -> None:
    floor.place()
    floor.orders.settle(floor.entry().id, replace(floor.venue.book[name(floor)], state="canceled"))
    found = reconcile_orders(floor.desk)
    assert not found.in_order
    assert "canceled here, working at the venue" in found.why


def test_a_list_of_open_orders_that_lags_behind_is_no_difference(floor: Floor) -> None:
    floor.place()
    entry = floor.entry()
    still_listed = list(floor.venue.open_orders())
    floor.orders.settle(entry.id, floor.venue.cancel(entry) or pytest.fail("it was there"))

    class Lags:
        def __getattr__(self, wanted: str):  # type: ignore[no-untyped-def]
            return getattr(floor.venue, wanted)

        def open_orders(self):  # type: ignore[no-untyped-def]
            return still_listed

    assert reconcile_orders(floor.process(broker=Lags())).in_order


def test_a_doubt_that_comes_up_while_we_look_is_not_ended_by_it(floor: Floor) -> None:
    doubts = iter(["a fill nobody can place"] * 2)

    class DoubtedMeanwhile:
        def __getattr__(self, wanted: str):  # type: ignore[no-untyped-def]
            return getattr(floor.books, wanted)

        def cash(self, account: str) -> Decimal:
            why = next(doubts, None)
            if why is not None:
                floor.books.doubt(account, why)
            return floor.books.cash(account)

    desk = floor.process(books=DoubtedMeanwhile())
    assert not reconcile_orders(desk).in_order, "it came up in both looks"
    assert floor.books.books(ACCOUNT).why == "a fill nobody can place"
    assert reconcile_orders(desk).in_order


# --- the gate -------------------------------------------------------------------------------------------


def test_a_venue_that_cannot_be_asked_closes_the_gate_and_changes_nothing(floor: Floor) -> None:
    reconcile_orders(floor.desk)
    for fault in (AWAY, LOST_BEFORE):
        floor.venue.faults["positions"] = [fault]
        with pytest.raises((VenueUnavailable, AmbiguousReply)):
            reconcile_orders(floor.desk)
        assert not floor.desk.gate.open
    assert floor.books.books(ACCOUNT).why is None


def test_what_was_refused_a_moment_ago_is_not_compared_again_for_everybody(floor: Floor) -> None:
    floor.venue.faults["positions"] = [AWAY] * 9
    for _ in range(5):
        with pytest.raises(EntriesHeld, match="cannot connect"):
            ensure_reconciled(floor.desk)
    assert floor.venue.asked.count("positions") == 1
    floor.pass_time(2)
    with pytest.raises(EntriesHeld):
        ensure_reconciled(floor.desk)
    assert floor.venue.asked.count("positions") == 2


def test_threads_of_one_process_compare_once(floor: Floor) -> None:
    threads = [threading.Thread(target=ensure_reconciled, args=(floor.desk,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert floor.venue.asked.count("positions") == 1


# --- legs of a position ---------------------------------------------------------------------------------


@pytest.mark.requirement("E1")
def test_exits_are_sent_while_trading_is_stopped_and_the_books_are_in_doubt(floor: Floor) -> None:
    floor.venue.fills_at_once = D(1)
    floor.place()
    floor.venue.fills_at_once = D(0)
    floor.switch.stop("ada", "drill")
    floor.books.doubt(ACCOUNT, "something")
    assert send_order(a_stop(floor), floor.desk).order.state is OrderState.WORKING


@pytest.mark.requirement("R2")
def test_a_leg_that_is_written_down_is_only_asked_about(floor: Floor) -> None:
    floor.venue.fills_at_once = D(1)
    floor.place()
    floor.venue.fills_at_once = D(0)
    floor.venue.faults["place"] = [LOST_AFTER]
    floor.venue.faults["order"] = [AWAY]
    first = send_order(a_stop(floor), floor.desk)
    assert first.order.state is OrderState.UNKNOWN
    second = send_order(a_stop(floor), floor.desk)
    assert (second.first, second.order.state) == (False, OrderState.WORKING)
    assert adopt_order(second.order, floor.desk).order.state is OrderState.WORKING
    assert [order.leg for order in floor.venue.accepted] == ["entry", "stop:1"]
