"""Divergences: price and an indicator disagree about which of two turning points is the more extreme.

| side    | kind    | price at its pivots | indicator at its turns | says              |
| ------- | ------- | ------------------- | ---------------------- | ----------------- |
| bullish | regular | lower low           | higher low             | the fall tires    |
| bullish | hidden  | higher low          | lower low              | the rise goes on  |
| bearish | regular | higher high         | lower high             | the rise tires    |
| bearish | hidden  | lower high          | higher high            | the fall goes on  |

Price turns at confirmed pivots; beside each of the two the indicator has a turn of its own, a few candles away at
most and confirmed, too. Nothing counts before the last of those confirmations. docs/divergence.md gives every rule.

The rules know lows only. Highs are looked at in a mirror, where prices and indicators are negated and a high is a
low: so both sides follow the same rules to the last digit.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from operator import attrgetter
from typing import Annotated, Any, ClassVar, Literal, Self, get_args

import numpy as np
from annotated_types import Ge, Gt, Le

from aaos.domain.market import Candles, FloatArray
from aaos.domain.signals.pivots import Pivot, Side
from aaos.errors import ConfigError

DivergenceIndicator = Literal["rsi", "macd", "ao", "obv"]
DivergenceKind = Literal["regular", "hidden"]
DivergenceSide = Literal["bullish", "bearish"]

_INDICATORS: tuple[DivergenceIndicator, ...] = get_args(DivergenceIndicator)
_SIDES: tuple[Side, ...] = get_args(Side)
_INDEX = attrgetter("index")
# An undefined value is lower than any low: nothing turns at it and no line passes above it.
_UNDEFINED = -math.inf
# A range this small beside the values themselves is float64 rounding, not movement.
_FLAT_RELATIVE = 1e-10


@dataclass(frozen=True, slots=True)
class DivergenceParams:
    """What counts as a divergence, and for how long (`divergence:` in `config/signals.yaml`).

    Prices differ in ATRs, an indicator in shares of its own range over the newest `spread_window` candles.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    min_distance: Annotated[int, Ge(2), Le(200)] = 5
    max_distance: Annotated[int, Ge(2), Le(500)] = 60
    match_candles: Annotated[int, Ge(0), Le(10)] = 3
    turn_strength: Annotated[int, Ge(1), Le(20)] = 3
    min_price_atr: Annotated[float, Ge(0), Le(10)] = 0.5
    min_value_share: Annotated[float, Ge(0), Le(1)] = 0.1
    spread_window: Annotated[int, Ge(10), Le(500)] = 100
    line_tolerance: Annotated[float, Ge(0), Le(1)] = 0.1
    max_age: Annotated[int, Ge(0), Le(200)] = 10
    ao_twin_peaks: bool = True
    price_full_atr: Annotated[float, Gt(0), Le(100)] = 3.0
    value_full_share: Annotated[float, Gt(0), Le(1)] = 0.4

    def __post_init__(self) -> None:
        if self.min_distance > self.max_distance:
            raise ConfigError(
                f"signals.divergence.min_distance is {self.min_distance}: it may be at most max_distance"
                f" ({self.max_distance})"
            )

    @property
    def turn_delay(self) -> int:
        """Candles after a price pivot within which the indicator's turn beside it is confirmed, or there is none."""
        return self.match_candles + self.turn_strength

    def candles_needed(self, pivot_strength: int) -> int:
        """How many of the newest candles decide the answer; older ones change nothing.

        Args:
            pivot_strength: that of the price pivots, in candles.
        """
        delay = max(pivot_strength, self.turn_delay)
        return self.max_age + delay + max(self.max_distance + delay, self.match_candles + self.spread_window) + 1


@dataclass(frozen=True, slots=True)
class Divergence:
    """Two turning points about which price and indicator disagree.

    Times are candles' open times: `first_ms` and `second_ms` of the price pivots, `first_value_ms` and
    `second_value_ms` of the indicator's turns beside them (where it has the two values), `known_at_ms` of the candle
    with whose close the divergence became known.
    """

    indicator: DivergenceIndicator
    kind: DivergenceKind
    side: DivergenceSide
    first_ms: int
    second_ms: int
    first_price: float
    second_price: float
    first_value: float
    second_value: float
    strength: float
    known_at_ms: int
    first_value_ms: int
    second_value_ms: int

    @property
    def title(self) -> str:
        """As in `regular bullish divergence of rsi`."""
        return f"{self.kind} {self.side} divergence of {self.indicator}"

    def to_dict(self) -> dict[str, Any]:
        """JSON-able fields; every number is finite."""
        return asdict(self)

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        """What `to_dict` gave."""
        return cls(**stored)


def find_divergences(
    candles: Candles,
    lines: Mapping[str, FloatArray],
    atr: FloatArray,
    pivots: Sequence[Pivot],
    at: int,
    params: DivergenceParams,
) -> tuple[Divergence, ...]:
    """The divergences known and still alive at candle `at`, newest first; no later candle is looked at.

    Args:
        candles: the series, n candles.
        lines: columns of shape (n,) by the names rsi, macd, ao, obv, NaN where undefined; one left out has none.
        atr: Average True Range in price units, shape (n,).
        pivots: those of `find_pivots` over the candles, by index; later ones are passed over.
        at: index of the candle that closed last.
        params: what counts as a divergence.
    """
    found: list[Divergence] = []
    recent = _recent(pivots, at, params)
    for side in _SIDES:
        known = [pivot for pivot in recent if pivot.side == side]
        if len(known) > 1 and _may_live(known[0], at, params):
            view = _view(candles, lines, atr, at, side, known[-1].index, params)
            for place, second in enumerate(known):
                if _may_live(second, at, params):
                    found.extend(_ending_at(second, known[place + 1 :], view))
    return tuple(sorted(found, key=_newest_first))


@dataclass(frozen=True, slots=True)
class _View:
    """One side's candles, as plain floats from candle `start` to the newest: place i is candle `start` + i.

    Over so few candles lists are faster than columns; an indicator's is made when it is first asked for.
    """

    candles: Candles
    columns: Mapping[str, FloatArray]
    sign: float
    part: slice
    low: list[float]
    close: list[float]
    atr: list[float]
    params: DivergenceParams
    lists: dict[str, list[float]] = field(default_factory=dict)

    def line(self, name: DivergenceIndicator) -> list[float]:
        """The indicator's values."""
        if name not in self.lists:
            values = self.sign * self.columns[name][self.part]
            self.lists[name] = np.where(np.isfinite(values), values, _UNDEFINED).tolist()
        return self.lists[name]

    def divergence(
        self, name: DivergenceIndicator, leg: _Leg, turns: tuple[int, int], known: int, strength: float
    ) -> Divergence:
        """The divergence as the world sees it: times for places, true signs."""
        opens, start, line = self.candles.open_time_ms, self.part.start, self.line(name)
        points = (leg.first, leg.second, known, *turns)
        first_ms, second_ms, known_ms, *values_ms = (int(opens[start + place]) for place in points)
        return Divergence(
            indicator=name,
            kind=leg.kind,
            side="bullish" if self.sign > 0 else "bearish",
            first_ms=first_ms,
            second_ms=second_ms,
            first_price=self.sign * self.low[leg.first],
            second_price=self.sign * self.low[leg.second],
            first_value=self.sign * line[turns[0]],
            second_value=self.sign * line[turns[1]],
            strength=strength,
            known_at_ms=known_ms,
            first_value_ms=values_ms[0],
            second_value_ms=values_ms[1],
        )


@dataclass(frozen=True, slots=True)
class _Leg:
    """Two price pivots that may be a divergence's, in places of the view; `known` is when both are confirmed."""

    first: int
    second: int
    known: int
    kind: DivergenceKind
    price_atr: float


def _newest_first(d: Divergence) -> tuple[int, int, int, str]:
    return -d.known_at_ms, -d.second_ms, _INDICATORS.index(d.indicator), d.side


def _recent(pivots: Sequence[Pivot], at: int, p: DivergenceParams) -> list[Pivot]:
    """The confirmed pivots that a living divergence may join, newest first: few, however long the history."""
    recent: list[Pivot] = []
    oldest_second = at
    for place in range(bisect_right(pivots, at, key=_INDEX) - 1, -1, -1):
        pivot = pivots[place]
        if _may_live(pivot, at, p):
            oldest_second = pivot.index
        elif pivot.index < oldest_second - p.max_distance:
            break
        if pivot.known_at <= at:
            recent.append(pivot)
    return recent


def _may_live(second: Pivot, at: int, p: DivergenceParams) -> bool:
    """Whether a divergence that ends at this pivot can be young enough."""
    return max(second.known_at, second.index + p.turn_delay) >= at - p.max_age


def _view(
    candles: Candles,
    columns: Mapping[str, FloatArray],
    atr: FloatArray,
    at: int,
    side: Side,
    oldest: int,
    p: DivergenceParams,
) -> _View:
    start = max(0, oldest - max(p.turn_delay, p.match_candles + p.spread_window))
    part = slice(start, at + 1)
    price, sign = (candles.low, 1.0) if side == "low" else (candles.high, -1.0)
    low, close = (sign * column[part] for column in (price, candles.close))
    return _View(candles, columns, sign, part, low.tolist(), close.tolist(), atr[part].tolist(), p)


def _ending_at(second: Pivot, firsts: Sequence[Pivot], view: _View) -> Iterator[Divergence]:
    """At most one divergence per indicator: with the nearest earlier pivot that fits."""
    after = view.close[second.index - view.part.start + 1 :]
    if min(after, default=math.inf) < view.sign * second.price:
        return  # a close beyond the second pivot: what was announced did not come
    legs = [leg for leg in (_leg(first, second, view) for first in firsts) if leg is not None]
    for name in _INDICATORS if legs else ():
        turn = _turn(view.line(name), legs[0].second, view.params) if name in view.columns else None
        if turn is not None:
            yield from islice(filter(None, (_divergence(name, leg, turn, view) for leg in legs)), 1)


def _leg(first: Pivot, second: Pivot, view: _View) -> _Leg | None:
    """The two pivots, if they are far enough apart in time and price and nothing between breaks their line."""
    p, start = view.params, view.part.start
    if not p.min_distance <= second.index - first.index <= p.max_distance:
        return None
    fall, atr = view.sign * (first.price - second.price), view.atr[second.index - start]
    rounding = _FLAT_RELATIVE * abs(second.price)
    if not rounding < atr < math.inf or abs(fall) <= rounding or abs(fall) < p.min_price_atr * atr:
        return None
    if not _line_holds(view.low, first.index - start, second.index - start, p.line_tolerance * atr):
        return None
    known = max(first.known_at, second.known_at, second.index + p.match_candles) - start
    kind: DivergenceKind = "regular" if fall > 0 else "hidden"
    return _Leg(first.index - start, second.index - start, known, kind, abs(fall) / atr)


def _divergence(name: DivergenceIndicator, leg: _Leg, second: int, view: _View) -> Divergence | None:
    """The divergence of the leg with the indicator that turned at `second`, if there is one, and it is alive."""
    p, line = view.params, view.line(name)
    first = _turn(line, leg.first, p)
    if first is None:
        return None
    known = max(leg.known, first + p.turn_strength, second + p.turn_strength)
    if len(line) - 1 - known > p.max_age:
        return None
    parts = _disagreement(line, first, second, leg.kind, p)
    if parts is None:
        return None
    if name == "ao" and leg.kind == "regular" and p.ao_twin_peaks and max(line[first : second + 1]) >= 0:
        return None
    strength = (min(1.0, leg.price_atr / p.price_full_atr) + sum(parts)) / (1 + len(parts))
    return view.divergence(name, leg, (first, second), known, strength)


def _disagreement(
    line: list[float], first: int, second: int, kind: DivergenceKind, p: DivergenceParams
) -> tuple[float, float] | None:
    """How much the turns differ and how deep they lie, 0…1 each; None when they do not speak against the price."""
    rise = line[second] - line[first] if kind == "regular" else line[first] - line[second]
    if not rise > 0:  # the commonest case first: the indicator agrees with the price
        return None
    lowest, highest = _range(line[max(0, second + 1 - p.spread_window) : second + 1])
    spread, rounding = highest - lowest, _FLAT_RELATIVE * max(abs(lowest), abs(highest))
    if math.isinf(spread) or rise <= rounding or rise < p.min_value_share * spread:
        return None
    if not _line_holds(line, first, second, p.line_tolerance * spread):
        return None
    depth = 1 - (min(line[first], line[second]) - lowest) / spread
    return min(1.0, rise / spread / p.value_full_share), max(0.0, min(1.0, depth))


def _turn(line: list[float], place: int, p: DivergenceParams) -> int | None:
    """Where the line has its low beside a price low, or None when that is no turn or not confirmed yet."""
    reach, strength = p.match_candles, p.turn_strength
    if place + reach >= len(line):
        return None
    nearby = line[max(0, place - reach) : place + reach + 1]
    lowest = min(nearby)
    if lowest == _UNDEFINED:
        return None
    # Where prices stand still an indicator repeats itself up to its rounding, which differs between a batch and a
    # stream, and from machine to machine: of values that are equal but for that, as with pivots, the first turns.
    rounding = _FLAT_RELATIVE * max(map(abs, nearby))
    turn = max(0, place - reach) + next(i for i, value in enumerate(nearby) if value <= lowest + rounding)
    if turn < strength or turn + strength >= len(line):
        return None
    before, after = min(line[turn - strength : turn]), min(line[turn + 1 : turn + strength + 1])
    return turn if before > lowest + rounding and after >= lowest - rounding else None


def _range(values: list[float]) -> tuple[float, float]:
    """The lowest and the highest defined value."""
    lowest = min(values)
    if lowest == _UNDEFINED:
        lowest = min(value for value in values if value != _UNDEFINED)
    return lowest, max(values)


def _line_holds(values: list[float], first: int, second: int, tolerance: float) -> bool:
    """Whether no value between the two places lies below the straight line that joins them."""
    start, step = values[first] - tolerance, (values[second] - values[first]) / (second - first)
    return all(values[first + i] >= start + step * i for i in range(1, second - first))
