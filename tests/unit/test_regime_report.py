"""The statistics of the validation report: an effect that is there is found, one that is not is not."""

from __future__ import annotations

import numpy as np
import pytest
from test_regime import NARROW
from test_regime_gaps import with_gap
from wyckoff_examples import rough

from bench.validation import verdict
from bench.validation.history import Episode, detected, differs_when_asked_rarely, episodes
from bench.validation.statistics import Aftermath, aftermaths, ends_of_ranges, naive_slope, stability

HOURS = 4_000


def a_market(effect: float) -> tuple[list[str], np.ndarray[tuple[int], np.dtype[np.float64]]]:
    """Labels that last 100 hours, drawn at random, and closes that drift by `effect` sigmas an hour while "up"."""
    rng = np.random.default_rng(11)
    labels = np.repeat(rng.choice(["up", "other"], size=HOURS // 100), 100)
    returns = 0.01 * (rng.standard_normal(HOURS) + effect * (labels == "up"))
    return labels.tolist(), 100 * np.exp(np.cumsum(returns))


def test_an_effect_after_a_label_is_found_with_its_size() -> None:
    labels, close = a_market(0.5)
    up, other = aftermaths(labels, ("up", "other"), close, 24, seed=1)
    assert up.p_value < 0.01
    assert 0 < up.low < up.excess < up.high
    assert other.excess < 0
    assert up.candles + other.candles == HOURS - 24


def test_labels_without_an_effect_are_not_significant() -> None:
    labels, close = a_market(0.0)
    assert all(each.p_value > 0.05 for each in aftermaths(labels, ("up", "other"), close, 24, seed=1))


def test_the_same_seed_gives_the_same_figures_and_an_unused_label_none() -> None:
    labels, close = a_market(0.2)
    once, again = (aftermaths(labels, ("up", "never"), close, 24, seed=3) for _ in range(2))
    assert once == again
    assert [each.label for each in once] == ["up"]


def test_stability_counts_flips_and_how_long_labels_last() -> None:
    labels = list("aaabbbbbac")
    assert episodes(labels) == [Episode("a", 0, 3), Episode("b", 3, 8), Episode("a", 8, 9), Episode("c", 9, 10)]
    found = stability(labels, "abc")
    assert found.share == {"a": 0.4, "b": 0.5, "c": 0.1}
    assert found.flips_per_1000 == pytest.approx(300)
    assert found.median_candles == 2


def test_a_range_became_the_next_trend_whatever_unknown_lay_between() -> None:
    ranges = ["accumulation", "unknown", "accumulation", "unknown"]
    labels = [*ranges, "markup", "unknown", "distribution", "markdown", "accumulation"]
    assert ends_of_ranges(labels, "accumulation") == {"markup": 1}
    assert ends_of_ranges(labels, "distribution") == {"markdown": 1}


def test_the_baseline_is_the_sign_of_the_slope_up_to_each_candle() -> None:
    close = np.exp(np.array([0.0, 0.1, 0.2, 0.1, 0.0, -0.1]))
    assert naive_slope(close, 3) == ["flat", "flat", "up", "down", "down", "down"]


def test_bonferroni_multiplies_by_every_difference_of_every_part() -> None:
    parts = {part: [Aftermath("up", 9, 3, 0.1, 0.0, 0.2, p_value) for p_value in (0.01, 0.5)] for part in ("a", "b")}
    assert "their number, 4 (Bonferroni), the smallest p is 0.04" in " ".join(verdict.of_returns(parts))


def test_labels_asked_for_at_every_candle_do_not_differ_and_rarely_asked_ones_are_counted() -> None:
    history = detected(rough(3, 240), NARROW)
    assert differs_when_asked_rarely(history, NARROW, 1, "phase") == 0
    differing = [differs_when_asked_rarely(history, NARROW, 7, kind) for kind in ("phase", "regime", "volume trend")]
    assert all(0 <= share <= 1 for share in differing)
    assert max(differing) > 0


def test_a_history_with_candles_that_have_no_output_is_not_validated() -> None:
    with pytest.raises(ValueError, match="no output for gaps"):
        detected(with_gap(rough(3, 240), 120, 500), NARROW)
