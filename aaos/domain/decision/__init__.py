"""From votes and analyses to one decision. Pure; each step is a room of its own.

distrust     how far one answer is believed (FM-TAW-006)
votes        what the models said, quorum, majority
hidden_hand  the Wyckoff check (FM-TAW-012)
consensus    agreement of independent signals (F11)
decide       the steps in order
"""

from aaos.domain.decision.consensus import agreement_with, consensus_multiplier, stances
from aaos.domain.decision.decide import Adjustment, Decision, DecisionInputs, Review, decide
from aaos.domain.decision.distrust import FALLBACK_MODEL_USED, Distrust, distrusted, scaled
from aaos.domain.decision.hidden_hand import HiddenHandCheck, check_hidden_hand
from aaos.domain.decision.votes import (
    AbsentVote,
    CastVote,
    DecisionRules,
    Tally,
    count_votes,
)
from aaos.domain.sovereign import SIGNALS, Signal

__all__ = [
    "FALLBACK_MODEL_USED",
    "SIGNALS",
    "AbsentVote",
    "Adjustment",
    "CastVote",
    "Decision",
    "DecisionInputs",
    "DecisionRules",
    "Distrust",
    "HiddenHandCheck",
    "Review",
    "Signal",
    "Tally",
    "agreement_with",
    "check_hidden_hand",
    "consensus_multiplier",
    "count_votes",
    "decide",
    "distrusted",
    "scaled",
    "stances",
]
