"""One Sovereign vote: the frozen context in, one model's checked opinion out, believed as far as it deserves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from aaos.domain.audit import AuditEntry
from aaos.domain.decision import distrusted
from aaos.domain.decision.distrust import Distrust
from aaos.domain.prompts import repair_request
from aaos.domain.runs import ClaimedRun, Completed, Input
from aaos.domain.sovereign import Vote, parse_vote
from aaos.errors import InputError, InvariantViolation
from aaos.ports import LearnedTrust, ResultStore
from aaos.services.ask_sovereign import ask_sovereign
from aaos.services.prepare_vote import PreparedVote, prepare_vote
from aaos.services.questions import Answered, Question, SovereignAccess
from aaos.settings import Settings

# What is left of a vote's time limit to store the answer in: this long, but at most this share of the limit.
MARGIN_S = 5.0
MARGIN_SHARE = 0.1


def cast_vote(
    run: ClaimedRun,
    results: ResultStore,
    access: SovereignAccess,
    trust: LearnedTrust,
    settings: Settings,
) -> Completed:
    """Returns the vote of the run's voter on its context.

    Raises:
        BudgetReached: a cap on tokens or money leaves no room; the decision will be HOLD for that reason.
        ContextTooLarge: the prompt fits in no tier.
        InputError: the voter was taken out of the configuration since the vote was opened.
        AaosError: as `ask_sovereign` raises.
    """
    voter = str(run.params["voter"])
    if voter not in settings.voters:
        known = ", ".join(settings.voters)
        raise InputError(f"vote {run.id}: voters.yaml names no {voter!r} any more, only {known}")
    context = results.result_of_run(int(run.params["context_run"]))
    if context is None:
        raise InvariantViolation(f"vote {run.id}: context run {run.params['context_run']} has no result")
    prepared = prepare_vote(context.body, voter, settings.voters[voter], settings.sovereign)
    question = Question(
        request=prepared.request,
        decision=context.run_id,
        tier=prepared.tier,
        template=prepared.prompt_version,
        prompt_tokens=prepared.prompt_tokens,
        time_s=for_asking(run.time_left_s),
        usual_time_s=for_asking(settings.kind(run.kind).timeout_seconds),
        read=parse_vote,
        repair=repair_request,
    )
    regime = str(context.body["regime"]["regime"])
    # Many votes wait at once in a worker, and what is asked stands in the request by now: without this a context of
    # 500 candles is held for each of them (158 MB instead of 120 with 200 in flight).
    context = replace(context, body={})
    said = ask_sovereign(run, question, access)
    fallback_why = said.why_fallback(prepared.request.model, settings.sovereign.fallback_model)
    model = prepared.request.model if fallback_why is None else str(settings.sovereign.fallback_model)
    learned = trust.factor(model, regime, fallback_why is not None)
    believed = distrusted(said.value.confidence, fallback_why is not None, settings.decision, learned)
    body = {
        "voter": voter,
        "stance": settings.voters[voter].stance,
        "regime": regime,
        "model": model,
        **_opinion(said.value),
        **believed.to_dict(),
        "fallback_why": fallback_why,
        **_asking(prepared, said),
    }
    lineage = [Input("context", context.content_hash, context.analyzed_at.isoformat(), context.id)]
    return Completed(body, lineage, audit=_audit(run, believed, body))


def for_asking(limit_s: float) -> float:
    """Returns what of a run's time limit is for asking; the rest is for storing the answer."""
    return limit_s - min(MARGIN_S, MARGIN_SHARE * limit_s)


def _opinion(vote: Vote) -> dict[str, Any]:
    return {
        "signal": vote.signal,
        "risk_score": vote.risk_score,
        "reasoning": vote.reasoning,
        "extras": vote.extras,
    }


def _asking(prepared: PreparedVote, said: Answered[Vote]) -> dict[str, Any]:
    """Returns how the answer came about; `content` is what was said, word for word.

    `served_as` is what the service calls the model, a path or an alias: its word, and nothing goes by it but that
    the fallback was put in.
    """
    return {
        "primary_model": prepared.request.model,
        "served_as": said.answer.model,
        "answer_reused": said.reused,
        "failed_attempts": [each.to_dict() for each in said.failed],
        "prompt_version": prepared.prompt_version,
        "prompt_hash": said.request.prompt_hash,
        "context_tier": prepared.tier,
        "prompt_tokens": prepared.prompt_tokens,
        "tokens_saved": prepared.tokens_saved,
        "content": said.answer.content,
        "tokens_in": said.answer.tokens_in,
        "tokens_out": said.answer.tokens_out,
        "latency_ms": said.answer.latency_ms,
    }


def _audit(run: ClaimedRun, believed: Distrust, body: Mapping[str, Any]) -> list[AuditEntry]:
    """Returns what the audit log says of a vote that counts for less (FM-TAW-006), stored together with it."""
    if not believed.degraded_inference:
        return []
    told = ("voter", "model", "served_as", "primary_model", "fallback_why", *believed.to_dict())
    details = {"symbol": run.symbol} | {name: body[name] for name in told}
    return [AuditEntry("vote.degraded", f"run:{run.id}", f"run:{run.id}", details)]
