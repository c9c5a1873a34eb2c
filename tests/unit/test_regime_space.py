"""Regime over everything that may be configured and traded: an answer with finite figures, or a refusal by name."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from typing import Any, get_args, get_type_hints

import numpy as np
import pytest
from annotated_types import Ge, Gt
from hypothesis import given, settings
from hypothesis import strategies as st
from market_examples import candles_of
from wyckoff_examples import CLIMAX, SPRING, Story, rough, told

from aaos.domain.market import Candles, FloatArray
from aaos.domain.regime import EventParams, PhaseParams, RegimeOutput, RegimeParams, detect_regime, regimes_over
from aaos.domain.regime.columns import columns_of
from aaos.domain.regime.events import find_events
from aaos.errors import ConfigError

Values = dict[str, Any]


def settings_of(section: type[Any]) -> st.SearchStrategy[Values]:
    """Any of the section's numbers set to anything its annotation allows, counts often to something small."""
    hints = get_type_hints(section, include_extras=True)
    ranged = {name: hint for name, hint in hints.items() if hasattr(hint, "__metadata__")}
    return st.fixed_dictionaries({}, optional={name: _allowed(hint) for name, hint in ranged.items()})


def _allowed(hint: Any) -> st.SearchStrategy[Any]:
    anything = st.from_type(hint)
    if get_args(hint)[0] is not int:
        return anything
    (least,) = (m.ge if isinstance(m, Ge) else m.gt for m in hint.__metadata__ if isinstance(m, Ge | Gt))
    return st.one_of(st.integers(least, least + 40), anything)


def _volumes(kind: str, volume: FloatArray, rng: np.random.Generator) -> FloatArray:
    rare = rng.random(len(volume)) < 0.03
    kinds = {
        "as traded": volume,
        "none": 0 * volume,
        "mostly none": np.where(rare, volume, 0.0),
        "denormal, rarely not": np.where(rare, volume, 1e-310),
        "smallest": np.where(rng.random(len(volume)) < 0.5, 5e-324, 0.0),
        "from smallest to largest": 10.0 ** rng.uniform(-320, 300, len(volume)),
    }
    return np.asarray(kinds[kind])


VOLUMES = ("as traded", "none", "mostly none", "denormal, rarely not", "smallest", "from smallest to largest")
PRICES = {
    "rough": lambda candles: candles,
    "flat": lambda candles: candles_of(np.full(len(candles), 7.0)),
    "a jump": lambda candles: candles_of(np.where(np.arange(len(candles)) < len(candles) - 9, 1.0, 20.0)),
    "a climb": lambda candles: candles_of(np.exp(np.linspace(0, 1, len(candles)))),
}


def a_market(seed: int, n: int, prices: str, volumes: str) -> Candles:
    candles = PRICES[prices](rough(seed, n))
    return replace(candles, volume=_volumes(volumes, candles.volume, np.random.default_rng(seed)))


def assert_sound(output: RegimeOutput) -> None:
    json.dumps(output.to_dict(), allow_nan=False)
    assert all(0 <= each <= 1 for each in (output.confidence, output.phase_confidence, output.volume_confidence))
    for event in output.events:
        assert 0 <= event.strength <= 1
        assert event.time_ms <= event.known_at_ms <= output.newest_candle_ms


configured = st.tuples(
    *(st.one_of(st.just({}), settings_of(section)) for section in (RegimeParams, EventParams, PhaseParams))
)


def params_of(values: tuple[Values, Values, Values]) -> RegimeParams | None:
    """The parameters, or None when they were refused: by name, else the refusal is as bad as a crash."""
    own, events, phase = values
    try:
        return RegimeParams(**own, events=EventParams(**events), phase=PhaseParams(**phase))
    except ConfigError as error:
        if "regime." in str(error):
            return None
        raise


@given(configured, st.integers(0, 2**32), st.sampled_from(list(PRICES)), st.sampled_from(VOLUMES))
@settings(max_examples=300, deadline=None)
@pytest.mark.requirement("ENG-2")
def test_whatever_may_be_configured_is_refused_by_name_or_gives_answers(
    values: tuple[Values, Values, Values], seed: int, prices: str, volumes: str
) -> None:
    params = params_of(values)
    if params is None:
        return
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for output in regimes_over(a_market(seed, params.candles_needed + 2, prices, volumes), params):
            assert_sound(output)


@given(st.integers(0, 2**32), st.sampled_from(VOLUMES))
@settings(max_examples=60, deadline=None)
def test_whatever_is_traded_every_figure_is_finite(seed: int, volumes: str) -> None:
    """Climaxes at a tenth of the usual volume, so that there are events even where next to nothing is traded."""
    loose = replace(EventParams(), climax_volume=0.1, sign_volume=0.1, test_volume=100.0, spring_bounce_atrs=1.0)
    candles = a_market(seed, 400, "rough", volumes)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_sound(detect_regime(candles, replace(RegimeParams(), events=loose)))


@pytest.mark.parametrize("newest", [0.0, 3.0])
def test_a_spring_whose_lowest_candle_has_no_volume_to_compare_with_is_none(newest: float) -> None:
    """The only volume lies just within reach of the dip's first candle, and out of reach of its lowest."""
    candles = told(Story())
    low, close, volume = candles.low.copy(), candles.close.copy(), np.zeros(len(candles))
    close[SPRING] = low[SPRING]
    low[SPRING + 1] = low[SPRING] * 0.999
    volume[[SPRING - EventParams().baseline, SPRING + 1]] = 5.0, newest
    late = replace(candles, low=low, close=close, volume=volume)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "spring" not in [event.name for event in find_events(columns_of(late), EventParams())]


@pytest.mark.parametrize(("usual", "climaxes"), [(1e-3, 1), (1e-310, 0)])
def test_beside_next_to_nothing_a_volume_has_no_ratio(usual: float, climaxes: int) -> None:
    candles = told(Story())
    volume = np.where(np.arange(len(candles)) == CLIMAX, 5.0, usual)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = find_events(columns_of(replace(candles, volume=volume)), EventParams())
    assert [event.name for event in found].count("selling_climax") == climaxes


def test_without_volume_there_is_no_climax_however_little_is_demanded() -> None:
    """A tenth of the smallest of all numbers is 0, and so is what the climax and its test traded."""
    candles = told(Story())
    volume = np.where(np.arange(len(candles)) == 0, 0.75, 5e-324)
    volume[CLIMAX], volume[280:310] = 0.0, 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = find_events(columns_of(replace(candles, volume=volume)), replace(EventParams(), climax_volume=0.1))
    assert CLIMAX not in [event.index for event in found]


def test_a_rally_that_need_not_win_anything_back_has_no_neighbourhood_to_test() -> None:
    """With a share of 0 a close on the climax's low is a rally: of no height, if the candle has none."""
    candles = told(Story())
    columns = {name: getattr(candles, name).copy() for name in ("open", "high", "low", "close")}
    for column in columns.values():
        column[CLIMAX + 1] = candles.low[CLIMAX]
    columns["low"][CLIMAX + 2] = candles.low[CLIMAX]
    no_share = replace(EventParams(), rally_share=0.0)
    names = [event.name for event in find_events(columns_of(replace(candles, **columns)), no_share)]
    assert ("automatic_rally" in names, "secondary_test" in names) == (True, False)


@pytest.mark.parametrize(
    ("own", "events", "phase", "message"),
    [
        ({}, {}, {"fresh_candles": 600}, r"regime.window is 500.*607 candles; allowed are 607 to 10000"),
        ({}, {}, {"level_candles": 501}, r"regime.window is 500.*501 candles; allowed are 501 to 10000"),
        ({}, {"sign_window": 600}, {}, r"regime.window is 500.*back up to 1898 candles; allowed are 1898 to 10000"),
        ({"min_window": 60}, {"spring_gap": 96}, {}, r"regime.events.spring_gap is 96: allowed are 1 to 95"),
    ],
)
def test_windows_that_no_market_could_fill_are_refused(
    own: Values, events: Values, phase: Values, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        RegimeParams(**own, events=EventParams(**events), phase=PhaseParams(**phase))
