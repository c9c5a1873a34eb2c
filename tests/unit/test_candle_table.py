"""Candles in a prompt: compact, and the same chart when they are read back."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aaos.domain.candle_table import STEPS_MAX, VOLUME_MAX, candle_table, read_candle_table
from aaos.domain.tokens import estimate_tokens

MINUTE_MS = 60_000
PRICES = st.floats(1e-9, 1e9)
CELLS = st.lists(st.tuples(PRICES, PRICES, PRICES, PRICES, st.floats(0, 1e15)), min_size=2, max_size=40)


@given(CELLS, st.lists(st.integers(1, 9), min_size=40, max_size=40))
def test_prices_come_back_within_half_a_unit_and_times_exactly(cells, steps):
    minute, rows = 0, []
    for cell, step in zip(cells, [1, 1, *steps], strict=False):
        minute += step
        rows.append([minute * MINUTE_MS, *cell])
    table = json.loads(json.dumps(candle_table(rows)))
    back = read_candle_table(table)
    assert [row[0] for row in back] == [minute - row[0] / MINUTE_MS for row in rows]
    for sent, got in zip(rows, back, strict=True):
        for price, found in zip(sent[1:5], got[1:5], strict=True):
            assert abs(price - found) <= 0.5001 * table["price_unit"] + 1e-9 * price, table
        assert abs(sent[5] - got[5]) <= 0.5001 * table["volume_unit"] + 1e-9 * sent[5]


@given(CELLS)
def test_a_price_takes_three_digits_and_a_volume_four(cells):
    rows = [[n * MINUTE_MS, *cell] for n, cell in enumerate(cells)]
    table = candle_table(rows)
    numbers = [list(map(int, cell.split(","))) for cell in table["rows"].split(";")]
    assert min(map(min, numbers)) >= 0
    assert max(max(each[:4]) for each in numbers) <= STEPS_MAX + 1
    assert max(each[4] for each in numbers) <= VOLUME_MAX


@given(CELLS)
def test_the_unit_is_no_coarser_than_three_digits_ask_for(cells):
    rows = [[n * MINUTE_MS, *cell] for n, cell in enumerate(cells)]
    prices = [price for row in rows for price in row[1:5]]
    span = max(prices) - min(prices)
    if span > 1e-5 * max(prices):
        assert span / candle_table(rows)["price_unit"] >= 0.399 * STEPS_MAX


@pytest.mark.parametrize(
    "rows",
    [
        [[0, 1.0, 1.0, 1.0, 1.0, 0.0]],
        [[n * MINUTE_MS, 1.0, 1.0, 1.0, 1.0, 0.0] for n in range(5)],
        [[n * MINUTE_MS, 1e-9, 1e-9, 1e-9, 1e-9, 1e15] for n in range(5)],
    ],
    ids=["one candle", "no move and no volume", "a price near nothing"],
)
def test_what_does_not_move_has_a_table_too(rows):
    back = read_candle_table(candle_table(rows))
    assert [row[1] for row in back] == pytest.approx([row[1] for row in rows], rel=0.01)
    assert [row[5] for row in back] == pytest.approx([row[5] for row in rows], rel=0.01)


@pytest.mark.requirement("FM-TAW-009")
def test_five_hundred_candles_leave_room_for_the_rest_of_a_prompt():
    rows = [
        [n * MINUTE_MS, 46_000 + n % 97, 46_040 + n % 89, 45_950 + n % 83, 46_010 + n % 79, 1e6 + n] for n in range(500)
    ]
    assert estimate_tokens(json.dumps(candle_table(rows))) < 11_000


def test_a_candle_of_a_hundred_times_the_usual_volume_leaves_the_others_readable():
    rows = [[n * MINUTE_MS, 1.0, 1.0, 1.0, 1.0, 1.0 if n else 100.0] for n in range(9)]
    assert [row[5] for row in read_candle_table(candle_table(rows))] == [100.0] + [1.0] * 8


def test_missing_candles_are_told():
    rows = [[minute * MINUTE_MS, 1.0, 2.0, 1.0, 2.0, 3.0] for minute in (0, 1, 5, 6)]
    assert [each for each in candle_table(rows)["rows"].split(";") if "gap" in each] == ["gap 3"]


@pytest.mark.parametrize("rows", ["", "1,2,3", "gap", "a,b,c,d,e", "1,2,3,4,5;gap x", "1,2,3,4,5;"])
def test_what_is_no_table_is_no_candles(rows):
    table = {"minutes_per_candle": 1, "price_zero": 0, "price_unit": 1, "volume_unit": 1, "rows": rows}
    with pytest.raises(ValueError, match=r"int|unpack"):
        read_candle_table(table)
