"""What the shape of the market adds to the score: divergences, patterns and the agreement of timeframes.

Each gives one contribution, a share from −1 to +1 times its weight, as every indicator does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from aaos.domain.signals.alignment import TimeframeTrend, aligned_share, verdict_of
from aaos.domain.signals.divergence import Divergence
from aaos.domain.signals.params import SignalParams
from aaos.domain.signals.patterns import Pattern
from aaos.domain.signals.score import Contribution

_SIGN = {"bullish": 1.0, "bearish": -1.0, "neutral": 0.0}


def divergence_contribution(divergences: Sequence[Divergence], params: SignalParams) -> Contribution:
    """Bullish less bearish strength, straight up to ±1 at `divergence_full_strength`.

    Indicators that disagree with price over the same turning point are one witness, not four: the strongest counts.
    """
    if not divergences:
        return Contribution("divergence", None, 0.0, "none between the newest pivots")
    witnesses: dict[tuple[str, int], float] = {}
    for each in divergences:
        turn = (each.side, each.second_ms)
        strength = each.strength * (1.0 if each.kind == "regular" else params.divergence_hidden_share)
        witnesses[turn] = max(witnesses.get(turn, 0.0), strength)
    balance = math.fsum(_SIGN[side] * strength for (side, _), strength in witnesses.items())
    share = max(-1.0, min(1.0, balance / params.divergence_full_strength))
    return Contribution("divergence", balance, params.weight_divergence * share, _named_divergences(divergences))


def pattern_contribution(patterns: Sequence[Pattern], params: SignalParams) -> Contribution:
    """The best bullish less the best bearish pattern's quality; one that is only forming counts less."""
    if not patterns:
        return Contribution("pattern", None, 0.0, "none in sight")
    best = {side: max((_counted(p, params) for p in patterns if p.side == side), default=0.0) for side in _SIGN}
    balance = best["bullish"] - best["bearish"]
    why = ", ".join(f"{p.status} {p.name.replace('_', ' ')} ({p.side}, quality {p.quality:.2f})" for p in patterns)
    return Contribution("pattern", balance, params.weight_pattern * max(-1.0, min(1.0, balance)), why)


def alignment_contribution(
    trends: Sequence[TimeframeTrend], missing: Sequence[str], params: SignalParams
) -> Contribution:
    """How many timeframes point up less how many point down, as a share of all; unknown ones point nowhere.

    Args:
        trends: the known timeframes' directions.
        missing: the coarser timeframes with too few candles yet, or too wide gaps among them.
        params: weights.
    """
    unknown = f"; too few candles yet for {', '.join(missing)}" if missing else ""
    share = aligned_share(trends, missing)
    if share is None:
        configured = unknown or "; none coarser is configured (alignment.timeframes)"
        return Contribution("alignment", None, 0.0, f"undefined: fewer than two timeframes are known{configured}")
    said = ", ".join(f"{each.timeframe} {each.direction}" for each in trends)
    return Contribution(
        "alignment", share, params.weight_alignment * share, f"{verdict_of(trends, missing)}: {said}{unknown}"
    )


def _counted(pattern: Pattern, params: SignalParams) -> float:
    return pattern.quality * (1.0 if pattern.status == "confirmed" else params.pattern_forming_share)


def _named_divergences(divergences: Sequence[Divergence]) -> str:
    """`regular bullish: rsi 0.80, obv 0.40; hidden bearish: macd 0.30`."""
    groups: dict[str, list[str]] = {}
    for each in divergences:
        groups.setdefault(f"{each.kind} {each.side}", []).append(f"{each.indicator} {each.strength:.2f}")
    return "; ".join(f"{name}: {', '.join(members)}" for name, members in groups.items())
