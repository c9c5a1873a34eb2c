"""Which of overlapping patterns is told: the one that says most, and what was passed over stays so."""

from __future__ import annotations

import numpy as np
import pytest
from market_examples import candles_of

from aaos.domain.signals.patterns import PatternName, PatternParams, PatternStatus
from aaos.domain.signals.patterns.candidate import Candidate
from aaos.domain.signals.patterns.lines import Line, Outcome, follow
from aaos.domain.signals.patterns.view import Turn, see
from aaos.domain.signals.pivots import Pivot


def candidate(
    first: int,
    last: int,
    status: PatternStatus,
    quality: float,
    lived: tuple[int, int],
    name: PatternName = "double_top",
) -> Candidate:
    turns = [Turn(i, 0.0, Pivot(i, 100.0, "high", i + 3)) for i in (first, last)]
    return Candidate(name, ("first_top", "second_top"), turns, Outcome(status, "bearish", *lived), quality, 99.0)


@pytest.mark.parametrize(
    ("met", "told"),
    [
        (candidate(10, 30, "forming", 0.7, (33, 60)), False),  # better, alive when it became known
        (candidate(10, 30, "forming", 0.7, (33, 43)), False),  # over by now: what was passed over stays so
        (candidate(10, 30, "forming", 0.7, (33, 42)), True),  # over before it became known
        (candidate(30, 60, "forming", 0.7, (63, 90)), False),  # better, and known later
        (candidate(10, 30, "forming", 0.5, (33, 60)), True),  # not as good
        (candidate(10, 30, "confirmed", 0.5, (33, 60)), False),  # not as good, but confirmed
        (candidate(10, 20, "forming", 0.7, (33, 60)), True),  # ends where it begins
        (candidate(10, 30, "forming", 0.7, (33, 60), "head_and_shoulders"), True),  # another reading
        (candidate(10, 40, "forming", 0.6 + 1e-12, (43, 60)), True),  # as good, but for rounding, and begins earlier
    ],
)
def test_of_overlapping_patterns_the_one_that_says_most_is_told_for_good(met: Candidate, told: bool) -> None:
    of_two_tops = candidate(20, 40, "forming", 0.6, (43, 70))
    assert of_two_tops.is_told([of_two_tops, met]) == told


def test_the_better_of_two_confirmed_patterns_is_told() -> None:
    better, other = (candidate(20, last, "confirmed", q, (45, 60)) for last, q in ((40, 0.7), (42, 0.6)))
    assert (better.is_told([better, other]), other.is_told([better, other])) == (True, False)


@pytest.mark.parametrize(
    ("closes", "max_wait", "outcomes"),
    [
        ([100] * 6, 10, [("forming", 13, 20)]),
        ([100] * 6, 3, [("forming", 13, 13)]),
        ([100] * 6, 2, []),  # given up before its last point was known
        ([100, 102, 100, 100, 100, 100], 10, []),  # ended by the far side before that
        ([100, 100, 100, 100, 102, 100], 10, [("forming", 13, 13)]),
        ([100, 98, 100, 100, 100, 100], 10, [("confirmed", 13, 17)]),  # broken before that
        ([100, 98, 102, 98, 98, 98], 10, []),  # broken and turned back before that
        ([100, 100, 100, 98, 98, 98], 10, [("confirmed", 13, 17)]),
        ([100, 100, 100, 100, 98, 98], 10, [("forming", 13, 13), ("confirmed", 14, 18)]),
        ([100, 100, 100, 100, 98, 102], 10, [("forming", 13, 13), ("confirmed", 14, 14)]),
    ],
)
def test_a_pattern_stands_from_when_it_is_known_to_when_it_is_over(
    closes: list[float], max_wait: int, outcomes: list[tuple[str, int, int]]
) -> None:
    c = candles_of(np.array([100.0] * 10 + closes))  # its last point is candle 10, known at 13; lines at 99 and 101
    params = PatternParams(max_wait=max_wait, max_age=4, break_atr=0.0)
    view, _, _ = see(c, c.close / 100, (), len(c) - 1, params)
    last = Turn(10, 0.0, Pivot(10, 100.0, "high", 13))
    bounds = (Line(10, np.log(101 / view.reference), 0.0), Line(10, np.log(99 / view.reference), 0.0))
    told = follow(view, last, bounds, "bearish", 0.01, params)
    assert [(each.status, each.known_at, each.until) for each in told] == outcomes
