"""Wyckoff's phases: the textbook's cycle, what each kind of evidence does, and how a phase is kept."""

from __future__ import annotations

from dataclasses import replace
from itertools import groupby

import numpy as np
import pytest
from market_examples import candles_of
from wyckoff_examples import Story, told

from aaos.domain.market import Candles
from aaos.domain.regime import (
    Labels,
    PhaseParams,
    RegimeOutput,
    RegimeParams,
    WyckoffPhase,
    detect_regime,
    regimes_over,
)
from aaos.domain.regime.columns import columns_of
from aaos.domain.regime.events import Found
from aaos.domain.regime.phase import find_phase

PARAMS = RegimeParams()
RULES = PhaseParams()


def phases(outputs: list[RegimeOutput]) -> list[str]:
    return [phase for phase, _ in groupby(output.wyckoff_phase for output in outputs)]


def legs(*points: tuple[int, float]) -> Candles:
    """Closes along straight lines in log price between (candle, log price), with noise that does not add up."""
    n = points[-1][0] + 1
    line = np.interp(np.arange(n), *zip(*points, strict=True))
    return candles_of(100 * np.exp(line + 1e-3 * np.random.default_rng(7).standard_normal(n)))


def a_range(direction: float) -> Candles:
    """A rise (1) or fall (-1) over 200 candles, then to and fro over 200."""
    swings = [(200 + 25 * i, direction * (0.3 if i % 2 == 0 else 0.24)) for i in range(8)]
    return legs((0, 0.0), *swings, (387, direction * 0.265))


def called(candles: Candles, events: tuple[Found, ...] = (), previous: WyckoffPhase | None = None) -> tuple[str, float]:
    verdict = find_phase(columns_of(candles), events, RULES, previous, 1.0)
    score = max(parts["score"] for parts in verdict.evidence["scores"].values())
    return str(verdict.label), score


def event(name: str, side: str, at: int) -> Found:
    return Found(name, side, at, at, 0.0, 0.8, {})  # type: ignore[arg-type]


@pytest.mark.requirement("ENG-2")
def test_the_schematic_of_accumulation_is_markdown_then_accumulation() -> None:
    outputs = list(regimes_over(told(Story()), PARAMS))
    assert phases(outputs) == ["markdown", "accumulation"]
    assert outputs[-1].phase_confidence > 0.7


@pytest.mark.requirement("ENG-2")
def test_the_schematic_of_distribution_is_markup_then_distribution() -> None:
    assert phases(list(regimes_over(told(Story(upside_down=True)), PARAMS))) == ["markup", "distribution"]


def test_distribution_is_found_while_the_regime_is_volatile_or_trends() -> None:
    """The phase is about the whole range, the regime about the newest candles."""
    beside = {
        o.regime for o in regimes_over(told(Story(upside_down=True)), PARAMS) if o.wyckoff_phase == "distribution"
    }
    assert len(beside) > 1


def test_a_range_without_a_trend_before_it_has_no_phase() -> None:
    swings = legs(*((25 * i, 0.03 * (-1) ** i) for i in range(20)), (487, 0.0))
    output = detect_regime(swings, PARAMS)
    assert output.wyckoff_phase == "unknown"
    scores = output.evidence["phase"]["scores"]
    assert scores["accumulation"]["score"] == scores["distribution"]["score"] == 0


@pytest.mark.parametrize(("direction", "expected"), [(1.0, "distribution"), (-1.0, "accumulation")])
def test_a_range_after_a_trend_is_called_when_the_events_agree(direction: float, expected: str) -> None:
    candles = a_range(direction)
    side, other = ("supply", "demand") if direction > 0 else ("demand", "supply")
    for_it = tuple(event(name, side, 300) for name in ("upthrust", "sign_of_weakness", "upthrust"))
    against = tuple(event(name, other, 300) for name in ("spring", "sign_of_strength", "spring"))
    assert called(candles, for_it)[0] == expected
    assert called(candles, against)[0] == "unknown"
    assert called(candles, for_it)[1] > called(candles)[1] > called(candles, against)[1]


def test_the_evidence_names_the_candle_at_which_the_range_began() -> None:
    candles = a_range(1.0)
    evidence = find_phase(columns_of(candles), (), RULES, None, 1.0).evidence
    began = int(np.searchsorted(candles.open_time_ms, evidence["distribution_from_ms"]))
    assert 160 < began <= 200
    assert evidence["trend_from_ms"] == candles.open_time_ms[-RULES.trend_window - 1]


def test_events_before_the_range_began_have_no_say() -> None:
    early = tuple(event("upthrust", "supply", 100) for _ in range(3))
    assert called(a_range(1.0), early)[1] == called(a_range(1.0))[1]


def test_a_panic_within_a_top_does_not_speak_against_distribution() -> None:
    """A reaction ends with a climax and a rally, too; only tests and signs decide."""
    panic = event("selling_climax", "demand", 300), event("automatic_rally", "demand", 302)
    assert called(a_range(1.0), panic)[1] == called(a_range(1.0))[1]
    assert called(a_range(1.0), (event("spring", "demand", 300),))[1] < called(a_range(1.0))[1]


def test_a_rise_that_was_lost_again_led_to_no_distribution() -> None:
    rise = (0, 0.0), (200, 0.3), (225, 0.24), (250, 0.3), (275, 0.24), (300, 0.3)
    top, lost = legs(*rise, (330, 0.25)), legs(*rise, (390, -0.2))
    priors = [
        find_phase(columns_of(candles), (), RULES, None, 1.0).evidence["scores"]["distribution"]["prior"]
        for candles in (top, lost)
    ]
    assert priors == [1.0, 0.0]


def test_volume_in_falling_candles_speaks_for_distribution() -> None:
    plain = a_range(1.0)
    falling = np.diff(plain.close, prepend=plain.close[0]) < 0
    heavy, light = (replace(plain, volume=np.where(falling, volume, 10.0)) for volume in (14.0, 7.0))
    assert called(heavy)[1] > called(plain)[1] > called(light)[1]


def test_a_steady_climb_is_markup_to_its_last_candle() -> None:
    assert called(legs((0, 0.0), (400, 0.8))) == ("markup", pytest.approx(1.0, abs=0.05))


def test_a_climb_has_not_stopped_however_long_its_top_zone() -> None:
    evidence = find_phase(columns_of(legs((0, 0.0), (400, 0.8))), (), RULES, None, 1.0).evidence
    assert evidence["scores"]["distribution"]["stop"] < 0.1


def test_events_of_the_newest_candles_confirm_no_change() -> None:
    """Some candles ago they were not known, so then nothing called for the change."""
    candles = a_range(1.0)
    against = tuple(event("spring", "demand", 300) for _ in range(3))
    late, early = (tuple(event("upthrust", "supply", at) for _ in range(8)) for at in (len(candles) - 2, 330))
    assert called(candles, against + early, "unknown")[0] == "distribution"
    verdict = find_phase(columns_of(candles), against + late, RULES, "unknown", 1.0)
    assert (verdict.evidence["newest_candle_says"], verdict.label) == ("distribution", "unknown")


def test_a_phase_found_before_is_kept_below_the_score_it_was_entered_with() -> None:
    candles = a_range(1.0)
    label, score = called(candles, (event("spring", "demand", 300),) * 2)
    assert (label, score < RULES.enter) == ("unknown", True)
    assert called(candles, (event("spring", "demand", 300),) * 2, "distribution")[0] == "distribution"


def test_a_range_is_kept_after_the_rise_before_it_has_left_the_window() -> None:
    seen = a_range(1.0).tail(138)  # from the range's second top on
    assert called(seen)[0] == "unknown"
    assert called(seen, (), "distribution")[0] == "distribution"
    evidence = find_phase(columns_of(seen), (), RULES, "distribution", 1.0).evidence
    assert evidence["scores"]["distribution"]["prior"] == RULES.carried_prior
    assert evidence["scores"]["accumulation"]["score"] == 0


def test_a_range_is_left_only_by_a_close_beyond_its_bounds() -> None:
    rise = (0, 0.0), (200, 0.3), (225, 0.24), (250, 0.3), (275, 0.24), (300, 0.3)
    inside, outside = legs(*rise, (400, 0.2)), legs(*rise, (400, -0.1))
    assert called(inside, (), "distribution")[0] == "distribution"
    assert called(outside, (), "distribution")[0] == "markdown"


def test_one_kind_of_range_never_becomes_the_other_at_once() -> None:
    fall = a_range(-1.0)
    events = tuple(event("spring", "demand", 300) for _ in range(4))
    assert called(fall, events)[0] == "accumulation"
    assert called(fall, events, "distribution")[0] != "accumulation"


def test_a_change_must_have_been_called_for_some_candles_ago() -> None:
    """One candle that leaps out of a range is not a trend yet."""
    rise = (0, 0.0), (200, 0.3), (225, 0.24), (250, 0.3), (275, 0.24), (300, 0.3), (395, 0.25)
    leap = legs(*rise, (396, -0.3), (397, -0.3))
    verdict = find_phase(columns_of(leap), (), RULES, "distribution", 1.0)
    assert verdict.evidence["newest_candle_says"] != "distribution"
    assert verdict.label == "distribution"


def test_a_flat_market_has_no_phase() -> None:
    assert called(candles_of(np.full(300, 5.0)), (), "markup")[0] == "unknown"


def test_hysteresis_is_part_of_the_chain_of_outputs() -> None:
    candles = a_range(1.0)
    kept = detect_regime(candles, PARAMS, Labels("ranging", "distribution", "flat"))
    assert kept.wyckoff_phase == "distribution"
    assert kept.evidence["phase"]["previous"] == "distribution"
