"""Regime over gaps: what nobody saw is neither an event nor part of a range, and small holes are counted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from market_examples import MINUTE_MS, candles_of, walk
from test_regime import NARROW, PARAMS, path
from wyckoff_examples import CLIMAX, Story, rough, told

from aaos.domain.market import Candles
from aaos.domain.regime import Labels, RegimeStream, detect_regime, regimes_over
from aaos.errors import InsufficientData

NEEDED = PARAMS.candles_needed


def with_gap(candles: Candles, at: int, missing: int) -> Candles:
    """The same candles, those from `at` on that many minutes later."""
    return replace(candles, open_time_ms=candles.open_time_ms + MINUTE_MS * missing * (np.arange(len(candles)) >= at))


def crash(missing: int) -> Candles:
    """A walk that loses a fifth at candle 300 of 500, on thrice the volume; `missing` candles lie before that one."""
    calm = walk(500)
    close = calm.close * np.where(np.arange(500) < 300, 1.0, 0.8)
    volume = np.where(np.arange(500) == 300, 60.0, 10.0)
    opened = np.where(np.arange(500) == 300, close, np.concatenate((close[:1], close[:-1])))
    high, low = np.maximum(opened, close), np.minimum(opened, close) * np.where(np.arange(500) == 300, 0.98, 1.0)
    plain = replace(candles_of(close, volume), open=opened, high=high, low=low)
    return with_gap(plain, 300, missing)


@pytest.mark.requirement("ENG-2")
def test_a_jump_over_a_wide_gap_is_no_climax_but_one_between_neighbours_is() -> None:
    def climaxes(missing: int) -> list[str]:
        return [e.name for e in detect_regime(crash(missing), PARAMS).events if e.name == "selling_climax"]

    assert climaxes(0) == climaxes(PARAMS.max_gap_candles) == ["selling_climax"]
    assert climaxes(PARAMS.max_gap_candles + 1) == climaxes(100_000) == []


def test_after_a_wide_gap_the_answer_is_that_of_the_candles_since_it() -> None:
    gapped = crash(100_000)
    since = gapped.tail(200)
    assert detect_regime(gapped, PARAMS) == detect_regime(since, PARAMS)
    assert detect_regime(gapped, PARAMS).candles_used == 200


def test_too_much_missing_among_the_newest_candles_is_refused_naming_the_gap() -> None:
    candles = walk(500)
    detect_regime(with_gap(candles, 400, 40), PARAMS)
    with pytest.raises(InsufficientData, match="50 of the newest 220 candles are missing"):
        detect_regime(with_gap(candles, 400, 50), PARAMS)


def test_small_holes_are_counted_and_change_neither_events_nor_phase() -> None:
    whole, holed = (detect_regime(with_gap(told(Story()), CLIMAX - 20, missing), PARAMS) for missing in (0, 12))
    assert (whole.candles_missing, holed.candles_missing) == (0, 12)
    assert [event.name for event in holed.events] == [event.name for event in whole.events]
    assert (holed.wyckoff_phase, holed.phase_confidence) == (whole.wyckoff_phase, whole.phase_confidence)
    assert holed.candles_used == whole.candles_used == len(told(Story()))


def test_soon_after_a_wide_gap_the_phase_is_unknown_while_regime_and_volume_go_on() -> None:
    climb = with_gap(candles_of(path((500, 0.8))), 500 - NEEDED + 1, 20)
    soon = detect_regime(climb, PARAMS, Labels("trending_up", "markup", "flat"))
    assert (soon.wyckoff_phase, soon.phase_confidence) == ("unknown", 0.0)
    assert (soon.regime, soon.confidence > 0.8) == ("trending_up", True)
    assert (soon.candles_used, soon.candles_missing) == (NEEDED, 20)
    assert soon.evidence["phase"]["window_from_ms"] == climb.open_time_ms[500 - NEEDED + 1]
    enough = detect_regime(with_gap(candles_of(path((500, 0.8))), 500 - NEEDED, 20), PARAMS)
    assert (enough.wyckoff_phase, enough.candles_missing) == ("markup", 0)
    assert enough.phase_confidence == pytest.approx(NEEDED / PARAMS.window, rel=0.05)


def test_labels_found_before_a_wide_gap_are_not_kept_after_it() -> None:
    """A range between two levels, of which only the labels from before the gap know that a rise led to it."""
    swings = [(25 * i, 0.03 * (-1) ** i) for i in range(20)]
    closes = np.interp(np.arange(500), *zip(*swings, strict=True)) + 1e-4 * np.random.default_rng(2).normal(size=500)
    candles = with_gap(candles_of(100 * np.exp(closes)), 250, 1_000)
    before, after = (Labels("ranging", "distribution", "flat", int(candles.open_time_ms[i])) for i in (249, 250))
    assert detect_regime(candles, PARAMS, after).wyckoff_phase == "distribution"
    assert detect_regime(candles, PARAMS, before).wyckoff_phase != "distribution"
    assert detect_regime(candles, PARAMS, before).evidence["regime"]["previous"] is None


def test_labels_know_the_candle_they_were_found_at_and_so_do_stored_ones() -> None:
    output = detect_regime(walk(200), PARAMS)
    assert output.labels.found_at_ms == output.newest_candle_ms
    stored = Labels.of_body(output.to_dict())
    assert stored is not None
    assert stored.found_at_ms == output.newest_candle_ms


@given(st.integers(0, 2**32), st.integers(1, 159), st.integers(0, 60))
@settings(max_examples=15, deadline=None)
@pytest.mark.requirement("ENG-2")
def test_over_gaps_candle_by_candle_over_a_history_and_at_once_are_the_same(seed: int, at: int, missing: int) -> None:
    candles = with_gap(rough(seed, 160), at, missing)
    stream = RegimeStream("BTC/USDT", "1m", NARROW)
    streamed = [output for output in map(stream.update, candles.rows()) if output is not None]
    assert streamed == list(regimes_over(candles, NARROW))
    answered = [output.newest_candle_ms for output in streamed]
    previous = None
    for end in range(NARROW.candles_needed, len(candles) + 1, 7):
        upto = candles.until(int(candles.close_times_ms[end - 1]))
        if int(upto.open_time_ms[-1]) in answered:
            place = answered.index(int(upto.open_time_ms[-1]))
            previous = streamed[place - 1].labels if place else None
            assert detect_regime(upto, NARROW, previous) == streamed[place]
        else:
            with pytest.raises(InsufficientData, match="are missing"):
                detect_regime(upto, NARROW, previous)


def test_a_history_has_no_output_while_too_many_of_the_newest_candles_are_missing() -> None:
    outputs = list(regimes_over(with_gap(walk(600), 300, 1_000), PARAMS))
    candles = with_gap(walk(600), 300, 1_000)
    ends = [int(np.searchsorted(candles.open_time_ms, output.newest_candle_ms)) for output in outputs]
    assert ends == [*range(NEEDED - 1, 300), *range(300 + NEEDED - 1, 600)]
    assert all(output.candles_missing == 0 for output in outputs)
