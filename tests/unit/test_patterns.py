"""Each of the nine patterns planted by hand; figures in ATRs, pivots known three candles later."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from pattern_examples import (
    ASCENDING,
    PARAMS,
    RISING,
    STRENGTH,
    SYMMETRICAL,
    TOP_AND_SHOULDERS,
    TWO_TOPS,
    Knots,
    atr_of,
    ever_found,
    found,
    funnel,
    known_at,
    level,
    mirrored,
    planted,
    points_of,
)

from aaos.domain.signals.patterns import Pattern, PatternParams, find_patterns
from aaos.domain.signals.pivots import find_pivots
from aaos.errors import ConfigError

ANY_QUALITY, STRICT = replace(PARAMS, min_quality=0.0), replace(PARAMS, min_quality=0.9)
HEADS = [40, 48, 56, 64, 72]
TWO = [40, 54, 68]
TOUCHES = [20, 32, 44, 56, 68]
# name, knots, points, side while forming and when confirmed, candle that forms it (last point + 3), that confirms it.
# The confirming candle by hand, as for the double top: from 5 ATRs at 68 it falls 5/6 a candle, so it closes at the
# valley's level at 74 and beyond it by more than a quarter at 75.
PLANTED = [
    ("head_and_shoulders", TOP_AND_SHOULDERS, HEADS, "bearish", "bearish", 75, 79),
    ("inverse_head_and_shoulders", mirrored(TOP_AND_SHOULDERS), HEADS, "bullish", "bullish", 75, 79),
    ("double_top", TWO_TOPS, TWO, "bearish", "bearish", 71, 75),
    ("double_bottom", mirrored(TWO_TOPS), TWO, "bullish", "bullish", 71, 75),
    ("symmetrical_triangle", SYMMETRICAL, TOUCHES, "neutral", "bullish", 71, 75),
    ("symmetrical_triangle", mirrored(SYMMETRICAL), TOUCHES, "neutral", "bearish", 71, 75),
    ("ascending_triangle", ASCENDING, TOUCHES, "bullish", "bullish", 71, 78),
    ("descending_triangle", mirrored(ASCENDING), TOUCHES, "bearish", "bearish", 71, 78),
    ("rising_wedge", RISING, TOUCHES, "bearish", "bearish", 71, 74),
    ("falling_wedge", mirrored(RISING), TOUCHES, "bullish", "bullish", 71, 74),
]
each_planted = pytest.mark.parametrize(
    ("name", "knots", "points", "side", "broken", "forms", "confirms"), PLANTED, ids=[f"{p[0]}-{p[4]}" for p in PLANTED]
)


MIRRORED = {
    "head_and_shoulders": "inverse_head_and_shoulders",
    "double_top": "double_bottom",
    "ascending_triangle": "descending_triangle",
    "rising_wedge": "falling_wedge",
}


def named(knots: Knots, at: int, name: str, params: PatternParams = PARAMS) -> Pattern | None:
    return next((p for p in found(planted(knots), at, params) if p.name == name), None)


@pytest.mark.requirement("ENG-2")
@each_planted
def test_a_planted_pattern_is_found_once_its_last_point_is_confirmed_and_not_a_candle_earlier(
    name: str, knots: Knots, points: list[int], side: str, broken: str, forms: int, confirms: int
) -> None:
    assert named(knots, forms - 1, name) is None
    pattern = named(knots, forms, name)
    assert pattern is not None
    assert points_of(pattern) == points
    assert (pattern.side, pattern.status, known_at(pattern)) == (side, "forming", forms)
    candles = planted(knots)
    assert [point.price for point in pattern.points] == [candles.close[i] for i in points]
    assert PARAMS.min_quality <= pattern.quality <= 1


@pytest.mark.requirement("ENG-2")
@each_planted
def test_the_first_close_beyond_its_level_confirms_it_and_no_earlier_one(
    name: str, knots: Knots, points: list[int], side: str, broken: str, forms: int, confirms: int
) -> None:
    before, after = named(knots, confirms - 1, name), named(knots, confirms, name)
    assert before is not None
    assert after is not None
    assert (before.status, known_at(before)) == ("forming", forms)
    assert (after.status, after.side, known_at(after)) == ("confirmed", broken, confirms)
    assert points_of(after) == points
    close, margin = float(planted(knots).close[confirms]), 1 + 0.01 * PARAMS.break_atr * 0.99
    assert close > after.level * margin if broken == "bullish" else close < after.level / margin


@each_planted
def test_a_confirmed_pattern_is_told_for_max_age_candles(
    name: str, knots: Knots, points: list[int], side: str, broken: str, forms: int, confirms: int
) -> None:
    young = replace(PARAMS, max_age=10)
    assert named(knots, confirms + 10, name, young) is not None
    assert named(knots, confirms + 11, name, young) is None


def test_a_break_before_the_last_point_is_known_confirms_only_once_it_is_known() -> None:
    knots = (*TWO_TOPS[:-1], (80, -25))  # 2.5 ATRs a candle: at 71 it is already below the valley
    assert named(knots, 70, "double_top") is None
    pattern = named(knots, 71, "double_top")
    assert pattern is not None
    assert (pattern.status, known_at(pattern)) == ("confirmed", 71)


def test_a_break_before_the_last_point_is_known_counts_even_when_price_came_back() -> None:
    pattern = named((*TWO_TOPS[:-1], (70, -2), (71, 1), (96, -15)), 71, "double_top")
    assert pattern is not None
    assert (pattern.status, known_at(pattern)) == ("confirmed", 71)


def shoulders(*knots: tuple[int, float]) -> Knots:
    """Head and shoulders with its five points, or more, in place of the planted ones."""
    last = knots[-1]
    return (TOP_AND_SHOULDERS[0], *knots, (last[0] + 30, last[1] - 20))


BROKEN_HEADS = {
    "no rise before it": ((0, -2), *TOP_AND_SHOULDERS[1:]),
    "it comes down from a higher high": ((0, -9), (16, 9), (28, -8), *TOP_AND_SHOULDERS[1:]),
    "right shoulder much lower": shoulders((40, 4), (48, 0), (56, 7), (64, 0), (72, 2)),
    "right shoulder comes late": shoulders((40, 4), (48, 0), (56, 7), (78, 0), (100, 4)),
    "head hardly above the shoulders": shoulders((40, 4), (48, 0), (56, 4.8), (64, 0), (72, 4)),
    "head hardly above the left shoulder": shoulders((40, 6.5), (48, 0), (56, 7), (64, 0), (72, 5.5)),
    "neckline too steep": shoulders((40, 4), (48, -1.2), (56, 7), (64, 1.2), (72, 4)),
    "too shallow": shoulders((40, 2), (48, 0), (56, 3.8), (64, 0), (72, 2)),
    "shoulders hardly above the neckline": shoulders((40, 0.9), (48, 0), (56, 7), (64, 0), (72, 0.9)),
    "too short": shoulders((40, 4), (45, 0), (50, 7), (55, 0), (60, 4)),
    "too long": shoulders((40, 4), (71, 0), (102, 7), (133, 0), (164, 4)),
    "a close through the neckline before its end": shoulders(
        (40, 4), (44, 0), (48, 2), (52, 0.05), (58, 8), (66, 1), (76, 4)
    ),
}


@pytest.mark.requirement("ENG-2")
@pytest.mark.parametrize("knots", BROKEN_HEADS.values(), ids=BROKEN_HEADS)
def test_it_is_no_head_and_shoulders_with(knots: Knots) -> None:
    assert ever_found(TOP_AND_SHOULDERS, "head_and_shoulders", ANY_QUALITY)
    assert not ever_found(knots, "head_and_shoulders", ANY_QUALITY)
    assert not ever_found(mirrored(knots), "inverse_head_and_shoulders", ANY_QUALITY)


def tops(*knots: tuple[int, float]) -> Knots:
    return (TWO_TOPS[0], *knots, (knots[-1][0] + 24, -15))


BROKEN_TOPS = {
    "no rise before it": ((0, -2), *TWO_TOPS[1:]),
    "it comes down from a higher high": ((0, -4), (16, 8), (28, -8), *TWO_TOPS[1:]),
    "unequal tops": tops((40, 5), (54, 0), (68, 3.9)),
    "no real valley": tops((40, 3.8), (54, 0), (68, 3.8)),
    "tops too near": tops((40, 5), (50, 0), (60, 5)),
    "tops too far apart": tops((40, 5), (102, 0), (164, 5)),
    "a top between them above the second": tops((40, 5.6), (48, 0), (56, 5.3), (62, 1), (68, 5)),
    "a top between them above the first": tops((40, 4.6), (48, 0), (56, 4.8), (62, 1), (68, 5)),
    "a higher top between them": tops((40, 5), (48, 0), (56, 5.5), (62, 1), (68, 5)),
}


@pytest.mark.requirement("ENG-2")
@pytest.mark.parametrize("knots", BROKEN_TOPS.values(), ids=BROKEN_TOPS)
def test_it_is_no_double_top_with(knots: Knots) -> None:
    assert ever_found(TWO_TOPS, "double_top", ANY_QUALITY)
    assert not ever_found(knots, "double_top", ANY_QUALITY)
    assert not ever_found(mirrored(knots), "double_bottom", ANY_QUALITY)


FUNNELS = ("symmetrical_triangle", "ascending_triangle", "descending_triangle", "rising_wedge", "falling_wedge")
BROKEN_FUNNELS = {
    "lines side by side": funnel(lambda x: 8 + 0.05 * x, lambda x: -8 + 0.05 * x, "lower", 0.8),
    "lines that part": funnel(lambda x: 6 + 0.1 * x, lambda x: -6 - 0.1 * x, "lower", 0.8),
    "an apex too far ahead": funnel(lambda x: 10 - 0.07 * x, lambda x: -10 + 0.07 * x, "lower", 0.8),
    "too little height": funnel(lambda x: 1.9 - 0.02 * x, lambda x: -1.9 + 0.02 * x, "lower", 0.8),
    "an apex too near": funnel(lambda x: 10 - 0.16 * x, lambda x: -10 + 0.16 * x, "lower", 0.8),
    "a touch far off its line": funnel(
        lambda x: 10 - 0.15 * x, lambda x: -10 + 0.15 * x + 1.2 * (x == 24), "lower", 0.8
    ),
    "a close outside": funnel(lambda x: 10 - 0.15 * x, lambda x: -10 + 0.15 * x - 0.6 * (x == 24), "lower", 0.8),
    "only four touches": ((0, 0.0), (20, -7.8), *SYMMETRICAL[3:]),
    "both lines flat": funnel(level(8), level(-8), "lower", 0.8),
}


@pytest.mark.requirement("ENG-2")
@pytest.mark.parametrize("knots", BROKEN_FUNNELS.values(), ids=BROKEN_FUNNELS)
def test_it_is_no_triangle_and_no_wedge_with(knots: Knots) -> None:
    assert ever_found(SYMMETRICAL, "symmetrical_triangle", ANY_QUALITY)
    for each in (knots, mirrored(knots)):
        assert not any(ever_found(each, name, ANY_QUALITY) for name in FUNNELS)


@pytest.mark.parametrize(("key", "value"), [("min_span", 49), ("max_span", 47), ("min_touches", 6), ("fit_atr", 3)])
def test_span_touches_and_end_width_are_bounded(key: str, value: float) -> None:
    assert not ever_found(SYMMETRICAL, "symmetrical_triangle", replace(PARAMS, **{key: value}))


def test_a_loose_fit_is_no_line_even_where_closes_may_stray() -> None:
    knots = BROKEN_FUNNELS["a touch far off its line"]  # by 1.2 ATRs: 0.8 from the line through all three
    stray = replace(ANY_QUALITY, break_atr=2.0)
    assert not ever_found(knots, "symmetrical_triangle", stray)
    assert ever_found(knots, "symmetrical_triangle", replace(stray, fit_atr=0.9))


def test_the_level_of_a_neutral_triangle_is_the_nearer_line() -> None:
    # By hand: 2.35 ATRs above the middle and below it at 71, where price stands 0.4 below; 1.9 at 74, and price at 2.
    for at, height in ((71, -2.35), (74, 1.9)):
        pattern = named(SYMMETRICAL, at, "symmetrical_triangle")
        assert pattern is not None
        assert pattern.side == "neutral"
        assert pattern.level == pytest.approx(100 * math.exp(0.01 * height))


def test_a_level_goes_no_further_than_to_the_apex() -> None:
    pattern = named(SYMMETRICAL, 90, "symmetrical_triangle")  # the lines met at 86.7, in the middle
    assert pattern is not None
    assert pattern.level == pytest.approx(100)


def test_a_triangle_whose_last_point_is_known_only_after_its_apex_is_none() -> None:
    narrow = replace(ANY_QUALITY, min_width_ratio=0.05)
    # From 20 to 2 ATRs wide, so the lines meet 5.3 candles after the last touch, and price breaks out at 71.
    candles = planted(funnel(lambda x: 10 - 0.1875 * x, lambda x: -10 + 0.1875 * x, "lower", 0.8))
    for strength, told in ((3, True), (5, True), (6, False)):
        pivots = find_pivots(candles.high, candles.low, strength)
        assert bool(find_patterns(candles, atr_of(candles), pivots, 68 + strength, narrow)) == told


def test_a_close_outside_is_what_spoils_a_triangle_whose_touches_still_fit() -> None:
    knots = BROKEN_FUNNELS["a close outside"]
    assert ever_found(knots, "symmetrical_triangle", replace(PARAMS, break_atr=0.5, min_quality=0.0))


@pytest.mark.requirement("ENG-2")
@pytest.mark.parametrize(
    ("name", "knots", "ends"),
    [
        # Up from the last point: past the right shoulder, the tops, or the far line of a pattern that has one side.
        ("head_and_shoulders", (*TOP_AND_SHOULDERS[:-1], (75, 2.5), (95, 12)), 79),
        ("double_top", (*TWO_TOPS[:-1], (72, 3), (92, 13)), 77),
        ("ascending_triangle", (*ASCENDING[:-1], (72, 3), (90, -15)), 74),
        ("rising_wedge", (*RISING[:-1], (72, 12), (90, 30)), 75),
    ],
)
def test_a_close_beyond_the_far_side_ends_a_forming_pattern(name: str, knots: Knots, ends: int) -> None:
    for each, its_name in ((knots, name), (mirrored(knots), MIRRORED[name])):
        alive = [at for at in range(each[-1][0]) if named(each, at, its_name) is not None]
        assert max(alive) + 1 == ends


def test_a_forming_pattern_is_given_up_after_max_wait_candles_and_at_the_apex() -> None:
    # The lines meet at 68 + 5.6 / 0.3 = 86.7; until then price creeps along between them.
    knots = (*SYMMETRICAL[:-1], (73, -0.2), (110, -0.1))
    still = replace(PARAMS, max_wait=60)
    assert named(knots, 86, "symmetrical_triangle", still) is not None
    assert named(knots, 87, "symmetrical_triangle", still) is None
    impatient = replace(PARAMS, max_wait=9)
    assert named(knots, 77, "symmetrical_triangle", impatient) is not None
    assert named(knots, 78, "symmetrical_triangle", impatient) is None


def test_a_confirmed_pattern_that_turns_back_past_its_far_side_is_over() -> None:
    knots = (*TWO_TOPS[:-1], (80, -5), (90, 10))  # broken at 75, above the tops by a quarter at 87
    assert named(knots, 86, "double_top") is not None
    assert named(knots, 87, "double_top") is None


# The rise before it lies a whole span back, and price lingers above the valley until it falls through it at 106.
LINGERING: Knots = (
    (0, -1), (10, -1), (12, -12), (14, -2), (40, 5), (54, 0), (68, 5), (72, 1), (105, 0.3), (107, -2), (140, -3)
)  # fmt: skip


def test_a_pattern_is_told_to_its_last_candle_however_long_it_took() -> None:
    longest = replace(PARAMS, max_span=28, max_wait=40)
    for at, status in ((71, "forming"), (105, "forming"), (106, "confirmed"), (126, "confirmed")):
        pattern = named(LINGERING, at, "double_top", longest)
        assert pattern is not None
        assert pattern.status == status
    assert named(LINGERING, 127, "double_top", longest) is None


def test_a_break_that_comes_after_max_wait_confirms_nothing() -> None:
    patient = replace(PARAMS, max_wait=38)
    assert named(LINGERING, 106, "double_top", patient) is not None
    impatient = replace(PARAMS, max_wait=37)
    assert not any(named(LINGERING, at, "double_top", impatient) for at in range(106, 140))


def test_an_atr_that_grows_later_changes_no_verdict() -> None:
    candles = planted(TWO_TOPS)
    pivots = find_pivots(candles.high, candles.low, STRENGTH)
    grown = atr_of(candles) * np.where(np.arange(len(candles)) > 71, 2, 1)  # 5 ATRs high at 71, 2.5 by later ones
    for at in (72, 80):
        assert find_patterns(candles, grown, pivots, at, PARAMS) == found(candles, at)
        assert found(candles, at)


def test_smaller_swings_inside_a_double_top_do_not_hide_it() -> None:
    knots = (TWO_TOPS[0], (40, 5), (48, 1.5), (54, 3), (62, 0), (70, 2.5), (76, 1), (86, 5), (110, -15))
    pattern = named(knots, 89, "double_top")
    assert pattern is not None
    assert points_of(pattern) == [40, 62, 86]


def test_a_swing_that_may_have_begun_before_the_view_is_no_touch() -> None:
    # 60 candles, given up 7 after the last point, told for 10: at 125 pivots up to 108 candles back are in view.
    params = replace(PARAMS, max_span=60, max_wait=7, max_age=10)
    touches = [(50 + x, (10 - 0.12 * x) * (1 if i % 2 else -1)) for i, x in enumerate(range(0, 61, 12))]
    candles = planted(((0, 0), (14, -16), (38, 4), *touches, (130, -13)))
    pivots = find_pivots(candles.high, candles.low, STRENGTH)
    alone = [pivot for pivot in pivots if pivot.index != 38]  # so the low at 50 goes on from the deeper one at 14
    assert [pivot.index for pivot in pivots] == [14, 38, 50, 62, 74, 86, 98, 110]
    for given, first in ((pivots, 50), (alone, 62)):
        (pattern,) = find_patterns(candles, atr_of(candles), given, 125, params)
        assert points_of(pattern)[0] == first


def test_a_longer_triangle_is_told_rather_than_the_shorter_one_inside_it() -> None:
    lines = (lambda x: 12 - 0.12 * x), (lambda x: -12 + 0.12 * x)
    touches = [(20 + x, lines[i % 2](x)) for i, x in enumerate(range(0, 73, 12))]
    knots = ((0, 0.0), (8, -3.0), *touches, (104, touches[-1][1] - 8.0))
    pattern = named(knots, 95, "symmetrical_triangle")
    assert pattern is not None
    assert points_of(pattern) == [at for at, _ in touches]


def test_a_shorter_triangle_is_told_where_the_longer_one_around_it_is_none() -> None:
    lines = (lambda x: 12 - 0.12 * x), (lambda x: -12 + 0.12 * x)
    touches = [(20 + x, lines[i % 2](x)) for i, x in enumerate(range(0, 73, 12))]
    lingers = (26, touches[0][1] - 0.1)  # 0.6 ATRs above the line by then
    knots = ((0, 0.0), (8, -3.0), touches[0], lingers, *touches[1:], (104, touches[-1][1] - 8.0))
    told = [p for p in found(planted(knots, noise=0.0), 95) if p.name == "symmetrical_triangle"]
    assert [points_of(p) for p in told] == [[at for at, _ in touches[1:]]]


def test_quality_is_higher_the_more_even_the_shoulders() -> None:
    even = named(TOP_AND_SHOULDERS, 75, "head_and_shoulders")
    uneven = named(shoulders((40, 4), (48, 0), (56, 7), (64, 0), (72, 3)), 75, "head_and_shoulders")
    assert even is not None
    assert uneven is not None
    assert even.quality > uneven.quality
    assert named(shoulders((40, 4), (48, 0), (56, 7), (64, 0), (72, 3)), 75, "head_and_shoulders", STRICT) is None
    assert named(SYMMETRICAL, 71, "symmetrical_triangle", STRICT) is None


def test_a_pattern_survives_being_stored() -> None:
    pattern = named(TOP_AND_SHOULDERS, 75, "head_and_shoulders")
    assert pattern is not None
    assert Pattern.from_dict({**pattern.to_dict(), "later": 1}) == pattern


@pytest.mark.parametrize(
    ("low", "high"),
    [("min_span", "max_span"), ("min_touches", "max_touches"), ("min_width_ratio", "max_width_ratio")],
)
def test_bounds_the_wrong_way_round_are_refused(low: str, high: str) -> None:
    with pytest.raises(ConfigError, match=f"signals.patterns.{low}.*{high}"):
        PatternParams(**{low: 0.9 if "ratio" in low else 12, high: 0.8 if "ratio" in high else 11})
