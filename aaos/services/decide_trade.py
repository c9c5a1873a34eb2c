"""The last stage of a decision: votes, Hidden Hand and consensus make one answer."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from aaos.domain.decision import AbsentVote, CastVote, DecisionInputs, DecisionRules, decide
from aaos.domain.regime import RegimeOutput
from aaos.domain.results import SCHEMA_VERSION
from aaos.domain.runs import ClaimedRun, Completed, Dependency, Input, JsonObject, State
from aaos.domain.signals import SignalOutput
from aaos.errors import InvariantViolation

log = structlog.get_logger()

CONTEXT = "trading_context"
VOTE = "trading_analysis"


def decide_trade(
    run: ClaimedRun, dependencies: Sequence[Dependency], rules: DecisionRules, voters_configured: int
) -> Completed:
    """Returns the decision drawn from the frozen context and the votes that were cast; absent ones are named."""
    context = next((each for each in dependencies if each.kind == CONTEXT), None)
    if context is None or context.body is None:
        raise InvariantViolation(f"decision {run.id} has no stored context")
    votes = [each for each in dependencies if each.kind == VOTE]
    inputs = decision_inputs(context.body, votes, voters_configured)
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
    return Completed(body, [_lineage(each) for each in dependencies if each.result_id is not None])


def decision_inputs(context: JsonObject, votes: Sequence[Dependency], voters_configured: int) -> DecisionInputs:
    """Returns what the pure rules need, from the stored context and votes."""
    return DecisionInputs(
        symbol=context["symbol"],
        technical=SignalOutput.from_dict(context["technical"]),
        regime=RegimeOutput.from_dict(context["regime"]),
        votes=tuple(_cast(each.body) for each in votes if each.state is State.COMPLETED and each.body is not None),
        absent=tuple(_absent(each) for each in votes if each.state is not State.COMPLETED),
        voters_configured=voters_configured,
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
    )


def _absent(vote: Dependency) -> AbsentVote:
    return AbsentVote(voter=f"run {vote.run_id}", model="", reason=vote.reason or vote.state.value)


def _spoken(vote: Dependency) -> JsonObject:
    if vote.body is None:
        return {"run": vote.run_id, "absent": vote.reason or vote.state.value}
    return {"run": vote.run_id} | {key: vote.body[key] for key in ("voter", "model", "signal", "confidence")}


def _lineage(dependency: Dependency) -> Input:
    analyzed_at = "" if dependency.analyzed_at is None else dependency.analyzed_at.isoformat()
    name = dependency.body["voter"] if dependency.kind == VOTE and dependency.body else dependency.kind
    return Input(str(name), dependency.content_hash or "", analyzed_at, dependency.result_id)
