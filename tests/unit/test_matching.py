"""The matching engine: who trades with which level, at what price, and what an order may not do."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest
from venue_examples import (
    INSTRUMENT,
    RULES,
    START,
    SYMBOL,
    accepted,
    account_with,
    book_at,
    facing,
    held,
    order_of,
    refused,
    shows,
    traded,
)

from aaos.domain.venue.matching import cancel, crossings

D = Decimal


def test_a_market_order_walks_the_book_and_pays_the_slippage() -> None:
    account = account_with()
    order = accepted(account, book_at(100, size=2), order_of(quantity=5))
    assert (order.state, order.filled) == ("filled", 5)
    assert traded(account) == [
        ("buy", 2, D("100.1"), "taker"),
        ("buy", 2, D("100.2"), "taker"),
        ("buy", 1, D("100.3"), "taker"),
    ]
    assert account.fees == (2 * D("100.1") + 2 * D("100.2") + D("100.3")) * D("0.0006")


def test_what_the_book_does_not_hold_of_a_market_order_expires() -> None:
    order = accepted(account_with(), book_at(100, size=1, levels=3), order_of(quantity=5))
    assert (order.state, order.filled, order.reason) == ("expired", 3, "NO_LIQUIDITY")


def test_a_levels_liquidity_is_used_once_for_as_long_as_the_book_is_the_newest() -> None:
    account, book = account_with(), book_at(100, size=2)
    accepted(account, book, order_of(quantity=2, name="a"))
    accepted(account, book, order_of(quantity=2, name="b"))
    assert [price for _, _, price, _ in traded(account)] == [D("100.1"), D("100.2")]
    accepted(account, book_at(100, size=2, at=START + timedelta(seconds=1)), order_of(quantity=2, name="c"))
    assert traded(account)[-1][2] == D("100.1")


def test_a_limit_order_that_crosses_takes_up_to_its_price_and_the_rest_waits() -> None:
    account = account_with()
    order = accepted(account, book_at(100, size=1), order_of(quantity=5, price=100.2))
    assert (order.state, order.filled) == ("working", 2)
    assert {liquidity for *_, liquidity in traded(account)} == {"taker"}
    shows(account, [100])  # 100.1 and 100.2 are offered again
    assert traded(account)[-1] == ("buy", 3, D("100.2"), "maker")
    assert account.touched[order.number].state == "filled"


def test_a_resting_order_waits_until_the_other_side_reaches_its_price_and_gets_its_own_price() -> None:
    account = account_with()
    order = accepted(account, book_at(100), order_of(quantity=1, price=99))
    shows(account, [99.5, 99.0])
    assert traded(account) == []
    shows(account, [98.5])
    assert traded(account) == [("buy", 1, D("99"), "maker")]
    assert account.trades[0].fill.fee == D("99") * D("0.0002")
    assert account.touched[order.number].state == "filled"


def test_a_resting_order_is_filled_in_parts_as_large_as_the_books_allow() -> None:
    account = account_with()
    order = accepted(account, book_at(100), order_of(quantity=5, price=99))
    shows(account, [98.9], size=2)
    assert (account.touched[order.number].state, account.touched[order.number].filled) == ("working", 2)
    shows(account, [98.9, 98.9], size=2)
    assert [quantity for _, quantity, _, _ in traded(account)] == [2, 2, 1]


def test_the_better_price_is_served_first_and_of_equal_ones_the_older() -> None:
    account = account_with()
    for name, price in (("a", 99), ("b", 99.5), ("c", 99)):
        accepted(account, book_at(100), order_of(quantity=3, price=price, name=name))
    shows(account, [98.9], size=5)  # 5 at 99.0: three for b, two for a
    assert [(t.fill.client_order_id, t.fill.quantity) for t in account.trades] == [("b", 3), ("a", 2)]


@pytest.mark.parametrize(
    ("side", "kind", "mids", "fires"),
    [
        ("sell", "stop_market", [99.2, 99.1], False),
        ("sell", "stop_market", [99.0], True),
        ("buy", "stop_market", [100.9], False),
        ("buy", "stop_market", [101.2], True),
        ("sell", "take_profit_market", [100.9], False),
        ("sell", "take_profit_market", [101.0], True),
        ("buy", "take_profit_market", [99.1], False),
        ("buy", "take_profit_market", [98.0], True),
    ],
)
def test_stops_and_take_profits_fire_when_the_mid_reaches_their_trigger(
    side: str, kind: str, mids: list[float], fires: bool
) -> None:
    account = account_with()
    falls = (side == "sell") == (kind == "stop_market")
    order = order_of(side, 1, trigger_price=99 if falls else 101, type=kind)
    entry = accepted(account, book_at(100), order)
    assert entry.state == "working"
    shows(account, mids)
    assert account.touched[entry.number].triggered is fires
    assert (account.touched[entry.number].state == "filled") is fires


def test_a_stop_that_the_market_has_passed_already_fires_at_once() -> None:
    account = account_with()
    accepted(account, book_at(100), order_of(quantity=1))
    order = order_of("sell", 1, "stop", trigger_price=100.5, reduce_only=True)
    assert accepted(account, book_at(100), order).state == "filled"


def test_a_reduce_only_order_closes_what_is_there_and_never_turns_the_position() -> None:
    account = account_with()
    accepted(account, book_at(100), order_of(quantity=1))
    order = accepted(account, book_at(100), order_of("sell", 3, "exit", reduce_only=True))
    assert (order.state, order.filled, order.reason) == ("canceled", 1, "REDUCE_ONLY")
    assert held(account) == 0


def test_orders_that_only_reduce_are_cancelled_when_nothing_is_left_to_reduce() -> None:
    account = account_with()
    accepted(account, book_at(100), order_of(quantity=1))
    stop = accepted(account, book_at(100), order_of("sell", 1, "stop", trigger_price=95, reduce_only=True))
    target = accepted(account, book_at(100), order_of("sell", 1, "target", price=105, reduce_only=True))
    shows(account, [105.2])
    assert account.touched[target.number].state == "filled"
    assert (account.touched[stop.number].state, account.touched[stop.number].reason) == ("canceled", "REDUCE_ONLY")


def test_an_order_that_is_larger_than_the_position_turns_it_over() -> None:
    account = account_with()
    accepted(account, book_at(100), order_of(quantity=1))
    accepted(account, book_at(110), order_of("sell", 3, "b"))
    assert held(account) == -2
    assert account.realised == D("109.9") - D("100.1")
    assert account.holdings[SYMBOL].cost == 2 * D("109.9")


@pytest.mark.parametrize(
    ("code", "order"),
    [
        ("INVALID_QUANTITY", order_of(quantity="0.015")),
        ("INVALID_QUANTITY", order_of(quantity=0)),
        ("NOTIONAL_TOO_SMALL", order_of(quantity="0.04")),
        ("INVALID_PRICE", order_of(quantity=1, price="99.95")),
        ("INVALID_PRICE", order_of(quantity=1, type="limit")),
        ("INVALID_PRICE", order_of(quantity=1, price=99, type="market")),
        ("PRICE_OUT_OF_BAND", order_of(quantity=1, price=105.1)),
        ("PRICE_OUT_OF_BAND", order_of("sell", 1, price=94.9)),
        ("INVALID_TRIGGER", order_of(quantity=1, type="stop_market")),
        ("INVALID_TRIGGER", order_of(quantity=1, trigger_price="101.05")),
        ("INVALID_LEVERAGE", order_of(quantity=1, leverage="0.5")),
        ("INVALID_LEVERAGE", order_of(quantity=1, leverage=101)),
        ("REDUCE_ONLY", order_of(quantity=1, reduce_only=True)),
        ("INSUFFICIENT_MARGIN", order_of(quantity=600)),
    ],
)
def test_what_breaks_a_rule_is_refused_with_its_code_and_changes_nothing(code: str, order: object) -> None:
    account = account_with()
    assert refused(account, book_at(100), order) == code  # type: ignore[arg-type]
    assert not account.orders
    assert not account.trades


def test_too_small_is_measured_in_quantity_too() -> None:
    grid = replace(RULES.instruments[SYMBOL], min_quantity=D("0.5"))
    rules = replace(RULES, instruments={SYMBOL: grid})
    assert refused(account_with(), book_at(100), order_of(quantity="0.4"), rules) == "QUANTITY_TOO_SMALL"


def test_a_remainder_of_any_size_can_be_closed() -> None:
    account = account_with()
    accepted(account, book_at(100), order_of(quantity="0.06"))
    accepted(account, book_at(100), order_of("sell", "0.05", "b", reduce_only=True))
    assert accepted(account, book_at(100), order_of("sell", "0.01", "c", reduce_only=True)).state == "filled"


def test_margin_that_positions_and_open_entries_have_set_aside_is_not_free() -> None:
    account = account_with(1_000)
    accepted(account, book_at(100), order_of(quantity=20, price=99, name="resting"))  # 396 of margin
    accepted(account, book_at(100), order_of(quantity=20, name="taken"))
    assert refused(account, book_at(100), order_of(quantity=20, name="more")) == "INSUFFICIENT_MARGIN"
    cancel(account, account.open_of(SYMBOL)[0].number, START)
    assert accepted(account, book_at(100), order_of(quantity=10, name="more")).state == "filled"


def test_a_client_id_is_taken_among_open_orders_only_so_that_sending_again_buys_twice() -> None:
    account = account_with()
    accepted(account, book_at(100), order_of(quantity=1, price=99, name="x"))
    assert refused(account, book_at(100), order_of(quantity=1, price=99, name="x")) == "DUPLICATE_CLIENT_ID"
    shows(account, [98])
    accepted(account, book_at(100, at=START + timedelta(hours=1)), order_of(quantity=1, name="x"))
    assert held(account) == 2


def test_no_more_orders_are_open_than_the_venue_allows() -> None:
    account, rules = account_with(), replace(RULES, max_open_orders=1)
    accepted(account, book_at(100), order_of(price=99), rules)
    assert refused(account, book_at(100), order_of(price=99, name="b"), rules) == "TOO_MANY_ORDERS"


@pytest.mark.parametrize("how", ["empty", "one side", "crossed"])
def test_a_book_that_cannot_be_traded_against_matches_nothing_and_loses_nothing(how: str) -> None:
    account, good = account_with(), book_at(100)
    accepted(account, good, order_of(price=99.0, name="rests"))
    later = START + timedelta(minutes=1)
    bad = {
        "empty": replace(good, bids=(), asks=(), as_of=later),
        "one side": replace(good, bids=(), as_of=later),
        "crossed": replace(good, bids=good.asks, asks=good.bids, as_of=later),
    }[how]
    facing(account, bad).look()
    assert accepted(account, bad, order_of(name="now")).state == "expired"
    assert accepted(account, bad, order_of("sell", 1, "stop", trigger_price=120)).state == "working"
    assert traded(account) == []
    assert len(account.open_of(SYMBOL)) == 2


def test_where_between_two_prices_a_trigger_or_the_liquidation_lies_is_found() -> None:
    account = account_with()
    accepted(account, book_at(100), order_of(quantity=1))
    accepted(account, book_at(100), order_of("sell", 1, "stop", trigger_price=95, reduce_only=True))
    assert crossings(account, INSTRUMENT, D(100), D(90)) == [D("0.5")]
    [stop, liquidation] = crossings(account, INSTRUMENT, D(100), D(60))
    assert stop == D("0.125")
    assert D("0.48") < liquidation < D("0.5")  # 100.1 × (1 − 1/5) / (1 − 0.005) = 80.48
    assert crossings(account, INSTRUMENT, D(100), D(100)) == []
    assert crossings(account, INSTRUMENT, D(100), D(95)) == []  # at the end itself
