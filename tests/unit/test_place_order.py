"""From approval to order: what is sent, what is refused, and what nobody knows. Sent once, whatever happens (R2)."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from broker_examples import (
    ACCOUNT,
    AWAY,
    REFUSED,
    SOURCE,
    Floor,
    a_book,
)

from aaos.domain.execution.rules import ExecutionRules
from aaos.domain.orders import OrderState, client_order_id
from aaos.domain.runs import Completed
from aaos.errors import ConfigError, DatabaseUnavailable, InputError
from aaos.services.reconcile_orders import reconcile_orders

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


# --- placed ---------------------------------------------------------------------------------------------


@pytest.mark.requirement("ENG-4")
@pytest.mark.requirement("R1")
def test_an_approved_trade_becomes_one_limit_order_at_the_ninth_level(floor: Floor) -> None:
    done = floor.place()
    (sent,) = floor.venue.accepted
    assert (sent.type, sent.side, sent.price, sent.quantity, sent.reduce_only) == ("limit", "buy", D("99.91"), 2, False)
    assert sent.leverage == 5
    assert done.veto is None
    assert {key: done.body[key] for key in ("source", "placed", "state", "price", "quantity", "slippage", "mid")} == {
        "source": SOURCE,
        "placed": True,
        "state": "working",
        "price": "99.91",
        "quantity": "2",
        "slippage": "0.0009",
        "mid": "100",
    }
    assert done.body["client_order_id"] == sent.client_order_id == floor.entry().client_order_id
    assert floor.risk.of_source(SOURCE).used_at is not None  # type: ignore[union-attr]
    assert [entry.action for entry in done.audit] == ["order.placed"]


@pytest.mark.requirement("R2")
def test_the_name_at_the_venue_comes_from_what_the_order_is_for() -> None:
    for attempts in (1, 2):
        floor = Floor()
        floor.approve()
        run = floor.claim()
        for _ in range(attempts - 1):
            run = floor.again(run)
        floor.place(run)
        assert floor.venue.names() == [client_order_id(floor.orders.namespace, ACCOUNT, SOURCE, "entry")]


def test_what_fills_at_once_is_booked_and_protected_at_once(floor: Floor) -> None:
    floor.venue.fills_at_once = D(1)
    done = floor.place()
    assert (done.body["state"], done.body["filled"]) == ("filled", "2")
    assert floor.protected == [ACCOUNT]
    (position,) = floor.books.open_positions(ACCOUNT)
    assert (position.quantity, position.source) == (D(2), SOURCE)


def test_a_part_that_fills_is_protected_too_and_what_rests_is_not(floor: Floor) -> None:
    floor.venue.fills_at_once = D("0.25")
    assert floor.place().body["filled"] == "0.5"
    assert floor.protected == [ACCOUNT]
    other = Floor()
    other.approve()
    other.place()
    assert other.protected == []


def test_a_stop_that_cannot_be_placed_now_is_left_to_the_watch_and_the_order_still_counts(floor: Floor) -> None:
    floor.venue.fills_at_once = D(1)

    def away(account: str) -> None:
        raise DatabaseUnavailable("gone")

    assert floor.place(protect=away).body["placed"] is True


def test_while_another_process_watches_the_account_the_stop_is_left_to_it(floor: Floor) -> None:
    floor.venue.fills_at_once = D(1)
    with floor.books.watching(ACCOUNT):
        assert floor.place().body["placed"] is True
    assert floor.protected == []


def test_fills_that_the_venue_does_not_tell_now_are_left_to_the_watch(floor: Floor) -> None:
    reconcile_orders(floor.desk)
    floor.venue.fills_at_once = D(1)
    floor.venue.faults["fills"] = [AWAY]
    done = floor.place()
    assert (done.body["placed"], done.body["state"], done.body["filled"]) == (True, "filled", "0")
    assert not floor.desk.gate.open


@pytest.mark.requirement("ENG-4")
def test_a_portfolio_sell_goes_the_same_way_and_only_reduces() -> None:
    floor = Floor()
    floor.approve("trade:4", "sell", reduce_only=True, stop_price=None, take_profit_price=None)
    floor.place(floor.claim("trade:4"))
    (sent,) = floor.venue.accepted
    assert (sent.leg, sent.side, sent.price, sent.reduce_only) == ("entry", "sell", D("100.09"), True)


# --- refused --------------------------------------------------------------------------------------------


@pytest.mark.requirement("R1")
def test_nothing_is_sent_without_an_approval() -> None:
    floor = Floor()
    done = floor.place()
    assert refused(done) == "NO_APPROVAL"
    assert done.veto is None, "there is no trade to compare with"
    assert floor.venue.accepted == []


def test_a_run_that_names_no_source_is_refused_in_words(floor: Floor) -> None:
    run = replace(floor.claim(), params={})
    with pytest.raises(InputError, match="started by risk, not by hand"):
        floor.place(run)


@pytest.mark.requirement("R1")
def test_nothing_is_sent_on_an_expired_approval(floor: Floor) -> None:
    run = floor.claim()
    floor.pass_time(60)
    assert refused(floor.place(run)) == "APPROVAL_EXPIRED"
    assert floor.venue.asked == []


@pytest.mark.requirement("R7")
@pytest.mark.parametrize(
    ("book", "code"),
    [
        (replace(a_book(), asks=()), "BOOK_EMPTY"),
        (replace(a_book(), bids=a_book().asks), "BOOK_CROSSED"),
        (a_book(age_s=91), "BOOK_STALE"),
        (a_book(levels=8), "INSUFFICIENT_DEPTH"),
    ],
)
def test_a_book_that_cannot_be_relied_on_makes_a_veto_and_uses_nothing_up(floor: Floor, book, code) -> None:  # type: ignore[no-untyped-def]
    floor.market.standing = book
    done = floor.place()
    assert refused(done) == code
    assert floor.venue.accepted == []
    assert floor.risk.of_source(SOURCE).used_at is None  # type: ignore[union-attr]
    assert done.veto is not None
    assert (done.veto.price, done.veto.quantity, done.veto.side) == (D(100), D(2), "buy")
    assert (done.veto.stop_price, done.veto.take_profit_price, done.veto.leverage) == (D(98), D(104), D(5))


def test_too_much_slippage_is_refused_with_its_figure(floor: Floor) -> None:
    strict = Floor(ExecutionRules(max_slippage=D("0.0008")))
    strict.approve()
    done = strict.place()
    assert refused(done) == "SLIPPAGE_EXCEEDED"
    assert done.body["slippage"] == "0.0009"


def test_an_approved_limit_far_from_the_market_is_refused() -> None:
    floor = Floor()
    floor.approve(limit_price=D(98))
    assert refused(floor.place()) == "ENTRY_PRICE_OFF"


@pytest.mark.parametrize(
    ("changes", "what"), [({"stop_price": D("100.5")}, "stop"), ({"take_profit_price": D("99.5")}, "take-profit")]
)
def test_an_entry_whose_exit_the_market_has_passed_already_is_refused(changes: dict[str, Decimal], what: str) -> None:
    """It would be closed at market the moment it fills: fees and spread for nothing."""
    floor = Floor()
    floor.approve(**changes)
    done = floor.place()
    assert refused(done) == "ENTRY_PRICE_OFF"
    assert f"passed its {what}" in done.body["reason"]
    assert floor.venue.accepted == []


def test_execution_switched_off_sends_nothing_and_says_so() -> None:
    floor = Floor(ExecutionRules(enabled=False))
    floor.approve()
    assert refused(floor.place()) == "EXECUTION_OFF"
    assert floor.venue.asked == []


def test_an_account_that_is_not_served_here_is_named(floor: Floor) -> None:
    other = Floor()
    other.approve(account="elsewhere")
    with pytest.raises(ConfigError, match="'elsewhere'; accounts here: paper"):
        other.place()


def test_the_venue_refusing_is_final_and_a_veto(floor: Floor) -> None:
    floor.venue.faults["place"] = [REFUSED]
    done = floor.place()
    assert refused(done) == "ORDER_REJECTED"
    assert "MARGIN" in done.body["reason"]
    assert floor.entry().state is OrderState.REJECTED
    assert floor.venue.asked.count("place") == 1
