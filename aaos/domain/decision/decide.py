"""One decision out of its inputs: votes → fallback distrust → Hidden Hand → consensus → tradable or not.

Every step that changes the confidence leaves an `Adjustment`, so the chain from the votes' mean to the final
figure can be read and recomputed. HOLD is final wherever it arises: no later step revives the action.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from aaos.domain.decision.consensus import agreement_with, consensus_multiplier, stances
from aaos.domain.decision.distrust import FALLBACK_MODEL_USED, Distrust, scaled
from aaos.domain.decision.hidden_hand import check_hidden_hand
from aaos.domain.decision.votes import (
    AbsentVote,
    CastVote,
    DecisionRules,
    Tally,
    count_votes,
    mean_of,
    mean_risk,
)
from aaos.domain.regime import RegimeOutput, WyckoffPhase
from aaos.domain.signals import SignalOutput
from aaos.domain.sovereign import Signal
from aaos.errors import InvariantViolation


@dataclass(frozen=True, slots=True)
class DecisionInputs:
    """All that a decision rests on, frozen before the first vote was counted.

    Raises:
        InvariantViolation: inputs of another symbol, a voter counted twice, more votes than voters.
    """

    symbol: str
    technical: SignalOutput
    regime: RegimeOutput
    votes: tuple[CastVote, ...]
    absent: tuple[AbsentVote, ...]
    voters_configured: int

    def __post_init__(self) -> None:
        strangers = {self.technical.symbol, self.regime.symbol} - {self.symbol}
        if strangers:
            raise InvariantViolation(f"a decision on {self.symbol} was given inputs of {', '.join(sorted(strangers))}")
        voters = [v.voter for v in self.votes] + [a.voter for a in self.absent]
        if len(set(voters)) != len(voters):
            raise InvariantViolation(f"a decision on {self.symbol} counts a voter twice: {', '.join(sorted(voters))}")
        if not max(1, len(voters)) <= self.voters_configured:
            raise InvariantViolation(f"{len(voters)} voters on {self.symbol}, {self.voters_configured} configured")

    def to_dict(self) -> dict[str, Any]:
        """JSON-able fields: what a replay needs."""
        return {
            "symbol": self.symbol,
            "technical": self.technical.to_dict(),
            "regime": self.regime.to_dict(),
            "votes": [v.to_dict() for v in self.votes],
            "absent": [a.to_dict() for a in self.absent],
            "voters_configured": self.voters_configured,
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        """What `to_dict` gave."""
        return cls(
            symbol=stored["symbol"],
            technical=SignalOutput.from_dict(stored["technical"]),
            regime=RegimeOutput.from_dict(stored["regime"]),
            votes=tuple(CastVote.from_dict(v) for v in stored["votes"]),
            absent=tuple(AbsentVote.from_dict(a) for a in stored["absent"]),
            voters_configured=stored["voters_configured"],
        )


@dataclass(frozen=True, slots=True)
class Adjustment:
    """One step's factor on the confidence, 0…1 before and after, with the reason in words."""

    step: str
    factor: float
    before: float
    after: float
    why: str


@dataclass(frozen=True, slots=True)
class Review:
    """A person must approve before risk sees the decision, within `expires_after_s` of its `analyzed_at`."""

    why: str
    expires_after_s: float
    required: bool = True


@dataclass(frozen=True, slots=True)
class Decision:
    """What is done, how surely, and why.

    `original_confidence` is the agreeing votes' plain mean as the models said it, `confidence` what all adjustments
    left of it; `agreement` is the share r of independent signals for the action the votes chose, None without an
    action. A decision with a `review` is never `tradable`: only a person's approval lets risk see it.
    """

    symbol: str
    signal: Signal
    confidence: float
    original_confidence: float
    risk_score: float
    reasoning: str
    wyckoff_phase: WyckoffPhase
    degraded_inference: bool
    degradation_reason: str | None
    hidden_hand_warning: str | None
    phase_signal_conflict: bool
    agreement: float | None
    adjustments: tuple[Adjustment, ...]
    tradable: bool
    review: Review | None = None

    def __post_init__(self) -> None:
        if self.tradable and self.review is not None:
            raise InvariantViolation(f"a decision on {self.symbol} waits for a person and is tradable all the same")

    def to_dict(self) -> dict[str, Any]:
        """JSON-able fields; every number is finite. `review` is there only if one is needed."""
        plain = {**asdict(self), "adjustments": [asdict(a) for a in self.adjustments]}
        if self.review is None:
            del plain["review"]
        return plain

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        """What `to_dict` gave; other keys are passed over."""
        own = {field.name: stored[field.name] for field in fields(cls) if field.name != "review"}
        review = Review(**stored["review"]) if "review" in stored else None
        return cls(**{**own, "adjustments": tuple(Adjustment(**a) for a in stored["adjustments"]), "review": review})


def decide(inputs: DecisionInputs, rules: DecisionRules) -> Decision:
    """The decision that follows from the inputs: pure, so a replay gives the same bytes."""
    tally = count_votes(inputs.votes, inputs.absent, inputs.voters_configured, rules)
    trust = {vote.voter: vote.trusted(rules) for vote in tally.agreeing}
    original = mean_of([each.original_confidence for each in trust.values()])
    steps: list[Adjustment] = []
    confidence = _distrust(trust, original, steps)

    said = stances(inputs.technical.direction, inputs.regime, inputs.votes)
    r = agreement_with(tally.signal, said)
    regime = inputs.regime
    check = check_hidden_hand(regime.wyckoff_phase, tally.signal, regime.volume_trend, rules)
    if check.warning is not None:
        confidence = _adjust(steps, "hidden_hand", check.multiplier, confidence, check.warning)
    signal, hold_reason = tally.signal, tally.hold_reason
    if check.conflict and (r is None or r < rules.hidden_hand_min_agreement):
        hold_reason = (
            f"{check.warning}; only {r or 0:.0%} of the signals agree, an override needs"
            f" {rules.hidden_hand_min_agreement:.0%}"
        )
        signal = "HOLD"
    elif r is not None:
        why = f"{r:.0%} of {len(said)} independent signals say {signal}"
        confidence = _adjust(steps, "consensus", consensus_multiplier(r, rules), confidence, why)

    degraded = any(vote.fallback_used for vote in inputs.votes)
    tradable = signal != "HOLD" and confidence >= rules.min_confidence
    review = _review(inputs.votes, rules) if tradable and degraded else None
    return Decision(
        symbol=inputs.symbol,
        signal=signal,
        confidence=confidence,
        original_confidence=original,
        risk_score=mean_risk(tally.agreeing, inputs.votes),
        reasoning=_reasoning(tally, hold_reason),
        wyckoff_phase=regime.wyckoff_phase,
        degraded_inference=degraded,
        degradation_reason=FALLBACK_MODEL_USED if degraded else None,
        hidden_hand_warning=check.warning,
        phase_signal_conflict=check.conflict,
        agreement=r,
        adjustments=tuple(steps),
        tradable=tradable and review is None,
        review=review,
    )


def _distrust(trust: Mapping[str, Distrust], original: float, steps: list[Adjustment]) -> float:
    """The agreeing votes' mean confidence, fallback models' answers distrusted, then what was learned of the others."""
    fallbacks = {voter: each for voter, each in trust.items() if each.fallback_used}
    others = {voter: each for voter, each in trust.items() if not each.fallback_used and each.factor != 1}
    weighed = {voter: each.original_confidence for voter, each in trust.items()}
    confidence = original
    for step, label, group in (
        ("fallback_distrust", FALLBACK_MODEL_USED, fallbacks),
        ("learned_trust", "outcomes taught", others),
    ):
        if group:
            weighed |= {voter: each.confidence for voter, each in group.items()}
            why = f"{label} for {', '.join(group)}: {_factors(group)}"
            confidence = _distrust_group(steps, step, why, group, weighed, confidence)
    return confidence


def _distrust_group(
    steps: list[Adjustment],
    step: str,
    why: str,
    group: Mapping[str, Distrust],
    weighed: Mapping[str, float],
    before: float,
) -> float:
    """Notes what the distrusted votes leave of the mean; exactly `before` × factor where all votes have that factor."""
    factors = {each.factor for each in group.values()}
    if len(factors) == 1 and len(group) == len(weighed):
        factor = factors.pop()
        after = scaled(before, factor)
    else:
        after = mean_of(list(weighed.values()))
        factor = after / before if before else max(factors)
    steps.append(Adjustment(step, factor, before, after, why))
    return after


def _factors(group: Mapping[str, Distrust]) -> str:
    factors = {_factor(each) for each in group.values()}
    if len(factors) == 1:
        return f"{factors.pop()} on each such vote"
    return ", ".join(f"{voter} {_factor(each)}" for voter, each in group.items())


def _factor(trust: Distrust) -> str:
    return f"× {trust.factor:g}{' (learned)' if trust.source == 'learned' else ''}"


def _review(votes: Sequence[CastVote], rules: DecisionRules) -> Review | None:
    """What a person has to look at before risk may, if the policy asks for it."""
    if rules.fallback_policy != "review":
        return None
    named = ", ".join(f"{vote.voter} ({vote.model})" for vote in votes if vote.fallback_used)
    return Review(f"{FALLBACK_MODEL_USED} for {named}", rules.review_expires_s)


def _adjust(steps: list[Adjustment], step: str, factor: float, before: float, why: str) -> float:
    after = min(1.0, before * factor)
    steps.append(Adjustment(step, factor, before, after, why))
    return after


def _reasoning(tally: Tally, hold_reason: str | None) -> str:
    """Why it is HOLD, if a rule made it so, then what the agreeing voters said."""
    said = [f"{vote.voter}: {vote.reasoning}" for vote in tally.agreeing]
    return " | ".join(([f"HOLD: {hold_reason}"] if hold_reason else []) + said)
