"""Placing orders while things go wrong: the stop, a venue that is away, answers that are lost, attempts that repeat."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from broker_examples import ACCOUNT, AWAY, LOST_AFTER, LOST_BEFORE, SOURCE, Floor, a_book

from aaos.domain.execution.rules import ExecutionRules
from aaos.domain.orders import OrderState, client_order_id
from aaos.domain.runs import Completed
from aaos.errors import EntriesHeld, FenceLost

D = Decimal


@pytest.fixture
def floor() -> Floor:
    found = Floor()
    found.approve()
    return found


def refused(done: Completed) -> str:
    assert done.body["placed"] is False, done.body
    assert done.veto is None or (done.veto.stage, done.veto.code) == ("execution", done.body["denial"])
    return str(done.body["denial"])


# --- the stop -------------------------------------------------------------------------------------------


@pytest.mark.requirement("E1")
def test_while_trading_is_stopped_nothing_is_written_down_or_sent(floor: Floor) -> None:
    floor.switch.stop("ada", "drill")
    assert refused(floor.place()) == "TRADING_STOPPED"
    assert floor.venue.accepted == []


class _StopsBefore:
    """Orders during whose n-th look at the stop trading is stopped (and resumed, so that only the epoch tells)."""

    def __init__(self, floor: Floor, looks: int, resumed: bool = False) -> None:
        self._floor, self._looks, self._resumed = floor, looks, resumed

    def __getattr__(self, name: str):  # type: ignore[no-untyped-def]
        return getattr(self._floor.orders, name)

    def may_send(self, order_id: int) -> bool:
        self._looks -= 1
        if self._looks == 0:
            self._floor.switch.stop("ada", "drill")
            if self._resumed:
                self._floor.switch.resume("ada", "drill over")
        return self._floor.orders.may_send(order_id)


@pytest.mark.requirement("E1")
@pytest.mark.parametrize("resumed", [False, True])
def test_a_stop_between_writing_down_and_sending_is_seen_even_when_it_is_over_again(
    floor: Floor, resumed: bool
) -> None:
    desk = floor.process(orders=_StopsBefore(floor, 1, resumed))
    done = floor.place(desk=desk)
    assert refused(done) == "TRADING_STOPPED"
    assert floor.venue.accepted == []
    assert floor.entry().state is OrderState.WITHDRAWN
    assert done.body["state"] == "withdrawn"


@pytest.mark.requirement("E1")
def test_before_each_further_try_the_stop_is_looked_at_again(floor: Floor) -> None:
    floor.venue.faults["place"] = [AWAY, None]
    done = floor.place(desk=floor.process(orders=_StopsBefore(floor, 2)))
    assert refused(done) == "TRADING_STOPPED"
    assert floor.venue.accepted == []


class _SlowLooks:
    """Orders whose first looks at the stop take a while; the stop comes while the first one is on its way back."""

    def __init__(self, floor: Floor, slow: int, stop: bool = True) -> None:
        self._floor, self._slow, self._stop = floor, slow, stop

    def __getattr__(self, name: str):  # type: ignore[no-untyped-def]
        return getattr(self._floor.orders, name)

    def may_send(self, order_id: int) -> bool:
        answer = self._floor.orders.may_send(order_id)
        if self._slow:
            self._slow -= 1
            if self._stop:
                self._floor.switch.stop("ada", "drill")
            self._floor.pass_time(0.3)
        return answer


@pytest.mark.requirement("E1")
def test_an_answer_that_was_long_on_its_way_is_not_believed(floor: Floor) -> None:
    done = floor.place(desk=floor.process(orders=_SlowLooks(floor, 1)))
    assert refused(done) == "TRADING_STOPPED"
    assert floor.venue.accepted == []


@pytest.mark.requirement("E1")
def test_a_stop_that_can_only_be_read_slowly_sends_nothing(floor: Floor) -> None:
    done = floor.place(desk=floor.process(orders=_SlowLooks(floor, 99, stop=False)))
    assert refused(done) == "VENUE_UNAVAILABLE"
    assert "could not be read" in done.body["reason"]
    assert floor.venue.accepted == []


# --- the venue away -------------------------------------------------------------------------------------


def test_while_the_venue_is_away_the_same_attempt_sends_again(floor: Floor) -> None:
    floor.venue.faults["place"] = [AWAY, AWAY]
    assert floor.place().body["placed"] is True
    assert len(floor.venue.accepted) == 1
    assert floor.slept == [0.25, 0.5]
    assert not floor.desk.gate.open, "who reconnects compares the books first"


def test_a_venue_that_stays_away_makes_a_veto_and_the_approval_stays_used(floor: Floor) -> None:
    floor.venue.faults["place"] = [AWAY] * 9
    run = floor.claim()
    assert refused(floor.place(run)) == "VENUE_UNAVAILABLE"
    assert floor.entry().state is OrderState.WITHDRAWN
    assert floor.venue.asked.count("place") == 3
    floor.venue.faults.clear()
    assert refused(floor.place(floor.again(run))) == "VENUE_UNAVAILABLE", "asked again, it says the same"
    assert floor.risk.of_source(SOURCE).used_at is not None  # type: ignore[union-attr]
    assert floor.venue.accepted == []


# --- nobody knows ---------------------------------------------------------------------------------------


@pytest.mark.requirement("R2")
def test_an_answer_lost_after_accepting_is_found_by_name_and_adopted(floor: Floor) -> None:
    floor.venue.faults["place"] = [LOST_AFTER]
    floor.venue.fills_at_once = D(1)
    done = floor.place()
    assert (done.body["placed"], done.body["state"], done.body["filled"]) == (True, "filled", "2")
    assert len(floor.venue.accepted) == 1
    assert floor.protected == [ACCOUNT]


@pytest.mark.requirement("R2")
def test_an_order_that_shows_up_within_the_window_is_adopted(floor: Floor) -> None:
    floor.venue.faults["place"] = [LOST_AFTER]
    floor.venue.hidden[client_order_id(floor.orders.namespace, ACCOUNT, SOURCE, "entry")] = 1
    done = floor.place()
    assert (done.body["placed"], done.body["state"]) == (True, "working")
    assert floor.slept == [floor.rules.visible_within_s]
    assert len(floor.venue.accepted) == 1


@pytest.mark.requirement("R2")
def test_an_order_the_venue_never_knew_is_quarantined_with_an_alert_and_not_sent_again(floor: Floor) -> None:
    floor.venue.faults["place"] = [LOST_BEFORE]
    done = floor.place()
    assert (done.body["placed"], done.body["state"]) == (None, "quarantined")
    assert done.veto is None, "nobody refused it"
    assert floor.venue.accepted == []
    assert floor.venue.asked.count("place") == 1
    assert "order_quarantined" in floor.alert_kinds()


def test_no_entry_of_the_symbol_is_sent_until_a_person_releases_the_quarantine(floor: Floor) -> None:
    floor.venue.faults["place"] = [LOST_BEFORE]
    floor.place()
    floor.approve("decision:18")
    run = floor.claim("decision:18")
    with pytest.raises(EntriesHeld, match="quarantined") as held:
        floor.place(run)
    floor.orders.release(floor.entry().id, "ada", "looked at the venue: it is not there")
    assert floor.place(floor.put_back(run, held.value)).body["placed"] is True
    assert len(floor.venue.accepted) == 1


@pytest.mark.requirement("R2")
def test_while_the_venue_cannot_be_asked_the_run_waits_and_costs_no_attempt(floor: Floor) -> None:
    floor.venue.faults["place"] = [LOST_AFTER]
    floor.venue.faults["order"] = [AWAY]
    run = floor.claim()
    with pytest.raises(EntriesHeld, match="nobody knows yet") as held:
        floor.place(run)
    assert not held.value.costs_attempt
    assert (floor.entry().state, floor.entry().reason) == (OrderState.UNKNOWN, "HTTP 504 after it was accepted")
    assert "HTTP 504" in str(floor.books.books(ACCOUNT).why)
    done = floor.place(floor.put_back(run, held.value))
    assert (done.body["placed"], done.body["state"], done.body["adopted"]) == (True, "working", True)
    assert len(floor.venue.accepted) == 1


def test_a_window_too_long_to_wait_for_is_waited_out_in_the_database() -> None:
    floor = Floor(ExecutionRules(visible_within_s=20.0))
    floor.approve()
    floor.venue.faults["place"] = [LOST_BEFORE]
    run = floor.claim()
    waits = 0
    for _ in range(60):
        try:
            done = floor.place(run)
            break
        except EntriesHeld as held:
            waits += 1
            run = floor.put_back(run, held)
    assert waits > 1
    assert done.body["state"] == "quarantined"
    assert floor.slept == []
    assert floor.entry().age_s >= 20
    assert floor.venue.accepted == []


def test_while_any_order_is_unknown_other_entries_wait(floor: Floor) -> None:
    floor.venue.faults["place"] = [LOST_AFTER]
    floor.venue.faults["order"] = [AWAY]
    with pytest.raises(EntriesHeld):
        floor.place()
    floor.approve("decision:18")
    floor.venue.faults["open_orders"] = [AWAY]
    second = floor.claim("decision:18")
    with pytest.raises(EntriesHeld, match="not reconciled") as held:
        floor.place(second)
    assert len(floor.venue.accepted) == 1
    assert floor.place(floor.put_back(second, held.value)).body["placed"] is True
    assert [order.source for order in floor.venue.accepted] == [SOURCE, "decision:18"]


def test_entries_held_until_the_approval_ends_become_a_veto(floor: Floor) -> None:
    run = floor.claim()
    floor.venue.faults["open_orders"] = [AWAY] * 99
    waits = 0
    for _ in range(60):
        try:
            done = floor.place(run)
            break
        except EntriesHeld as held:
            waits += 1
            run = floor.put_back(run, held)
    assert refused(done) == "ENTRIES_HELD"
    assert waits > 20
    assert floor.venue.accepted == []


# --- attempts -------------------------------------------------------------------------------------------


@pytest.mark.requirement("R2")
def test_the_same_run_again_reports_the_same_order_and_sends_nothing(floor: Floor) -> None:
    run = floor.claim()
    first = floor.place(run).body
    second = floor.place(floor.again(run), floor.process()).body
    assert len(floor.venue.accepted) == 1
    same = ("placed", "order", "client_order_id", "state", "price", "quantity")
    assert [first[key] for key in same] == [second[key] for key in same]
    assert second["adopted"] is True


@pytest.mark.requirement("R2")
def test_an_order_that_was_sent_counts_whatever_has_changed_since() -> None:
    """The worker died after sending; by now the approval has ended, trading is stopped, and the book is empty."""
    floor = Floor()
    floor.approve(expires_after_s=10.0)
    run = floor.claim()
    floor.place(run)
    floor.switch.stop("ada", "drill")
    floor.market.standing = replace(a_book(), asks=())
    off = replace(floor.process(), rules=replace(floor.rules, enabled=False))
    done = floor.place(floor.again(run), off)
    assert (done.body["placed"], done.body["state"], done.veto) == (True, "working", None)
    assert len(floor.venue.accepted) == 1


@pytest.mark.requirement("R2")
def test_a_worker_that_was_taken_for_dead_sends_nothing_any_more(floor: Floor) -> None:
    """It froze between writing the order down and its last look; another took over, asked, and quarantined it."""
    run = floor.claim()
    taken_over: list[Completed] = []

    class FrozenBeforeItsLook(_StopsBefore):
        def may_send(self, order_id: int) -> bool:
            if not taken_over:
                taken_over.append(floor.place(floor.again(run), floor.process()))
            return floor.orders.may_send(order_id)

    late = floor.place(run, floor.process(orders=FrozenBeforeItsLook(floor, 0)))
    assert taken_over[0].body["state"] == "quarantined"
    assert late.body["state"] == "quarantined"
    assert floor.venue.accepted == []


@pytest.mark.requirement("R1")
def test_a_worker_that_was_frozen_for_longer_than_its_approval_holds_sends_nothing(floor: Floor) -> None:
    """Nobody took over meanwhile: the whole machine slept."""

    class AsleepBeforeItsLook(_StopsBefore):
        def may_send(self, order_id: int) -> bool:
            self._looks += 1
            if self._looks == 1:
                floor.pass_time(3600)
            return floor.orders.may_send(order_id)

    done = floor.place(desk=floor.process(orders=AsleepBeforeItsLook(floor, 0)))
    assert (done.body["placed"], done.body["denial"]) == (False, "APPROVAL_EXPIRED")
    assert floor.entry().state is OrderState.WITHDRAWN
    assert floor.venue.accepted == []


@pytest.mark.requirement("R2")
def test_a_worker_without_the_fence_writes_nothing_down(floor: Floor) -> None:
    run = floor.claim()
    floor.again(run)
    with pytest.raises(FenceLost):
        floor.place(run)
    assert floor.orders.of_source(SOURCE) == []
    assert floor.venue.accepted == []


def test_a_process_compares_the_books_before_its_first_entry_and_not_before_each(floor: Floor) -> None:
    floor.place()
    assert floor.venue.asked.index("open_orders") < floor.venue.asked.index("place")
    assert floor.books.cash(ACCOUNT) == 10_000
    floor.venue.asked.clear()
    floor.approve("decision:18")
    floor.place(floor.claim("decision:18"))
    assert floor.venue.asked == ["place"]


def test_the_market_time_of_a_refusal_is_noted_for_the_veto_ledger(floor: Floor) -> None:
    floor.market.standing = a_book(levels=3)
    veto = floor.place().veto
    assert veto is not None
    assert veto.market_ms == int(floor.world.now().timestamp() * 1000)
