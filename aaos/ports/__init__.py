"""What services need from the outside world; the contract of each port stands in its docstring.

Adapters in memory and adapters on real servers pass the same contract tests.
"""

from aaos.domain.approvals import Approval, Verdict, Waiting
from aaos.ports.calibration import MarketHistory, VoteOutcomes
from aaos.ports.pipeline import (
    Alerts,
    Clock,
    Ended,
    Hints,
    LeaseKeeper,
    MarketData,
    Outbox,
    OutboxBatch,
    PipelinePlan,
    Recovery,
    ResultRecord,
    ResultStore,
    ResultStream,
    RunRecord,
    RunStore,
)
from aaos.ports.sovereign import (
    Approvals,
    AuditLog,
    AuditRecord,
    CallLimiter,
    CallPlan,
    LearnedTrust,
    ModelBreakers,
    Permit,
    Sovereign,
    SovereignLedger,
)

__all__ = [
    "Alerts",
    "Approval",
    "Approvals",
    "AuditLog",
    "AuditRecord",
    "CallLimiter",
    "CallPlan",
    "Clock",
    "Ended",
    "Hints",
    "LearnedTrust",
    "LeaseKeeper",
    "MarketData",
    "MarketHistory",
    "ModelBreakers",
    "Outbox",
    "OutboxBatch",
    "Permit",
    "PipelinePlan",
    "Recovery",
    "ResultRecord",
    "ResultStore",
    "ResultStream",
    "RunRecord",
    "RunStore",
    "Sovereign",
    "SovereignLedger",
    "Verdict",
    "VoteOutcomes",
    "Waiting",
]
