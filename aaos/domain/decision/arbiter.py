"""The arbiter's ruling on a conflict: let it through, smaller or at another price, or hold. It cannot do more.

A ruling has no direction and no confidence, so that there is nothing by which an arbiter could turn a trade round,
invent one, or make it surer. What it may change stands within bounds that were fixed before it was asked; whoever
builds an `Arbitration` beyond them breaks an invariant. No ruling is a ruling, too: HOLD.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from typing import Any, Self

from aaos.domain.answer_formats import ARBITER_VERDICTS, ArbiterVerdict
from aaos.domain.decision.conflict import Opponent
from aaos.domain.decision.consensus import Stance
from aaos.errors import InvariantViolation

# As many digits of a price as a prompt shows: what the arbiter reads as its bounds is what it is held to.
_DIGITS = 8


@dataclass(frozen=True, slots=True)
class Bounds:
    """Within what an arbiter may change a trade; prices in quote currency."""

    max_leverage: float
    market_price: float
    entry_from: float
    entry_to: float

    @classmethod
    def around(cls, market_price: float, entry_band: float, max_leverage: Decimal) -> Self:
        """Returns the bounds around a market price: `entry_band` is a share of it, rounded inwards."""
        price, band = Decimal(repr(market_price)), Decimal(repr(entry_band))
        lowest = Context(_DIGITS, ROUND_CEILING).multiply(price, 1 - band)
        highest = Context(_DIGITS, ROUND_FLOOR).multiply(price, 1 + band)
        return cls(float(max_leverage), market_price, float(lowest), float(highest))

    def fault(self, leverage: float | None, size_fraction: float | None, entry_price: float | None) -> str | None:
        """Returns what of these is out of bounds, and how; None when nothing is. NaN is out of every bound."""
        if leverage is not None and not 1 <= leverage <= self.max_leverage:
            return f"leverage must be from 1 to {self.max_leverage:g}, not {leverage:g}"
        if size_fraction is not None and not 0 < size_fraction <= 1:
            return f"size_fraction must be above 0 and at most 1, not {size_fraction:g}"
        if entry_price is not None and not self.entry_from <= entry_price <= self.entry_to:
            return f"entry_price must be from {self.entry_from:.8g} to {self.entry_to:.8g}, not {entry_price:.8g}"
        return None


@dataclass(frozen=True, slots=True)
class Dispute:
    """What an arbiter is asked about: a trade that would be made, and who is against it."""

    action: Stance
    confidence: float
    against: tuple[Opponent, ...]


@dataclass(frozen=True, slots=True)
class Arbitration:
    """What came of asking the arbiter, as it is stored with the decision; risk reads the three figures.

    Attributes:
        verdict: `hold` where no usable ruling came.
        question_hash: of what the primary was asked.
        prompt_version: of the question's template.
        bounds: that held.
        reasoning: the arbiter's words; empty without a ruling.
        leverage: at most; None: as risk sees fit. This and the next two only with `modify`.
        size_fraction: > 0 … 1, of the size that risk would allow; None: all of it.
        entry_price: to enter at, in quote currency; None: wherever execution enters.
        model: who ruled; None without a ruling.
        fallback_used: whether another model than the one that was to be asked ruled.
        error: why there is no ruling, of every model; None with one.
        asked: how it came about: every call that gave no usable answer, the answer word for word, tokens, time.
            Nothing is decided by it.

    Raises:
        InvariantViolation: a ruling beyond its bounds, or changes without `modify`.
    """

    verdict: ArbiterVerdict
    question_hash: str
    prompt_version: str
    bounds: Bounds
    reasoning: str = ""
    leverage: float | None = None
    size_fraction: float | None = None
    entry_price: float | None = None
    model: str | None = None
    fallback_used: bool = False
    error: str | None = None
    asked: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.verdict not in ARBITER_VERDICTS:
            raise InvariantViolation(f"an arbiter's verdict {self.verdict!r} is none of {', '.join(ARBITER_VERDICTS)}")
        if (self.error is None) == (self.model is None):
            raise InvariantViolation("an arbitration has either a model that ruled or an error")
        if self.error is not None and self.verdict != "hold":
            raise InvariantViolation(f"no arbiter ruled ({self.error}), and it is {self.verdict} all the same")
        changes = (self.leverage, self.size_fraction, self.entry_price)
        if (self.verdict == "modify") != any(each is not None for each in changes):
            raise InvariantViolation(f"an arbitration that says {self.verdict} changes {changes}")
        fault = self.bounds.fault(*changes)
        if fault is not None:
            raise InvariantViolation(f"an arbiter went beyond its bounds: {fault}")

    def changes(self) -> str:
        """Returns what it changed, in words; empty if nothing."""
        told = (
            ("leverage at most", self.leverage),
            ("size ×", self.size_fraction),
            ("entry at", self.entry_price),
        )
        return ", ".join(f"{name} {value:.8g}" for name, value in told if value is not None)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able fields."""
        return {**asdict(self), "asked": dict(self.asked)}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        """What `to_dict` gave; other keys are passed over."""
        own = {each.name: stored[each.name] for each in fields(cls) if each.name in stored}
        return cls(**{**own, "bounds": Bounds(**stored["bounds"])})
