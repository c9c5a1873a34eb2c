"""The decision itself, with every step that led to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, Self

from aaos.domain.decision.arbiter import Arbitration
from aaos.domain.decision.conflict import Opponent
from aaos.domain.decision.votes import RefusalCode
from aaos.domain.regime import WyckoffPhase
from aaos.domain.sovereign import Signal
from aaos.errors import InvariantViolation

Becomes = Literal["HOLD", "not tradable"]


@dataclass(frozen=True, slots=True)
class Adjustment:
    """One step: its factor on the confidence, 0…1 before and after, the reason in words.

    `becomes` is what the step made of the action; None where it left it alone.
    """

    step: str
    factor: float
    before: float
    after: float
    why: str
    becomes: Becomes | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON-able fields; `becomes` only where it became something."""
        plain = asdict(self)
        if self.becomes is None:
            del plain["becomes"]
        return plain


@dataclass(frozen=True, slots=True)
class Review:
    """A person must approve before risk sees the decision, within `expires_after_s` of its `analyzed_at`."""

    why: str
    expires_after_s: float
    required: bool = True


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a trade that the votes chose is not made: a code for counting, the action, the reason in words."""

    code: RefusalCode
    action: Signal
    why: str


@dataclass(frozen=True, slots=True)
class Decision:
    """What is done, how surely, and why.

    `original_confidence` is the agreeing votes' plain mean as the models said it, `confidence` what all adjustments
    left of it; `agreement` is the share r of the `independent_signals` for the action the votes chose, None without an
    action. `conflicts` are the sure ones among those against it, `arbitration` what the arbiter made of that.
    `refusal` is there where the votes chose a direction and it is not traded, unless a person is still to be asked.
    A decision with a `review` is never `tradable`: only a person's approval lets risk see it.
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
    independent_signals: int | None = None
    """None in decisions stored before it was counted by model."""
    conflicts: tuple[Opponent, ...] = ()
    arbitration: Arbitration | None = None
    refusal: Refusal | None = None

    def __post_init__(self) -> None:
        if self.tradable and (self.review is not None or self.refusal is not None):
            what = "waits for a person" if self.review is not None else "is refused"
            raise InvariantViolation(f"a decision on {self.symbol} {what} and is tradable all the same")

    def to_dict(self) -> dict[str, Any]:
        """JSON-able fields; every number is finite. What the last five fields say is there only if there is any."""
        plain = {each.name: getattr(self, each.name) for each in fields(self)}
        plain |= {
            "adjustments": [each.to_dict() for each in self.adjustments],
            "review": None if self.review is None else asdict(self.review),
            "conflicts": [each.to_dict() for each in self.conflicts],
            "arbitration": None if self.arbitration is None else self.arbitration.to_dict(),
            "refusal": None if self.refusal is None else asdict(self.refusal),
        }
        for name in ("review", "independent_signals", "conflicts", "arbitration", "refusal"):
            if plain[name] is None or plain[name] == []:
                del plain[name]
        return plain

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        """What `to_dict` gave, now or before there were so many fields; other keys are passed over."""
        own = {each.name: stored[each.name] for each in fields(cls) if each.name in stored}
        own["adjustments"] = tuple(Adjustment(**each) for each in stored["adjustments"])
        own["conflicts"] = tuple(Opponent(**each) for each in stored.get("conflicts", ()))
        for name, kind in (("review", Review), ("refusal", Refusal)):
            if name in stored:
                own[name] = kind(**stored[name])
        if "arbitration" in stored:
            own["arbitration"] = Arbitration.from_dict(stored["arbitration"])
        return cls(**own)
