"""All that is known about how far each model can be believed: figures, counts, what is learned, what is in force."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from aaos.domain.calibration.figures import Figures, figures_of
from aaos.domain.calibration.outcomes import UNKNOWN, VoteOutcome
from aaos.domain.calibration.rules import CalibrationRules
from aaos.domain.calibration.trust import Lesson, Lessons, Source, learn, prior_of

SWITCH: str = "calibration.use_learned_trust"


@dataclass(frozen=True, slots=True)
class StateCount:
    """How many votes of a source and regime are in a state; `current`: under the rules of now (None: no rules yet)."""

    model: str | None
    fallback_used: bool | None
    regime: str | None
    state: str
    reason: str | None
    current: bool | None
    count: int


@dataclass(frozen=True, slots=True)
class ReportRow:
    """One model in one role, over all regimes (`regime` None) or in one.

    Attributes:
        figures: of its scored votes; None while there is none.
        held, waiting, unscorable: votes that said HOLD, whose horizon is not over, that can never be scored.
        lesson: what outcomes teach; None without any.
        in_force: the factor that its next vote's confidence is multiplied with.
        source: where that comes from: `none` (a primary is believed), `prior`, `learned`.
    """

    model: str
    fallback_used: bool
    regime: str | None
    figures: Figures | None
    held: int
    waiting: int
    unscorable: int
    lesson: Lesson | None
    in_force: float
    source: Literal["none", "prior", "learned"]

    @property
    def hold_share(self) -> float | None:
        """Share of HOLD among all votes read; None without any."""
        scored = 0 if self.figures is None else self.figures.votes
        votes = scored + self.held + self.waiting + self.unscorable
        return self.held / votes if votes else None

    def to_dict(self) -> dict[str, Any]:
        """JSON-able fields."""
        return {**asdict(self), "hold_share": self.hold_share}


@dataclass(frozen=True, slots=True)
class CalibrationReport:
    """How far each model can be believed.

    Attributes:
        rows: by model and role: overall, then each regime.
        unscorable: how many votes can never be scored, by reason.
        unread: votes that nobody has looked at yet.
        other_rules: votes scored under another horizon or threshold; they are in no figure here.
        beyond_window: scored votes older than the newest `window_votes`; in no figure either.
    """

    rules: CalibrationRules
    fallback_multiplier: float
    rows: tuple[ReportRow, ...]
    unscorable: Mapping[str, int]
    unread: int
    other_rules: int
    beyond_window: int

    @property
    def verdict(self) -> str:
        """Whether what was learned is used, and how to change that, in one line."""
        variable = "AAOS_" + SWITCH.upper().replace(".", "__")
        if self.rules.use_learned_trust:
            return (
                f"learned multipliers are in force wherever {self.rules.min_votes} windows have been scored; "
                f"back to the priors: {SWITCH}: false in config/calibration.yaml, or {variable}=false, and restart"
            )
        return (
            f"learned multipliers are reported only, the priors are in force (1 for a primary, "
            f"{self.fallback_multiplier:g} for a fallback); use them: {SWITCH}: true in config/calibration.yaml, "
            f"or {variable}=true, and restart the workers"
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON-able fields."""
        plain = asdict(self)
        return {**plain, "rows": [row.to_dict() for row in self.rows], "verdict": self.verdict}


def calibration_report(
    scored: Sequence[VoteOutcome],
    counts: Sequence[StateCount],
    rules: CalibrationRules,
    fallback_multiplier: float,
    model: str | None = None,
    regime: str | None = None,
) -> CalibrationReport:
    """Returns the report over the newest scored votes (all of the current rules) and all votes' states.

    Args:
        scored: under the current horizon and threshold.
        counts: of all votes.
        rules: those in force.
        fallback_multiplier: the prior of a model that stands in.
        model: only this one's rows.
        regime: only this one's rows; the model's overall row is left out then.
    """
    lessons = learn(scored, rules, fallback_multiplier)
    read: list[VoteOutcome | StateCount] = [*scored, *(each for each in counts if each.state != "unread")]
    keys = sorted({_key(each.model, each.fallback_used, each.regime) for each in read})
    sources = sorted({source for source, _ in keys})
    rows = [
        _row(source, place, scored, counts, lessons, rules, fallback_multiplier)
        for source in sources
        for place in (None, *(found for known, found in keys if known == source))
        if model in (None, source[0]) and (regime is None or regime == place)
    ]
    reasons: Counter[str] = Counter()
    for each in counts:
        if each.state == "unscorable":
            reasons[each.reason or UNKNOWN] += each.count
    current = _total(counts, "scored", current=True)
    return CalibrationReport(
        rules=rules,
        fallback_multiplier=fallback_multiplier,
        rows=tuple(rows),
        unscorable=dict(reasons.most_common()),
        unread=_total(counts, "unread"),
        other_rules=_total(counts, "scored", current=False),
        beyond_window=max(0, current - len(scored)),
    )


def _row(
    source: Source,
    regime: str | None,
    scored: Sequence[VoteOutcome],
    counts: Sequence[StateCount],
    lessons: Lessons,
    rules: CalibrationRules,
    fallback_multiplier: float,
) -> ReportRow:
    mine = [each for each in counts if _belongs(each, source, regime)]
    learned = lessons.overall.get(source) if regime is None else lessons.by_regime.get((source, regime))
    # The overall row shows what holds in a regime without evidence of its own.
    used = lessons.factor(source[0], "" if regime is None else regime, source[1]) if rules.use_learned_trust else None
    return ReportRow(
        model=source[0],
        fallback_used=source[1],
        regime=regime,
        figures=figures_of([each for each in scored if _belongs(each, source, regime)]),
        held=_total(mine, "held"),
        waiting=_total(mine, "waiting"),
        unscorable=_total(mine, "unscorable"),
        lesson=learned,
        in_force=prior_of(source, fallback_multiplier) if used is None else used,
        source="learned" if used is not None else "prior" if source[1] else "none",
    )


def _key(model: str | None, fallback_used: bool | None, regime: str | None) -> tuple[Source, str]:
    return (model or UNKNOWN, bool(fallback_used)), regime or UNKNOWN


def _belongs(each: VoteOutcome | StateCount, source: Source, regime: str | None) -> bool:
    known, place = _key(each.model, each.fallback_used, each.regime)
    return each.state != "unread" and known == source and regime in (None, place)


def _total(counts: Sequence[StateCount], state: str, current: bool | None = None) -> int:
    return sum(each.count for each in counts if each.state == state and current in (None, each.current))
