"""The last stage of a decision: votes, Hidden Hand and consensus make one answer."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from aaos.domain.audit import AuditEntry
from aaos.domain.decision import AbsentVote, CastVote, Decision, DecisionInputs, DecisionRules, decide
from aaos.domain.regime import RegimeOutput
from aaos.domain.results import SCHEMA_VERSION
from aaos.domain.runs import ClaimedRun, Completed, Dependency, Input, JsonObject, NewAlert, State
from aaos.domain.signals import SignalOutput
from aaos.errors import InvariantViolation

log = structlog.get_logger()

CONTEXT = "trading_context"
VOTE = "trading_analysis"
APPROVAL_NEEDED = "approval_needed"


def decide_trade(run: ClaimedRun, dependencies: Sequence[Dependency], rules: DecisionRules) -> Completed:
    """Returns the decision drawn from the frozen context and the votes that were cast; absent ones are named.

    The quorum is counted among those who were asked, whoever is configured by now.
    """
    context = next((each for each in dependencies if each.kind == CONTEXT), None)
    if context is None or context.body is None:
        raise InvariantViolation(f"decision {run.id} has no stored context")
    votes = [each for each in dependencies if each.kind == VOTE]
    inputs = decision_inputs(context.body, votes)
    decision = decide(inputs, rules)
    if decision.hidden_hand_warning:
        log.warning(
            "hidden_hand_override",
            run=run.id,
            symbol=run.symbol,
            signal=decision.signal,
            confidence=decision.confidence,
            agreement=decision.agreement,
            why=decision.hidden_hand_warning,
        )
    body = {
        **decision.to_dict(),
        "task_id": str(run.id),
        "symbol": run.symbol,
        "timeframe": context.body["candles"]["timeframe"],
        "schema_version": SCHEMA_VERSION,
        "as_of": context.body["as_of"],
        "market_time": context.body["market_time"],
        "votes": [_spoken(each) for each in votes],
    }
    lineage = [_lineage(each) for each in dependencies if each.result_id is not None]
    return Completed(body, lineage, audit=_audit(run, decision), alerts=_alerts(run, decision))


def decision_inputs(context: JsonObject, votes: Sequence[Dependency]) -> DecisionInputs:
    """Returns what the pure rules need, from the stored context and votes."""
    return DecisionInputs(
        symbol=context["symbol"],
        technical=SignalOutput.from_dict(context["technical"]),
        regime=RegimeOutput.from_dict(context["regime"]),
        votes=tuple(_cast(each.body) for each in votes if each.state is State.COMPLETED and each.body is not None),
        absent=tuple(_absent(each) for each in votes if each.state is not State.COMPLETED),
        voters_configured=max(len(votes), 1),
    )


def _cast(body: JsonObject) -> CastVote:
    return CastVote(
        voter=body["voter"],
        model=body["model"],
        signal=body["signal"],
        confidence=body["confidence"],
        risk_score=body["risk_score"],
        reasoning=body["reasoning"],
        fallback_used=body["fallback_used"],
        # Votes stored before distrust was have none of these.
        original_confidence=body.get("original_confidence"),
        trust_factor=body.get("trust_factor"),
        trust_source=body.get("trust_source"),
    )


def _absent(vote: Dependency) -> AbsentVote:
    voter = str(vote.params.get("voter", f"run {vote.run_id}"))
    return AbsentVote(voter=voter, model="", reason=vote.reason or vote.state.value)


def _spoken(vote: Dependency) -> JsonObject:
    """Returns what the decision's record says of a vote; of an absent one who, and why."""
    if vote.body is None:
        named = {"voter": vote.params["voter"]} if "voter" in vote.params else {}
        return {"run": vote.run_id} | named | {"absent": vote.reason or vote.state.value}
    said = {"run": vote.run_id} | {key: vote.body[key] for key in ("voter", "model", "signal", "confidence")}
    return said | {key: vote.body[key] for key in ("original_confidence", "fallback_used") if _tells_trust(vote.body)}


def _tells_trust(body: JsonObject) -> bool:
    return "original_confidence" in body


def _audit(run: ClaimedRun, decision: Decision) -> tuple[AuditEntry, ...]:
    if decision.review is None:
        return ()
    figures = {"symbol": run.symbol, "signal": decision.signal, "confidence": decision.confidence}
    told = {"why": decision.review.why, "expires_after_s": decision.review.expires_after_s}
    return (AuditEntry("decision.held_for_review", f"run:{run.id}", f"run:{run.id}", figures | told),)


def _alerts(run: ClaimedRun, decision: Decision) -> tuple[NewAlert, ...]:
    if decision.review is None:
        return ()
    waits_s = decision.review.expires_after_s
    message = (
        f"decision {run.id}, {decision.signal} {run.symbol}, waits for a person for {waits_s:g} s"
        f" ({decision.review.why}): `aaos explain {run.id}`, then `aaos approve {run.id} --reason …`"
    )
    return (NewAlert(APPROVAL_NEEDED, message, {"run": run.id, "symbol": run.symbol, "expires_after_s": waits_s}),)


def _lineage(dependency: Dependency) -> Input:
    analyzed_at = "" if dependency.analyzed_at is None else dependency.analyzed_at.isoformat()
    name = dependency.body["voter"] if dependency.kind == VOTE and dependency.body else dependency.kind
    return Input(str(name), dependency.content_hash or "", analyzed_at, dependency.result_id)
