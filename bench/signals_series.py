"""The candles that the signals' benchmark reads: the project's own simulated market, so that it runs anywhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from aaos.adapters.market.simulated import SimulatedMarket
from aaos.domain.market import Candles, resample, timeframe_ms
from aaos.domain.signals import SignalParams, candles_to_read

SEED = 1
SYMBOL = "BTC/USDT"
UNTIL_MS = 1_700_000_000_000
TIMEFRAMES = ("1m", "5m", "15m", "1h")
CANDLES = 500
SYMBOLS = 1_000
# Stretches of the simulated market among which the calmest and the most one-sided are looked for.
STRETCHES = 12
# A jumpy series is a simulated one with a gap of so many of its own mean moves, up or down, at every so many candles.
JUMP_MOVES = 12
JUMP_EVERY = 20
# Of how many symbols the minutes are made; the others are the same markets, so many minutes earlier.
MADE = 100
SHIFT_MIN = 1_440


def recent(timeframe: str, count: int, symbol: str = SYMBOL, until_ms: int = UNTIL_MS) -> Candles:
    """The newest candles of the simulated market before a fixed instant."""
    return SimulatedMarket(SEED, [symbol]).candles(symbol, timeframe, until_ms, count)


def kinds(timeframe: str, count: int = CANDLES) -> dict[str, Candles]:
    """Calm, trending and jumpy candles of a timeframe."""
    width_ms = timeframe_ms(timeframe)
    whole = recent(timeframe, STRETCHES * count)
    stretches = [whole.until(UNTIL_MS - number * count * width_ms).tail(count) for number in range(STRETCHES)]
    calm, trending = min(stretches, key=_travelled), max(stretches, key=_one_sided)
    return {"calm": calm, "trending": trending, "jumpy": jumpy(calm)}


def jumpy(candles: Candles) -> Candles:
    """The same candles with jumps in between, whose directions are drawn once and for all."""
    signs = np.random.default_rng(SEED).choice((-1.0, 1.0), size=len(candles))
    size = JUMP_MOVES * _travelled(candles) / len(candles)
    level = np.exp(np.cumsum(np.where(np.arange(len(candles)) % JUMP_EVERY == 0, size * signs, 0.0)))
    prices = {name: getattr(candles, name) * level for name in ("open", "high", "low", "close")}
    return replace(candles, **prices)


def for_alignment(params: SignalParams) -> Candles:
    """Candles of a minute in the number that fills every timeframe of the alignment."""
    return recent("1m", candles_to_read("1m", CANDLES, params))


def many(tell: Callable[[str], None]) -> list[Candles]:
    """500 candles of each timeframe for 1,000 symbols: 4,000 series, each with memory of its own."""
    found = []
    shifts = SYMBOLS // MADE
    minutes = CANDLES * timeframe_ms(TIMEFRAMES[-1]) // timeframe_ms("1m")
    for number in range(MADE):
        whole = recent("1m", minutes + shifts * SHIFT_MIN, f"S{number:03d}/USDT")
        for shift in range(shifts):
            end_ms = UNTIL_MS - shift * SHIFT_MIN * timeframe_ms("1m")
            one = whole.until(end_ms).tail(minutes + SHIFT_MIN)
            named = replace(one, symbol=f"S{number:03d}X{shift}/USDT")
            found += [_own_memory(resample(named, tf) if tf != "1m" else named) for tf in TIMEFRAMES]
        if number % 25 == 24:
            tell(f"  {len(found):,} series made")
    return found


def _own_memory(candles: Candles) -> Candles:
    newest = candles.tail(CANDLES)
    return replace(
        newest, **{name: getattr(newest, name).copy() for name in ("open", "high", "low", "close", "volume")}
    )


def _travelled(candles: Candles) -> float:
    return float(np.abs(np.diff(np.log(candles.close))).sum())


def _one_sided(candles: Candles) -> float:
    return abs(float(np.log(candles.close[-1] / candles.close[0]))) / _travelled(candles)
