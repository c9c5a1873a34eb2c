"""How far each model's confidence can be believed, learned from what the market did after its votes.

rules (what counts as right, and when) → outcomes (one vote, one verdict) → figures (Brier score and its kin) →
trust (the factor that outcomes teach) → report (all of it side by side).
"""

from aaos.domain.calibration.figures import Bin, Figures, figures_of
from aaos.domain.calibration.outcomes import SeriesNow, UnreadVote, VoteOutcome, read_vote, settled, stranded
from aaos.domain.calibration.report import CalibrationReport, ReportRow, StateCount, calibration_report
from aaos.domain.calibration.rules import CalibrationRules
from aaos.domain.calibration.trust import Lesson, Lessons, learn

__all__ = [
    "Bin",
    "CalibrationReport",
    "CalibrationRules",
    "Figures",
    "Lesson",
    "Lessons",
    "ReportRow",
    "SeriesNow",
    "StateCount",
    "UnreadVote",
    "VoteOutcome",
    "calibration_report",
    "figures_of",
    "learn",
    "read_vote",
    "settled",
    "stranded",
]
