"""Candles as a prompt carries them: small whole numbers, which cost a token a digit, in a unit of the table's own.

A price is `price_zero` + number × `price_unit`. The zero lies at the window's low and the unit is 1, 2 or 5 of a
decimal place, so that the window's range makes at most three digits: 500 candles as JSON arrays of doubles take some
25,000 tokens, as such a table 10,000, and a model sees the same chart. Standard library only: small processes read it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import chain, pairwise
from typing import Any, Final

COLUMNS: Final = "open,high,low,close,volume"
STEPS_MAX: Final = 999
"""Into at most so many steps the unit divides the window's price range, and into at least 399: three digits."""
VOLUME_MAX: Final = 9_999
"""The largest volume in units, at most: four digits, for one candle may have a hundred times the usual volume."""
FINEST: Final = 1e-8
"""The unit is at least this share of the price: candles finer than that are equal."""
MS_PER_MINUTE: Final = 60_000
GAP: Final = "gap"
_MANTISSAS: Final = (1, 2, 5, 10)


def candle_table(rows: Sequence[Sequence[float]]) -> dict[str, Any]:
    """Returns the candles [open time in ms UTC, open, high, low, close, volume], oldest first, as a compact table.

    `rows` holds one candle after another, `open,high,low,close,volume` in units, separated by `;`; `gap N` stands
    where N candles are missing. A candle is as long as the two that are closest to each other are apart.
    """
    times, opens, highs, lows, closes, volumes = zip(*rows, strict=True)
    least, most = (extreme(map(extreme, (opens, highs, lows, closes))) for extreme in (min, max))
    unit = _unit(max(most / STEPS_MAX - least / STEPS_MAX, max(abs(most), abs(least)) * FINEST))
    volume_unit = _unit(max(volumes) / VOLUME_MAX)
    first_step = math.floor(least / unit)
    zero = _shortest(first_step * unit)
    candles = [
        f"{round((open_ - zero) / unit)},{round((high - zero) / unit)},{round((low - zero) / unit)},"
        f"{round((close - zero) / unit)},{round(volume / volume_unit)}"
        for open_, high, low, close, volume in zip(opens, highs, lows, closes, volumes, strict=True)
    ]
    step_ms = min((later - earlier for earlier, later in pairwise(times)), default=0)
    if times[-1] - times[0] != step_ms * (len(times) - 1):
        candles = list(chain.from_iterable(zip(_gaps(times, step_ms), candles, strict=True)))
    return {
        "columns": COLUMNS,
        "minutes_per_candle": step_ms / MS_PER_MINUTE,
        "price_zero": zero,
        "price_unit": unit,
        "volume_unit": volume_unit,
        "rows": ";".join(filter(None, candles)),
    }


def read_candle_table(table: Mapping[str, Any]) -> list[list[float]]:
    """Returns [minutes before the newest candle, open, high, low, close, volume] for each candle of a table.

    Raises:
        ValueError, KeyError, TypeError: it is no such table.
    """
    names = ("minutes_per_candle", "price_zero", "price_unit", "volume_unit")
    minutes, zero, unit, volume_unit = (float(table[name]) for name in names)
    rows: list[list[float]] = []
    ago = 0.0
    for cell in reversed(str(table["rows"]).split(";")):
        if cell.startswith(GAP):
            ago += int(cell.removeprefix(GAP)) * minutes
            continue
        first, second, third, fourth, volume = map(int, cell.split(","))
        prices = [_shortest(zero + each * unit) for each in (first, second, third, fourth)]
        rows.append([ago, *prices, _shortest(volume * volume_unit)])
        ago += minutes
    return rows[::-1]


def _gaps(times: Sequence[float], step_ms: float) -> list[str]:
    """Returns what stands before each candle: nothing, or how many are missing there."""
    missing = [round((later - earlier) / step_ms) - 1 for earlier, later in pairwise(times)] if step_ms > 0 else []
    return ["", *(f"{GAP} {count}" if count > 0 else "" for count in missing), *[""] * (len(times) - 1 - len(missing))]


def _unit(least: float) -> float:
    """Returns the smallest of 1, 2 or 5 × a power of ten that is not below `least`; 1 for a table of zeros."""
    if not least > 0:
        return 1.0
    exponent = math.floor(math.log10(least))
    return min(unit for unit in (float(f"{each}e{exponent}") for each in (*_MANTISSAS, 20)) if unit >= least)


def _shortest(value: float) -> float:
    """Returns the number without the noise of a double's last digits."""
    return float(f"{value:.12g}")
