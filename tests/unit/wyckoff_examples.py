"""A market as Wyckoff's schematics draw it: decline, climax, rally, test, range, spring, sign of strength."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from market_examples import MINUTE_MS, START_MS, candles_of

from aaos.domain.market import Candles

CLIMAX, SPRING = 260, 385


@dataclass(frozen=True)
class Story:
    """What happens; switch something off and its event must not be found."""

    climax_volume: float = 9.0
    rally: bool = True
    test_volume: float = 1.0
    spring_low: float = -0.176  # log price; the range's low is the test's, about -0.166
    strength_volume: float = 2.5
    upside_down: bool = False


def told(story: Story, seed: int = 5) -> Candles:
    """460 candles: fall to 260 (climax), rally to 270, test at 295, range to 385 (spring), strength from 405 on."""
    rally = -0.128 if story.rally else -0.160
    top = rally + 0.002
    points = {0: 0.0, 80: 0.004, CLIMAX - 1: -0.150, CLIMAX: -0.161, 272: rally, 295: -0.163, 312: top, 335: -0.156}
    points |= {358: top - 0.003, 384: -0.152, SPRING: -0.163, 390: -0.152, 405: -0.156, 417: -0.118, 459: -0.110}
    rng = np.random.default_rng(seed)
    close = np.interp(np.arange(460), list(points), list(points.values())) + 4e-4 * rng.standard_normal(460)
    close[[CLIMAX, SPRING]] = points[CLIMAX], points[SPRING]
    before = np.concatenate((close[:1], close[:-1]))
    high = np.maximum(close, before) + 2.5e-3 * rng.uniform(size=460)
    low = np.minimum(close, before) - 2.5e-3 * rng.uniform(size=460)
    low[CLIMAX], low[SPRING] = -0.172, story.spring_low
    close[SPRING] = max(close[SPRING], low[SPRING])
    volume = rng.uniform(0.8, 1.2, size=460)
    volume[CLIMAX] = story.climax_volume
    volume[290:300] *= story.test_volume
    volume[406:420] *= story.strength_volume
    return _candles(before, high, low, close, volume, story.upside_down)


def mirrored(candles: Candles) -> Candles:
    """The same series with log prices upside down around its first close."""
    pivot = float(candles.close[0]) ** 2
    columns = pivot / candles.open, pivot / candles.low, pivot / candles.high, pivot / candles.close, candles.volume
    return Candles(candles.symbol, candles.timeframe, candles.open_time_ms, *columns)


def rough(seed: int, n: int = 600) -> Candles:
    """A walk with bursts of volatility and volume, so that events of every kind happen in it."""
    rng = np.random.default_rng(seed)
    burst = np.repeat(rng.choice([1.0, 1.0, 1.0, 3.0], size=n // 4 + 1), 4)[:n]
    close = 100 * np.exp(np.cumsum(2e-3 * burst * rng.standard_t(3, size=n)))
    plain = candles_of(close, rng.uniform(0.5, 1.5, size=n) * burst**2)
    high, low = (1 + 2e-3 * burst * rng.exponential(size=n) for _ in range(2))
    return replace(plain, high=plain.high * high, low=plain.low / low)


def index_of(candles: Candles, time_ms: int) -> int:
    return int(np.searchsorted(candles.open_time_ms, time_ms))


def _candles(
    before: np.ndarray[tuple[int], np.dtype[np.float64]],
    high: np.ndarray[tuple[int], np.dtype[np.float64]],
    low: np.ndarray[tuple[int], np.dtype[np.float64]],
    close: np.ndarray[tuple[int], np.dtype[np.float64]],
    volume: np.ndarray[tuple[int], np.dtype[np.float64]],
    upside_down: bool,
) -> Candles:
    prices = (before, high, low, close) if not upside_down else (-before, -low, -high, -close)
    times = START_MS + MINUTE_MS * np.arange(len(close))
    return Candles("BTC/USDT", "1m", times, *(100 * np.exp(column) for column in prices), volume)
