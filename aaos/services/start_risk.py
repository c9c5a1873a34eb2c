"""What a decision that may be traded starts: the run that assesses its risk."""

from __future__ import annotations

from datetime import datetime

from aaos.domain.runs import NewRun
from aaos.settings import Settings

RISK = "risk_assessment"


def decision_source(run_id: int) -> str:
    """Returns what a decision is called as the source of an approval, an order or a veto."""
    return f"decision:{run_id}"


def risk_run(run_id: int, symbol: str, not_after: datetime, settings: Settings) -> NewRun:
    """Returns the one risk run of a decision, ever; with `execution.enabled` false, too: nothing is sent then.

    Args:
        run_id: of the decision.
        symbol: its symbol.
        not_after: until when the decision may be traded, by the database's clock.
        settings: limits.
    """
    source = decision_source(run_id)
    return NewRun(
        kind=RISK,
        symbol=symbol,
        timeout_s=settings.kind(RISK).timeout_seconds,
        start_within_s=settings.decision.decision_valid_s,
        request_key=f"risk:{source}",
        params={"source": source},
        not_after=not_after,
    )
