"""The staircase: a stop follows in steps, never back, whatever marks come, in any order and however often."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from position_examples import GRID, D, a_position

from aaos.domain.execution.profit import roi_percent
from aaos.domain.execution.stops import (
    Staircase,
    default_stop,
    exit_side,
    is_passed,
    staircase_stop,
    stop_on_grid,
    trailed_stop,
)

STAIRS = Staircase(D(5), D("2.5"), D("2.5"))
LONG, SHORT = a_position("2"), a_position("-2")
MARKS = st.decimals(min_value=D(50), max_value=D(200), places=2)
POSITIONS = st.builds(
    lambda long, entry, leverage: replace(
        a_position("1" if long else "-1", str(entry)),
        leverage=leverage,
        stop_price=entry * (D("0.9") if long else D("1.1")),
    ),
    st.booleans(),
    st.decimals(min_value=D(80), max_value=D(120), places=3),
    st.integers(1, 50).map(D),
)


def followed(position, marks, stairs=STAIRS):
    """Returns the stop after each mark, starting with the first stop."""
    stops = [position.stop_price]
    for mark in marks:
        position = replace(position, stop_price=trailed_stop(position, mark, stairs, GRID))
        stops.append(position.stop_price)
    return stops


def test_a_long_at_five_times_follows_in_half_percents_of_price_from_one_percent_on():
    # Return on margin is five times the move: 5 % at 101, and each 2.5 % is 0.5 of price.
    marks = ["100.99", "101", "101.49", "101.5", "103", "102", "103.49"]
    assert followed(LONG, map(D, marks)) == [98, 98, D("100.5"), D("100.5"), 101, D("102.5"), D("102.5"), D("102.5")]


def test_a_shorts_staircase_is_mirrored():
    assert followed(SHORT, map(D, ["99.01", "99", "98.5", "97", "98"])) == [
        102,
        102,
        D("99.5"),
        99,
        D("97.5"),
        D("97.5"),
    ]


def test_a_return_of_exactly_a_step_is_on_the_step_where_division_would_fall_short():
    # 0.1 / 3 × 3 × 100 is 10; divided first, it is 9.999…, a step lower.
    position = a_position("1", "3", stop_price=D("2.9"), leverage=D(3))
    assert D("0.1") / 3 * 3 * 100 < 10
    assert staircase_stop(position, D("3.1"), STAIRS) == D("3.075")
    assert staircase_stop(position, D("3.0999"), STAIRS) == D("3.05")
    assert staircase_stop(position, D("3.0499"), STAIRS) is None


@pytest.mark.requirement("R5")
@given(POSITIONS, st.lists(MARKS, max_size=12))
def test_a_longs_stop_never_falls_and_a_shorts_never_rises(position, marks):
    stops = followed(position, marks)
    assert stops == sorted(stops, reverse=not position.is_long)


@pytest.mark.requirement("R5")
@given(st.data(), POSITIONS, st.lists(MARKS, min_size=1, max_size=8))
def test_marks_in_any_order_and_number_lead_to_the_stop_of_the_best_mark_alone(data, position, marks):
    played = data.draw(st.permutations(marks + data.draw(st.lists(st.sampled_from(marks), max_size=6))))
    best = max(marks) if position.is_long else min(marks)
    assert followed(position, played)[-1] == followed(position, [best])[-1]


@pytest.mark.requirement("R5")
@given(st.data(), POSITIONS, st.lists(MARKS, min_size=1, max_size=8))
def test_a_restart_anywhere_changes_nothing_since_the_stop_is_all_that_is_remembered(data, position, marks):
    cut = data.draw(st.integers(0, len(marks)))
    before = followed(position, marks[:cut])[-1]
    assert followed(replace(position, stop_price=before), marks[cut:])[-1] == followed(position, marks)[-1]


@given(POSITIONS, MARKS)
def test_a_stop_that_has_just_followed_is_on_the_grid_and_behind_the_market(position, mark):
    stop = trailed_stop(position, mark, STAIRS, GRID)
    if stop == position.stop_price:
        return
    assert roi_percent(position, mark) >= STAIRS.activation - D("1e-20")
    assert stop == stop_on_grid(stop, GRID, is_long=position.is_long)
    assert not is_passed(stop, mark, is_long=position.is_long)


def test_on_the_grid_a_stop_is_no_nearer_to_the_market():
    assert stop_on_grid(D("99.999"), GRID, is_long=True) == D("99.99")
    assert stop_on_grid(D("100.001"), GRID, is_long=False) == D("100.01")


def test_what_a_division_left_behind_costs_no_step_of_the_grid():
    a_third = D(1) / 3
    assert stop_on_grid(D(3) + a_third + a_third + a_third, GRID, is_long=True) == 4
    assert stop_on_grid(D("3.050000000000000000000000001"), GRID, is_long=False) == D("3.05")


def test_a_distance_beyond_the_whole_margin_leaves_the_stop_where_it_is():
    wide = Staircase(D(5), D("2.5"), D(1000))
    assert trailed_stop(LONG, D(110), wide, GRID) == 98
    assert trailed_stop(replace(LONG, stop_price=None), D(110), wide, GRID) is None


@pytest.mark.parametrize(
    ("position", "price"), [(LONG, "98"), (SHORT, "102"), (replace(LONG, leverage=D("0.1")), "0.01")]
)
def test_a_position_without_an_agreed_stop_gets_one_where_it_has_lost_a_tenth_of_its_margin(position, price):
    assert default_stop(position, D(10), GRID) == D(price)


def test_a_stop_is_passed_at_its_price_and_closes_on_the_other_side():
    assert is_passed(D(98), D(98), is_long=True)
    assert not is_passed(D(98), D("98.01"), is_long=True)
    assert is_passed(D(102), D(102), is_long=False)
    assert (exit_side(LONG), exit_side(SHORT)) == ("sell", "buy")
