"""Votes of the models: what each said, whether enough of them spoke, and what most of them want.

A vote that failed is absent, never a HOLD. The action needs more than half of the votes cast; without such a
majority (ties included) the answer is HOLD. A vote that a budget prevented makes it HOLD, too: what the others
would have been told is not known. A fallback model's confidence counts for less (FM-TAW-006).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any, ClassVar, Literal, Self

from annotated_types import Ge, Gt, Le, Lt

from aaos.domain.decision.distrust import Distrust, TrustSource, distrusted, scaled
from aaos.domain.llm_budget import BUDGET_REACHED
from aaos.domain.sovereign import SIGNALS, Signal
from aaos.errors import ConfigError, InvariantViolation, ModelOutputError

_ROUNDING = 1e-9  # what float64 may add to a sum of two configured shares
REVIEW_EXPIRES_MAX_S = 604_800.0
"""A week: who lists what waits for a person looks no further back."""

FallbackPolicy = Literal["penalize", "review"]
Share = Annotated[float, Ge(0), Le(1)]
Multiplier = Annotated[float, Gt(0), Le(1)]


@dataclass(frozen=True, slots=True)
class DecisionRules:
    """Quorum, multipliers and thresholds of a decision (`config/decision.yaml`): all shares or factors."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    quorum_above: Annotated[float, Ge(0), Lt(1)] = 0.5
    fallback_multiplier: Multiplier = 0.8
    fallback_policy: FallbackPolicy = "penalize"
    review_expires_s: Annotated[float, Ge(1), Le(REVIEW_EXPIRES_MAX_S)] = 900.0
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

    Attributes:
        confidence: 0…1, what counts, distrust applied.
        original_confidence: as the model said it; None in votes stored before distrust was: then `confidence` is that.
        trust_factor: what lies between the two; None in such votes.
        trust_source: where that factor comes from; None in such votes.

    Raises:
        ModelOutputError: signal off the list, confidence or risk score not finite or outside 0…1.
        InvariantViolation: `confidence` is not what the factor makes of the original one.
    """

    voter: str
    model: str
    signal: Signal
    confidence: float
    risk_score: float
    reasoning: str
    fallback_used: bool = False
    original_confidence: float | None = None
    trust_factor: float | None = None
    trust_source: TrustSource | None = None

    def __post_init__(self) -> None:
        if self.signal not in SIGNALS:
            raise ModelOutputError(f"vote of {self.voter}: signal {self.signal!r} is none of {', '.join(SIGNALS)}")
        for name in ("confidence", "risk_score"):
            value = getattr(self, name)
            if not 0 <= value <= 1:  # also false for NaN
                raise ModelOutputError(f"vote of {self.voter}: {name} {value!r} is not within 0…1")
        if self.original_confidence is not None:
            self._check_distrust(self.original_confidence, self.trust_factor)

    def _check_distrust(self, original: float, factor: float | None) -> None:
        if factor is None or not (
            0 <= original <= 1 and 0 <= factor <= 1 and self.confidence == scaled(original, factor)
        ):
            raise InvariantViolation(
                f"vote of {self.voter}: confidence {self.confidence!r} is not its original {original!r} × {factor!r}"
            )

    def trusted(self, rules: DecisionRules) -> Distrust:
        """How far the vote is believed; a vote stored without it is weighed by the rules now."""
        if self.original_confidence is None or self.trust_factor is None:
            return distrusted(self.confidence, self.fallback_used, rules)
        source = self.trust_source or ("prior" if self.fallback_used else "none")
        return Distrust(self.confidence, self.original_confidence, self.trust_factor, source, self.fallback_used)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able fields; without those of distrust where the vote has none."""
        return {name: value for name, value in asdict(self).items() if value is not None}

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
    """The majority's action; HOLD where a budget kept anyone from voting, below quorum or without a majority."""
    unaffordable = [each for each in absent if each.reason.startswith(BUDGET_REACHED)]
    if unaffordable:
        return Tally("HOLD", (), "; ".join(f"{each.voter}: {each.reason}" for each in unaffordable))
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


def mean_of(confidences: Sequence[float]) -> float:
    """The mean of confidences, each 0…1; 0 without any."""
    return min(1.0, math.fsum(confidences) / len(confidences)) if confidences else 0.0


def mean_risk(agreeing: tuple[CastVote, ...], cast_votes: tuple[CastVote, ...]) -> float:
    """The agreeing votes' mean risk score, else that of all votes; 1.0, the highest, if nobody voted."""
    heard = agreeing or cast_votes
    return min(1.0, math.fsum(v.risk_score for v in heard) / len(heard)) if heard else 1.0
