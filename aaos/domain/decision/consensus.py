"""Consensus (F11, F16): how far independent signals agree with an action, and what that does to it.

Technical analysis, regime, and each model that voted speak with one voice each, however many votes the model cast:
the same weights asked three times are one opinion, not three. A model's voice is split among those of its votes that
take a side. What takes none (no direction, a range, HOLD) is left out: it speaks neither for nor against.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from aaos.domain.decision.rules import DecisionRules
from aaos.domain.decision.votes import CastVote, mean_of
from aaos.domain.regime import RegimeOutput
from aaos.domain.signals import SignalOutput
from aaos.domain.sovereign import Signal

Stance = Literal["BUY", "SELL"]

_OF_DIRECTION: dict[str, Stance] = {"long": "BUY", "short": "SELL"}
_OF_REGIME: dict[str, Stance] = {"trending_up": "BUY", "trending_down": "SELL"}
_WHOLE = Fraction(1)


@dataclass(frozen=True, slots=True)
class Voice:
    """One independent signal that takes a side.

    Attributes:
        name: `technical`, `regime`, or a model's name.
        buy: the share of it that says BUY, exact, so that no order of votes changes a sum; the rest says SELL.
        buy_confidence: of what says BUY, 0…1; 0 where nothing does.
        sell_confidence: of what says SELL.
    """

    name: str
    buy: Fraction
    buy_confidence: float
    sell_confidence: float

    def share(self, stance: Stance) -> Fraction:
        """Returns how much of it is of this opinion, 0…1."""
        return self.buy if stance == "BUY" else 1 - self.buy

    def confidence(self, stance: Stance) -> float:
        """Returns how sure it is of this opinion, 0…1; 0 where it is not of it."""
        return self.buy_confidence if stance == "BUY" else self.sell_confidence


def voices(
    technical: SignalOutput, regime: RegimeOutput, votes: Sequence[CastVote], rules: DecisionRules
) -> tuple[Voice, ...]:
    """Returns the independent signals that take a side: technical analysis, regime, then models by name."""
    said = [
        _voice("technical", _OF_DIRECTION.get(technical.direction), technical.confidence_pct / 100),
        _voice("regime", _OF_REGIME.get(regime.regime), regime.confidence),
        *(_of_model(model, votes, rules) for model in sorted({vote.model for vote in votes})),
    ]
    return tuple(voice for voice in said if voice is not None)


def _voice(name: str, stance: Stance | None, confidence: float) -> Voice | None:
    if stance is None:
        return None
    if stance == "BUY":
        return Voice(name, _WHOLE, confidence, 0.0)
    return Voice(name, 1 - _WHOLE, 0.0, confidence)


def _of_model(model: str, votes: Sequence[CastVote], rules: DecisionRules) -> Voice | None:
    """Returns what a model's votes say together; the model is the one that answered, be it as a fallback."""
    of: dict[Signal, list[float]] = {"BUY": [], "SELL": [], "HOLD": []}
    for vote in votes:
        if vote.model == model:
            of[vote.signal].append(vote.trusted(rules).confidence)
    taking_sides = len(of["BUY"]) + len(of["SELL"])
    if not taking_sides:
        return None
    return Voice(model, Fraction(len(of["BUY"]), taking_sides), mean_of(of["BUY"]), mean_of(of["SELL"]))


def agreement_with(action: Signal, said: Sequence[Voice]) -> float | None:
    """Returns the share r (0…1) of the voices that agree with the action; None when there is none to agree."""
    if action == "HOLD" or not said:
        return None
    return float(sum((voice.share(action) for voice in said), Fraction()) / len(said))


def consensus_multiplier(r: float | None, rules: DecisionRules) -> float:
    """Returns the factor on the confidence: SPEC 8, step 4.

    r ≥ high: 1 + gain (r − pivot), 1.3 at r = 1; low ≤ r < high: 1; r < low: floor + rise · r / low.
    """
    if r is None:
        return 1.0
    if r >= rules.consensus_high:
        return 1 + rules.consensus_gain * (r - rules.consensus_pivot)
    if r >= rules.consensus_low:
        return 1.0
    return rules.consensus_floor + rules.consensus_rise * r / rules.consensus_low


def consensus(r: float, count: int, fallback_used: bool, action: Stance, rules: DecisionRules) -> tuple[float, str]:
    """Returns what agreement does to a confidence, and why in words.

    Args:
        r: the share of the voices that agree.
        count: how many voices there are.
        fallback_used: whether any vote is a fallback model's: then agreement takes away, and never gives back what
            distrust took (FM-TAW-006).
        action: what they agree with.
        rules: thresholds.
    """
    said = f"{r:.0%} of {count} independent signals say {action}"
    if count < rules.consensus_min_signals:
        few = f"{count} independent signal{'s' * (count != 1)}"
        return 1.0, f"{few}, {rules.consensus_min_signals} make a consensus: left as it is"
    factor = consensus_multiplier(r, rules)
    if fallback_used and factor > 1:
        return 1.0, f"{said}; × {factor:.4g} is capped at 1, since a fallback model voted: distrust is not undone"
    return factor, said
