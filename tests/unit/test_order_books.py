"""Order books from candles: the same everywhere, on the grid, moving inside the forming candle, ageing in a gap."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from market_examples import MINUTE_MS, START_MS

from aaos.adapters.market.order_books import MAX_BOOKS, CandleOrderBooks
from aaos.adapters.market.played import PlayedSeries
from aaos.domain.market import Candles
from aaos.domain.market_clock import MarketAnchor
from aaos.domain.venue.book_shape import book_around
from aaos.domain.venue.price_path import candle_path
from aaos.domain.venue.rules import PaperRules
from aaos.errors import ConfigError, UnknownSymbol

D = Decimal
RULES = PaperRules()
SYMBOL = "BTC/USDT"
WALL_MS = 1_800_000_000_000
SPEED = 60.0
# open, high, low, close: up first (the high is nearer to the open), then down; the next one the other way round.
FIGURES = [(100.0, 101.0, 97.0, 98.0), (98.0, 104.0, 97.5, 103.0)]


class Book:
    def __init__(self, symbol: str = SYMBOL) -> None:
        self.series = [PlayedSeries("replay", symbol, "1m", None)]

    def in_use(self) -> Sequence[PlayedSeries]:
        return self.series

    def anchors(self, source: str, symbol: str) -> Sequence[MarketAnchor]:
        return [MarketAnchor(WALL_MS, START_MS, SPEED)]


class Shelf:
    """Candles of these figures in the minutes given, repeating."""

    def __init__(self, minutes: Sequence[int], figures: Sequence[tuple[float, ...]] = FIGURES) -> None:
        times = START_MS + MINUTE_MS * np.asarray(minutes)
        columns = np.array([figures[i % len(figures)] for i in range(len(minutes))]).reshape(len(minutes), 4).T
        self.stored = Candles(SYMBOL, "1m", times, *columns, np.ones(len(minutes)))

    def candles(self, source: str, symbol: str, timeframe: str, last_open_ms: int, limit: int) -> Candles:
        return self.stored.until(last_open_ms + MINUTE_MS).tail(limit)


def books(minutes: Sequence[int] = range(10), rules: PaperRules = RULES) -> CandleOrderBooks:
    return CandleOrderBooks(Book(), Shelf(minutes), rules)


def market(minutes: float) -> datetime:
    return datetime.fromtimestamp((START_MS + minutes * MINUTE_MS) / 1000, UTC)


def wall(minutes: float) -> datetime:
    """The wall-clock instant at which the market has reached that many minutes."""
    return datetime.fromtimestamp((WALL_MS + minutes * MINUTE_MS / SPEED) / 1000, UTC)


@pytest.mark.parametrize(
    ("minutes", "price"),
    [(0, 100), (0.125, 100.5), (0.25, 101), (0.5, 99), (0.75, 97), (0.875, 97.5), (1, 98), (1.25, 97.5), (1.75, 104)],
)
def test_the_price_goes_to_the_nearer_extreme_first_then_to_the_other_and_closes(minutes: float, price: float) -> None:
    book = books().book(SYMBOL, wall(minutes))
    assert book.bids[0].price < D(str(price)) < book.asks[0].price
    assert abs(book.mid - D(str(price))) <= D("0.1")
    assert (book.as_of, book.age_s) == (market(minutes), 0)


def test_equal_extremes_go_down_first_and_a_flat_candle_stays_where_it_is() -> None:
    assert [price for _, price in candle_path(0, 60_000, (10, 11, 9, 10)).corners] == [10, 9, 11, 10]
    flat = candle_path(0, 60_000, (10, 10, 10, 10))
    assert {flat.at(ms) for ms in (0, 1, 15_000, 44_999, 60_000)} == {D(10)}
    with pytest.raises(ValueError, match="not inside the candle"):
        flat.at(60_001)


@given(
    st.lists(st.floats(0.01, 1e6), min_size=4, max_size=4).map(sorted), st.booleans(), st.integers(0, 60_000)
)  # fmt: skip
def test_the_path_never_leaves_the_candle(prices: list[float], falls: bool, ms: int) -> None:
    low, a, b, high = prices
    path = candle_path(0, 60_000, (b, high, low, a) if falls else (a, high, low, b))
    assert D(repr(low)) <= path.at(ms) <= D(repr(high))
    assert {price for _, price in path.corners} >= {D(repr(low)), D(repr(high))}


@given(st.decimals("0.0001", "1000000", places=6).filter(lambda p: p > 0), st.integers(0, 2**53))
def test_books_are_sorted_on_the_grid_never_crossed_and_never_at_zero(price: D, as_of_ms: int) -> None:
    instrument = RULES.on_grid("X/USDT", RULES.grid("X/USDT", price))
    bids, asks = book_around(price, as_of_ms, instrument, RULES)
    assert len(asks) == len(bids) == RULES.levels
    assert [b.price for b in bids] == sorted({b.price for b in bids}, reverse=True)
    assert [a.price for a in asks] == sorted({a.price for a in asks})
    assert 0 < bids[-1].price < bids[0].price < price < asks[0].price
    for level in (*bids, *asks):
        assert level.price % instrument.price_step == 0
        assert level.size % instrument.quantity_step == 0
        # A fifth to nine fifths of `level_notional`, to one step of the quantity.
        assert D("0.2") * 10_000 / price - instrument.quantity_step <= level.size <= D("1.8") * 10_000 / price


def test_the_spread_is_as_wide_as_configured() -> None:
    grid = RULES.grid("X/USDT", D(50_000))
    wide = PaperRules(spread_bps=D(10))
    bids, asks = book_around(D(50_000), 0, wide.on_grid("X/USDT", grid), wide)
    assert (bids[0].price, asks[0].price) == (49_975, 50_025)


def test_sizes_differ_by_instant_symbol_side_and_seed_and_by_nothing_else() -> None:
    first = books().book(SYMBOL, wall(0.5))
    assert books().book(SYMBOL, wall(0.5)) == first
    assert books().book(SYMBOL, wall(0.505)).bids[0].size != first.bids[0].size
    assert books(rules=PaperRules(seed=2)).book(SYMBOL, wall(0.5)).bids[0].size != first.bids[0].size
    assert [b.size for b in first.bids] != [a.size for a in first.asks]


def test_another_process_makes_the_same_book() -> None:
    code = (
        "from decimal import Decimal as D\n"
        "from aaos.domain.venue.book_shape import book_around\n"
        "from aaos.domain.venue.rules import PaperRules\n"
        "rules = PaperRules(); i = rules.on_grid('BTC/USDT', rules.grid('BTC/USDT', D(60000)))\n"
        "print(book_around(D('60000.5'), 1700000000000, i, rules))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60).stdout
    instrument = RULES.on_grid(SYMBOL, RULES.grid(SYMBOL, D(60_000)))
    assert told.strip() == str(book_around(D("60000.5"), 1_700_000_000_000, instrument, RULES))


def test_books_change_on_a_grid_of_the_markets_time_and_age_in_between() -> None:
    at = wall(0.5)
    first, later = books().book(SYMBOL, at), books().book(SYMBOL, at + timedelta(milliseconds=1))
    assert (later.as_of, later.bids) == (first.as_of, first.bids)  # 60 ms of market time: the same book
    assert (first.age_s, later.age_s) == (0, 0.06)


@pytest.mark.requirement("R7")
def test_in_a_gap_the_last_book_stays_and_ages_until_it_is_stale() -> None:
    gapped = books([0, 1, 5, 6])
    last = gapped.book(SYMBOL, wall(2))
    assert last.as_of == market(2) - timedelta(milliseconds=RULES.book_every_ms)
    assert abs(last.mid - 103) <= D("0.1")  # where the last candle closed
    later = gapped.book(SYMBOL, wall(4.9))
    assert (later.bids, later.asks, later.as_of) == (last.bids, last.asks, last.as_of)
    assert later.age_s == pytest.approx(2.9 * 60 + 0.1)
    assert (last.fault(90), later.fault(90)) == (None, "BOOK_STALE")
    assert gapped.book(SYMBOL, wall(5)).fault(90) is None


@pytest.mark.requirement("R7")
def test_before_the_first_candle_the_book_is_empty() -> None:
    assert books([5]).book(SYMBOL, wall(1)).fault(90) == "BOOK_EMPTY"


def test_a_symbol_that_the_market_does_not_list_is_refused_by_name() -> None:
    with pytest.raises(UnknownSymbol, match="did you mean BTC/USDT"):
        books().book("BTCUSDT", wall(1))
    with pytest.raises(UnknownSymbol, match="it has: BTC/USDT"):
        books().market_time("DOGE/USDT", wall(1))


def test_between_two_instants_every_turning_point_is_shown_and_the_end() -> None:
    shown = books().books_between(SYMBOL, market(0.1), market(2.1))
    assert [book.as_of for book in shown] == [market(m) for m in (0.25, 0.75, 1, 1.25, 1.75, 2, 2.1)]
    assert {book.age_s for book in shown} == {0}
    assert [round(book.mid) for book in shown[:5]] == [101, 97, 98, 98, 104]


def test_what_was_shown_in_pieces_is_what_is_shown_at_once() -> None:
    source = books([*range(4), *range(8, 12)])
    cuts = [market(m) for m in (0, 0.3, 1, 3.99, 4, 6.5, 8, 8.2, 11.9, 20)]
    pieces = [book for a, b in pairwise(cuts) for book in source.books_between(SYMBOL, a, b)]
    whole = source.books_between(SYMBOL, cuts[0], cuts[-1])
    turning = {book.as_of for book in whole}
    assert turning <= {book.as_of for book in pieces}
    seen = [book.as_of for book in pieces]
    assert seen == sorted(seen)
    assert {(b.as_of, b.bids) for b in whole} <= {(b.as_of, b.bids) for b in pieces}


def test_before_a_gap_the_close_is_shown_too_and_inside_it_nothing_but_the_last_book() -> None:
    shown = books([0, 1, 5]).books_between(SYMBOL, market(1.5), market(5.1))
    close = market(2) - timedelta(milliseconds=RULES.book_every_ms)
    assert [book.as_of for book in shown] == [market(1.75), close, market(5), market(5.1)]
    [inside] = books([0, 1, 5]).books_between(SYMBOL, market(3), market(4))
    assert (inside.as_of, inside.age_s) == (close, pytest.approx(120.1))


def test_without_a_beginning_only_the_book_at_the_end_is_shown_and_so_it_is_when_the_market_was_set_back() -> None:
    assert [b.as_of for b in books().books_between(SYMBOL, None, market(3))] == [market(3)]
    assert [b.as_of for b in books().books_between(SYMBOL, market(5), market(3))] == [market(3)]


def test_of_a_long_time_the_newest_books_are_shown() -> None:
    shown = books(range(5_000)).books_between(SYMBOL, market(0), market(4_999.5))
    assert len(shown) <= MAX_BOOKS
    assert len(shown) > MAX_BOOKS - 10
    assert shown[-1].as_of == market(4_999.5)


def test_market_time_follows_the_anchor() -> None:
    assert books().market_time(SYMBOL, wall(7)) == market(7)


def test_rules_that_do_not_fit_together_are_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r"paper\.book_every_ms is 70"):
        PaperRules(book_every_ms=70)
    with pytest.raises(ConfigError, match=r"paper\.maintenance_margin is 0\.02"):
        PaperRules(maintenance_margin=D("0.02"))


def test_an_account_may_be_opened_with_a_deposit_of_its_own() -> None:
    rules = PaperRules(initial_deposit=D(1), deposits={"paper-portfolio": D(7)})
    assert (rules.deposit_of("paper"), rules.deposit_of("paper-portfolio")) == (1, 7)


@pytest.mark.parametrize(
    ("price", "price_step", "quantity_step"),
    [
        ("60000", "0.1", "0.00001"),
        ("3000", "0.01", "0.0001"),
        ("0.6", "0.000001", "1"),
        ("0.00001234", "1E-10", "10000"),
    ],
)
def test_a_symbol_without_an_entry_gets_a_grid_that_suits_its_price(
    price: str, price_step: str, quantity_step: str
) -> None:
    grid = RULES.grid("X/USDT", D(price))
    assert (grid.price_step, grid.quantity_step) == (D(price_step), D(quantity_step))
