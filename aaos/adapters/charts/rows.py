"""A reading as plain rows: what the description draws, each row with the words that its tooltip shows."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any, Final

import numpy as np

from aaos.adapters.charts.labels import Row, placed
from aaos.adapters.charts.reading import FoundPattern, Reading
from aaos.domain.market import iso_utc, timeframe_ms
from aaos.domain.signals import Divergence, Pivot

_PRICES: Final = ("open", "high", "low", "close", "volume")
# The points that a trend line or neckline of a pattern is drawn through, by their roles.
_TREND_LINE_OF: Final = {
    "upper_touch": "upper", "lower_touch": "lower", "left_neck": "neckline", "right_neck": "neckline",
    "first_top": "tops", "second_top": "tops", "first_bottom": "bottoms", "second_bottom": "bottoms",
}  # fmt: skip
# What a label adds while nothing confirmed the pattern, and when nothing will.
_FORMING: Final = " (forming)"
_NEVER: Final = " (never confirmed)"


@dataclass(frozen=True, slots=True)
class Rows:
    """Everything that is drawn, as JSON-able rows; times are ms since 1970 in UTC, `m` the middle of a candle.

    Attributes:
        candles: one per drawn candle: prices, indicators (null where undefined), `run` (which unbroken stretch).
        gaps: from, to and count of candles that are missing.
        pivots: turning points.
        divergences: one per indicator, with its line in price and its line in the indicator's panel.
        pattern_lines: the points of every line of every pattern; `line` tells them apart.
        pattern_points: turning points with their roles.
        patterns: one per pattern: where its label stands, when it was known.
    """

    candles: list[Row]
    gaps: list[Row]
    pivots: list[Row]
    divergences: list[Row]
    pattern_lines: list[Row]
    pattern_points: list[Row]
    patterns: list[Row]


def rows_of(reading: Reading) -> Rows:
    """The rows of what is drawn; nothing before the first drawn candle is among them."""
    times = reading.candles.open_time_ms
    clock = _Clock(timeframe_ms(reading.candles.timeframe), int(times[reading.first]), int(times[-1]))
    shown = [each for each in reading.patterns if clock.shows(each.pattern.points[-1].time_ms)]
    return Rows(
        candles=_candles(reading, clock),
        gaps=_gaps(reading, clock),
        pivots=[_pivot(reading, each, clock) for each in reading.pivots if each.index >= reading.first],
        divergences=[_divergence(each, clock) for each in reading.divergences if clock.shows(each.second_ms)],
        pattern_lines=[row for number, each in enumerate(shown) for row in _pattern_lines(number, each, clock)],
        pattern_points=[row for each in shown for row in _pattern_points(each, clock)],
        patterns=placed([_pattern(each, clock) for each in shown], reading),
    )


@dataclass(frozen=True, slots=True)
class _Clock:
    """Open times and what is made of them."""

    step_ms: int
    first_ms: int
    newest_ms: int

    def middle(self, open_ms: int) -> float:
        return open_ms + self.step_ms / 2

    def shows(self, open_ms: int) -> bool:
        return open_ms >= self.first_ms


def _candles(reading: Reading, clock: _Clock) -> list[Row]:
    times = reading.candles.open_time_ms[reading.first :]
    runs = np.cumsum(np.diff(times, prepend=times[:1]) > clock.step_ms).tolist()
    prices = {name: getattr(reading.candles, name)[reading.first :].tolist() for name in _PRICES}
    columns = {each.name: _drawable(getattr(reading.columns, each.name)[reading.first :]) for each in _columns(reading)}
    ups = {f"{name}_up": _rising(getattr(reading.columns, name))[reading.first :] for name in ("ao", "macd_hist")}
    table = {**prices, **columns, **ups, "run": runs}
    return [
        {"t": t, "m": clock.middle(t), **{name: column[i] for name, column in table.items()}}
        for i, t in enumerate(times.tolist())
    ]


def _columns(reading: Reading) -> Iterable[Any]:
    return fields(reading.columns)


def _drawable(column: Any) -> list[float | None]:
    """The figures, None where there is none: a warm-up is not drawn."""
    return [value if math.isfinite(value) else None for value in column.tolist()]


def _rising(column: Any) -> list[bool]:
    """Whether each figure is at least the one before."""
    rising: list[bool] = np.greater_equal(np.diff(column, prepend=column[:1]), 0).tolist()
    return rising


def _gaps(reading: Reading, clock: _Clock) -> list[Row]:
    times = reading.candles.open_time_ms[reading.first :]
    ends = np.flatnonzero(np.diff(times) > clock.step_ms)
    return [_gap(int(times[i]) + clock.step_ms, int(times[i + 1]), clock.step_ms) for i in ends.tolist()]


def _gap(from_ms: int, to_ms: int, step_ms: int) -> Row:
    missing = (to_ms - from_ms) // step_ms
    tip = {"title": "gap in the data", "from": iso_utc(from_ms), "to": iso_utc(to_ms), "candles missing": missing}
    return {"from": from_ms, "to": to_ms, "missing": missing, "tip": tip}


def _pivot(reading: Reading, pivot: Pivot, clock: _Clock) -> Row:
    times = reading.candles.open_time_ms
    t = int(times[pivot.index])
    known = "not yet" if pivot.known_at >= len(times) else iso_utc(int(times[pivot.known_at]))
    tip = {"title": f"pivot {pivot.side}", "price": pivot.price, "candle": iso_utc(t), "known at the close of": known}
    return {"t": t, "m": clock.middle(t), "price": pivot.price, "side": pivot.side, "tip": tip}


def _divergence(each: Divergence, clock: _Clock) -> Row:
    tip = {
        "title": f"{each.kind} {each.side} divergence, {each.indicator.upper()}",
        "strength": round(each.strength, 3),
        "price": f"{each.first_price:.8g} → {each.second_price:.8g}",
        each.indicator: f"{each.first_value:.6g} → {each.second_value:.6g}",
        "candles": f"{iso_utc(each.first_ms)} → {iso_utc(each.second_ms)}",
        "known at the close of": iso_utc(each.known_at_ms),
    }
    return {
        "indicator": each.indicator,
        "kind": each.kind,
        "side": each.side,
        "strength": each.strength,
        "m1": clock.middle(each.first_ms),
        "m2": clock.middle(each.second_ms),
        "turn1": clock.middle(each.first_value_ms),
        "turn2": clock.middle(each.second_value_ms),
        "price1": each.first_price,
        "price2": each.second_price,
        "value1": each.first_value,
        "value2": each.second_value,
        "known": clock.middle(each.known_at_ms),
        "tip": tip,
    }


def _pattern_lines(number: int, each: FoundPattern, clock: _Clock) -> list[Row]:
    """The outline through all points, the trend lines or neckline, and the level as it was watched."""
    pattern = each.pattern
    lines: dict[str, list[tuple[int, float]]] = {"outline": [(p.time_ms, p.price) for p in pattern.points]}
    for point in pattern.points:
        if point.role in _TREND_LINE_OF:
            lines.setdefault(_TREND_LINE_OF[point.role], []).append((point.time_ms, point.price))
    lines["level"] = list(each.levels)
    tip = _pattern_tip(each)
    return [
        {"line": f"{number} {name}", "form": name if name in ("outline", "level") else "trend",
         "status": pattern.status, "m": clock.middle(ms), "price": price, "tip": tip}
        for name, points in lines.items() for ms, price in points
    ]  # fmt: skip


def _pattern_points(each: FoundPattern, clock: _Clock) -> list[Row]:
    tip = _pattern_tip(each)
    return [
        {"m": clock.middle(point.time_ms), "price": point.price, "role": point.role,
         "tip": {**tip, "this point": f"{point.role.replace('_', ' ')}, {point.price:.8g}"}}
        for point in each.pattern.points
    ]  # fmt: skip


def _pattern(each: FoundPattern, clock: _Clock) -> Row:
    pattern = each.pattern
    prices = [point.price for point in pattern.points]
    above = pattern.side == "bearish"
    times = (pattern.points[0].time_ms, pattern.points[-1].time_ms)
    known_ms = each.confirmed_ms or each.first_known_ms
    return {
        "label": f"{pattern.name.replace('_', ' ')} {pattern.quality:.2f}{_unconfirmed(each, clock)}",
        "worth": [pattern.status == "confirmed", pattern.quality],
        "side": pattern.side,
        "status": pattern.status,
        "above": above,
        "m": max(clock.middle(clock.first_ms), (clock.middle(times[0]) + clock.middle(times[1])) / 2),
        "m1": clock.middle(times[0]),
        "price": max(prices) if above else min(prices),
        # Where the level was at that candle; it moves on with every later one.
        "level": dict(each.levels).get(known_ms, pattern.level),
        "known": clock.middle(known_ms),
        "tip": _pattern_tip(each),
    }


def _unconfirmed(each: FoundPattern, clock: _Clock) -> str:
    if each.pattern.status == "confirmed":
        return ""
    return _FORMING if each.last_told_ms >= clock.newest_ms else _NEVER


def _pattern_tip(each: FoundPattern) -> Row:
    pattern = each.pattern
    confirmed = "no" if each.confirmed_ms is None else f"by the close of {iso_utc(each.confirmed_ms)}"
    return {
        "title": f"{pattern.name.replace('_', ' ')}, {pattern.side}",
        "quality": round(pattern.quality, 3),
        "points": f"{iso_utc(pattern.points[0].time_ms)} → {iso_utc(pattern.points[-1].time_ms)}",
        "first known at the close of": iso_utc(each.first_known_ms),
        "confirmed": confirmed,
        "last told at the close of": iso_utc(each.last_told_ms),
        "level": pattern.level,
    }
