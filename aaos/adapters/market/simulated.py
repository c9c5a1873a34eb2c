"""A market that is a pure function of (seed, symbol, minute): no state, no file, the same in every process.

The log price is a sum of value noise (hashed lattice points, smoothly joined) in octaves of 1, 2, 4 … minutes
whose size grows with the square root of their period, as a random walk's moves do. Two slow noises modulate
it: one how violent the short moves are (quiet and wild hours), one how far the middle ones carry (trends and
ranges). Only 1m candles are generated, longer ones are resampled from them.

Everything is built from +, −, ×, ÷ and square roots, which IEEE 754 defines to the last bit: a library's
exp() differs between machines, and the replay of a stored decision must not.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from aaos.domain.market import Candles, FloatArray, IntArray, check_symbol, resample, timeframe_ms
from aaos.errors import InputError, UnknownSymbol

MINUTE_MS: Final = 60_000

# Octaves of the log price, as powers of two of a minute: 1 minute … 91 days.
_OCTAVES: Final = 18
# Size of the shortest octave. All together give returns a deviation of 0.1 % a minute and 3 … 5 % a day.
_AMPLITUDE: Final = 0.0008
# Octaves below 2^7 minutes are made quiet or wild, 2^7 … 2^11 (2 hours … 1.4 days) become trend or range.
_SHORT_BELOW: Final = 7
_MIDDLE_BELOW: Final = 12
# The modulating noises' periods: 2^9 minutes is 8.5 hours, 2^10 is 17.
_VIOLENCE_OCTAVE: Final = 9
_CARRY_OCTAVE: Final = 10
# How far a wick reaches beyond the body, and how much of a typical minute's move it is at most.
_WICK: Final = 0.0006
# A minute's mean turnover, in quote currency.
_TURNOVER: Final = 250_000.0
# Prices have this many significant digits, as a venue's tick would give them.
_SIGNIFICANT_DIGITS: Final = 6
_FAMILIAR_PRICES: Final = {
    "BTC": 60_000.0,
    "ETH": 3_000.0,
    "SOL": 150.0,
    "XRP": 0.6,
    "DOGE": 0.15,
    "LTC": 80.0,
}

UintArray = NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class _Instrument:
    """What makes one symbol's market its own."""

    key: int
    base_price: float
    decimals: int


class SimulatedMarket:
    """Candles of invented markets; equal seeds give equal candles, wherever and whenever they are asked for.

    Args:
        seed: chooses the world.
        symbols: what the market lists.

    Raises:
        UnknownSymbol: a symbol is not spelled as `BTC/USDT`.
    """

    def __init__(self, seed: int, symbols: Sequence[str]) -> None:
        self._instruments = {symbol: _instrument(seed, check_symbol(symbol)) for symbol in symbols}

    def candles(self, symbol: str, timeframe: str, until_ms: int, limit: int) -> Candles:
        """Returns the newest `limit` candles that closed at or before `until_ms`, oldest first.

        Costs as much as `limit` candles of one minute, times the minutes in a candle.

        Raises:
            UnknownSymbol: the market does not list the symbol; names those it does.
            ConfigError: unknown timeframe.
            InputError: a limit below 1.
        """
        instrument = self._instruments.get(symbol)
        if instrument is None:
            raise UnknownSymbol(f"{symbol!r} is not listed here: choose one of {', '.join(self._instruments)}")
        if limit < 1:
            raise InputError(f"limit is {limit}: ask for at least 1 candle")
        width_ms = timeframe_ms(timeframe)
        last_minute = (until_ms - until_ms % width_ms) // MINUTE_MS
        first_minute = last_minute - limit * (width_ms // MINUTE_MS)
        minutes = _one_minute_candles(symbol, instrument, np.arange(first_minute, last_minute, dtype=np.int64))
        return resample(minutes, timeframe) if timeframe != minutes.timeframe else minutes


def _instrument(seed: int, symbol: str) -> _Instrument:
    digest = hashlib.sha256(f"{seed}\n{symbol}".encode()).digest()
    base = _FAMILIAR_PRICES.get(symbol.split("/", maxsplit=1)[0])
    # An unknown coin costs 1, 2, 4 … 512.
    price = base if base is not None else float(2 ** (digest[8] % 10))
    decimals = _SIGNIFICANT_DIGITS - 1 - math.floor(math.log10(price))
    return _Instrument(int.from_bytes(digest[:8], "little"), price, decimals)


def _one_minute_candles(symbol: str, instrument: _Instrument, minutes: IntArray) -> Candles:
    edges = np.append(minutes, minutes[-1] + 1)
    price = _rounded(instrument.base_price * _exp(_log_price(instrument.key, edges)), instrument.decimals)
    opening, closing = price[:-1], price[1:]
    top, bottom = np.maximum(opening, closing), np.minimum(opening, closing)
    violence = _violence(instrument.key, minutes)
    upper, lower, busy = (_uniform(instrument.key, stream, minutes) for stream in (101, 102, 103))
    high = np.maximum(top, _rounded(top * (1 + _WICK * violence * upper * upper), instrument.decimals))
    low = np.minimum(bottom, _rounded(bottom * (1 - _WICK * violence * lower * lower), instrument.decimals))
    move = (top - bottom) / (bottom * _AMPLITUDE)
    turnover = _TURNOVER * violence * (0.3 + 0.7 * busy) * (0.4 + move)
    volume = _rounded(turnover / closing, 4)
    return Candles(symbol, "1m", minutes * MINUTE_MS, opening, high, low, closing, volume)


def _log_price(key: int, minutes: IntArray) -> FloatArray:
    """The log of price over base price at each minute's beginning."""
    short, middle, long = (np.zeros(len(minutes)) for _ in range(3))
    for octave in range(_OCTAVES):
        size = _AMPLITUDE * math.sqrt(2.0**octave)
        part = short if octave < _SHORT_BELOW else middle if octave < _MIDDLE_BELOW else long
        part += size * _noise(key, octave, octave, minutes)
    carry = 1.0 + 0.9 * _noise(key, 51, _CARRY_OCTAVE, minutes)
    return _violence(key, minutes) * short + carry * middle + long


def _violence(key: int, minutes: IntArray) -> FloatArray:
    """How wild the short moves are: about 0.3 in quiet hours, 1.7 in wild ones."""
    return 1.0 + 0.7 * _noise(key, 52, _VIOLENCE_OCTAVE, minutes)


def _noise(key: int, stream: int, octave: int, minutes: IntArray) -> FloatArray:
    """Value noise in −1…1 with a lattice point every 2^octave minutes, joined by 3t² − 2t³."""
    shifted = minutes + (_mix_one(key, stream) >> 40)  # so that the octaves' lattices do not all meet at minute 0
    cell = shifted >> octave
    t = (shifted - (cell << octave)) / float(1 << octave)
    left = 2 * _uniform(key, stream, cell) - 1
    right = 2 * _uniform(key, stream, cell + 1) - 1
    return left + (right - left) * (t * t * (3 - 2 * t))


def _uniform(key: int, stream: int, places: IntArray) -> FloatArray:
    """Hashed numbers in 0…1, one for each place of a stream."""
    hashed = _mix(places.astype(np.uint64) + np.uint64(_mix_one(key, stream)))
    return (hashed >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _mix_one(key: int, stream: int) -> int:
    return int(_mix(np.array([key ^ (stream * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF)], dtype=np.uint64))[0])


def _mix(x: UintArray) -> UintArray:
    """Splitmix64's finaliser (Steele, Lea, Flood, 2014): each input bit flips half of the output's."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _exp(x: FloatArray) -> FloatArray:
    """e^x for |x| < 4 out of exactly defined operations: Taylor's series at x/32, squared five times."""
    y = x / 32
    result = np.ones_like(y)
    for k in range(12, 0, -1):
        result = 1 + result * y / k
    for _ in range(5):
        result = result * result
    return result


def _rounded(values: FloatArray, decimals: int) -> FloatArray:
    scale = 10.0**decimals
    return np.rint(values * scale) / scale
