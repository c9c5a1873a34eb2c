"""Consensus (F11, F16): how far independent signals agree with an action, and what that does to it.

Every signal counts once: technical analysis, regime and each vote. Neutral ones (no direction, a range, HOLD)
are left out, since they speak neither for nor against.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from aaos.domain.decision.votes import CastVote, DecisionRules
from aaos.domain.regime import RegimeOutput
from aaos.domain.signals.score import Direction
from aaos.domain.sovereign import Signal

Stance = Literal["BUY", "SELL"]

_OF_DIRECTION: dict[str, Stance] = {"long": "BUY", "short": "SELL"}
_OF_REGIME: dict[str, Stance] = {"trending_up": "BUY", "trending_down": "SELL"}


def stances(direction: Direction, regime: RegimeOutput, votes: Iterable[CastVote]) -> tuple[Stance, ...]:
    """What each signal that is not neutral speaks for."""
    said: list[Stance | None] = [_OF_DIRECTION.get(direction), _OF_REGIME.get(regime.regime)]
    said.extend(None if vote.signal == "HOLD" else vote.signal for vote in votes)
    return tuple(stance for stance in said if stance is not None)


def agreement_with(action: Signal, said: tuple[Stance, ...]) -> float | None:
    """The share r (0…1) of the stances that agree with the action; None when there is none to agree."""
    if action == "HOLD" or not said:
        return None
    return sum(stance == action for stance in said) / len(said)


def consensus_multiplier(r: float | None, rules: DecisionRules) -> float:
    """The factor on the confidence: SPEC 8, step 4.

    r ≥ high: 1 + gain (r − pivot), 1.3 at r = 1; low ≤ r < high: 1; r < low: floor + rise · r / low.
    """
    if r is None:
        return 1.0
    if r >= rules.consensus_high:
        return 1 + rules.consensus_gain * (r - rules.consensus_pivot)
    if r >= rules.consensus_low:
        return 1.0
    return rules.consensus_floor + rules.consensus_rise * r / rules.consensus_low
