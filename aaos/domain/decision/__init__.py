"""From votes and analyses to one decision. Pure; each step is a room of its own, docs/decision.md the way through.

rules        thresholds and factors
distrust     how far one answer is believed (FM-TAW-006)
votes        what the models said, quorum, majority
hidden_hand  the Wyckoff check (FM-TAW-012)
consensus    agreement of independent signals (F11)
conflict     sure signals for the other side
arbiter      what an arbiter may rule on a conflict (F14)
inputs       what a decision rests on
outcome      the decision, with its steps
decide       the steps in order
"""

from aaos.domain.decision.arbiter import Arbitration, Bounds, Dispute
from aaos.domain.decision.conflict import Opponent, opponents
from aaos.domain.decision.consensus import Voice, agreement_with, consensus, consensus_multiplier, voices
from aaos.domain.decision.decide import decide, dispute
from aaos.domain.decision.distrust import FALLBACK_MODEL_USED, Distrust, distrusted, scaled
from aaos.domain.decision.hidden_hand import HiddenHandCheck, check_hidden_hand
from aaos.domain.decision.inputs import DecisionInputs
from aaos.domain.decision.outcome import Adjustment, Decision, Refusal, Review
from aaos.domain.decision.rules import DecisionRules
from aaos.domain.decision.votes import AbsentVote, CastVote, Tally, count_votes
from aaos.domain.sovereign import SIGNALS, Signal

__all__ = [
    "FALLBACK_MODEL_USED",
    "SIGNALS",
    "AbsentVote",
    "Adjustment",
    "Arbitration",
    "Bounds",
    "CastVote",
    "Decision",
    "DecisionInputs",
    "DecisionRules",
    "Dispute",
    "Distrust",
    "HiddenHandCheck",
    "Opponent",
    "Refusal",
    "Review",
    "Signal",
    "Tally",
    "Voice",
    "agreement_with",
    "check_hidden_hand",
    "consensus",
    "consensus_multiplier",
    "count_votes",
    "decide",
    "dispute",
    "distrusted",
    "opponents",
    "scaled",
    "voices",
]
