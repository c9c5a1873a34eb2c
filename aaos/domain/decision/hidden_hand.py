"""Hidden Hand validation (FM-TAW-012): a signal against the institutional flow is trusted less.

Buying into distribution or selling into accumulation is what the other side of a Wyckoff range waits for;
when volume dries up as well, the move is likely an upthrust or a spring, the false break before the turn.
"""

from __future__ import annotations

from dataclasses import dataclass

from aaos.domain.decision.rules import DecisionRules
from aaos.domain.regime import VolumeTrend, WyckoffPhase
from aaos.domain.sovereign import Signal

# Which phase contradicts which signal, and what the false break at its end is called.
_CONFLICTS: dict[tuple[WyckoffPhase, Signal], str] = {
    ("distribution", "BUY"): "potential upthrust",
    ("accumulation", "SELL"): "potential spring",
}


@dataclass(frozen=True, slots=True)
class HiddenHandCheck:
    """The multiplier on the confidence, and the warning when it is a conflict."""

    multiplier: float
    warning: str | None

    @property
    def conflict(self) -> bool:
        """Whether the phase contradicts the signal."""
        return self.warning is not None


def check_hidden_hand(
    phase: WyckoffPhase, signal: Signal, volume: VolumeTrend, rules: DecisionRules
) -> HiddenHandCheck:
    """The multiplier for a signal in a phase: table of SPEC 8, step 3."""
    trap = _CONFLICTS.get((phase, signal))
    if trap is None:
        return HiddenHandCheck(1.0, None)
    if volume == "declining":
        return HiddenHandCheck(rules.hidden_hand_declining, f"{signal} in {phase} on declining volume: {trap}")
    return HiddenHandCheck(rules.hidden_hand_other, f"{signal} in {phase} on {volume} volume")
