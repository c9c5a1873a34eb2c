"""Brier score, its parts and its uncertainty: against hand calculation, simulation and the laws they must keep."""

from __future__ import annotations

import math

import numpy as np
import pytest
from calibration_examples import HORIZON_MS, START_MS, forecasts, scored, shuffled
from hypothesis import given
from hypothesis import strategies as st

from aaos.domain.calibration import VoteOutcome, figures_of
from aaos.domain.calibration.figures import MIN_WINDOWS, Figures, student_95, wilson_interval, windows_of

votes = st.lists(
    st.builds(scored, st.floats(0, 1), st.booleans(), st.integers(0, 30)),
    min_size=1,
    max_size=60,
)


def _figures(outcomes: list[VoteOutcome]) -> Figures:
    figures = figures_of(outcomes)
    assert figures is not None
    return figures


def test_without_a_scored_vote_there_are_no_figures() -> None:
    assert figures_of([]) is None
    assert figures_of([scored(0.5, True, state="waiting")]) is None


def test_the_figures_of_four_votes_are_those_of_a_calculation_by_hand() -> None:
    found = _figures([scored(0.8, True, 0), scored(0.8, False, 1), scored(0.6, True, 2), scored(0.6, True, 3)])
    assert found.brier == pytest.approx((0.04 + 0.64 + 0.16 + 0.16) / 4)
    assert found.hit_rate == 0.75
    assert found.mean_confidence == pytest.approx(0.7)
    assert found.uncertainty == pytest.approx(0.1875)
    assert found.reliability == pytest.approx((2 * 0.3**2 + 2 * 0.4**2) / 4)
    assert found.resolution == pytest.approx((2 * 0.25**2 + 2 * 0.25**2) / 4)
    assert found.skill == pytest.approx(1 - 0.25 / 0.1875)
    assert found.ece == pytest.approx((2 * 0.3 + 2 * 0.4) / 4)
    assert [(b.low, b.votes, b.hit_rate) for b in found.bins] == [(0.6, 2, 1.0), (0.8, 2, 0.5)]


@given(votes)
def test_the_parts_add_up_to_the_score_and_all_figures_keep_their_bounds(outcomes: list[VoteOutcome]) -> None:
    found = _figures(outcomes)
    assert found.reliability - found.resolution + found.uncertainty + found.within_bins == pytest.approx(found.brier)
    assert 0 <= found.brier <= 1
    assert 0 <= found.ece <= 1
    assert found.reliability >= 0
    assert -1e-12 <= found.resolution <= found.uncertainty + 1e-12 <= 0.25 + 2e-12
    assert found.hit_interval[0] - 1e-12 <= found.hit_rate <= found.hit_interval[1] + 1e-12
    assert 1 <= found.windows <= found.votes == sum(each.votes for each in found.bins)


@given(votes, st.integers(0, 2**32 - 1))
def test_the_order_of_the_votes_changes_no_figure_not_even_in_its_last_bit(
    outcomes: list[VoteOutcome], seed: int
) -> None:
    assert figures_of(shuffled(outcomes, seed)) == figures_of(outcomes)


@given(st.lists(st.tuples(st.sampled_from([0.05, 0.35, 0.75]), st.booleans()), min_size=1, max_size=40))
def test_with_one_confidence_per_bin_nothing_is_left_within_the_bins(said: list[tuple[float, bool]]) -> None:
    found = _figures([scored(p, y, at) for at, (p, y) in enumerate(said)])
    assert found.within_bins == pytest.approx(0, abs=1e-12)


def test_a_perfectly_calibrated_model_scores_the_mean_of_p_times_one_minus_p() -> None:
    outcomes = forecasts(20_000, seed=7)
    expected = math.fsum(o.confidence * (1 - o.confidence) for o in outcomes if o.confidence is not None) / len(
        outcomes
    )
    found = _figures(outcomes)
    assert found.brier == pytest.approx(expected, abs=0.005)
    assert found.ece < 0.02
    assert found.reliability < 0.001
    assert found.skill is not None
    assert found.skill > 0


def test_an_overconfident_model_has_a_worse_score_and_no_skill() -> None:
    good, bad = _figures(forecasts(5_000, seed=7)), _figures(forecasts(5_000, seed=7, trust=0.6))
    assert bad.brier > good.brier
    assert bad.ece > 0.2
    assert bad.skill is not None
    assert bad.skill < 0


def test_skill_is_unknown_where_every_vote_was_right() -> None:
    assert _figures([scored(0.9, True, at) for at in range(20)]).skill is None


# --- windows ------------------------------------------------------------------------------------------------


def test_votes_of_three_stances_and_of_other_symbols_at_one_time_are_one_window() -> None:
    same = [scored(0.7, True, 0, voter=v, symbol=s) for v in ("trend", "risk") for s in ("BTC/USDT", "ETH/USDT")]
    assert _figures(same).windows == 1
    assert _figures([*same, scored(0.7, True, 1)]).windows == 2


def test_overlapping_horizons_count_once() -> None:
    hourly = [scored(0.7, True, candle_ms=START_MS + step * HORIZON_MS // 4) for step in range(40)]
    assert _figures(hourly).windows == 10


def test_a_replay_played_twice_is_no_new_evidence() -> None:
    once = forecasts(100, seed=3)
    again = [scored(o.confidence or 0, bool(o.correct), at, result_id=1_000 + at) for at, o in enumerate(once)]
    assert _figures([*once, *again]).windows == _figures(once).windows == 100


def test_a_longer_horizon_makes_wider_windows() -> None:
    long = [scored(0.7, True, at, horizon_candles=240) for at in range(40)]
    assert max(windows_of(long)) + 1 == 4


def test_the_interval_widens_when_the_same_votes_share_their_windows() -> None:
    spread = forecasts(400, seed=5)
    crowded = [scored(o.confidence or 0, bool(o.correct), at // 20) for at, o in enumerate(spread)]
    alike = [scored(0.8, at // 20 % 2 == 0, at // 20) for at in range(400)]
    assert _figures(crowded).hit_interval[1] - _figures(crowded).hit_interval[0] > 0.3
    assert _width(alike) > 4 * _width([scored(0.8, at % 2 == 0, at) for at in range(400)])


def test_below_ten_windows_no_interval_of_the_score_is_claimed() -> None:
    assert _figures(forecasts(9, seed=1)).brier_interval is None
    assert _figures(forecasts(10, seed=1)).brier_interval is not None


def test_ninety_five_of_a_hundred_intervals_hold_the_true_score_though_votes_come_in_clusters() -> None:
    # Each window has five votes that are all right or all wrong: one by one they would claim five times the evidence.
    rng = np.random.default_rng(11)
    held, trials = 0, 400
    for _ in range(trials):
        right = rng.uniform(size=30) < 0.6
        outcomes = [scored(0.8, bool(right[at]), at) for at in range(30) for _ in range(5)]
        low, high = _figures(outcomes).brier_interval or (0, 0)
        held += low <= 0.6 * 0.04 + 0.4 * 0.64 <= high
    assert 0.9 <= held / trials <= 0.99


def test_ninety_five_of_a_hundred_intervals_hold_the_true_score_though_horizons_reach_into_the_next_window() -> None:
    # BUY on a random walk, four times a horizon: each vote shares up to three quarters of its outcome with the next.
    rng = np.random.default_rng(17)
    windows, per_window, held, trials = 40, 4, 0, 400
    for _ in range(trials):
        closes = np.cumsum(rng.standard_normal((windows + 2) * per_window))
        right = closes[per_window:] > closes[:-per_window]
        outcomes = [
            scored(0.7, bool(right[at]), candle_ms=START_MS + at * HORIZON_MS // per_window)
            for at in range(windows * per_window)
        ]
        low, high = _figures(outcomes).brier_interval or (0, 0)
        held += low <= 0.25 + 0.2**2 <= high
    assert 0.93 <= held / trials <= 0.98


def test_the_quantile_of_student_is_the_published_one_from_the_least_number_of_windows_on() -> None:
    # Fisher and Yates (1963), table III, two-sided 5 %.
    for freedom, published in ((MIN_WINDOWS - 1, 2.262), (12, 2.179), (30, 2.042), (120, 1.980)):
        assert student_95(freedom) == pytest.approx(published, rel=1e-3)


def test_wilsons_interval_is_the_published_one() -> None:
    # Newcombe (1998), table I: 81 of 263, 15 of 148, 0 of 20.
    for hits, n, low, high in ((81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611)):
        assert wilson_interval(hits / n, n) == pytest.approx((low, high), abs=5e-5)


def _width(outcomes: list[VoteOutcome]) -> float:
    low, high = _figures(outcomes).brier_interval or (0.0, 0.0)
    return high - low
