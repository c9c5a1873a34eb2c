"""What holds of patterns on any series: no hindsight, old candles, the unit and which way is up do not matter."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import overload

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from market_examples import START_MS, candles_of, walk
from pattern_examples import (
    ASCENDING,
    PARAMS,
    RISING,
    STRENGTH,
    SYMMETRICAL,
    TOP_AND_SHOULDERS,
    TWO_TOPS,
    found,
    known_at,
    mirrored,
    planted,
    points_of,
    with_columns,
)

from aaos.domain.market import Candles, FloatArray
from aaos.domain.signals.patterns import Pattern, PatternParams, find_patterns
from aaos.domain.signals.patterns.view import see
from aaos.domain.signals.pivots import Pivot, find_pivots

seeds = st.integers(0, 2**32)
EASY = PatternParams(  # so easily found that a random walk is full of them: the properties hold for any parameters
    min_span=8, max_span=60, max_wait=20, max_age=15, min_height_atr=1.5, head_atr=0.3, shoulder_atr=0.3,
    prior_trend=0.0, top_tolerance=0.4, shoulder_tolerance=0.5, time_ratio=5.0, neckline_tolerance=0.8,
    fit_atr=0.7, max_width_ratio=0.9, min_quality=0.0,
)  # fmt: skip
PLANTED = (TOP_AND_SHOULDERS, TWO_TOPS, SYMMETRICAL, ASCENDING, RISING)
OPPOSITE = {
    "head_and_shoulders": "inverse_head_and_shoulders",
    "inverse_head_and_shoulders": "head_and_shoulders",
    "double_top": "double_bottom",
    "double_bottom": "double_top",
    "rising_wedge": "falling_wedge",
    "falling_wedge": "rising_wedge",
    "ascending_triangle": "descending_triangle",
    "descending_triangle": "ascending_triangle",
    "symmetrical_triangle": "symmetrical_triangle",
    "bullish": "bearish",
    "bearish": "bullish",
    "neutral": "neutral",
}


def true_ranges(c: Candles) -> FloatArray:
    """Mean true range over ten candles (n,): as causal as the ATR, and NaN as long before it is warm."""
    before = np.concatenate((c.close[:1], c.close[:-1]))
    ranges = np.maximum(c.high, before) - np.minimum(c.low, before)
    means = np.convolve(ranges, np.full(10, 0.1))[: len(c)]
    means[:10] = np.nan
    return np.asarray(means)


def read(c: Candles, at: int, params: PatternParams = EASY) -> tuple[Pattern, ...]:
    return find_patterns(c, true_ranges(c), find_pivots(c.high, c.low, STRENGTH), at, params)


def cut(c: Candles, start: int, end: int) -> Candles:
    columns = (c.open, c.high, c.low, c.close, c.volume)
    return Candles(c.symbol, c.timeframe, c.open_time_ms[start:end], *(column[start:end] for column in columns))


def test_a_random_walk_holds_every_pattern_under_easy_parameters() -> None:
    seen = {(p.name, p.status) for seed in range(6) for at in range(40, 400, 3) for p in read(walk(400, seed), at)}
    assert seen == {(name, status) for name in OPPOSITE if "_" in name for status in ("forming", "confirmed")}


@pytest.mark.requirement("ENG-2")
@given(seeds, st.integers(60, 299))
@settings(max_examples=60, deadline=None)
def test_what_is_read_at_a_candle_depends_on_no_later_one(seed: int, at: int) -> None:
    c, other = walk(300, seed), walk(300, seed + 1)
    then = read(cut(c, 0, at + 1), at)
    assert read(c, at) == then
    changed = [np.concatenate((getattr(c, name)[: at + 1], getattr(other, name)[at + 1 :])) for name in COLUMNS]
    assert read(with_columns(c, changed), at) == then


COLUMNS = ("open", "high", "low", "close", "volume")


@pytest.mark.requirement("ENG-2")
@given(seeds)
@settings(max_examples=25, deadline=None)
def test_what_is_told_has_been_told_at_every_candle_since_it_was_known(seed: int) -> None:
    c = walk(260, seed)
    atr, pivots = true_ranges(c), find_pivots(c.high, c.low, STRENGTH)
    before: set[tuple[object, ...]] = set()
    for at in range(len(c)):
        told = find_patterns(c, atr, pivots, at, EASY)
        for pattern in told:
            assert known_at(pattern) >= points_of(pattern)[-1] + STRENGTH
            assert (facts(pattern) in before) == (known_at(pattern) < at)
        before = {facts(pattern) for pattern in told}


def facts(p: Pattern) -> tuple[object, ...]:
    return p.name, p.side, p.status, p.points, p.known_at_ms


def points_overlap(a: Pattern, b: Pattern) -> bool:
    return a.points[0].time_ms < b.points[-1].time_ms and b.points[0].time_ms < a.points[-1].time_ms


@pytest.mark.requirement("ENG-2")
@given(seeds, st.integers(0, 40))
@settings(max_examples=60, deadline=None)
def test_candles_older_than_candles_needed_change_nothing(seed: int, more: int) -> None:
    c = walk(360 + more, seed)
    atr, at = true_ranges(c), len(c) - 1
    start = len(c) - EASY.candles_needed
    short = cut(c, start, len(c))
    pivots = find_pivots(short.high, short.low, STRENGTH)
    of_all = find_patterns(c, atr, find_pivots(c.high, c.low, STRENGTH), at, EASY)
    assert find_patterns(short, atr[start:], pivots, len(short) - 1, EASY) == of_all


@given(seeds, st.integers(60, 199), st.integers(-40, 40))
@settings(max_examples=40, deadline=None)
def test_the_unit_of_price_changes_nothing_but_the_prices(seed: int, at: int, power: int) -> None:
    c, factor = walk(200, seed), 2.0**power
    scaled = with_columns(c, (c.open * factor, c.high * factor, c.low * factor, c.close * factor, c.volume))
    expected = tuple(
        replace(
            p, level=p.level * factor, points=tuple(replace(point, price=point.price * factor) for point in p.points)
        )
        for p in read(c, at)
    )
    assert read(scaled, at) == expected


@given(seeds, st.integers(60, 199))
@settings(max_examples=40, deadline=None)
def test_turning_the_chart_upside_down_swaps_tops_and_bottoms(seed: int, at: int) -> None:
    c, pole = walk(200, seed), 1e4  # p → pole / p, so a rise of 1 % becomes a fall of 1 %
    atr = true_ranges(c)
    turned = with_columns(c, (pole / c.open, pole / c.low, pole / c.high, pole / c.close, c.volume))
    pivots = find_pivots(turned.high, turned.low, STRENGTH)
    mirror = find_patterns(turned, atr / c.close * turned.close, pivots, at, EASY)
    upright = read(c, at)
    assert sorted(map(facts_turned, upright)) == sorted(map(turned_facts, mirror))
    for a, b in zip(sorted(upright, key=facts_turned), sorted(mirror, key=turned_facts), strict=True):
        assert a.quality == pytest.approx(b.quality, abs=1e-9)
        assert a.side == "neutral" or a.level == pytest.approx(pole / b.level, rel=1e-9)


def facts_turned(p: Pattern) -> tuple[object, ...]:
    return OPPOSITE[p.name], OPPOSITE[p.side], p.status, tuple(points_of(p)), p.known_at_ms


def turned_facts(p: Pattern) -> tuple[object, ...]:
    return p.name, p.side, p.status, tuple(points_of(p)), p.known_at_ms


@given(seeds)
@settings(max_examples=40, deadline=None)
def test_patterns_come_newest_first_and_one_family_reads_a_stretch_once(seed: int) -> None:
    c = walk(300, seed)
    for at in range(60, 300, 12):
        one_reading_each(read(c, at))


def one_reading_each(patterns: tuple[Pattern, ...]) -> None:
    assert [p.known_at_ms for p in patterns] == sorted((p.known_at_ms for p in patterns), reverse=True)
    reversals = {"head_and_shoulders", "inverse_head_and_shoulders", "double_top", "double_bottom"}
    for i, a in enumerate(patterns):
        for b in patterns[:i]:
            family = a.name == b.name or not {a.name, b.name} & reversals
            assert not (family and points_overlap(a, b))


@given(
    st.integers(1, 400),
    st.sampled_from([1e-12, 1e-3, 1.0, 1e12]),
    st.sampled_from([0.0, 1e-13, 1e-3, 0.5, 20.0]),
    st.sampled_from(["real", "steady", "zero", "nan", "inf", "tiny"]),
    seeds,
)
@settings(max_examples=60, deadline=None)
def test_no_series_breaks_it_and_every_figure_is_finite(
    n: int, price: float, sigma: float, kind: str, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    close = price * np.exp(np.clip(np.cumsum(sigma * rng.normal(size=n)), -600, 600))
    c = candles_of(close, rng.integers(0, 2, n) * 1.0)
    atr = {"real": true_ranges(c), "steady": c.close / 100, "tiny": np.full(n, 5e-324)}.get(kind)
    if atr is None:
        atr = np.full(n, {"zero": 0.0, "nan": math.nan, "inf": math.inf}[kind])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for at in {0, n // 2, n - 1}:
            for p in find_patterns(c, atr, find_pivots(c.high, c.low, 2), at, EASY):
                assert kind in {"real", "steady"}
                assert sound(p, START_MS + at * 60_000)


def sound(p: Pattern, now_ms: int) -> bool:
    times = [point.time_ms for point in p.points]
    return (
        json.loads(json.dumps(p.to_dict(), allow_nan=False)) == p.to_dict()
        and 0 <= p.quality <= 1
        and p.level > 0
        and times == sorted(set(times))
        and times[-1] < p.known_at_ms <= now_ms
    )


@pytest.mark.parametrize("atr", [0.0, math.nan])
def test_without_an_atr_nothing_is_found(atr: float) -> None:
    c = planted(TOP_AND_SHOULDERS)
    assert found(c, 75)
    assert find_patterns(c, np.full(len(c), atr), find_pivots(c.high, c.low, STRENGTH), 75, PARAMS) == ()


def test_a_flat_price_has_no_pattern() -> None:
    c = candles_of(np.full(300, 3.0))
    assert find_patterns(c, np.full(300, 0.03), (), 299, PARAMS) == ()


def test_a_level_that_no_float_holds_is_none() -> None:
    c = planted(TWO_TOPS)
    up, down, _ = see(c, c.close, (), 71, PARAMS)
    assert up.price(0.0) == up.reference
    assert [view.price(height) for view in (up, down) for height in (1e4, -1e4, math.nan)] == [None] * 6


@pytest.mark.parametrize("knots", PLANTED)
@pytest.mark.parametrize("price", [1e-12, 1e12])
def test_a_planted_pattern_is_found_at_any_price(knots: tuple[tuple[int, float], ...], price: float) -> None:
    c = planted(knots)
    moved = with_columns(c, (c.open * price, c.high * price, c.low * price, c.close * price, c.volume))
    assert [(p.name, points_of(p)) for p in found(moved, 71)] == [(p.name, points_of(p)) for p in found(c, 71)]


def test_a_gap_in_time_is_one_candle_wide() -> None:
    c = planted(TWO_TOPS)
    hole = np.where(np.arange(len(c)) > 60, 3_600_000, 0)
    gapped = Candles(c.symbol, c.timeframe, c.open_time_ms + hole, c.open, c.high, c.low, c.close, c.volume)
    (pattern,) = found(gapped, 71)
    assert [point.time_ms for point in pattern.points] == [int(gapped.open_time_ms[i]) for i in (40, 54, 68)]
    assert pattern.known_at_ms == gapped.open_time_ms[71]


def test_mirrored_knots_are_read_alike() -> None:
    for knots in PLANTED:
        up, down = found(planted(knots), 71), found(planted(mirrored(knots)), 71)
        assert [(OPPOSITE[p.name], points_of(p)) for p in up] == [(p.name, points_of(p)) for p in down]


class Watched(Sequence[Pivot]):
    """Pivots that count how many of them were looked at."""

    def __init__(self, pivots: Sequence[Pivot]) -> None:
        self.pivots, self.reads = pivots, 0

    def __len__(self) -> int:
        return len(self.pivots)

    @overload
    def __getitem__(self, index: int) -> Pivot: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Pivot]: ...
    def __getitem__(self, index: int | slice) -> Pivot | Sequence[Pivot]:
        got = self.pivots[index]
        self.reads += len(got) if isinstance(got, Sequence) else 1
        return got


def test_the_work_does_not_grow_with_the_history() -> None:
    c = walk(20_000)
    pivots = Watched(find_pivots(c.high, c.low, STRENGTH))
    assert find_patterns(c, true_ranges(c), pivots, 15_000, EASY) is not None
    assert pivots.reads < EASY.lookback
