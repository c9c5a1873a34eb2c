"""Market time and slots, both pure functions of an instant that is passed in.

Wall time is the database's clock; market time is the instant that a replay or the simulated market has
reached: with `speed` 60, a minute on the wall plays an hour of candles. Anchors are written whenever a stack
starts or changes speed, and tie the one to the other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from aaos.domain.market import timeframe_ms
from aaos.errors import ConfigError

# A tick, its runs and their chord take some 50 ms together: faster than five a second, slots would pile up.
MIN_SLOT_WIDTH_MS = 200


@dataclass(frozen=True, slots=True)
class MarketAnchor:
    """At `wall_ms` the market showed `market_ms`; from there on it runs `speed` times as fast as the wall."""

    wall_ms: int
    market_ms: int
    speed: float

    def __post_init__(self) -> None:
        _check_speed(self.speed)


def market_time_ms(anchors: Sequence[MarketAnchor], wall_ms: int) -> int:
    """Market time (ms) at a wall instant: the newest anchor up to it decides, else the earliest.

    Raises:
        ConfigError: when there is no anchor at all.
    """
    if not anchors:
        raise ConfigError("the market clock has no anchor: start the stack, which sets the first one")
    in_order = sorted(anchors, key=lambda a: (a.wall_ms, a.market_ms, a.speed))
    passed = [anchor for anchor in in_order if anchor.wall_ms <= wall_ms]
    anchor = passed[-1] if passed else in_order[0]
    return anchor.market_ms + math.floor((wall_ms - anchor.wall_ms) * anchor.speed)


def last_closed_open_ms(market_ms: int, timeframe: str) -> int:
    """The open time (ms) of the newest candle that has closed at that market instant."""
    width_ms = timeframe_ms(timeframe)
    return slot_of(market_ms, width_ms) - width_ms


def slot_of(wall_ms: int, width_ms: int) -> int:
    """The slot (ms) an instant belongs to: floored to the width, counted from the epoch in UTC."""
    return wall_ms - wall_ms % width_ms


def slots_between(last_ms: int, current_ms: int, width_ms: int) -> range:
    """The slots strictly between two instants, oldest first: the ones an outage missed."""
    return range(slot_of(last_ms, width_ms) + width_ms, current_ms, width_ms)


def slot_width_ms(interval_s: float, speed: float) -> int:
    """A schedule's slot width in wall ms: its interval divided by the market's speed.

    Raises:
        ConfigError: when slots would be narrower than 200 ms; names the largest speed allowed.
    """
    _check_speed(speed)
    width_ms = interval_s * 1000 / speed
    if not math.isfinite(width_ms) or width_ms < MIN_SLOT_WIDTH_MS:
        largest = interval_s * 1000 / MIN_SLOT_WIDTH_MS
        raise ConfigError(
            f"speed {speed:g} makes an interval of {interval_s:g} s shorter than {MIN_SLOT_WIDTH_MS} ms:"
            f" the largest speed allowed with it is {largest:g}"
        )
    return round(width_ms)


def _check_speed(speed: float) -> None:
    if not (math.isfinite(speed) and speed > 0):
        raise ConfigError(f"speed is {speed}: it must be a positive number, such as 1 or 60")
