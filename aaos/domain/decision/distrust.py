"""How far one answer is believed (FM-003, FM-TAW-006): the confidence that counts, and what the model said.

An answer that a fallback model gave counts × 0.8 (`fallback_multiplier`), the prior; once outcomes have taught how
far a model can be believed, and that is switched on, the learned factor takes its place. Nothing here ever raises
a confidence.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Context, Decimal
from typing import TYPE_CHECKING, Any, Final, Literal

from aaos.errors import InvariantViolation

if TYPE_CHECKING:
    from aaos.domain.decision.rules import DecisionRules

FALLBACK_MODEL_USED: Final = "fallback_model_used"

TrustSource = Literal["none", "prior", "learned"]

# Two doubles have at most 17 significant digits each: their product is exact, and rounded once, to a double.
_EXACT = Context(prec=40)


@dataclass(frozen=True, slots=True)
class Distrust:
    """One answer's confidence before and after, and where the factor between them comes from.

    Attributes:
        confidence: 0…1, what counts: `original_confidence` × `factor`.
        original_confidence: 0…1, as the model said it.
        factor: 0…1; 1 without distrust.
        source: `prior` is the configured multiplier, `learned` what outcomes taught.
        fallback_used: whether another model than the voter's own answered.
    """

    confidence: float
    original_confidence: float
    factor: float
    source: TrustSource
    fallback_used: bool

    @property
    def degraded_inference(self) -> bool:
        """Whether the answer is worth less than the one that was asked for."""
        return self.fallback_used

    @property
    def degradation_reason(self) -> str | None:
        """Why, in the word that results use."""
        return FALLBACK_MODEL_USED if self.fallback_used else None

    def to_dict(self) -> dict[str, Any]:
        """The fields of a stored vote that tell it."""
        return {
            "confidence": self.confidence,
            "original_confidence": self.original_confidence,
            "trust_factor": self.factor,
            "trust_source": self.source,
            "fallback_used": self.fallback_used,
            "degraded_inference": self.degraded_inference,
            "degradation_reason": self.degradation_reason,
        }


def distrusted(confidence: float, fallback_used: bool, rules: DecisionRules, learned: float | None = None) -> Distrust:
    """Returns how far an answer is believed.

    Args:
        confidence: as the model said it, 0…1.
        fallback_used: whether a fallback model answered in place of the voter's own.
        rules: the prior stands in them.
        learned: the model's learned factor, None where there is none or it is not to be used.

    Raises:
        InvariantViolation: the learned factor is not within 0…1: it could raise a confidence.
    """
    if learned is not None:
        if not 0 <= learned <= 1:  # also true for NaN
            raise InvariantViolation(f"a learned factor of {learned!r} is not within 0…1")
        return Distrust(scaled(confidence, learned), confidence, learned, "learned", fallback_used)
    if fallback_used:
        factor = rules.fallback_multiplier
        return Distrust(scaled(confidence, factor), confidence, factor, "prior", True)
    return Distrust(confidence, confidence, 1.0, "none", False)


def scaled(confidence: float, factor: float) -> float:
    """Returns the product of the two as they are written in decimals, rounded once: 0.7 × 0.8 is 0.56.

    Binary multiplication would give 0.5599999999999999 there, as for two of five figures of four decimals; whoever
    checks "exactly × 0.8" on what is stored and shown would be one unit off. 0.85 × 0.8 is 0.68 either way.
    """
    return float(_EXACT.multiply(Decimal(repr(float(confidence))), Decimal(repr(float(factor)))))
