"""One Sovereign vote: the frozen context in, one model's checked opinion out."""

from __future__ import annotations

from aaos.domain.prompts import PROMPT_VERSION, build_vote_request
from aaos.domain.runs import ClaimedRun, Completed, Input
from aaos.domain.sovereign import ModelAnswer, ModelRequest, parse_vote
from aaos.errors import AaosError, FenceLost, InvariantViolation, SovereignInvalidResponse
from aaos.ports import ResultStore, Sovereign, SovereignLedger
from aaos.services.keep_trying import keep_trying
from aaos.settings import Settings

ERROR_MAX_CHARS = 2000


def cast_vote(
    run: ClaimedRun, results: ResultStore, sovereign: Sovereign, ledger: SovereignLedger, settings: Settings
) -> Completed:
    """Returns the vote of the run's voter on its context.

    An answer that an earlier attempt of this run has paid for and stored is used again, not asked for again.

    Raises:
        SovereignTimeout, SovereignUnavailable, SovereignRequestRefused, ContextTooLarge: as `Sovereign.ask` does.
        SovereignInvalidResponse: the answer is not a vote; what was said is in the ledger.
        FenceLost: the run was taken over; Sovereign was not asked, or its answer not accepted.
    """
    name = str(run.params["voter"])
    voter = settings.voters[name]
    context = results.result_of_run(int(run.params["context_run"]))
    if context is None:
        raise InvariantViolation(f"vote {run.id}: context run {run.params['context_run']} has no result")
    request = build_vote_request(context.body, name, voter.model, voter.stance, settings.sovereign)
    answer = ledger.answered(run.id, request) or _ask(run, request, sovereign, ledger)
    vote = parse_vote(answer.content)
    body = {
        "voter": name,
        "stance": voter.stance,
        "model": answer.model,
        "signal": vote.signal,
        "confidence": vote.confidence,
        "risk_score": vote.risk_score,
        "reasoning": vote.reasoning,
        "extras": vote.extras,
        "prompt_version": PROMPT_VERSION,
        "prompt_hash": request.prompt_hash,
        "content": answer.content,
        "tokens_in": answer.tokens_in,
        "tokens_out": answer.tokens_out,
        "latency_ms": answer.latency_ms,
        "fallback_used": False,
    }
    return Completed(body, [Input("context", context.content_hash, context.analyzed_at.isoformat(), context.id)])


def _ask(run: ClaimedRun, request: ModelRequest, sovereign: Sovereign, ledger: SovereignLedger) -> ModelAnswer:
    call_id = ledger.begin(run, request)
    try:
        answer = sovereign.ask(request)
    except FenceLost:
        raise
    except AaosError as error:
        # What an unusable answer said is kept with its error: raw content is always stored.
        raw = f"\nraw: {error.raw}" if isinstance(error, SovereignInvalidResponse) and error.raw else ""
        ledger.fail(call_id, error.failure_source, f"{error}"[:ERROR_MAX_CHARS] + raw)
        raise
    # It is paid for: kept while the database is away, not thrown away and asked for again.
    keep_trying(run.time_left_s, lambda: ledger.settle(call_id, answer))
    return answer
