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
from typing import Any, Literal, Self

from aaos.domain.decision.distrust import Distrust, TrustSource, distrusted, scaled
from aaos.domain.decision.rules import DecisionRules
from aaos.domain.llm_budget import BUDGET_REACHED
from aaos.domain.sovereign import SIGNALS, Signal
from aaos.errors import InvariantViolation, ModelOutputError

RefusalCode = Literal[
    "BUDGET",
    "QUORUM",
    "NO_MAJORITY",
    "HIDDEN_HAND",
    "CONFLICT",
    "ARBITER_FAILED",
    "CONFIDENCE",
]


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
class Hold:
    """Why nothing is traded: a code for counting, and the reason in words."""

    code: RefusalCode
    why: str


@dataclass(frozen=True, slots=True)
class Tally:
    """What the votes amount to.

    Attributes:
        signal: the action.
        agreeing: the votes for it.
        hold: why it is HOLD if nobody asked for that; None otherwise.
        direction: what more than half of the votes that came say, whatever then became of it.
    """

    signal: Signal
    agreeing: tuple[CastVote, ...]
    hold: Hold | None
    direction: Signal


def count_votes(
    votes: tuple[CastVote, ...], absent: tuple[AbsentVote, ...], configured: int, rules: DecisionRules
) -> Tally:
    """The majority's action; HOLD where a budget kept anyone from voting, below quorum or without a majority."""
    counts = Counter(vote.signal for vote in votes)
    majority = next((signal for signal, count in counts.items() if 2 * count > len(votes)), None)
    direction: Signal = "HOLD" if majority is None else majority
    unaffordable = [each for each in absent if each.reason.startswith(BUDGET_REACHED)]
    if unaffordable:
        told = "; ".join(f"{each.voter}: {each.reason}" for each in unaffordable)
        return Tally("HOLD", (), Hold("BUDGET", told), direction)
    if not len(votes) > configured * rules.quorum_above:
        missing = "; ".join(f"{a.voter}: {a.reason}" for a in absent) or "nothing was said about the others"
        more_than = f"more than {rules.quorum_above:.0%} must vote"
        reason = f"no quorum: {len(votes)} of {configured} votes came, {more_than} ({missing})"
        return Tally("HOLD", (), Hold("QUORUM", reason), direction)
    if majority is None:
        split = ", ".join(f"{counts[s]} {s}" for s in SIGNALS if counts[s])
        return Tally("HOLD", (), Hold("NO_MAJORITY", f"no majority: the votes are {split}"), direction)
    return Tally(majority, tuple(vote for vote in votes if vote.signal == majority), None, direction)


def mean_of(confidences: Sequence[float]) -> float:
    """The mean of confidences, each 0…1; 0 without any."""
    return min(1.0, math.fsum(confidences) / len(confidences)) if confidences else 0.0


def mean_risk(agreeing: tuple[CastVote, ...], cast_votes: tuple[CastVote, ...]) -> float:
    """The agreeing votes' mean risk score, else that of all votes; 1.0, the highest, if nobody voted."""
    heard = agreeing or cast_votes
    return min(1.0, math.fsum(v.risk_score for v in heard) / len(heard)) if heard else 1.0
