from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aaos.domain.market_clock import (
    MarketAnchor,
    last_closed_open_ms,
    market_time_ms,
    slot_of,
    slot_width_ms,
    slots_between,
)
from aaos.errors import ConfigError

WALL = st.integers(0, 4_000_000_000_000)
SPEEDS = st.floats(0.1, 10_000, allow_nan=False)
ANCHORS = st.lists(
    st.builds(MarketAnchor, wall_ms=WALL, market_ms=WALL, speed=SPEEDS),
    min_size=1,
    max_size=5,
    unique_by=lambda anchor: anchor.wall_ms,
)


def test_at_speed_60_a_minute_on_the_wall_plays_an_hour() -> None:
    anchors = [MarketAnchor(wall_ms=1_000_000, market_ms=5_000_000, speed=60)]
    assert market_time_ms(anchors, 1_060_000) == 5_000_000 + 3_600_000


@given(ANCHORS, st.randoms(use_true_random=False))
def test_market_time_is_exact_at_every_anchor_in_any_order(anchors: list[MarketAnchor], random: object) -> None:
    random.shuffle(shuffled := list(anchors))  # type: ignore[attr-defined]
    for anchor in anchors:
        assert market_time_ms(shuffled, anchor.wall_ms) == anchor.market_ms


@given(st.builds(MarketAnchor, wall_ms=WALL, market_ms=WALL, speed=SPEEDS), WALL, WALL)
def test_market_time_never_runs_backwards_within_an_anchor(anchor: MarketAnchor, a: int, b: int) -> None:
    assert market_time_ms([anchor], min(a, b)) <= market_time_ms([anchor], max(a, b))


def test_the_newest_anchor_passed_decides_and_before_all_of_them_the_earliest() -> None:
    anchors = [MarketAnchor(2_000, 50_000, 10), MarketAnchor(1_000, 0, 1)]
    assert market_time_ms(anchors, 1_999) == 999
    assert market_time_ms(anchors, 2_001) == 50_010
    assert market_time_ms(anchors, 500) == -500


def test_a_clock_without_anchor_is_refused_with_the_remedy() -> None:
    with pytest.raises(ConfigError, match="start the stack"):
        market_time_ms([], 0)


@pytest.mark.parametrize("speed", [0.0, -1.0, float("nan"), float("inf")])
def test_a_speed_that_is_no_positive_number_is_refused(speed: float) -> None:
    with pytest.raises(ConfigError, match="positive"):
        MarketAnchor(0, 0, speed)


def test_a_candle_counts_from_its_close_on() -> None:
    assert last_closed_open_ms(120_000, "1m") == 60_000
    assert last_closed_open_ms(119_999, "1m") == 0
    assert last_closed_open_ms(3_600_000 * 5, "1h") == 3_600_000 * 4


@given(WALL, st.integers(200, 10**9))
def test_an_instant_lies_in_its_slot(wall_ms: int, width_ms: int) -> None:
    slot = slot_of(wall_ms, width_ms)
    assert slot <= wall_ms < slot + width_ms
    assert slot % width_ms == 0


@pytest.mark.requirement("Q6")
@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(200, 50_000))
def test_missed_slots_are_all_slots_strictly_between(last_ms: int, current_ms: int, width_ms: int) -> None:
    missed = slots_between(last_ms, current_ms, width_ms)
    expected = [s for s in range(0, current_ms, width_ms) if s > last_ms]
    assert list(missed) == expected


def test_neighbouring_slots_have_none_between_them() -> None:
    assert list(slots_between(60_000, 120_000, 60_000)) == []
    assert list(slots_between(60_000, 240_000, 60_000)) == [120_000, 180_000]


def test_slots_shrink_with_the_speed() -> None:
    assert slot_width_ms(3600, 60) == 60_000
    assert slot_width_ms(60, 300) == 200


def test_a_speed_too_high_for_a_schedule_is_refused_naming_the_largest() -> None:
    with pytest.raises(ConfigError, match="largest speed allowed with it is 300"):
        slot_width_ms(60, 301)
