"""Wyckoff's events, each known only from candles that have closed.

Written for the demand side (selling climax, automatic rally, secondary test, spring, sign of strength); the supply
side (buying climax, automatic reaction, secondary test, upthrust, sign of weakness) is the same on the market turned
upside down. Definitions after Wyckoff's course (1931) as taught by Evans and Pruden ("The Three Skills of Top
Trading", 2007), volume against range after Weis ("Trades About to Happen", 2013); the sizes are ours, in the
configuration, and measured against the candles before: "ATRs" are mean true ranges of `baseline` candles, volumes
are compared with the mean volume of the same ones.

An event depends on the `memory` candles up to the one at which it is known and on nothing else, so once found it stays
the same for as long as the window holds those candles.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from aaos.domain.market import BoolArray, FloatArray
from aaos.domain.regime.columns import FLAT, Columns, ramp, true_ranges, windows
from aaos.domain.regime.output import EventName, EventSide
from aaos.domain.regime.params import EventParams
from aaos.domain.signals.indicators import library

_MIRROR: dict[EventName, EventName] = {
    "selling_climax": "buying_climax",
    "automatic_rally": "automatic_reaction",
    "spring": "upthrust",
    "sign_of_strength": "sign_of_weakness",
}


@dataclass(frozen=True, slots=True)
class Found:
    """An event by candle indices; `level` is the log price it marks, times −1 on the supply side."""

    name: EventName
    side: EventSide
    index: int
    known_at: int
    level: float
    strength: float
    figures: dict[str, float]


@dataclass(frozen=True, slots=True, eq=False)
class _Side:
    """One side of the tape: columns, and at each candle what the lows before it were; NaN where there are too few."""

    low: FloatArray
    close: FloatArray
    floor: FloatArray  # the lowest of the `lookback` lows before
    old_floor: FloatArray  # the same without the newest `spring_gap`
    near_floor: FloatArray  # the lowest of the `sign_window` lows before


@dataclass(frozen=True, slots=True, eq=False)
class _Tape:
    """A market with demand's side as it is and supply's upside down, so that rules are written for demand alone."""

    demand: _Side
    supply: _Side
    volume: FloatArray
    ranges: FloatArray
    atr: FloatArray  # mean true range of the `baseline` candles before
    volume_mean: FloatArray  # mean volume of the same candles
    comparable: BoolArray  # there was a usual volume, and it is not nothing beside the candle's own
    effort: FloatArray  # mean volume of the newest `sign_window` candles

    @property
    def low(self) -> FloatArray:
        return self.demand.low

    @property
    def close(self) -> FloatArray:
        return self.demand.close

    def mirrored(self) -> _Tape:
        return replace(self, demand=self.supply, supply=self.demand)

    def volume_ratio(self, i: int) -> float:
        return float(self.volume[i] / self.volume_mean[i])

    def close_position(self, i: int) -> float:
        """Where the candle closed within its range, 0 low … 1 high; one half without a range."""
        low, high = float(self.low[i]), -float(self.supply.low[i])
        return (float(self.close[i]) - low) / (high - low) if high - low > FLAT else 0.5


def find_events(columns: Columns, p: EventParams) -> tuple[Found, ...]:
    """Every event of both sides whose whole past lies in the columns, by the candle at which it is known."""
    if len(columns) <= _first(p):
        return ()
    tape = _tape(columns, p)
    demand = list(_demand(tape, p))
    supply = [
        Found(_MIRROR.get(e.name, e.name), "supply", e.index, e.known_at, e.level, e.strength, e.figures)
        for e in _demand(tape.mirrored(), p)
    ]
    return tuple(sorted(demand + supply, key=lambda event: (event.known_at, event.index)))


def _first(p: EventParams) -> int:
    """The first candle with everything before it; the very first one has no true range."""
    return max(p.baseline + 1, p.lookback)


def _tape(columns: Columns, p: EventParams) -> _Tape:
    ranges, volume_mean = true_ranges(columns), _mean_before(columns.volume, p.baseline)
    return _Tape(
        _side(columns.low, columns.close, p),
        _side(-columns.high, -columns.close, p),
        columns.volume,
        ranges,
        _mean_before(ranges, p.baseline),
        volume_mean,
        (volume_mean > 0) & (volume_mean >= FLAT * columns.volume),
        _mean_upto(columns.volume, p.sign_window),
    )


def _side(low: FloatArray, close: FloatArray, p: EventParams) -> _Side:
    lowest = _lowest_before(low, p.lookback), _lowest_before(low, p.lookback, p.spring_gap)
    return _Side(low, close, *lowest, _lowest_before(low, p.sign_window))


def _demand(t: _Tape, p: EventParams) -> Iterator[Found]:
    for climax in _climaxes(t, p):
        yield climax
        rally = _rally(t, climax, p)
        if rally is not None:
            yield rally
            yield from _secondary_test(t, climax, rally, p)
    yield from _springs(t, p)
    yield from _signs(t, p)


def _climaxes(t: _Tape, p: EventParams) -> Iterator[Found]:
    """A wide candle on heavy volume to a new low after a decline, that closes well off its low."""
    found = (t.volume >= p.climax_volume * t.volume_mean) & t.comparable & (t.low < t.demand.floor) & (t.volume > 0)
    found &= (t.ranges >= p.climax_range_atrs * t.atr) & (t.atr > FLAT)
    for i in np.flatnonzero(found).tolist():
        decline = float((-t.supply.floor[i] - t.low[i]) / t.atr[i])
        position = t.close_position(i)
        if i >= _first(p) and decline >= p.climax_move_atrs and position >= p.climax_close:
            ratio, width = t.volume_ratio(i), float(t.ranges[i] / t.atr[i])
            figures = {"volume_ratio": ratio, "range_atrs": width, "move_atrs": decline, "close_from_extreme": position}
            size = ramp(ratio, 0, 2 * p.climax_volume) + ramp(width, 0, 2 * p.climax_range_atrs)
            yield Found("selling_climax", "demand", i, i, float(t.low[i]), (size + position) / 3, figures)


def _rally(t: _Tape, climax: Found, p: EventParams) -> Found | None:
    """The first close after the climax that wins back its share of the decline before any lower low."""
    i = climax.index
    needed = climax.level + p.rally_share * climax.figures["move_atrs"] * float(t.atr[i])
    for j in range(i + 1, min(len(t.close), i + 1 + p.rally_window)):
        if t.low[j] < climax.level:
            return None
        if t.close[j] >= needed:
            gain = float(t.close[j] - climax.level)
            retraced = gain / (climax.figures["move_atrs"] * float(t.atr[i]))
            figures = {"retraced": retraced, "gain_atrs": gain / float(t.atr[i]), "candles": float(j - i)}
            strength = (ramp(retraced, 0, 1) + 1 - (j - i) / (p.rally_window + 1)) / 2
            return Found("automatic_rally", "demand", j, j, -float(t.supply.low[j]), strength, figures)
    return None


def _secondary_test(t: _Tape, climax: Found, rally: Found, p: EventParams) -> Iterator[Found]:
    """The first return into the climax's neighbourhood, on a fraction of its volume and closing above its low."""
    height = rally.level - climax.level
    if height <= FLAT:  # with no share of the decline to win back, a rally need not rise
        return
    zone = climax.level + p.test_zone * height
    start = rally.index + 1
    end = min(len(t.close), start + p.test_window)
    touching = np.flatnonzero(t.low[start:end] <= zone)
    if not len(touching):
        return
    k = start + int(touching[0])
    volume, of_climax = float(t.volume[k]), float(t.volume[climax.index])
    if t.close[k] > climax.level and volume <= p.test_volume * of_climax:
        ratio, depth = volume / of_climax, float(t.low[k] - climax.level) / height
        figures = {"volume_of_climax": ratio, "depth": depth}
        yield Found("secondary_test", "demand", k, k, float(t.low[k]), 1 - ramp(ratio, 0, 1), figures)


def _springs(t: _Tape, p: EventParams) -> Iterator[Found]:
    """A dip below a range's established low that closes back inside within `spring_return` candles."""
    floor = t.demand.floor
    dips = (t.low < floor) & (floor == t.demand.old_floor) & (t.atr > FLAT)
    for i in np.flatnonzero(dips).tolist():
        spring = _spring_at(t, i, float(floor[i]), p) if i >= _first(p) else None
        if spring is not None:
            yield spring


def _spring_at(t: _Tape, i: int, support: float, p: EventParams) -> Found | None:
    back = np.flatnonzero(t.close[i : i + p.spring_return] > support)
    if not len(back):
        return None
    known = i + int(back[0])
    lowest = i + int(np.argmin(t.low[i : known + 1]))
    atr, position = float(t.atr[i]), t.close_position(known)
    low_at = i - p.lookback + int(np.argmin(t.low[i - p.lookback : i]))
    bounce = (-float(t.supply.low[low_at:i].min()) - support) / atr
    height = (-float(t.supply.floor[i]) - support) / atr
    depth = (support - float(t.low[lowest])) / atr
    is_range = bounce >= p.spring_bounce_atrs and height <= p.spring_range_atrs
    if not is_range or depth > p.spring_depth_atrs or position < p.spring_close or not t.comparable[lowest]:
        return None
    ratio = t.volume_ratio(lowest)
    figures = {
        "volume_ratio": ratio,
        "depth_atrs": depth,
        "range_height_atrs": height,
        "candles_beyond": float(known - i),
        "close_from_extreme": position,
    }
    # No supply left (low volume), or supply that was met (a close near the high): either makes it good.
    strength = (max(1 - ramp(ratio, 0.5, 2), position) + 1 - ramp(depth, 0, p.spring_depth_atrs)) / 2
    return Found("spring", "demand", lowest, known, float(t.low[lowest]), strength, figures)


def _signs(t: _Tape, p: EventParams) -> Iterator[Found]:
    """A wide advance on rising volume from the range's lower half through its upper part, the first of its kind."""
    w, first = p.sign_window, _first(p) + p.sign_window
    begin = np.maximum(np.arange(len(t.close)) - w + 1, 0)  # the advance's first candle; the range ends before it
    bottom, top, atr, base = t.demand.floor[begin], -t.supply.floor[begin], t.atr[begin], t.volume_mean[begin]
    advance, height = t.close - t.demand.near_floor, top - bottom
    signs = (advance >= p.sign_move_atrs * atr) & (t.effort >= p.sign_volume * base) & (atr > FLAT)
    signs &= (base > 0) & (base >= FLAT * t.effort)
    signs &= (t.close >= bottom + p.sign_position * height) & (t.demand.near_floor <= bottom + height / 2)
    for j in np.flatnonzero(signs).tolist():
        if j >= first + w and not signs[j - w : j].any():
            ratio, move = float(t.effort[j] / base[j]), float(advance[j] / atr[j])
            position = float((t.close[j] - bottom[j]) / height[j]) if height[j] > FLAT else 1.0
            figures = {"volume_ratio": ratio, "advance_atrs": move, "range_position": position}
            strength = (ramp(ratio, 1, 2 * p.sign_volume) + ramp(move, 0, 2 * p.sign_move_atrs)) / 2
            yield Found("sign_of_strength", "demand", j, j, float(t.close[j]), strength, figures)


def _mean_before(values: FloatArray, window: int) -> FloatArray:
    """Mean of the `window` values before each; NaN where there are fewer."""
    return np.concatenate(([np.nan], _mean_upto(values, window)[:-1]))


def _mean_upto(values: FloatArray, window: int) -> FloatArray:
    """Mean of the newest `window` values at each; NaN where there are fewer."""
    means = np.full(len(values), np.nan)
    if len(values) >= window:
        means[window - 1 :] = windows(values, window).mean(axis=1)
    return means


def _lowest_before(values: FloatArray, window: int, gap: int = 0) -> FloatArray:
    """The lowest of the `window` values before each, its newest `gap` left out; NaN where there are fewer."""
    talib = library()

    lowest = np.full(len(values), np.nan)
    if len(values) > window:
        length = window - gap
        reach = talib.MIN(values, length) if length > 1 else values  # TA-Lib takes no window of one
        lowest[window:] = reach[length - 1 : len(values) - gap - 1]
    return lowest
