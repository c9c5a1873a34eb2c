"""The factor that outcomes teach: near the truth with much evidence, at the prior with little, never above 1."""

from __future__ import annotations

from dataclasses import replace

import pytest
from calibration_examples import RULES, forecasts, scored, shuffled
from hypothesis import given
from hypothesis import strategies as st

from aaos.adapters.memory import MemoryDatabase, MemoryVoteOutcomes
from aaos.adapters.trust import CACHE_S, CachedTrust
from aaos.domain.calibration import CalibrationRules, Lessons, VoteOutcome, learn

PRIOR = 0.8
ON = replace(RULES, use_learned_trust=True)
votes = st.lists(
    st.builds(
        scored,
        st.floats(0, 1),
        st.booleans(),
        st.integers(0, 200),
        model=st.sampled_from(["big", "small"]),
        fallback_used=st.booleans(),
        regime=st.sampled_from(["ranging", "volatile"]),
    ),
    max_size=80,
)


def _learn(outcomes: list[VoteOutcome], rules: CalibrationRules = RULES) -> Lessons:
    return learn(outcomes, rules, PRIOR)


def test_a_calibrated_model_keeps_its_confidence() -> None:
    assert _learn(forecasts(2_000, seed=1)).factor("big", "ranging", False) == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("trust", [0.4, 0.6, 0.8])
def test_an_overconfident_model_learns_the_factor_that_would_have_been_right(trust: float) -> None:
    factor = _learn(forecasts(5_000, seed=2, trust=trust)).factor("big", "ranging", False)
    assert factor == pytest.approx(trust, abs=0.03)


def test_a_fallback_that_is_better_than_its_prior_earns_more_than_the_prior_and_never_more_than_one() -> None:
    calibrated = _learn(forecasts(2_000, seed=3, fallback_used=True)).factor("big", "ranging", True)
    assert calibrated == pytest.approx(1, abs=0.03)
    modest = [scored(0.5, True, at, fallback_used=True) for at in range(2_000)]
    assert _learn(modest).factor("big", "ranging", True) == 1


def test_a_regime_with_few_votes_leans_on_its_model_not_on_the_prior() -> None:
    lessons = _learn([*forecasts(5_000, seed=2, trust=0.6), scored(0.9, True, 6_000, regime="volatile")])
    assert lessons.by_regime[("big", False), "volatile"].factor == pytest.approx(0.6, abs=0.04)


def test_with_few_votes_the_factor_stays_near_the_prior_and_is_not_used() -> None:
    wrong = [scored(0.9, False, at) for at in range(5)]
    lessons = _learn(wrong)
    lesson = lessons.overall["big", False]
    assert lesson.factor == pytest.approx(50 / 55)
    assert (lesson.windows, lesson.enough) == (5, False)
    assert lessons.factor("big", "ranging", False) is None


def test_evidence_is_enough_from_the_fiftieth_window_on() -> None:
    assert _learn(forecasts(49, seed=4)).factor("big", "ranging", False) is None
    assert _learn(forecasts(50, seed=4)).factor("big", "ranging", False) is not None


def test_votes_that_overlap_are_no_more_evidence_than_one() -> None:
    crowded = [scored(0.9, False, 0, result_id=number) for number in range(1_000)]
    lesson = _learn(crowded).overall["big", False]
    assert (lesson.windows, lesson.enough) == (1, False)
    assert lesson.factor > 0.97


def test_a_regime_without_evidence_of_its_own_takes_its_models_factor() -> None:
    lessons = _learn([*forecasts(200, seed=5, trust=0.5), *forecasts(10, seed=6, regime="volatile")])
    overall = lessons.overall["big", False].factor
    assert lessons.factor("big", "volatile", False) == overall
    assert lessons.factor("big", "a regime never seen", False) == overall
    assert lessons.factor("big", "ranging", False) == lessons.by_regime[("big", False), "ranging"].factor


def test_a_regime_is_drawn_towards_its_model_and_the_model_towards_the_prior() -> None:
    good = forecasts(400, seed=7)
    bad = [replace(each, regime="volatile") for each in forecasts(60, seed=8, trust=0.3)]
    lessons = _learn([*good, *bad])
    overall, volatile = lessons.overall["big", False].factor, lessons.by_regime[("big", False), "volatile"].factor
    assert 0.3 < volatile < overall < 1
    heavier = _learn([*good, *bad], replace(RULES, prior_votes=5_000))
    assert heavier.overall["big", False].factor > overall
    assert heavier.by_regime[("big", False), "volatile"].factor > volatile


def test_the_same_model_as_voter_and_as_fallback_is_two_sources_with_two_priors() -> None:
    own, standing_in = [scored(0.9, False, at) for at in range(5)], [scored(0.9, False, 9, fallback_used=True)]
    lessons = _learn([*own, *standing_in])
    assert lessons.overall["big", True].factor == pytest.approx((50 * 0.9 * 0.8) / (51 * 0.9))
    assert lessons.overall["big", False].factor == pytest.approx(50 / 55)


def test_a_lucky_vote_with_hardly_any_confidence_proves_little() -> None:
    assert _learn([scored(0.0, True, fallback_used=True)]).overall["big", True].factor < 0.85


@given(votes)
def test_no_factor_leaves_zero_to_one(outcomes: list[VoteOutcome]) -> None:
    lessons = _learn(outcomes)
    for lesson in (*lessons.overall.values(), *lessons.by_regime.values()):
        assert 0 <= lesson.factor <= 1


@given(votes, st.integers(0, 2**32 - 1))
def test_the_order_of_votes_teaches_nothing(outcomes: list[VoteOutcome], seed: int) -> None:
    assert _learn(shuffled(outcomes, seed)) == _learn(outcomes)


# --- remembered ---------------------------------------------------------------------------------------------


class _Counting(MemoryVoteOutcomes):
    """Counts how often outcomes are read."""

    reads = 0

    def scored(self, rules: CalibrationRules, limit: int) -> list[VoteOutcome]:
        self.reads += 1
        return list(super().scored(rules, limit))


class _Ground:
    def __init__(self, outcomes: list[VoteOutcome], rules: CalibrationRules = ON) -> None:
        self.database = MemoryDatabase()
        self.seconds = 0.0
        with self.database.transaction() as tables:
            tables.outcomes.update({each.result_id: each for each in outcomes})
        self.outcomes = _Counting(self.database)
        self.trust = CachedTrust(self.outcomes, rules, PRIOR, lambda: self.seconds)


def test_switched_off_nothing_is_read_and_the_prior_holds() -> None:
    ground = _Ground(forecasts(200, seed=9, trust=0.5), RULES)
    assert ground.trust.factor("big", "ranging") is None
    assert ground.outcomes.reads == 0


def test_switched_on_the_learned_factor_is_told_and_read_once_a_minute() -> None:
    ground = _Ground(forecasts(200, seed=9, trust=0.5))
    first = ground.trust.factor("big", "ranging")
    assert first is not None
    assert first < 0.7
    for _ in range(100):
        ground.trust.factor("big", "ranging")
    assert ground.outcomes.reads == 1
    ground.seconds += CACHE_S
    assert ground.trust.factor("big", "ranging") == first
    assert ground.outcomes.reads == 2


def test_an_unknown_model_and_the_other_role_have_no_factor() -> None:
    ground = _Ground(forecasts(200, seed=9))
    assert ground.trust.factor("another", "ranging") is None
    assert ground.trust.factor("big", "ranging", fallback_used=True) is None


def test_without_the_database_what_was_known_goes_on_and_before_that_the_prior_holds() -> None:
    ground = _Ground(forecasts(200, seed=9, trust=0.5))
    ground.database.away = True
    assert ground.trust.factor("big", "ranging") is None
    ground.database.away = False
    known = ground.trust.factor("big", "ranging")
    assert known is not None
    ground.seconds += CACHE_S
    ground.database.away = True
    assert ground.trust.factor("big", "ranging") == known


def test_only_the_newest_outcomes_count() -> None:
    old = forecasts(100, seed=9, trust=0.3)
    new = [scored(0.8, True, at) for at in range(100, 200)]
    ground = _Ground([*old, *new], replace(ON, window_votes=100))
    assert ground.trust.factor("big", "ranging") == 1
