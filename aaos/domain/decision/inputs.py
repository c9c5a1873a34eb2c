"""What a decision rests on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from aaos.domain.decision.arbiter import Arbitration
from aaos.domain.decision.votes import AbsentVote, CastVote
from aaos.domain.regime import RegimeOutput
from aaos.domain.signals import SignalOutput
from aaos.errors import InvariantViolation


@dataclass(frozen=True, slots=True)
class DecisionInputs:
    """All that a decision rests on, frozen before the first vote was counted; then, on a conflict, the arbitration.

    Raises:
        InvariantViolation: inputs of another symbol, a voter counted twice, more votes than voters.
    """

    symbol: str
    technical: SignalOutput
    regime: RegimeOutput
    votes: tuple[CastVote, ...]
    absent: tuple[AbsentVote, ...]
    voters_configured: int
    arbitration: Arbitration | None = None

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
        """JSON-able fields: what a replay needs. `arbitration` is there only if there was one."""
        plain = {
            "symbol": self.symbol,
            "technical": self.technical.to_dict(),
            "regime": self.regime.to_dict(),
            "votes": [v.to_dict() for v in self.votes],
            "absent": [a.to_dict() for a in self.absent],
            "voters_configured": self.voters_configured,
        }
        return plain if self.arbitration is None else {**plain, "arbitration": self.arbitration.to_dict()}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        """What `to_dict` gave."""
        ruled = stored.get("arbitration")
        return cls(
            symbol=stored["symbol"],
            technical=SignalOutput.from_dict(stored["technical"]),
            regime=RegimeOutput.from_dict(stored["regime"]),
            votes=tuple(CastVote.from_dict(v) for v in stored["votes"]),
            absent=tuple(AbsentVote.from_dict(a) for a in stored["absent"]),
            voters_configured=stored["voters_configured"],
            arbitration=None if ruled is None else Arbitration.from_dict(ruled),
        )
