"""One decision out of its inputs: votes → distrust → Hidden Hand → consensus → arbitration → tradable or not.

Every step that has something to say leaves an `Adjustment`, so the chain from the votes' mean to the final figure, and
from BUY to HOLD, can be read and recomputed. HOLD is final wherever it arises: no later step is taken, none revives
the action. Why the steps come in this order, and which of them would commute: docs/decision.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from aaos.domain.decision.arbiter import Arbitration, Dispute
from aaos.domain.decision.conflict import Opponent, in_words, opponents
from aaos.domain.decision.consensus import Voice, agreement_with, consensus, voices
from aaos.domain.decision.distrust import FALLBACK_MODEL_USED, Distrust, scaled
from aaos.domain.decision.hidden_hand import HiddenHandCheck, check_hidden_hand
from aaos.domain.decision.inputs import DecisionInputs
from aaos.domain.decision.outcome import Adjustment, Decision, Refusal, Review
from aaos.domain.decision.rules import DecisionRules
from aaos.domain.decision.votes import RefusalCode, Tally, count_votes, mean_of, mean_risk
from aaos.domain.sovereign import Signal
from aaos.errors import InvariantViolation


def decide(inputs: DecisionInputs, rules: DecisionRules) -> Decision:
    """Returns the decision that follows from the inputs: pure, so a replay gives the same bytes.

    Raises:
        InvariantViolation: there is an arbitration, and nothing to arbitrate.
    """
    draft = _drafted(inputs, rules)
    course = draft.course
    ruled = _arbitrate(draft, inputs.arbitration, rules)
    if course.signal != "HOLD" and course.confidence < rules.min_confidence:
        why = f"{course.confidence:.4f} is below the {rules.min_confidence:g} that trading needs"
        course.refuse("min_confidence", "CONFIDENCE", why, draft.tally.direction)
    degraded = any(vote.fallback_used for vote in inputs.votes) or (ruled is not None and ruled.fallback_used)
    would_trade = course.signal != "HOLD" and course.refusal is None
    review = _review(inputs, ruled, rules) if would_trade and degraded else None
    return Decision(
        symbol=inputs.symbol,
        signal=course.signal,
        confidence=course.confidence,
        original_confidence=draft.original,
        risk_score=mean_risk(draft.tally.agreeing, inputs.votes),
        reasoning=_reasoning(draft.tally, course, ruled),
        wyckoff_phase=inputs.regime.wyckoff_phase,
        degraded_inference=degraded,
        degradation_reason=FALLBACK_MODEL_USED if degraded else None,
        hidden_hand_warning=draft.check.warning,
        phase_signal_conflict=draft.check.conflict,
        agreement=draft.agreement,
        adjustments=tuple(course.steps),
        tradable=would_trade and review is None,
        review=review,
        independent_signals=len(draft.said),
        conflicts=draft.against,
        arbitration=ruled,
        refusal=course.refusal,
    )


def dispute(inputs: DecisionInputs, rules: DecisionRules) -> Dispute | None:
    """Returns what an arbiter has to rule on before this can be decided; None if nothing.

    What would be HOLD or below the minimum confidence anyway is no dispute: no ruling could make it tradable.
    """
    return _drafted(inputs, rules).dispute(rules)


@dataclass(slots=True)
class _Course:
    """How it goes: the action and its confidence so far, and the steps that led there."""

    signal: Signal
    confidence: float
    steps: list[Adjustment] = field(default_factory=list)
    refusal: Refusal | None = None
    hold_reason: str | None = None

    def scale(self, step: str, factor: float, why: str) -> None:
        """Multiplies the confidence, capped at 1."""
        self.set(step, factor, min(1.0, scaled(self.confidence, factor)), why)

    def set(self, step: str, factor: float, after: float, why: str) -> None:
        """Notes what a step left of the confidence."""
        self.steps.append(Adjustment(step, factor, self.confidence, after, why))
        self.confidence = after

    def hold(self, step: str, code: RefusalCode, why: str, action: Signal) -> None:
        """Makes it HOLD, for good; that is a refusal if there was an action."""
        self.steps.append(Adjustment(step, 1.0, self.confidence, self.confidence, why, "HOLD"))
        self.signal, self.hold_reason = "HOLD", why
        if action != "HOLD":
            self.refusal = Refusal(code, action, why)

    def refuse(self, step: str, code: RefusalCode, why: str, action: Signal) -> None:
        """Leaves the action as it is, to be shown and not traded."""
        self.steps.append(Adjustment(step, 1.0, self.confidence, self.confidence, why, "not tradable"))
        self.refusal = Refusal(code, action, why)


@dataclass(frozen=True, slots=True)
class _Draft:
    """All that can be said without an arbiter."""

    tally: Tally
    original: float
    said: tuple[Voice, ...]
    agreement: float | None
    check: HiddenHandCheck
    against: tuple[Opponent, ...]
    course: _Course

    def dispute(self, rules: DecisionRules) -> Dispute | None:
        """Returns what an arbiter has to rule on."""
        course = self.course
        if course.signal == "HOLD" or not self.against or course.confidence < rules.min_confidence:
            return None
        return Dispute(course.signal, course.confidence, self.against)


def _drafted(inputs: DecisionInputs, rules: DecisionRules) -> _Draft:
    tally = count_votes(inputs.votes, inputs.absent, inputs.voters_configured, rules)
    trust = {vote.voter: vote.trusted(rules) for vote in tally.agreeing}
    original = mean_of([each.original_confidence for each in trust.values()])
    said = voices(inputs.technical, inputs.regime, inputs.votes, rules)
    agreement = agreement_with(tally.signal, said)
    check = check_hidden_hand(inputs.regime.wyckoff_phase, tally.signal, inputs.regime.volume_trend, rules)
    course = _Course(tally.signal, original)
    if tally.hold is not None:
        course.hold("votes", tally.hold.code, tally.hold.why, tally.direction)
    _distrust(trust, course)
    if tally.signal == "HOLD" or agreement is None:
        return _Draft(tally, original, said, agreement, check, (), course)
    _hidden_hand(course, check, agreement, len(said), rules)
    against = opponents(tally.signal, said, rules)
    if course.signal != "HOLD":
        fallback_used = any(vote.fallback_used for vote in inputs.votes)
        course.scale("consensus", *consensus(agreement, len(said), fallback_used, tally.signal, rules))
    return _Draft(tally, original, said, agreement, check, against, course)


def _hidden_hand(course: _Course, check: HiddenHandCheck, r: float, count: int, rules: DecisionRules) -> None:
    """Takes from an action against the phase; only agreement of several signals overrides the phase (FM-TAW-012)."""
    if check.warning is None:
        return
    course.scale("hidden_hand", check.multiplier, check.warning)
    agreed = f"{r:.0%} of {count} independent signals agree"
    needed = f"an override needs {rules.hidden_hand_min_agreement:.0%} of at least {rules.consensus_min_signals}"
    if r >= rules.hidden_hand_min_agreement and count >= rules.consensus_min_signals:
        course.set("hidden_hand_override", 1.0, course.confidence, f"{agreed}; {needed}")
    else:
        course.hold("hidden_hand_override", "HIDDEN_HAND", f"{check.warning}; only {agreed}, {needed}", course.signal)


def _arbitrate(draft: _Draft, ruled: Arbitration | None, rules: DecisionRules) -> Arbitration | None:
    """Does what the arbiter says, where there is something to arbitrate; not asked, or no answer: HOLD (F14)."""
    open_one = draft.dispute(rules)
    if open_one is None:
        if ruled is not None:
            raise InvariantViolation("an arbiter ruled, and nothing is in dispute")
        return None
    course, what = draft.course, f"conflict: {in_words(open_one.against)}"
    if ruled is None or ruled.error is not None:
        why = "no arbiter was asked" if ruled is None else str(ruled.error)
        course.hold("arbitration", "ARBITER_FAILED", f"{what}; {why}", open_one.action)
    elif ruled.verdict == "hold":
        course.hold("arbitration", "CONFLICT", f"{what}; the arbiter {ruled.model} holds", open_one.action)
    else:
        _let_through(course, ruled, what, rules)
    return ruled


def _let_through(course: _Course, ruled: Arbitration, what: str, rules: DecisionRules) -> None:
    """A fallback's word to go ahead is believed as far as its vote would be (FM-TAW-006)."""
    said = f"{what}; the arbiter {ruled.model} says {ruled.verdict}"
    changed = f": {ruled.changes()}" if ruled.changes() else ""
    if ruled.fallback_used:
        course.scale("arbitration", rules.fallback_multiplier, f"{said}{changed}; {FALLBACK_MODEL_USED}")
    else:
        course.set("arbitration", 1.0, course.confidence, f"{said}{changed}")


def _distrust(trust: Mapping[str, Distrust], course: _Course) -> None:
    """The agreeing votes' mean confidence, fallback models' answers distrusted, then what was learned of the others."""
    fallbacks = {voter: each for voter, each in trust.items() if each.fallback_used}
    others = {voter: each for voter, each in trust.items() if not each.fallback_used and each.factor != 1}
    weighed = {voter: each.original_confidence for voter, each in trust.items()}
    for step, label, group in (
        ("fallback_distrust", FALLBACK_MODEL_USED, fallbacks),
        ("learned_trust", "outcomes taught", others),
    ):
        if group:
            weighed |= {voter: each.confidence for voter, each in group.items()}
            why = f"{label} for {', '.join(group)}: {_factors(group)}"
            factor, after = _distrust_group(group, weighed, course.confidence)
            course.set(step, factor, after, why)


def _distrust_group(group: Mapping[str, Distrust], weighed: Mapping[str, float], before: float) -> tuple[float, float]:
    """Returns what distrusted votes leave of the mean; exactly `before` × factor where all votes have that factor."""
    factors = {each.factor for each in group.values()}
    if len(factors) == 1 and len(group) == len(weighed):
        factor = factors.pop()
        return factor, scaled(before, factor)
    after = mean_of(list(weighed.values()))
    return (after / before if before else max(factors)), after


def _factors(group: Mapping[str, Distrust]) -> str:
    factors = {_factor(each) for each in group.values()}
    if len(factors) == 1:
        return f"{factors.pop()} on each such vote"
    return ", ".join(f"{voter} {_factor(each)}" for voter, each in group.items())


def _factor(trust: Distrust) -> str:
    return f"× {trust.factor:g}{' (learned)' if trust.source == 'learned' else ''}"


def _review(inputs: DecisionInputs, ruled: Arbitration | None, rules: DecisionRules) -> Review | None:
    """What a person has to look at before risk may, if the policy asks for it."""
    if rules.fallback_policy != "review":
        return None
    named = [f"{vote.voter} ({vote.model})" for vote in inputs.votes if vote.fallback_used]
    if ruled is not None and ruled.fallback_used:
        named.append(f"the arbiter ({ruled.model})")
    return Review(f"{FALLBACK_MODEL_USED} for {', '.join(named)}", rules.review_expires_s)


def _reasoning(tally: Tally, course: _Course, ruled: Arbitration | None) -> str:
    """Why it is HOLD, if a rule made it so, then what the agreeing voters said, and the arbiter."""
    held = [f"HOLD: {course.hold_reason}"] if course.hold_reason else []
    said = [f"{vote.voter}: {vote.reasoning}" for vote in tally.agreeing]
    arbiter = [f"arbiter: {ruled.reasoning}"] if ruled is not None and ruled.reasoning else []
    return " | ".join(held + said + arbiter)
