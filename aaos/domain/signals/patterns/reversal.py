"""Reversals: head and shoulders and double tops; seen upside down, their inverse and double bottoms.

Both follow a rise, fail twice to go on, and are done when a close falls through the neckline (Edwards & Magee 1948).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

from aaos.domain.signals.patterns.candidate import Candidate
from aaos.domain.signals.patterns.lines import Line, contained, follow, through
from aaos.domain.signals.patterns.params import PatternParams
from aaos.domain.signals.patterns.shapes import PatternName
from aaos.domain.signals.patterns.view import Turn, View

_FLAT = 0.0
_HEAD_ROLES = ("left_shoulder", "left_neck", "head", "right_neck", "right_shoulder")
_TOP_ROLES = ("first_top", "valley", "second_top")
_BOTTOM_ROLES = ("first_bottom", "peak", "second_bottom")


def find_reversals(view: View, lasts: range, params: PatternParams) -> list[Candidate]:
    """Every head and shoulders and double top whose last top is in `lasts` (upside down: their mirror images).

    Returns:
        One candidate for each status that each had.
    """
    found: list[Candidate] = []
    for position in range(len(view.tops) - 1, 0, -1):
        last = view.tops[position]
        if last.index < lasts.start:
            break
        unit = view.unit(last) if last.index in lasts else None
        if unit is not None:
            earlier = view.tops[position - 1 :: -1]
            found += _double_tops(view, earlier, last, unit, params)
            found += _heads(view, earlier, last, unit, params)
    return found


def _double_tops(
    view: View, earlier: Sequence[Turn], last: Turn, unit: float, params: PatternParams
) -> Iterator[Candidate]:
    """Pairs of tops about equally high, with nothing as high between them; `earlier` runs backwards."""
    between = -math.inf
    for first in earlier:
        if last.index - first.index > params.max_span or between >= last.height:
            return
        if first.height > between and last.index - first.index >= params.min_span:
            yield from _double_top(view, first, last, unit, params)
        between = max(between, first.height)


def _double_top(view: View, first: Turn, last: Turn, unit: float, params: PatternParams) -> list[Candidate]:
    valley = _lowest(view.bottoms, first.index, last.index)
    if valley is None:
        return []
    top = max(first.height, last.height)
    height = top - valley.height
    unequal = abs(first.height - last.height) / height if height > 0 else math.inf
    if height < params.min_height_atr * unit or unequal > params.top_tolerance:
        return []
    neckline, ceiling = Line(valley.index, valley.height, _FLAT), Line(last.index, top, _FLAT)
    if not _after_a_rise(view, (first, last), neckline, top, params):
        return []
    before, after = valley.index - first.index, last.index - valley.index
    parts = (
        1 - unequal / params.top_tolerance,
        _fullness(height, params.min_height_atr * unit),
        min(before, after) / max(before, after),
    )
    name: PatternName = "double_bottom" if view.upside_down else "double_top"
    roles = _BOTTOM_ROLES if view.upside_down else _TOP_ROLES
    return _judged(view, name, roles, (first, valley, last), (ceiling, neckline), parts, unit, params)


def _heads(view: View, earlier: Sequence[Turn], last: Turn, unit: float, params: PatternParams) -> Iterator[Candidate]:
    """Head and shoulders with this right shoulder: the head is the nearest higher top; `earlier` runs backwards."""
    position = next((i for i, turn in enumerate(earlier) if turn.height > last.height), None)
    if position is None:
        return
    head = earlier[position]
    between = -math.inf
    for first in earlier[position + 1 :]:
        if last.index - first.index > params.max_span or first.height >= head.height:
            return
        if first.height > between:
            yield from _head(view, (first, head, last), unit, params)
        between = max(between, first.height)


def _head(view: View, tops: tuple[Turn, Turn, Turn], unit: float, params: PatternParams) -> list[Candidate]:
    first, head, last = tops
    before, after = head.index - first.index, last.index - head.index
    uneven = max(before, after) / min(before, after)
    if before + after < params.min_span or uneven > params.time_ratio:
        return []
    left, right = _lowest(view.bottoms, first.index, head.index), _lowest(view.bottoms, head.index, last.index)
    if left is None or right is None:
        return []
    neckline = through(left, right)
    height = head.height - neckline.at(head.index)
    lower, higher = sorted((first.height, last.height))
    if not (
        height >= params.min_height_atr * unit
        and head.height - higher >= params.head_atr * unit
        and lower - max(left.height, right.height) >= params.shoulder_atr * unit
    ):
        return []
    unequal, tilt = (higher - lower) / height, abs(neckline.slope) * (before + after) / height
    if unequal > params.shoulder_tolerance or tilt > params.neckline_tolerance:
        return []
    ceiling = Line(last.index, last.height, _FLAT)
    if not _after_a_rise(view, (first, last), neckline, head.height, params):
        return []
    parts = (
        1 - unequal / params.shoulder_tolerance,
        1 - tilt / params.neckline_tolerance,
        1 - math.log(uneven) / math.log(params.time_ratio),
        _fullness(height, params.min_height_atr * unit),
    )
    name: PatternName = "inverse_head_and_shoulders" if view.upside_down else "head_and_shoulders"
    turns = (first, left, head, right, last)
    return _judged(view, name, _HEAD_ROLES, turns, (ceiling, neckline), parts, unit, params)


def _after_a_rise(view: View, ends: tuple[Turn, Turn], neckline: Line, top: float, params: PatternParams) -> bool:
    """Whether price came from below: a new high after a rise.

    Within one span before the pattern it stood `prior_trend` heights under the neckline, and never above the top.
    """
    first, last = ends
    start = max(0, 2 * first.index - last.index - view.start)
    end = first.index - view.start
    if start >= end:
        return False
    floor = neckline.at(first.index)
    return min(view.lows[start:end]) <= floor - params.prior_trend * (top - floor) and max(view.highs[start:end]) <= top


def _judged(
    view: View,
    name: PatternName,
    roles: Sequence[str],
    turns: Sequence[Turn],
    bounds: tuple[Line, Line],
    parts: Sequence[float],
    unit: float,
    params: PatternParams,
) -> list[Candidate]:
    """A candidate for each status it had, when no close broke out while it formed; quality is the mean of its parts."""
    ceiling, neckline = bounds
    first, last = turns[0].index, turns[-1].index
    quality = max(0.0, min(1.0, math.fsum(parts) / len(parts)))
    above_all = Line(first, math.inf, _FLAT)
    if quality < params.min_quality or not contained(view, above_all, neckline, first, last, params.break_atr * unit):
        return []
    level = view.price(neckline.at(view.at))
    outcomes = follow(view, turns[-1], (ceiling, neckline), "bearish", unit, params)
    if view.upside_down:
        outcomes = tuple(replace(outcome, side="bullish") for outcome in outcomes)
    return [Candidate(name, roles, turns, outcome, quality, level) for outcome in outcomes]


def _lowest(bottoms: Sequence[Turn], after: int, before: int) -> Turn | None:
    """The lowest bottom strictly between two candles, the first of equals."""
    between = (turn for turn in bottoms if after < turn.index < before)
    return min(between, key=lambda turn: turn.height, default=None)


def _fullness(height: float, least: float) -> float:
    """0 at the least height allowed, 1 from twice that on."""
    return max(0.0, min(1.0, height / least - 1))
