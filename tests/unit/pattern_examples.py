"""Chart patterns planted by hand: knots of (candle, height in ATRs), joined by straight legs with a little noise."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from market_examples import MINUTE_MS, START_MS, candles_of

from aaos.domain.market import Candles, FloatArray
from aaos.domain.signals.patterns import Pattern, PatternParams, find_patterns
from aaos.domain.signals.pivots import find_pivots

Knots = tuple[tuple[int, float], ...]
STRENGTH = 3  # a turn is known three candles later
ATR = 0.01  # of the price
PARAMS = PatternParams()

TOP_AND_SHOULDERS: Knots = ((0, -12), (40, 4), (48, 0), (56, 7), (64, 0), (72, 4), (96, -12))
TWO_TOPS: Knots = ((0, -12), (40, 5), (54, 0), (68, 5), (92, -15))


def planted(knots: Knots, noise: float = 0.1) -> Candles:
    """Candles whose closes run through the knots; between them each is off by up to `noise` ATRs."""
    at, heights = zip(*knots, strict=True)
    n = at[-1] + 1
    wobble = np.random.default_rng(7).uniform(-noise, noise, n)
    wobble[list(at)] = 0.0
    return candles_of(100 * np.exp(ATR * (np.interp(np.arange(n), at, heights) + wobble)))


def mirrored(knots: Knots) -> Knots:
    return tuple((at, -height) for at, height in knots)


def funnel(
    upper: Callable[[int], float], lower: Callable[[int], float], first: str, after: float, end: int = 100
) -> Knots:
    """Five touches, twelve candles apart, of two lines over x = 0 … 48 from candle 20; then `after` ATRs a candle."""
    lines = (upper, lower) if first == "upper" else (lower, upper)
    touches = [(20 + x, lines[i % 2](x)) for i, x in enumerate(range(0, 49, 12))]
    entry = touches[1][1] / 2
    last = touches[-1][1]
    return ((0, 0.0), (8, entry), *touches, (end, last + after * (end - 68)))


def level(height: float) -> Callable[[int], float]:
    return lambda _: height


SYMMETRICAL = funnel(lambda x: 10 - 0.15 * x, lambda x: -10 + 0.15 * x, "lower", 0.8)
ASCENDING = funnel(level(8), lambda x: -9 + 0.2 * x, "lower", 0.8)
RISING = funnel(lambda x: 6 + 0.15 * x, lambda x: -10 + 0.38 * x, "upper", -0.6)


def atr_of(candles: Candles) -> FloatArray:
    return np.asarray(ATR * candles.close)


def found(candles: Candles, at: int, params: PatternParams = PARAMS) -> tuple[Pattern, ...]:
    return find_patterns(candles, atr_of(candles), find_pivots(candles.high, candles.low, STRENGTH), at, params)


def ever_found(knots: Knots, name: str, params: PatternParams = PARAMS) -> bool:
    candles = planted(knots)
    return any(p.name == name for at in range(len(candles)) for p in found(candles, at, params))


def points_of(pattern: Pattern) -> list[int]:
    return [(point.time_ms - START_MS) // MINUTE_MS for point in pattern.points]


def known_at(pattern: Pattern) -> int:
    return (pattern.known_at_ms - START_MS) // MINUTE_MS


def with_columns(candles: Candles, columns: Sequence[FloatArray]) -> Candles:
    return Candles(candles.symbol, candles.timeframe, candles.open_time_ms, *columns)
