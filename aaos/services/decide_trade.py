"""The last stage of a decision: votes, Hidden Hand, consensus and, on a conflict, the arbiter make one answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from datetime import timedelta
from decimal import Decimal

import structlog

from aaos.domain.audit import AuditEntry
from aaos.domain.decision import (
    AbsentVote,
    Arbitration,
    CastVote,
    Decision,
    DecisionInputs,
    DecisionRules,
    decide,
    dispute,
)
from aaos.domain.market import timeframe_ms
from aaos.domain.regime import RegimeOutput
from aaos.domain.results import SCHEMA_VERSION
from aaos.domain.runs import ClaimedRun, Completed, Dependency, Input, JsonObject, NewAlert, NewRun, State
from aaos.domain.signals import SignalOutput
from aaos.domain.vetoes import NewVeto
from aaos.errors import InvariantViolation
from aaos.services.arbitrate_decision import Case
from aaos.services.start_risk import decision_source, risk_run
from aaos.settings import Settings

log = structlog.get_logger()

CONTEXT = "trading_context"
VOTE = "trading_analysis"
APPROVAL_NEEDED = "approval_needed"
OPEN_MS, CLOSE = 0, 4  # of a candle's row

Arbitrate = Callable[[Case], Arbitration]
"""Returns what the arbiter makes of a case; see `arbitrate_decision`."""


def decide_trade(
    run: ClaimedRun, dependencies: Sequence[Dependency], arbitrate: Arbitrate, settings: Settings
) -> Completed:
    """Returns the decision drawn from the frozen context and the votes that were cast; absent ones are named.

    The quorum is counted among those who were asked, whoever is configured by now. What may be traded starts its risk
    assessment; a direction that is refused is a veto.

    Raises:
        AaosError: as `arbitrate_decision` does.
    """
    context, votes = _context(run, dependencies), _votes(dependencies)
    rules = settings.decision
    inputs = decision_inputs(_body(context), votes)
    disputed = dispute(inputs, rules)
    if disputed is not None:
        price = _market(_body(context))[1]
        case = Case(context.run_id, _body(context), disputed, inputs.votes, price)
        inputs = replace(inputs, arbitration=arbitrate(case))
    decision = decide(inputs, rules)
    _tell(run, decision)
    return Completed(
        body=decision_body(run.id, _body(context), votes, decision, rules),
        inputs=[_lineage(each) for each in dependencies if each.result_id is not None],
        starts=_starts(run, decision, settings),
        veto=_veto(run, decision, _body(context)),
        audit=_audit(run, decision),
        alerts=_alerts(run, decision),
    )


def decide_again(run_id: int, stored: JsonObject, dependencies: Sequence[Dependency]) -> JsonObject:
    """Returns the body of a stored decision, recomputed from its inputs, its arbitration and its rules: the same (D2).

    Raises:
        InvariantViolation: it has no context, or was stored before decisions kept their rules.
    """
    if "rules" not in stored:
        raise InvariantViolation(f"decision {run_id} was stored without its rules: it can be read, not recomputed")
    context = _body(next(each for each in dependencies if each.kind == CONTEXT))
    votes, rules = _votes(dependencies), DecisionRules(**stored["rules"])
    ruled = Arbitration.from_dict(stored["arbitration"]) if "arbitration" in stored else None
    inputs = replace(decision_inputs(context, votes), arbitration=ruled)
    return decision_body(run_id, context, votes, decide(inputs, rules), rules)


def decision_body(
    run_id: int, context: JsonObject, votes: Sequence[Dependency], decision: Decision, rules: DecisionRules
) -> JsonObject:
    """Returns what is stored of a decision."""
    return {
        **decision.to_dict(),
        "task_id": str(run_id),
        "symbol": decision.symbol,
        "timeframe": context["candles"]["timeframe"],
        "schema_version": SCHEMA_VERSION,
        "as_of": context["as_of"],
        "market_time": context["market_time"],
        "votes": [_spoken(each) for each in votes],
        "rules": asdict(rules),
    }


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


def refused_trade(source: str, stage: str, code: str, reason: str, action: str, context: JsonObject) -> NewVeto:
    """Returns the veto of a decision's trade, at the price and time of its context's newest candle."""
    at_ms, price = _market(context)
    return NewVeto(
        source=source,
        stage=stage,
        code=code,
        reason=reason,
        symbol=context["symbol"],
        side="buy" if action == "BUY" else "sell",
        market_ms=at_ms,
        price=Decimal(repr(price)),
    )


def _context(run: ClaimedRun, dependencies: Sequence[Dependency]) -> Dependency:
    context = next((each for each in dependencies if each.kind == CONTEXT), None)
    if context is None or context.body is None:
        raise InvariantViolation(f"decision {run.id} has no stored context")
    if context.symbol != run.symbol or context.body["symbol"] != run.symbol:
        raise InvariantViolation(f"decision {run.id} on {run.symbol} was given a context of {context.body['symbol']}")
    return context


def _body(context: Dependency) -> JsonObject:
    return context.body or {}


def _votes(dependencies: Sequence[Dependency]) -> Sequence[Dependency]:
    return [each for each in dependencies if each.kind == VOTE]


def _market(context: JsonObject) -> tuple[int, float]:
    """Returns when the newest candle closed (ms, market time), and at which price."""
    rows = context["candles"]["rows"]
    if not rows:
        raise InvariantViolation(f"the context of a decision on {context['symbol']} holds no candle")
    newest = rows[-1]
    return int(newest[OPEN_MS]) + timeframe_ms(context["candles"]["timeframe"]), float(newest[CLOSE])


def _starts(run: ClaimedRun, decision: Decision, settings: Settings) -> Sequence[NewRun]:
    if not decision.tradable:
        return ()
    # By the database's clock: when the claim was granted, which is at most a moment before the decision is stored.
    granted_at = run.deadline - timedelta(seconds=run.time_left_s)
    not_after = granted_at + timedelta(seconds=settings.decision.decision_valid_s)
    return (risk_run(run.id, run.symbol, not_after, settings),)


def _veto(run: ClaimedRun, decision: Decision, context: JsonObject) -> NewVeto | None:
    refused = decision.refusal
    if refused is None:
        return None
    return refused_trade(decision_source(run.id), "decision", refused.code, refused.why, refused.action, context)


def _tell(run: ClaimedRun, decision: Decision) -> None:
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
    if decision.refusal is not None:
        refused = decision.refusal
        log.info("trade_refused", run=run.id, symbol=run.symbol, code=refused.code, why=refused.why)


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
    subject = f"run:{run.id}"
    figures = {"symbol": run.symbol, "signal": decision.signal, "confidence": decision.confidence}
    entries = []
    ruled = decision.arbitration
    if ruled is not None and ruled.fallback_used:
        told = {"verdict": ruled.verdict, "model": ruled.model, "why": ruled.asked.get("fallback_why")}
        entries.append(AuditEntry("arbitration.degraded", subject, subject, figures | told))
    if decision.review is not None:
        told = {"why": decision.review.why, "expires_after_s": decision.review.expires_after_s}
        entries.append(AuditEntry("decision.held_for_review", subject, subject, figures | told))
    return tuple(entries)


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
