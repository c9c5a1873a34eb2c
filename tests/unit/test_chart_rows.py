"""What the chart draws, as plain rows: everything that was found, nothing that was not there."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
from chart_examples import PARAMS, a_divergence, a_reading, gapped, time_of
from hypothesis import given, settings
from hypothesis import strategies as st
from market_examples import MINUTE_MS, candles_of, walk

from aaos.adapters.charts.look import price_format
from aaos.adapters.charts.reading import read_candles
from aaos.adapters.charts.rows import rows_of
from aaos.domain.market import Candles
from aaos.domain.signals import IndicatorColumns, Pattern, generate_signal
from aaos.domain.signals.patterns import PatternPoint
from aaos.errors import InsufficientData


@pytest.mark.requirement("ENG-2")
def test_every_drawn_candle_has_one_row_with_its_own_figures() -> None:
    reading = a_reading(drawn=120)
    rows = rows_of(reading).candles
    c = reading.candles.tail(120)
    assert [row["t"] for row in rows] == c.open_time_ms.tolist()
    for name in ("open", "high", "low", "close", "volume"):
        assert [row[name] for row in rows] == getattr(c, name).tolist()
    for column in fields(IndicatorColumns):
        expected = getattr(reading.columns, column.name)[-120:].tolist()
        assert [row[column.name] for row in rows] == [None if np.isnan(value) else value for value in expected]


def test_a_warm_up_is_null_and_so_is_never_drawn() -> None:
    rows = rows_of(a_reading(drawn=200)).candles
    assert [row["ema_slow"] for row in rows[: PARAMS.ema_slow - 1]] == [None] * (PARAMS.ema_slow - 1)
    assert rows[PARAMS.ema_slow - 1]["ema_slow"] is not None


def test_a_gap_is_told_as_a_gap_and_splits_the_runs_that_lines_are_drawn_through() -> None:
    rows = rows_of(a_reading(gapped(200, after=130, missing=30), drawn=120))
    (gap,) = rows.gaps
    c = gapped(200, after=130, missing=30)
    assert (gap["from"], gap["to"], gap["missing"]) == (time_of(c, 130) + MINUTE_MS, time_of(c, 131), 30)
    assert {row["run"] for row in rows.candles if row["t"] <= time_of(c, 130)} == {0}
    assert {row["run"] for row in rows.candles if row["t"] >= time_of(c, 131)} == {1}


def test_every_divergence_and_every_pattern_is_among_the_rows_with_when_it_was_known() -> None:
    reading = a_reading()
    rows = rows_of(reading)
    middle = MINUTE_MS / 2
    drawn = [(r["indicator"], r["kind"], r["side"], r["m1"], r["m2"], r["known"]) for r in rows.divergences]
    assert drawn == [
        (d.indicator, d.kind, d.side, d.first_ms + middle, d.second_ms + middle, d.known_at_ms + middle)
        for d in reading.divergences
    ]
    assert [(r["label"], r["known"]) for r in rows.patterns] == [
        ("double top 0.88", reading.patterns[0].confirmed_ms + middle),  # type: ignore[operator]
        ("double top 0.88 (forming)", reading.patterns[1].first_known_ms + middle),
    ]
    points = [(p.time_ms + middle, p.price, p.role) for each in reading.patterns for p in each.pattern.points]
    assert [(r["m"], r["price"], r["role"]) for r in rows.pattern_points] == points


def test_pivots_say_with_which_candle_they_became_known() -> None:
    reading = a_reading()
    rows = rows_of(reading).pivots
    expected = [each for each in reading.pivots if each.index >= reading.first]
    assert [row["price"] for row in rows] == [each.price for each in expected]
    assert all(row["tip"]["known at the close of"] > row["tip"]["candle"] for row in rows)
    assert expected


def test_an_indicators_line_runs_between_its_own_turns_beside_the_pivots() -> None:
    reading = a_reading()
    row = rows_of(reading).divergences[0]
    found = reading.divergences[0]
    middle = MINUTE_MS / 2
    assert (row["turn1"], row["value1"]) == (found.first_value_ms + middle, found.first_value)
    assert (row["turn2"], row["value2"]) == (found.second_value_ms + middle, found.second_value)
    assert (row["m1"], row["price1"], row["m2"], row["price2"]) == (
        found.first_ms + middle,
        found.first_price,
        found.second_ms + middle,
        found.second_price,
    )


def test_a_pattern_is_drawn_with_its_trend_line_and_the_level_as_it_was_watched() -> None:
    reading = a_reading()
    lines: dict[str, list[float]] = {}
    for row in rows_of(replace(reading, patterns=reading.patterns[:1])).pattern_lines:
        lines.setdefault(row["line"], []).append(row["price"])
    found = reading.patterns[0]
    first, valley, second = (point.price for point in found.pattern.points)
    assert lines == {
        "0 outline": [first, valley, second],
        "0 tops": [first, second],
        "0 level": [price for _, price in found.levels],
    }


def test_what_ended_before_the_first_drawn_candle_is_left_out() -> None:
    reading = a_reading(drawn=40)
    rows = rows_of(reading)
    first = time_of(reading.candles, 160)
    assert [row["indicator"] for row in rows.divergences] == ["obv"]
    assert [row["status"] for row in rows.patterns] == ["forming"]
    assert min(row["t"] for row in rows.pivots) >= first


def test_a_pattern_that_nothing_confirmed_says_so_once_it_is_over() -> None:
    reading = a_reading()
    over = replace(reading.patterns[1], last_told_ms=time_of(reading.candles, -2))
    labels = [row["label"] for row in rows_of(replace(reading, patterns=(*reading.patterns, over))).patterns]
    assert labels == ["double top 0.88", "double top 0.88 (forming)", "double top 0.88 (never confirmed)"]


def test_the_walk_over_the_past_keeps_when_a_pattern_was_first_known_and_when_confirmed() -> None:
    from aaos.adapters.charts.reading import _PatternHistory

    points = tuple(PatternPoint("first_top", ms, 5.0) for ms in (1, 2, 3))
    history = _PatternHistory()
    for now, known, status, level in ((10, 10, "forming", 1.0), (11, 10, "forming", 1.1), (12, 12, "confirmed", 1.2),
                                      (13, 12, "confirmed", 1.3)):  # fmt: skip
        history.see([Pattern("double_top", "bearish", status, points, 0.5, known, level)], now)  # type: ignore[arg-type]
    (found,) = history.found()
    assert (found.first_known_ms, found.confirmed_ms) == (10, 12)
    assert found.levels == ((10, 1.0), (11, 1.1), (12, 1.2))
    assert found.pattern.status == "confirmed"
    assert found.last_told_ms == 13


def test_divergences_of_both_sides_over_the_same_candles_are_both_kept_as_first_told() -> None:
    from aaos.adapters.charts.reading import _DivergenceHistory

    c = gapped()
    one = a_divergence(c, 101, 111)
    both = [one, replace(one, side="bearish"), replace(one, kind="hidden"), replace(one, indicator="ao")]
    history = _DivergenceHistory()
    for _ in range(2):
        history.see(both)
    history.see([replace(one, strength=0.1)])
    assert list(history.found()) == both


@pytest.mark.requirement("ENG-2")
def test_where_too_much_is_missing_in_small_gaps_nothing_is_drawn() -> None:
    c = walk(300, seed=11, sigma=2e-3)
    # Five missing after every eight from candle 150 to 200: no gap is wide, but over a fifth is missing for a while.
    holes = np.cumsum((np.arange(300) % 8 == 0) & (np.arange(300) >= 150) & (np.arange(300) < 250)) * 5
    c = Candles(c.symbol, c.timeframe, c.open_time_ms + MINUTE_MS * holes, c.open, c.high, c.low, c.close, c.volume)
    refused = set()
    for at in range(100, 300):
        try:
            generate_signal(c.until(time_of(c, at) + MINUTE_MS), PARAMS)
        except InsufficientData:
            refused.add(time_of(c, at))
    reading = read_candles(c, PARAMS, 200)
    levels = {ms for each in reading.patterns for ms, _ in each.levels}
    assert len(refused) > 50
    assert levels
    assert not levels & refused
    assert not {each.known_at_ms for each in reading.divergences} & refused


@pytest.mark.requirement("ENG-2")
def test_nothing_drawn_was_known_before_it_could_be() -> None:
    c = walk(400, seed=11, sigma=2e-3)
    later = read_candles(c, PARAMS, 300)
    earlier = read_candles(c.until(time_of(c, 349) + MINUTE_MS), PARAMS, 250)
    now_ms = time_of(c, 349)
    known_by_then = [d for d in later.divergences if d.known_at_ms <= now_ms]
    assert known_by_then
    assert known_by_then == list(earlier.divergences)
    seen = [p for p in later.patterns if p.first_known_ms <= now_ms]
    assert [p.pattern.points for p in seen] == [p.pattern.points for p in earlier.patterns]


@pytest.mark.requirement("ENG-2")
def test_exactly_that_is_drawn_which_an_analysis_at_one_of_the_drawn_candles_would_have_told() -> None:
    c = gapped(300, after=160, missing=60)
    told: set[object] = set()
    refused = 0
    for at in range(100, 300):
        try:
            signal = generate_signal(c.until(time_of(c, at) + MINUTE_MS), PARAMS)
        except InsufficientData:  # so soon after the gap no analysis would have said anything
            refused += 1
            continue
        told |= {*signal.divergences, *((p.name, p.points) for p in signal.patterns)}
    reading = read_candles(c, PARAMS, 200)
    assert refused > 10
    assert {*reading.divergences, *((p.pattern.name, p.pattern.points) for p in reading.patterns)} == told
    assert len(told) > 3


def test_the_score_is_that_of_the_candles_an_analysis_reads() -> None:
    c = walk(400, seed=5)
    assert read_candles(c, PARAMS, 100, analysed=300).signal == read_candles(c.tail(300), PARAMS, 100).signal


def test_too_few_candles_are_refused_with_how_many_are_needed() -> None:
    with pytest.raises(InsufficientData, match=f"need {PARAMS.candles_needed} closed candles"):
        read_candles(walk(30), PARAMS, 20)


@given(st.integers(0, 1000), st.sampled_from([1e-12, 1e-6, 1.0, 1e12]), st.integers(20, 150))
@settings(max_examples=25, deadline=None)
def test_every_figure_of_any_market_can_be_written_as_json(seed: int, price: float, drawn: int) -> None:
    import json

    from aaos.adapters.charts.description import describe

    reading = read_candles(walk(150, seed, price=price, sigma=5e-3), PARAMS, drawn)
    assert json.dumps(describe(reading), allow_nan=False)


def test_a_flat_market_without_volume_is_drawn_too() -> None:
    reading = read_candles(candles_of(np.full(120, 7.0), volume=0.0), PARAMS, 120)
    rows = rows_of(reading)
    assert {row["rsi"] for row in rows.candles} == {None}
    assert (rows.divergences, rows.patterns, rows.gaps) == ([], [], [])


@pytest.mark.parametrize(
    ("price", "said"), [(46_319.5, ",.1f"), (0.51234, ",.6f"), (2e-9, ".5~e"), (3e12, ".5~e"), (99.0, ",.4f")]
)
def test_a_price_of_any_size_is_shown_with_six_digits(price: float, said: str) -> None:
    assert price_format(price) == said
