"""Votes of the models: what each said, whether enough of them spoke, and what most of them want.

A vote that failed is absent, never a HOLD. The action needs more than half of the votes cast; without such a
majority (ties included) the answer is HOLD. A fallback model's confidence counts for less (FM-TAW-006).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Any, ClassVar, Self

from annotated_types import Ge, Gt, Le, Lt

from aaos.domain.sovereign import SIGNALS, Signal
from aaos.errors import ConfigError, ModelOutputError

_ROUNDING = 1e-9  # what float64 may add to a sum of two configured shares
FALLBACK_MODEL_USED = "fallback_model_used"

Share = Annotated[float, Ge(0), Le(1)]
Multiplier = Annotated[float, Gt(0), Le(1)]


@dataclass(frozen=True, slots=True)
class DecisionRules:
    """Quorum, multipliers and thresholds of a decision (`config/decision.yaml`): all shares or factors."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    quorum_above: Annotated[float, Ge(0), Lt(1)] = 0.5
    fallback_multiplier: Multiplier = 0.8
    hidden_hand_declining: Multiplier = 0.5
    hidden_hand_other: Multiplier = 0.8
    hidden_hand_min_agreement: Share = 0.66
    consensus_high: Share = 0.66
    consensus_low: Annotated[float, Gt(0), Le(1)] = 0.33
    consensus_gain: Share = 0.6
    consensus_pivot: Share = 0.5
    consensus_floor: Share = 0.85
    consensus_rise: Share = 0.15
    min_confidence: Share = 0.6

    def __post_init__(self) -> None:
        if self.consensus_low > self.consensus_high:
            raise ConfigError(
                f"decision.consensus_low is {self.consensus_low}: it may be at most"
                f" consensus_high ({self.consensus_high})"
            )
        if self.consensus_pivot > self.consensus_high:
            raise ConfigError(
                f"decision.consensus_pivot is {self.consensus_pivot}: it may be at most consensus_high"
                f" ({self.consensus_high}), or agreement would lower the confidence"
            )
        if self.consensus_floor + self.consensus_rise > 1 + _ROUNDING:
            raise ConfigError(
                f"decision.consensus_floor + consensus_rise is {self.consensus_floor + self.consensus_rise}:"
                " at most 1, or disagreement would raise the confidence"
            )


@dataclass(frozen=True, slots=True)
class CastVote:
    """One model's answer.

    Raises:
        ModelOutputError: signal off the list, confidence or risk score not finite or outside 0…1.
    """

    voter: str
    model: str
    signal: Signal
    confidence: float
    risk_score: float
    reasoning: str
    fallback_used: bool = False

    def __post_init__(self) -> None:
        if self.signal not in SIGNALS:
            raise ModelOutputError(f"vote of {self.voter}: signal {self.signal!r} is none of {', '.join(SIGNALS)}")
        for name in ("confidence", "risk_score"):
            value = getattr(self, name)
            if not 0 <= value <= 1:  # also false for NaN
                raise ModelOutputError(f"vote of {self.voter}: {name} {value!r} is not within 0…1")

    def to_dict(self) -> dict[str, Any]:
        """JSON-able fields."""
        return asdict(self)

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        """What `to_dict` gave."""
        return cls(**stored)


@dataclass(frozen=True, slots=True)
class AbsentVote:
    """A vote that did not come, and why."""

    voter: str
    model: str
    reason: str

    def to_dict(self) -> dict[str, Any]:
        """JSON-able fields."""
        return asdict(self)

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        """What `to_dict` gave."""
        return cls(**stored)


@dataclass(frozen=True, slots=True)
class Tally:
    """What the votes amount to: the action, the votes for it, and why it is HOLD if nobody asked for that."""

    signal: Signal
    agreeing: tuple[CastVote, ...]
    hold_reason: str | None


def count_votes(
    votes: tuple[CastVote, ...], absent: tuple[AbsentVote, ...], configured: int, rules: DecisionRules
) -> Tally:
    """The majority's action; HOLD below quorum or without a majority."""
    if not len(votes) > configured * rules.quorum_above:
        missing = "; ".join(f"{a.voter}: {a.reason}" for a in absent) or "nothing was said about the others"
        more_than = f"more than {rules.quorum_above:.0%} must vote"
        reason = f"no quorum: {len(votes)} of {configured} votes came, {more_than} ({missing})"
        return Tally("HOLD", (), reason)
    counts = Counter(vote.signal for vote in votes)
    signal, most = max(counts.items(), key=lambda item: (item[1], item[0] == "HOLD"))
    if 2 * most <= len(votes):
        split = ", ".join(f"{counts[s]} {s}" for s in SIGNALS if counts[s])
        return Tally("HOLD", (), f"no majority: the votes are {split}")
    return Tally(signal, tuple(vote for vote in votes if vote.signal == signal), None)


def mean_confidence(votes: tuple[CastVote, ...], fallback_multiplier: float = 1.0) -> float:
    """The votes' mean confidence, a fallback vote's multiplied first; 0 without votes."""
    weighted = (v.confidence * (fallback_multiplier if v.fallback_used else 1.0) for v in votes)
    return min(1.0, math.fsum(weighted) / len(votes)) if votes else 0.0


def mean_risk(agreeing: tuple[CastVote, ...], cast_votes: tuple[CastVote, ...]) -> float:
    """The agreeing votes' mean risk score, else that of all votes; 1.0, the highest, if nobody voted."""
    heard = agreeing or cast_votes
    return min(1.0, math.fsum(v.risk_score for v in heard) / len(heard)) if heard else 1.0
