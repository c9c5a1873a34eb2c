"""A book around a price: spread, levels and sizes, as a pure function of its arguments, alike in every process."""

from __future__ import annotations

import hashlib
from decimal import ROUND_CEILING, ROUND_DOWN, ROUND_FLOOR, ROUND_HALF_UP, Decimal

from aaos.domain.order_book import Instrument, Level
from aaos.domain.venue.rules import PaperRules

ONE_BPS = Decimal("0.0001")
BYTES_PER_SIZE = 2
LARGEST_HASH = Decimal(256**BYTES_PER_SIZE - 1)
# A level holds between a fifth and nine fifths of `level_notional`.
LEAST, MOST = Decimal("0.2"), Decimal("1.8")

Sides = tuple[tuple[Level, ...], tuple[Level, ...]]


def book_around(price: Decimal, as_of_ms: int, instrument: Instrument, rules: PaperRules) -> Sides:
    """Returns bids and asks, best first, on the instrument's grid; never crossed, never at a price of zero."""
    step = instrument.price_step
    half_spread = max(price * rules.spread_bps * ONE_BPS / 2, step / 2)
    best_bid = int(((price - half_spread) / step).to_integral_value(ROUND_FLOOR))
    best_ask = int(((price + half_spread) / step).to_integral_value(ROUND_CEILING))
    gap = max(1, int((price * rules.level_step_bps * ONE_BPS / step).to_integral_value(ROUND_HALF_UP)))
    sizes = _sizes(price, as_of_ms, instrument, rules)
    bids = [Level((best_bid - i * gap) * step, sizes[i]) for i in range(rules.levels) if best_bid > i * gap]
    asks = [Level((best_ask + i * gap) * step, sizes[rules.levels + i]) for i in range(rules.levels)]
    return tuple(bids), tuple(asks)


def _sizes(price: Decimal, as_of_ms: int, instrument: Instrument, rules: PaperRules) -> list[Decimal]:
    """Sizes of all levels, bids first, from a hash of seed, symbol and instant."""
    count = 2 * rules.levels
    seed = f"{rules.seed}\n{instrument.symbol}\n{as_of_ms}".encode()
    noise = hashlib.shake_128(seed).digest(count * BYTES_PER_SIZE)
    step = instrument.quantity_step
    least = rules.level_notional * LEAST / price / step
    spread = rules.level_notional * (MOST - LEAST) / price / step / LARGEST_HASH
    return [
        max(
            1,
            int((least + spread * int.from_bytes(noise[i : i + BYTES_PER_SIZE], "big")).to_integral_value(ROUND_DOWN)),
        )
        * step
        for i in range(0, len(noise), BYTES_PER_SIZE)
    ]
