"""Where an entry rests, and which books let none through."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from broker_examples import GRID, a_book
from hypothesis import given
from hypothesis import strategies as st

from aaos.domain.execution.entry import Entry, NoEntry, price_entry
from aaos.domain.execution.rules import ExecutionRules
from aaos.domain.order_book import Level, OrderBook, Side

D = Decimal
RULES = ExecutionRules()
FINE = replace(GRID, price_step=D("0.01"))


def priced(
    side: Side = "buy",
    limit: Decimal | None = None,
    book: OrderBook | None = None,
    quantity: str = "2",
    rules: ExecutionRules = RULES,
) -> Entry:
    found = price_entry(book or a_book(), FINE, side, D(quantity), limit, rules)
    assert isinstance(found, Entry), found
    return found


def refused(
    side: Side = "buy",
    limit: Decimal | None = None,
    book: OrderBook | None = None,
    quantity: str = "2",
    rules: ExecutionRules = RULES,
) -> NoEntry:
    found = price_entry(book or a_book(), FINE, side, D(quantity), limit, rules)
    assert isinstance(found, NoEntry), found
    return found


@pytest.mark.requirement("ENG-4")
@pytest.mark.parametrize(("side", "price"), [("buy", "99.91"), ("sell", "100.09")])
def test_a_long_rests_at_the_ninth_bid_and_a_short_at_the_ninth_ask(side: Side, price: str) -> None:
    entry = priced(side)
    assert (entry.price, entry.mid, entry.slippage, entry.bounded) == (D(price), D(100), D("0.0009"), False)


@pytest.mark.requirement("ENG-4")
def test_fewer_than_nine_levels_on_the_own_side_are_not_enough_whatever_the_other_side_has() -> None:
    thin = replace(a_book(), bids=a_book().bids[:8])
    assert refused(book=thin).code == "INSUFFICIENT_DEPTH"
    assert priced("sell", book=thin).price == D("100.09")
    assert priced(book=replace(thin, bids=a_book().bids[:9])).price == D("99.91")


@pytest.mark.requirement("ENG-4")
def test_a_ninth_level_exactly_at_the_guard_is_let_through_and_a_tick_further_off_is_not() -> None:
    at_guard = [*a_book().bids[:8], Level(D("99.5"), D(1))]
    beyond = [*a_book().bids[:8], Level(D("99.49"), D(1))]
    assert priced(book=replace(a_book(), bids=tuple(at_guard))).slippage == D("0.005")
    gone = refused(book=replace(a_book(), bids=tuple(beyond)))
    assert (gone.code, gone.slippage) == ("SLIPPAGE_EXCEEDED", D("0.0051"))
    assert "99.49" in gone.reason
    assert "0.5000%" in gone.reason


@pytest.mark.requirement("R7")
@pytest.mark.parametrize(
    ("book", "code"),
    [
        (replace(a_book(), asks=()), "BOOK_EMPTY"),
        (replace(a_book(), bids=()), "BOOK_EMPTY"),
        (replace(a_book(), bids=(Level(D("100.01"), D(1)), *a_book().bids)), "BOOK_CROSSED"),
        (a_book(age_s=90.1), "BOOK_STALE"),
        (a_book(age_s=-1), "BOOK_STALE"),
    ],
)
def test_no_entry_rests_on_a_book_that_is_empty_crossed_or_stale(book: OrderBook, code: str) -> None:
    for side in ("buy", "sell"):
        told = refused(side, book=book)
        assert (told.code, told.mid) == (code, None)
        assert told.reason


def test_an_approved_limit_bounds_the_price_and_never_improves_it_away() -> None:
    assert priced("buy", limit=D("99.8")).price == D("99.8"), "the level is dearer than approved"
    assert priced("buy", limit=D("99.8")).bounded
    assert priced("buy", limit=D(105)).price == D("99.91"), "the level is better than approved"
    assert priced("sell", limit=D("100.2")).price == D("100.2")
    assert priced("sell", limit=D(95)).price == D("100.09")


def test_an_approved_limit_far_from_the_market_contradicts_it() -> None:
    told = refused("buy", limit=D(97))
    assert (told.code, told.slippage) == ("ENTRY_PRICE_OFF", D("0.03"))
    assert refused("sell", limit=D(103)).code == "ENTRY_PRICE_OFF"


def test_the_grid_comes_last_and_makes_nothing_dearer_or_larger() -> None:
    coarse = replace(GRID, price_step=D("0.5"), quantity_step=D("0.1"))
    buy = price_entry(a_book(), coarse, "buy", D("1.999"), None, RULES)
    sell = price_entry(a_book(), coarse, "sell", D("1.999"), None, RULES)
    assert isinstance(buy, Entry)
    assert isinstance(sell, Entry)
    assert (buy.price, sell.price, buy.quantity) == (D("99.5"), D("100.5"), D("1.9"))
    coarser = replace(coarse, price_step=D(1))
    assert isinstance(price_entry(a_book(), coarser, "buy", D(2), None, RULES), NoEntry), "the guard is on what is sent"


@pytest.mark.parametrize("quantity", ["0", "0.0009", "0.04"])
def test_less_than_the_venue_takes_is_too_small(quantity: str) -> None:
    told = refused(quantity=quantity)
    assert told.code == "TOO_SMALL"
    assert "0.001" in told.reason


prices = st.decimals("0.01", "200000", places=2)


@pytest.mark.requirement("ENG-4")
@pytest.mark.requirement("R7")
@given(
    mid=prices,
    gap=st.decimals("0", "0.02", places=4),
    levels=st.integers(0, 20),
    side=st.sampled_from(["buy", "sell"]),
    quantity=st.decimals("0.0001", "100", places=4),
    limit=st.none() | prices,
    level=st.integers(1, 12),
)
def test_whatever_is_sent_is_within_guard_limit_grid_and_approved_size(
    mid: Decimal, gap: Decimal, levels: int, side: Side, quantity: Decimal, limit: Decimal | None, level: int
) -> None:
    rules = ExecutionRules(entry_level=level)
    bids = tuple(Level(mid * (1 - gap * n), D(1)) for n in range(1, levels + 1))
    asks = tuple(Level(mid * (1 + gap * n), D(1)) for n in range(1, levels + 1))
    book = replace(a_book(), bids=bids, asks=asks)
    found = price_entry(book, FINE, side, quantity, limit, rules)
    if isinstance(found, NoEntry):
        assert found.reason
        return
    own = bids if side == "buy" else asks
    assert levels >= level
    assert book.fault(rules.max_book_age_s) is None
    assert abs(found.price - book.mid) / book.mid <= rules.max_slippage
    assert found.price % FINE.price_step == 0
    assert 0 < found.quantity <= quantity
    assert found.quantity % FINE.quantity_step == 0
    worst = own[level - 1].price if limit is None else (min if side == "buy" else max)(own[level - 1].price, limit)
    assert found.price <= worst if side == "buy" else found.price >= worst
    assert found.quantity * found.price >= FINE.min_notional
