"""Wyckoff's events on markets drawn as the textbooks draw them, and what they may not depend on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from market_examples import candles_of, walk
from wyckoff_examples import CLIMAX, SPRING, Story, index_of, mirrored, rough, told

from aaos.domain.market import Candles
from aaos.domain.regime import EventParams, RegimeParams, WyckoffEvent, detect_regime, regimes_over
from aaos.domain.regime.columns import columns_of
from aaos.domain.regime.events import Found, find_events

PARAMS = EventParams()
MIRROR = {
    "selling_climax": "buying_climax",
    "automatic_rally": "automatic_reaction",
    "secondary_test": "secondary_test",
    "spring": "upthrust",
    "sign_of_strength": "sign_of_weakness",
}
MIRROR |= {supply: demand for demand, supply in MIRROR.items()}


def events(candles: Candles, params: EventParams = PARAMS) -> tuple[Found, ...]:
    return find_events(columns_of(candles), params)


def names(story: Story, side: str = "demand") -> list[str]:
    return [event.name for event in events(told(story)) if event.side == side]


@pytest.mark.requirement("ENG-2")
def test_the_schematic_of_accumulation_shows_its_events_in_their_order() -> None:
    candles = told(Story())
    found = [event for event in events(candles) if event.side == "demand"]
    schematic = ["selling_climax", "automatic_rally", "secondary_test", "spring", "sign_of_strength"]
    assert [event.name for event in found] == schematic
    climax, rally, test, spring, strength = found
    assert (climax.index, spring.index) == (CLIMAX, SPRING)
    assert CLIMAX < rally.index < 275 < test.index < 300 < spring.index < strength.index < 420
    assert all(event.known_at >= event.index for event in found)


def test_the_schematic_of_distribution_is_the_same_upside_down() -> None:
    schematic = ["buying_climax", "automatic_reaction", "secondary_test", "upthrust", "sign_of_weakness"]
    assert names(Story(upside_down=True), side="supply") == schematic


@pytest.mark.parametrize(
    ("change", "gone"),
    [
        ({"climax_volume": 2.0}, {"selling_climax", "automatic_rally", "secondary_test"}),
        ({"rally": False}, {"automatic_rally", "secondary_test"}),
        ({"test_volume": 7.0}, {"secondary_test"}),
        ({"spring_low": -0.1635}, {"spring"}),
        ({"strength_volume": 1.0}, {"sign_of_strength"}),
    ],
)
@pytest.mark.parametrize("upside_down", [False, True])
def test_an_event_that_does_not_happen_is_not_found(
    change: dict[str, float], gone: set[str], upside_down: bool
) -> None:
    story = replace(Story(**change), upside_down=upside_down)  # type: ignore[arg-type]
    found = {MIRROR[name] for name in names(story, "supply")} if upside_down else set(names(story))
    assert gone.isdisjoint(found)
    assert ("selling_climax" in found) is ("selling_climax" not in gone)


def test_a_climax_that_closes_on_its_low_has_not_found_its_buyers() -> None:
    candles = told(Story())
    close = candles.close.copy()
    close[CLIMAX] = candles.low[CLIMAX] * 1.0005
    assert all(event.index != CLIMAX for event in events(replace(candles, close=close)))


def test_a_low_right_after_another_low_is_no_spring() -> None:
    """A spring goes below a low that has stood for a while; this one is four candles old."""
    candles = told(Story())
    low = candles.low.copy()
    low[SPRING - 4] = (low[SPRING] + low[SPRING - 96 : SPRING].min()) / 2
    springs = [event for event in events(replace(candles, low=low)) if event.name == "spring"]
    assert [spring.index for spring in springs] == [SPRING - 4]


def test_a_dip_that_closes_far_from_its_high_is_no_spring() -> None:
    candles = told(Story())
    high = candles.high.copy()
    high[SPRING] = candles.close[SPRING] * 1.03
    assert SPRING not in [event.index for event in events(replace(candles, high=high)) if event.name == "spring"]


def test_a_rally_from_a_lower_low_is_not_the_climaxs() -> None:
    candles = told(Story())
    low = candles.low.copy()
    low[CLIMAX + 3] = candles.low[CLIMAX] * 0.999
    assert "automatic_rally" not in [event.name for event in events(replace(candles, low=low))]


def test_a_spring_that_takes_too_long_to_come_back_is_a_breakdown() -> None:
    candles = told(Story())
    low, close = candles.low.copy(), candles.close.copy()
    close[SPRING : SPRING + PARAMS.spring_return] = candles.low[SPRING]
    low[SPRING : SPRING + PARAMS.spring_return] = candles.low[SPRING]
    broken = replace(candles, low=low, close=close, open=np.maximum(candles.open, low))
    assert "spring" not in [event.name for event in events(broken) if event.side == "demand"]


def test_a_spring_is_known_with_the_close_that_returns_and_not_before() -> None:
    candles = told(Story())
    close = candles.close.copy()
    close[SPRING] = candles.low[SPRING] * 1.0001
    late = replace(candles, close=close)
    (spring,) = [event for event in events(late) if event.name == "spring"]
    assert (spring.index, spring.known_at) == (SPRING, SPRING + 1)
    assert "spring" not in [event.name for event in events(late.until(int(late.close_times_ms[SPRING])))]


@given(st.integers(0, 2**32), st.integers(200, 598), st.floats(0.1, 10))
@settings(max_examples=40, deadline=None)
@pytest.mark.requirement("ENG-2")
def test_candles_after_an_event_is_known_change_nothing_about_it(seed: int, t: int, factor: float) -> None:
    candles = rough(seed)
    bend = np.where(np.arange(len(candles)) > t, factor, 1.0)
    columns = (candles.open, candles.high, candles.low, candles.close, candles.volume)
    other = Candles("BTC/USDT", "1m", candles.open_time_ms, *(column * bend for column in columns))
    known = [event for event in events(other) if event.known_at <= t]
    assert known == list(events(candles.until(int(candles.close_times_ms[t]))))


@given(st.integers(0, 2**32), st.integers(200, 600))
@settings(max_examples=40, deadline=None)
def test_an_event_depends_on_no_more_candles_than_the_memory(seed: int, end: int) -> None:
    """What a shorter history ends with, a longer one ends with, too: the oldest candles have no say."""
    candles = rough(seed).until(int(rough(seed).close_times_ms[end - 1]))
    short = candles.tail(PARAMS.memory)
    cut = len(candles) - len(short)
    newest = [(e.name, e.index - cut, e.known_at - cut) for e in events(candles) if e.known_at == end - 1]
    assert newest == [(e.name, e.index, e.known_at) for e in events(short) if e.known_at == len(short) - 1]


@given(st.integers(0, 2**32))
@settings(max_examples=40, deadline=None)
@pytest.mark.requirement("ENG-2")
def test_a_market_upside_down_has_the_mirrored_events(seed: int) -> None:
    upright, upside_down = events(rough(seed)), events(mirrored(rough(seed)))
    expected = sorted((MIRROR[e.name], e.index, e.known_at) for e in upright)
    assert sorted((e.name, e.index, e.known_at) for e in upside_down) == expected


def test_rough_markets_have_events_of_every_kind() -> None:
    """Else the properties above would hold of nothing."""
    assert {event.name for seed in range(40) for event in events(rough(seed))} == set(MIRROR)


def test_a_flat_market_and_one_without_volume_have_no_events() -> None:
    assert events(candles_of(np.full(400, 7.0))) == ()
    quiet = [event.name for event in events(candles_of(walk(400).close, 0.0))]
    assert not {"selling_climax", "buying_climax", "sign_of_strength", "sign_of_weakness", "spring"} & set(quiet)


def test_an_output_names_the_events_candles_price_and_figures() -> None:
    candles = told(Story())
    by_name = {event.name: event for event in detect_regime(candles, RegimeParams()).events if event.side == "demand"}
    climax, rally, strength = (by_name[name] for name in ("selling_climax", "automatic_rally", "sign_of_strength"))
    assert climax.time_ms == climax.known_at_ms == candles.open_time_ms[CLIMAX]
    assert climax.price == candles.low[CLIMAX]
    assert climax.figures["volume_ratio"] == pytest.approx(9.0, rel=0.05)
    assert rally.price == candles.high[index_of(candles, rally.time_ms)]
    assert strength.price == candles.close[index_of(candles, strength.time_ms)]
    assert all(0 <= event.strength <= 1 for event in by_name.values())


def test_every_event_is_shown_in_the_output_of_the_candle_at_which_it_is_known() -> None:
    candles = told(Story())
    seen: dict[WyckoffEvent, int] = {}
    for output in regimes_over(candles, RegimeParams()):
        for event in output.events:
            seen.setdefault(_hashable(event), output.newest_candle_ms)
    assert set(seen.values()) == {event.known_at_ms for event in seen}
    assert len(seen) == len(events(candles))


def _hashable(event: WyckoffEvent) -> WyckoffEvent:
    return replace(event, figures=frozenset(event.figures), strength=0.0)  # type: ignore[arg-type]
