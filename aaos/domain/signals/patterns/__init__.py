"""Chart patterns on confirmed pivots: which are alive at a candle, and since when each could be known.

shapes   what a pattern is       view        the stretch in view, in log price, upright and upside down
params   sizes and ages          lines       trend lines, and what later closes made of a pattern
                                 reversal    head and shoulders, double tops, and their mirror images
                                 converging  wedges and triangles
                                 candidate   one found, before overlaps are settled
Definitions: docs/patterns.md.
"""

from __future__ import annotations

from collections.abc import Sequence

from aaos.domain.market import Candles, FloatArray
from aaos.domain.signals.patterns.candidate import Candidate, newest_first
from aaos.domain.signals.patterns.converging import find_converging
from aaos.domain.signals.patterns.params import PatternParams
from aaos.domain.signals.patterns.reversal import find_reversals
from aaos.domain.signals.patterns.shapes import Pattern, PatternName, PatternPoint, PatternSide, PatternStatus
from aaos.domain.signals.patterns.view import see
from aaos.domain.signals.pivots import Pivot

__all__ = [
    "Pattern",
    "PatternName",
    "PatternParams",
    "PatternPoint",
    "PatternSide",
    "PatternStatus",
    "find_patterns",
]


def find_patterns(
    candles: Candles, atr: FloatArray, pivots: Sequence[Pivot], at: int, params: PatternParams
) -> tuple[Pattern, ...]:
    """The patterns known and alive at candle `at`, newest known first; nothing after `at` is looked at.

    Only the newest `params.candles_needed` candles matter, so the work does not grow with the history.

    Args:
        candles: the series, sound (see `check_candles`).
        atr: average true range in price units, shape (n,); where it is NaN or 0 no pattern is found.
        pivots: pivots of its highs and lows by index, all of one strength; later ones than known at `at` may be there.
        at: index of the current candle.
        params: what counts as a pattern.
    """
    up, down, turns = see(candles, atr, pivots, at, params)

    def found(lasts: range) -> list[Candidate]:
        reversals = [*find_reversals(up, lasts, params), *find_reversals(down, lasts, params)]
        return [*reversals, *find_converging(up, turns, lasts, params)]

    met = found(range(at - params.max_life, at + 1))
    alive = [candidate for candidate in met if candidate.outcome.until >= at]
    if not alive:  # as at most candles: then the older ones need not be looked for
        return ()
    met += found(range(at - params.settled_within, at - params.max_life))
    told = (each.told(candles) for each in sorted(alive, key=newest_first) if each.is_told(met))
    return tuple(pattern for pattern in told if pattern is not None)
