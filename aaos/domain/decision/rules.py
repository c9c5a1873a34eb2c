"""Section `decision` of the configuration: quorum, multipliers and thresholds; docs/decision.md says why these."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen

from aaos.errors import ConfigError

_ROUNDING = 1e-9  # what float64 may add to a sum of two configured shares
REVIEW_EXPIRES_MAX_S = 604_800.0
"""A week: who lists what waits for a person looks no further back."""

FallbackPolicy = Literal["penalize", "review"]
Share = Annotated[float, Ge(0), Le(1)]
Multiplier = Annotated[float, Gt(0), Le(1)]


@dataclass(frozen=True, slots=True)
class DecisionRules:
    """Quorum, multipliers and thresholds of a decision (`config/decision.yaml`): shares or factors, or seconds."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    quorum_above: Annotated[float, Ge(0), Lt(1)] = 0.5
    fallback_multiplier: Multiplier = 0.8
    fallback_policy: FallbackPolicy = "penalize"
    review_expires_s: Annotated[float, Ge(1), Le(REVIEW_EXPIRES_MAX_S)] = 900.0
    hidden_hand_declining: Multiplier = 0.5
    hidden_hand_other: Multiplier = 0.8
    hidden_hand_min_agreement: Share = 0.66
    consensus_min_signals: Annotated[int, Ge(1), Le(8)] = 2
    consensus_high: Share = 0.66
    consensus_low: Annotated[float, Gt(0), Le(1)] = 0.33
    consensus_gain: Share = 0.6
    consensus_pivot: Share = 0.5
    consensus_floor: Share = 0.85
    consensus_rise: Share = 0.15
    conflict_confidence: Share = 0.6
    arbiter_model: Annotated[str, MinLen(1), MaxLen(200)] | None = None
    arbiter_timeout_s: Annotated[float, Ge(1), Le(120)] = 10.0
    arbiter_entry_band: Annotated[float, Gt(0), Le(0.5)] = 0.05
    min_confidence: Share = 0.6
    decision_valid_s: Annotated[float, Ge(1), Le(86_400)] = 300.0

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
