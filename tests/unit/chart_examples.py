"""Readings for tests of the chart: a walk with an outage, made-up findings, a name that tries to break out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from market_examples import MINUTE_MS, walk

from aaos.adapters.charts.reading import FoundPattern, Reading, read_candles
from aaos.domain.market import Candles
from aaos.domain.signals import Divergence, Pattern, PatternPoint, SignalParams

PARAMS = SignalParams()
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>&'\""


def gapped(n: int = 200, after: int = 130, missing: int = 30, symbol: str = "BTC/USDT") -> Candles:
    """A walk whose feed was out for `missing` candles, after candle `after`."""
    c = walk(n, seed=3)
    times = c.open_time_ms + MINUTE_MS * missing * (np.arange(n) > after)
    return Candles(symbol, c.timeframe, times, c.open, c.high, c.low, c.close, c.volume)


def time_of(candles: Candles, index: int) -> int:
    return int(candles.open_time_ms[index])


def a_divergence(c: Candles, first: int, second: int, indicator: str = "rsi", kind: str = "regular") -> Divergence:
    return Divergence(
        indicator=indicator,  # type: ignore[arg-type]
        kind=kind,  # type: ignore[arg-type]
        side="bullish" if first % 2 else "bearish",
        first_ms=time_of(c, first),
        second_ms=time_of(c, second),
        first_value_ms=time_of(c, first - 1),
        second_value_ms=time_of(c, second + 2),
        first_price=float(c.low[first]),
        second_price=float(c.low[second]),
        first_value=31.5,
        second_value=38.25,
        strength=0.75,
        known_at_ms=time_of(c, second + 5),
    )


def a_pattern(c: Candles, points: tuple[int, ...] = (120, 130, 140), status: str = "confirmed") -> FoundPattern:
    roles = ("first_top", "valley", "second_top")
    turns = tuple(PatternPoint(role, time_of(c, i), float(c.high[i])) for role, i in zip(roles, points, strict=True))
    known, confirmed = time_of(c, points[-1] + 3), time_of(c, points[-1] + 6)
    newest = confirmed if status == "confirmed" else known
    pattern = Pattern("double_top", "bearish", status, turns, 0.875, newest, 99.5)  # type: ignore[arg-type]
    levels = tuple((time_of(c, i), 99.0 + i / 1000) for i in range(points[-1] + 3, points[-1] + 7))
    last_told = confirmed if status == "confirmed" else time_of(c, -1)
    return FoundPattern(pattern, known, confirmed if status == "confirmed" else None, levels, last_told)


def a_reading(candles: Candles | None = None, drawn: int = 120) -> Reading:
    """A reading of made-up candles with four divergences and two patterns of ours among them."""
    c = gapped() if candles is None else candles
    read = read_candles(c, PARAMS, drawn)
    found = (
        a_divergence(c, 101, 111),
        a_divergence(c, 102, 112, "macd", "hidden"),
        a_divergence(c, 103, 145, "ao"),
        a_divergence(c, 104, 160, "obv", "hidden"),
    )
    return replace(read, divergences=found, patterns=(a_pattern(c), a_pattern(c, (155, 162, 170), "forming")))
