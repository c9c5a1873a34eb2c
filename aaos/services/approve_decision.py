"""A person's verdict on a decision that a fallback model voted on, and what it lets risk see."""

from __future__ import annotations

from datetime import datetime

import structlog

from aaos.domain import approvals as rules
from aaos.domain.runs import NewRun
from aaos.domain.vetoes import NewVeto
from aaos.errors import BrokerUnavailable, InputError, UnknownRun
from aaos.ports import Approval, Approvals, Hints, ResultRecord, ResultStore, RunStore, Verdict
from aaos.services.decide_trade import CONTEXT, refused_trade
from aaos.services.start_risk import decision_source, risk_run
from aaos.settings import Settings

log = structlog.get_logger()

DECISION = "trading_decision"
NAME_MAX_CHARS = 100
REASON_MAX_CHARS = 1000


def approve_decision(
    run_id: int,
    verdict: Verdict,
    by: str,
    reason: str,
    runs: RunStore,
    results: ResultStore,
    approvals: Approvals,
    *,
    hints: Hints,
    settings: Settings,
) -> Approval:
    """Returns the stored verdict on that decision; given again, the same one is the one that was stored first.

    Approved, its risk assessment is born with the verdict; refused, it is a veto.

    Raises:
        UnknownRun: no such run.
        InputError: the decision needs no approval, has another verdict, or has expired; the name or reason is no text.
        DatabaseUnavailable: nothing was stored, or its confirmation got lost: the same verdict again is safe.
    """
    name, why = text_said("by", by, NAME_MAX_CHARS), text_said("reason", reason, REASON_MAX_CHARS)
    decision = _decision(run_id, runs, results)
    starts = _risk_run(decision, settings) if verdict == "approved" else None
    veto = _veto(decision, name, why, results) if verdict == "refused" else None
    expires_after_s = decision.body["review"]["expires_after_s"]
    given = approvals.give(run_id, decision.content_hash, verdict, name, why, expires_after_s, starts, veto)
    log.info("decision_reviewed", run=run_id, symbol=decision.symbol, verdict=given.verdict, by=given.by)
    if given.started is not None:
        _hint(*given.started, hints)
    return given


def _risk_run(decision: ResultRecord, settings: Settings) -> NewRun:
    ends_at = rules.review_ends_at(decision.body, decision.analyzed_at) or decision.analyzed_at
    return risk_run(decision.run_id, decision.symbol, ends_at, settings)


def _veto(decision: ResultRecord, by: str, why: str, results: ResultStore) -> NewVeto | None:
    """Returns the veto of a refused decision; None where its context is gone, and with it the price of then."""
    source, action = decision_source(decision.run_id), decision.body["signal"]
    context = next((each["result_id"] for each in decision.inputs if each["name"] == CONTEXT), None)
    try:
        if context is not None:
            body = results.result(context).body
            return refused_trade(source, "review", "REFUSED", f"{by}: {why}", action, body)
    except UnknownRun:
        pass
    log.warning("veto_not_followed", run=decision.run_id, why="its context is not stored any more")
    return None


def _hint(run_id: int, kind: str, hints: Hints) -> None:
    try:
        hints.hint(kind, run_id)
    except BrokerUnavailable as error:
        log.warning("hint_not_sent", run=run_id, kind=kind, why=str(error))  # a sweep finds it


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


def text_said(name: str, value: str, max_chars: int) -> str:
    """Returns a person's words on one line; raises InputError where they are empty, too long, or no plain text."""
    text = " ".join(value.split())
    if not text or not text.isprintable() or len(text) > max_chars:
        raise InputError(f"{name} {value[:40]!r}: say it in 1 to {max_chars} printable characters")
    return text
