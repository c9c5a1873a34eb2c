"""What outcomes teach: the factor on a model's confidence that would have made it right as often as it said.

Calibration in the large: over a model's votes, factor × mean confidence = share that was right. Few votes say little,
so the factor is drawn towards what is believed without them: a regime's towards its model's, a model's towards the
prior (1 for a voter's own model, the fallback multiplier for one that stands in). The prior weighs as much as
`prior_votes` votes; evidence weighs as much as its windows, not its votes (see figures). No factor is above 1:
outcomes can take trust away, never add to what the model said.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from aaos.domain.calibration.figures import Figures, figures_of
from aaos.domain.calibration.outcomes import VoteOutcome
from aaos.domain.calibration.rules import CalibrationRules

# A model that never says more than "one in a hundred" would else be believed fully after a lucky vote or two.
PRIOR_CONFIDENCE_MIN: Final = 0.5

Source = tuple[str, bool]
"""A model, and whether it stood in for another: the same model in both roles is two sources, with two priors."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """A learned factor (0…1), from how much evidence, and whether that is enough to use it."""

    factor: float
    windows: int
    enough: bool


@dataclass(frozen=True, slots=True)
class Lessons:
    """What was learned: of each source over all regimes, and in each regime."""

    overall: Mapping[Source, Lesson] = field(default_factory=dict)
    by_regime: Mapping[tuple[Source, str], Lesson] = field(default_factory=dict)

    def factor(self, model: str, regime: str, fallback_used: bool) -> float | None:
        """Returns the regime's factor if that has enough evidence, else the model's; None if neither has."""
        source = (model, fallback_used)
        for lesson in (self.by_regime.get((source, regime)), self.overall.get(source)):
            if lesson is not None and lesson.enough:
                return lesson.factor
        return None


def learn(outcomes: Sequence[VoteOutcome], rules: CalibrationRules, fallback_multiplier: float) -> Lessons:
    """Returns what scored votes teach.

    Args:
        outcomes: of one horizon and one threshold.
        rules: how much evidence is enough, and what the prior weighs.
        fallback_multiplier: the prior of a model that stands in.
    """
    groups: dict[Source, dict[str, list[VoteOutcome]]] = defaultdict(lambda: defaultdict(list))
    for each in outcomes:
        if each.state == "scored":
            groups[each.model or "", bool(each.fallback_used)][each.regime or ""].append(each)
    overall: dict[Source, Lesson] = {}
    by_regime: dict[tuple[Source, str], Lesson] = {}
    for source, regimes in groups.items():
        prior = prior_of(source, fallback_multiplier)
        together = [each for votes in regimes.values() for each in votes]
        overall[source] = _lesson(figures_of(together), prior, rules)
        for regime, votes in regimes.items():
            by_regime[source, regime] = _lesson(figures_of(votes), overall[source].factor, rules)
    return Lessons(overall, by_regime)


def prior_of(source: Source, fallback_multiplier: float) -> float:
    """Returns what is believed of a source before any outcome."""
    return fallback_multiplier if source[1] else 1.0


def _lesson(figures: Figures | None, prior: float, rules: CalibrationRules) -> Lesson:
    if figures is None:
        return Lesson(prior, 0, False)
    weight = rules.prior_votes * max(figures.mean_confidence, PRIOR_CONFIDENCE_MIN)
    expected = figures.windows * figures.mean_confidence
    factor = (weight * prior + figures.windows * figures.hit_rate) / (weight + expected)
    return Lesson(min(1.0, factor), figures.windows, figures.windows >= rules.min_votes)
