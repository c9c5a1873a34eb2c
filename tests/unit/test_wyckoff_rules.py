"""Each rule of Wyckoff's events and phases by itself: with it one answer, a little beyond its bound another."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from test_wyckoff_events import events
from test_wyckoff_phase import RULES, a_range, event, legs
from wyckoff_examples import CLIMAX, SPRING, Story, told

from aaos.domain.market import Candles
from aaos.domain.regime import EventParams, PhaseParams, WyckoffPhase
from aaos.domain.regime.columns import columns_of
from aaos.domain.regime.events import Found
from aaos.domain.regime.phase import find_phase
from aaos.domain.regime.trend import Verdict

RISE = (0, 0.0), (200, 0.3), (225, 0.24), (250, 0.3), (275, 0.24), (300, 0.3)
SELLING = tuple(event(name, "supply", 300) for name in ("upthrust", "sign_of_weakness", "upthrust"))


def one(name: str, candles: Candles, params: EventParams | None = None) -> Found | None:
    found = [each for each in events(candles, params or EventParams()) if (each.name, each.side) == (name, "demand")]
    return found[0] if found else None


def verdict(candles: Candles, p: PhaseParams, previous: WyckoffPhase | None = None, coverage: float = 1.0) -> Verdict:
    return find_phase(columns_of(candles), SELLING, p, previous, coverage)


def test_a_test_that_closes_below_the_climaxs_low_has_failed() -> None:
    candles = told(Story())
    test = one("secondary_test", candles)
    assert test is not None
    low, close = candles.low.copy(), candles.close.copy()
    low[test.index] = close[test.index] = candles.low[CLIMAX] * 0.999
    assert one("secondary_test", replace(candles, low=low, close=close)) is None


@pytest.mark.parametrize(
    ("key", "figure"), [("spring_depth_atrs", "depth_atrs"), ("spring_range_atrs", "range_height_atrs")]
)
def test_a_spring_may_be_so_deep_and_its_range_so_high_but_not_more(key: str, figure: str) -> None:
    spring = one("spring", told(Story()))
    assert spring is not None
    size = spring.figures[figure]
    assert one("spring", told(Story()), replace(EventParams(), **{key: size + 1e-6})) is not None
    assert one("spring", told(Story()), replace(EventParams(), **{key: size - 1e-6})) is None


def test_a_spring_lies_at_the_lowest_of_its_candles() -> None:
    candles = told(Story())
    low, close = candles.low.copy(), candles.close.copy()
    close[SPRING] = low[SPRING]
    low[SPRING + 1] = low[SPRING] * 0.999
    spring = one("spring", replace(candles, low=low, close=close))
    assert spring is not None
    assert (spring.index, spring.known_at) == (SPRING + 1, SPRING + 1)
    assert spring.level == columns_of(replace(candles, low=low)).low[SPRING + 1]


def test_a_spring_on_low_volume_is_strong_even_if_it_closes_in_the_middle() -> None:
    candles = told(Story())
    high = candles.high.copy()
    high[SPRING] = candles.close[SPRING] ** 2 / candles.low[SPRING]  # the close is the middle of the candle
    strengths = []
    for traded in (0.1, 1.0, 3.0):
        volume = candles.volume.copy()
        volume[SPRING] = traded
        spring = one("spring", replace(candles, high=high, volume=volume))
        assert spring is not None
        assert spring.figures["close_from_extreme"] == pytest.approx(0.5)
        strengths.append(spring.strength)
    dry, usual, heavy = strengths
    assert dry > usual > heavy
    assert dry - heavy == pytest.approx((1 - 0.5) / 2)


def test_the_windows_first_candle_has_no_true_range_to_measure_a_climax_with() -> None:
    long_memory = EventParams(baseline=96, lookback=96)
    candles = told(Story())
    for before, found in ((97, True), (96, False)):
        climax = one("selling_climax", candles.tail(len(candles) - CLIMAX + before), long_memory)
        assert (climax is not None and climax.index == before) is found


def test_a_phase_needs_the_score_to_enter_and_no_less() -> None:
    score = verdict(a_range(1.0), RULES).evidence["scores"]["distribution"]["score"]
    assert verdict(a_range(1.0), replace(RULES, enter=score - 0.01)).label == "distribution"
    assert verdict(a_range(1.0), replace(RULES, enter=score + 0.01)).label == "unknown"


def test_an_unknown_phase_is_as_certain_as_the_best_score_is_low() -> None:
    demanding = replace(RULES, enter=1.0)
    found = verdict(a_range(1.0), demanding, coverage=0.5)
    best = max(parts["score"] for parts in found.evidence["scores"].values())
    assert (found.label, 0.5 < best < 0.9) == ("unknown", True)
    assert found.confidence == pytest.approx(0.5 * (1 - best), abs=1e-5)


def test_another_phase_must_be_better_by_the_margin() -> None:
    # Weighed by its position and freshness alone, markup stands close below distribution.
    keeping = replace(RULES, leave=0.0, position_low=0.0, weight_drift=0.0)
    scores = verdict(a_range(1.0), keeping, "markup").evidence["scores"]
    ahead = scores["distribution"]["score"] - scores["markup"]["score"]
    assert ahead > 0.02
    for margin, label in ((ahead - 0.01, "distribution"), (ahead + 0.01, "markup")):
        found = verdict(a_range(1.0), replace(keeping, margin=margin), "markup")
        assert found.evidence["newest_candle_says"] == label


def test_a_range_is_left_by_a_close_beyond_its_old_bounds_though_newer_highs_are_higher() -> None:
    candles = legs(*RISE, (380, 0.24), (390, 0.42), (400, 0.38))
    assert candles.high[-20:-1].max() > candles.close[-1] > candles.high[: -RULES.fresh_candles].max()
    assert verdict(candles, RULES, "distribution").evidence["scores"]["markup"]["beyond"] == 1
    inside = legs(*RISE, (380, 0.24), (390, 0.42), (400, 0.28))
    assert verdict(inside, RULES, "distribution").evidence["scores"]["markup"]["beyond"] == 0


def test_only_a_way_from_the_outer_third_to_the_other_is_a_traverse() -> None:
    """Swings between a tenth and 0.7 of the range's height count, those between a tenth and 0.6 do not."""
    full = replace(RULES, traverses_full=100)
    counts = []
    for turn in (0.7, 0.6):
        swings = [(230 + 20 * i, 0.2 + 0.1 * (0.1 if i % 2 == 0 else turn)) for i in range(9)]
        line = np.interp(np.arange(391), *zip((0, 0.0), (200, 0.3), (210, 0.2), *swings, strict=True))
        candles = legs(*((i, float(value)) for i, value in enumerate(line)))
        counts.append(verdict(candles, full).evidence["scores"]["distribution"]["range"])
    assert counts[0] - counts[1] >= 0.06


def test_a_rise_of_nothing_leads_to_no_range_even_where_none_is_demanded() -> None:
    undemanding = replace(RULES, prior_sigmas_low=0.0, prior_sigmas_full=0.0)
    swings = legs(*((25 * i, 0.03 * (-1) ** (i + 1)) for i in range(20)))
    close = swings.close.copy()
    close[: RULES.level_candles] = swings.high.max() * 1.5
    fallen = replace(swings, close=close, high=np.maximum(swings.high, close))
    assert verdict(fallen, undemanding).evidence["scores"]["distribution"]["prior"] == 0
