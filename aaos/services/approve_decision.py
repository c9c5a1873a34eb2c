"""A person's verdict on a decision that a fallback model voted on, and what it lets risk see."""

from __future__ import annotations

from datetime import datetime

import structlog

from aaos.domain import approvals as rules
from aaos.errors import InputError
from aaos.ports import Approval, Approvals, ResultRecord, ResultStore, RunStore, Verdict

log = structlog.get_logger()

DECISION = "trading_decision"
NAME_MAX_CHARS = 100
REASON_MAX_CHARS = 1000


def approve_decision(
    run_id: int, verdict: Verdict, by: str, reason: str, runs: RunStore, results: ResultStore, approvals: Approvals
) -> Approval:
    """Returns the stored verdict on that decision; given again, the same one is the one that was stored first.

    Raises:
        UnknownRun: no such run.
        InputError: the decision needs no approval, has another verdict, or has expired; the name or reason is no text.
        DatabaseUnavailable: nothing was stored, or its confirmation got lost: the same verdict again is safe.
    """
    name, why = _text("by", by, NAME_MAX_CHARS), _text("reason", reason, REASON_MAX_CHARS)
    decision = _decision(run_id, runs, results)
    expires_after_s = decision.body["review"]["expires_after_s"]
    given = approvals.give(run_id, decision.content_hash, verdict, name, why, expires_after_s)
    log.info("decision_reviewed", run=run_id, symbol=decision.symbol, verdict=given.verdict, by=given.by)
    return given


def cleared_for_risk(decision: ResultRecord, approval: Approval | None, now: datetime) -> str | None:
    """Returns why risk must not look at a stored decision, None when it may; see `domain.approvals`."""
    if decision.kind != DECISION:
        return f"result {decision.id} is a {decision.kind}, no decision"
    return rules.cleared_for_risk(decision.run_id, decision.body, decision.analyzed_at, approval, now)


def _decision(run_id: int, runs: RunStore, results: ResultStore) -> ResultRecord:
    found = results.result_of_run(run_id)
    if found is None:
        run = runs.run(run_id)
        raise InputError(
            f"run {run_id} ({run.kind}) is {run.state} and has no result; `aaos approvals` lists what waits"
        )
    if found.kind != DECISION:
        raise InputError(f"run {run_id} is a {found.kind}, no decision; `aaos approvals` lists what waits")
    if "review" not in found.body:
        stands = "tradable as it is" if found.body["tradable"] else "not to be traded anyway"
        raise InputError(f"decision {run_id} needs no approval: it is {stands}; `aaos approvals` lists what waits")
    return found


def _text(name: str, value: str, max_chars: int) -> str:
    text = " ".join(value.split())
    if not text or not text.isprintable() or len(text) > max_chars:
        raise InputError(f"{name} {value[:40]!r}: say it in 1 to {max_chars} printable characters")
    return text
