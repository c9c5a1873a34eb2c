"""Divergences over whole series, with the indicators that are used in earnest."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from market_examples import candles_of, walk

from aaos.domain.market import Candles, FloatArray
from aaos.domain.signals.divergence import Divergence, DivergenceIndicator, DivergenceParams, find_divergences
from aaos.domain.signals.indicators import compute_indicators
from aaos.domain.signals.params import SignalParams
from aaos.domain.signals.pivots import Pivot, find_pivots

pytestmark = pytest.mark.requirement("ENG-2")

PARAMS = DivergenceParams()
STRENGTH = SignalParams().pivot_strength
INDICATORS = get_args(DivergenceIndicator)
Lines = dict[str, FloatArray]


def read(c: Candles) -> tuple[Lines, FloatArray, tuple[Pivot, ...]]:
    columns = compute_indicators(c, SignalParams())
    lines = {"rsi": columns.rsi, "macd": columns.macd_line, "ao": columns.ao, "obv": columns.obv}
    return lines, columns.atr, find_pivots(c.high, c.low, STRENGTH)


def found_in(c: Candles, at: int, params: DivergenceParams = PARAMS) -> tuple[Divergence, ...]:
    return find_divergences(c, *read(c), at, params)


def alive_candles(c: Candles, start: int) -> list[int]:
    """The candles from `start` on at which divergences live; all of them in the rare series that has none."""
    lines, atr, pivots = read(c)
    candles = range(start, len(c))
    return [t for t in candles if find_divergences(c, lines, atr, pivots, t, PARAMS)] or list(candles)


def sliced(c: Candles, start: int, stop: int) -> Candles:
    columns = (c.open_time_ms, c.open, c.high, c.low, c.close, c.volume)
    return Candles(c.symbol, c.timeframe, *(column[start:stop] for column in columns))


def turn_by_definition(line: FloatArray, pivot: int, at: int, p: DivergenceParams) -> int | None:
    around = range(max(0, pivot - p.match_candles), pivot + p.match_candles + 1)
    if around[-1] > at or not all(np.isfinite(line[i]) for i in around):
        return None
    turn = min(around, key=lambda i: (line[i], i))
    before, after = range(turn - p.turn_strength, turn), range(turn + 1, turn + p.turn_strength + 1)
    if before[0] < 0 or after[-1] > at:
        return None
    return turn if all(line[i] > line[turn] for i in before) and all(line[i] >= line[turn] for i in after) else None


def line_holds_by_definition(values: FloatArray, a: int, b: int, tolerance: float) -> bool:
    between = np.arange(a + 1, b)
    return bool(np.all(values[between] >= np.interp(between, [a, b], values[[a, b]]) - tolerance))


def by_definition(
    c: Candles, lines: Lines, atr: FloatArray, pivots: Sequence[Pivot], at: int, p: DivergenceParams
) -> dict[tuple[str, str, int], tuple[str, int, int, int, float]]:
    """Every pair of pivots held against the rules of docs/divergence.md one by one, over the whole series.

    By indicator, side and second pivot: kind, first pivot, both turns and strength.
    """
    found = {}
    for first, second in combinations(pivots, 2):
        gap, width = second.index - first.index, atr[second.index]
        if first.side != second.side or second.known_at > at or not p.min_distance <= gap <= p.max_distance:
            continue
        sign = 1 if second.side == "low" else -1
        low = sign * (c.low if sign > 0 else c.high)
        fall = low[first.index] - low[second.index]
        if not abs(fall) >= p.min_price_atr * width or np.any(
            sign * c.close[second.index : at + 1] < low[second.index]
        ):
            continue
        if not line_holds_by_definition(low, first.index, second.index, p.line_tolerance * width):
            continue
        for name, column in lines.items():
            line = sign * column
            a, b = (turn_by_definition(line, pivot.index, at, p) for pivot in (first, second))
            if a is None or b is None:
                continue
            recent = line[max(0, b + 1 - p.spread_window) : b + 1]
            spread = np.nanmax(recent) - np.nanmin(recent)
            rise = (line[b] - line[a]) * np.sign(fall)
            known = max(second.known_at, second.index + p.match_candles, a + p.turn_strength, b + p.turn_strength)
            if at - known > p.max_age or rise <= 0 or rise < p.min_value_share * spread:
                continue
            if not line_holds_by_definition(line, a, b, p.line_tolerance * spread):
                continue
            if name == "ao" and fall > 0 and line[a : b + 1].max() >= 0:
                continue
            depth = 1 - (min(line[a], line[b]) - np.nanmin(recent)) / spread
            parts = abs(fall) / width / p.price_full_atr, rise / spread / p.value_full_share, depth
            kind, side = "regular" if fall > 0 else "hidden", "bullish" if sign > 0 else "bearish"
            strength = float(np.mean(np.clip(parts, 0, 1)))
            key = name, side, second.index  # a later, so nearer, first pivot replaces an earlier one
            found[key] = kind, first.index, a, b, strength
    return found


@given(st.integers(0, 2**32), st.sampled_from([1, 3]), st.sampled_from([12, 60, 100]), st.sampled_from([2, 5]))
@settings(max_examples=25, deadline=None)
def test_what_is_found_is_what_the_definitions_say(seed: int, turn: int, window: int, strength: int) -> None:
    c = walk(260, seed)
    lines, atr, _ = read(c)
    lines = {name: line.round(1) if name == "rsi" else line for name, line in lines.items()}  # so that some are equal
    pivots = find_pivots(c.high, c.low, strength)
    p = DivergenceParams(turn_strength=turn, spread_window=window, min_distance=5, min_price_atr=0.2)
    index = {int(ms): i for i, ms in enumerate(c.open_time_ms)}
    for t in (60, 130, 200, 259):
        found = {
            (d.indicator, d.side, index[d.second_ms]): (
                d.kind,
                index[d.first_ms],
                index[d.first_value_ms],
                index[d.second_value_ms],
                pytest.approx(d.strength),
            )
            for d in find_divergences(c, lines, atr, pivots, t, p)
        }
        assert found == by_definition(c, lines, atr, pivots, t, p)


@given(st.integers(0, 2**32), st.integers(0, 10**6))
@settings(max_examples=25, deadline=None)
def test_what_is_found_at_a_candle_needs_no_later_one_and_later_ones_cannot_change_it(seed: int, pick: int) -> None:
    c = walk(400, seed)
    alive = alive_candles(c, 60)
    t = alive[pick % len(alive)]
    with_hindsight = found_in(c, t)
    assert found_in(sliced(c, 0, t + 1), t) == with_hindsight
    other = walk(400, seed + 1, price=37.0, sigma=0.05)
    parts = [
        np.concatenate((getattr(c, name)[: t + 1], getattr(other, name)[t + 1 :]))
        for name in ("open_time_ms", "open", "high", "low", "close", "volume")
    ]
    assert found_in(Candles(c.symbol, c.timeframe, *parts), t) == with_hindsight


@given(st.integers(0, 2**32), st.integers(0, 10**6), st.integers(0, 40))
@settings(max_examples=25, deadline=None)
def test_candles_older_than_the_lookback_change_nothing(seed: int, pick: int, spared: int) -> None:
    c = walk(500, seed)
    lines, atr, _ = read(c)
    needed = PARAMS.candles_needed(STRENGTH)
    alive = alive_candles(c, needed + 40)
    t = alive[pick % len(alive)]
    start = t + 1 - needed - spared
    tail = sliced(c, start, t + 1)
    tail_lines = {name: line[start : t + 1] for name, line in lines.items()}
    tail_pivots = find_pivots(tail.high, tail.low, STRENGTH)
    last = len(tail) - 1
    assert find_divergences(tail, tail_lines, atr[start : t + 1], tail_pivots, last, PARAMS) == found_in(c, t)


def test_the_work_does_not_grow_with_the_history() -> None:
    class Counted(tuple[Pivot, ...]):
        __slots__ = ()
        looked_at = 0

        def __getitem__(self, index: Any) -> Any:
            Counted.looked_at += 1
            return super().__getitem__(index)

        def __iter__(self) -> Iterator[Pivot]:
            raise AssertionError("all pivots were gone through")

    c = walk(20_000, 3)
    lines, atr, pivots = read(c)
    assert len(pivots) > 1_000
    t = alive_candles(sliced(c, 0, 10_000), 9_000)[0]
    assert find_divergences(c, lines, atr, Counted(pivots), t, PARAMS) == find_divergences(
        c, lines, atr, pivots, t, PARAMS
    )
    assert Counted.looked_at < 50


@given(st.integers(0, 2**32))
@settings(max_examples=25, deadline=None)
def test_each_first_appears_at_the_candle_it_names_and_stays_the_same_until_it_is_gone_for_good(seed: int) -> None:
    c = walk(400, seed)
    lines, atr, pivots = read(c)
    alive: set[Divergence] = set()
    gone: set[Divergence] = set()
    for t in range(1, len(c)):
        now = set(find_divergences(c, lines, atr, pivots, t, PARAMS))
        assert {d.known_at_ms for d in now - alive} <= {int(c.open_time_ms[t])}
        assert not now & gone
        gone |= alive - now
        alive = now


@given(st.integers(0, 2**32), st.sampled_from([-47, -20, 1, 33]), st.sampled_from([-30, 0, 30]))
@settings(max_examples=30, deadline=None)
def test_a_market_in_other_units_has_the_same_divergences(seed: int, price_power: int, volume_power: int) -> None:
    c = walk(300, seed)
    prices, volumes = 2.0**price_power, 2.0**volume_power  # prices near 1e-12 and 1e12
    ohlc = (column * prices for column in (c.open, c.high, c.low, c.close))
    scaled = Candles(c.symbol, c.timeframe, c.open_time_ms, *ohlc, c.volume * volumes)
    unit = {"rsi": 1.0, "macd": prices, "ao": prices, "obv": volumes}
    for t in alive_candles(c, 60)[::7]:
        expected = [
            replace(
                d,
                first_price=d.first_price * prices,
                second_price=d.second_price * prices,
                first_value=d.first_value * unit[d.indicator],
                second_value=d.second_value * unit[d.indicator],
            )
            for d in found_in(c, t)
        ]
        assert list(found_in(scaled, t)) == expected


@given(st.integers(0, 2**32))
@settings(max_examples=30, deadline=None)
def test_in_a_mirror_bullish_and_bearish_change_places(seed: int) -> None:
    c = walk(300, seed)
    lines, atr, pivots = read(c)
    mirrored = Candles(c.symbol, c.timeframe, c.open_time_ms, -c.open, -c.low, -c.high, -c.close, c.volume)
    mirrored_lines = {name: -line for name, line in lines.items()}
    mirrored_pivots = find_pivots(mirrored.high, mirrored.low, STRENGTH)
    other = {"bullish": "bearish", "bearish": "bullish"}
    for t in alive_candles(c, 60)[::3]:
        seen = {
            replace(
                d,
                side=other[d.side],
                first_price=-d.first_price,
                second_price=-d.second_price,
                first_value=-d.first_value,
                second_value=-d.second_value,
            )
            for d in find_divergences(mirrored, mirrored_lines, atr, mirrored_pivots, t, PARAMS)
        }
        assert seen == set(find_divergences(c, lines, atr, pivots, t, PARAMS))


@pytest.mark.parametrize("price", [1e-12, 1.0, 1e12])
def test_a_flat_market_has_no_divergence_and_one_without_volume_none_with_obv(price: float) -> None:
    flat = candles_of(np.full(300, price))
    assert all(found_in(flat, t) == () for t in range(0, 300, 5))
    c = walk(400, 5, price=price)
    silent = Candles(c.symbol, c.timeframe, c.open_time_ms, c.open, c.high, c.low, c.close, np.zeros(400))
    seen = {d.indicator for t in alive_candles(silent, 60) for d in found_in(silent, t)}
    assert seen
    assert "obv" not in seen


@given(
    st.integers(0, 2**32),
    st.sampled_from([0.0, 0.02, 0.3, 1.0]),
    st.sampled_from([1e-300, 1e-12, 1.0, 1e12, 1e308]),
    st.integers(1, 8),
)
@settings(max_examples=60, deadline=None)
def test_any_lines_give_finite_figures_and_no_warning(seed: int, undefined: float, size: float, strength: int) -> None:
    rng = np.random.default_rng(seed)
    c = walk(150, seed)

    def torn() -> FloatArray:
        line = size * np.round(rng.uniform(-1, 1, 150), rng.integers(0, 3))
        line[rng.uniform(size=150) < undefined] = rng.choice([np.nan, np.inf, -np.inf])
        return line

    lines, atr = {name: torn() for name in INDICATORS}, np.abs(torn() / size) * 0.1
    open_gates = DivergenceParams(
        2, 100, 2, 1, min_price_atr=0, min_value_share=0, line_tolerance=1, ao_twin_peaks=False
    )
    pivots = find_pivots(c.high, c.low, strength)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for t in range(0, 150, 11):
            for d in find_divergences(c, lines, atr, pivots, t, open_gates):
                json.dumps(d.to_dict(), allow_nan=False)
                assert 0 <= d.strength <= 1
                assert d.first_ms < d.second_ms < d.known_at_ms <= c.open_time_ms[t]
                assert lines[d.indicator][c.open_time_ms.tolist().index(d.second_value_ms)] == d.second_value


def test_no_pivots_or_no_history_is_no_divergence() -> None:
    c = walk(3, 1)
    nothing = {name: np.full(3, np.nan) for name in INDICATORS}
    assert find_divergences(c, nothing, np.full(3, np.nan), (), 2, PARAMS) == ()
    one = (Pivot(1, "low", float(c.low[1]), 2),)
    assert find_divergences(c, nothing, np.full(3, np.nan), one, 2, PARAMS) == ()
