"""A conflict's arbiter: primary, then fallback, within seconds; whatever goes wrong, the answer is HOLD (F14)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from aaos.domain.arbiter_prompt import ARBITER_TIER, ARBITER_VERSION, arbiter_request
from aaos.domain.decision import Arbitration, Bounds, CastVote, Dispute
from aaos.domain.error_envelope import ErrorEnvelope
from aaos.domain.model_request import ModelRequest
from aaos.domain.prompts import repair_request
from aaos.domain.rulings import Ruling, ruling_reader
from aaos.domain.runs import ClaimedRun, JsonObject
from aaos.domain.tokens import prompt_tokens
from aaos.errors import (
    DatabaseUnavailable,
    InputError,
    ModelOutputError,
    ModelsUnavailable,
    RateLimited,
    SovereignCancelled,
    TransientError,
)
from aaos.services.ask_sovereign import ask_sovereign
from aaos.services.cast_vote import for_asking
from aaos.services.questions import Answered, Question, SovereignAccess
from aaos.settings import Settings

log = structlog.get_logger()

# A limiter or a breaker that says "now" is asked again after this long: it may be wrong by its own rounding.
LEAST_WAIT_S = 0.1
# Of the answer, word for word, in the decision that is shown around; the ledger has all of it.
CONTENT_MAX_CHARS = 8_192


@dataclass(frozen=True, slots=True)
class Case:
    """What an arbiter is asked about.

    Attributes:
        context_run: id of the run whose context it is: calls for the same decision share a budget.
        context: the frozen context.
        dispute: what would be traded, and who is against it.
        votes: what was said, by whom.
        market_price: of the context's newest candle.
    """

    context_run: int
    context: JsonObject
    dispute: Dispute
    votes: Sequence[CastVote]
    market_price: float


def arbitrate_decision(run: ClaimedRun, case: Case, access: SovereignAccess, settings: Settings) -> Arbitration:
    """Returns what the arbiter rules, or HOLD with what went wrong at every model that was to be asked.

    All of it takes at most `decision.arbiter_timeout_s`. A limit or an open breaker is waited for if that is within it.

    Args:
        run: the decision's, under whose claim is asked; what an earlier attempt has paid for is used again.
        case: what is asked about.
        access: to the model service.
        settings: thresholds, the arbiter's model, limits.

    Raises:
        DatabaseUnavailable: the ledger is away: nothing was asked that could not be accounted for.
        SovereignCancelled: our own side is stopping; somebody else will decide.
        FenceLost: the run was taken over.
    """
    rules = settings.decision
    bounds = Bounds.around(case.market_price, rules.arbiter_entry_band, settings.risk.max_leverage)
    model = rules.arbiter_model or next(iter(settings.voters.values())).model
    request = arbiter_request(case.context, case.dispute, case.votes, bounds, model, settings.sovereign)
    asking = _Asking(run, case.context_run, request, bounds, access, rules.arbiter_timeout_s)
    try:
        said = asking.answered()
    except (DatabaseUnavailable, SovereignCancelled):
        raise
    except (TransientError, InputError, ModelOutputError) as error:
        log.warning("arbiter_failed", run=run.id, symbol=run.symbol, why=str(error))
        failed = {"failed_attempts": [each.to_dict() for each in asking.failed]}
        return Arbitration(
            "hold", request.prompt_hash, ARBITER_VERSION, bounds, error=f"{type(error).__name__}: {error}", asked=failed
        )
    return _ruled(said, request, bounds, settings)


class _Asking:
    """The arbiter's question, asked until it is answered, can never be, or its time is over."""

    def __init__(
        self,
        run: ClaimedRun,
        context_run: int,
        request: ModelRequest,
        bounds: Bounds,
        access: SovereignAccess,
        timeout_s: float,
    ) -> None:
        self.failed: list[ErrorEnvelope] = []
        self._run = run
        self._context_run = context_run
        self._request = request
        self._bounds = bounds
        self._access = access
        self._timeout_s = timeout_s
        self._until = access.monotonic() + min(timeout_s, for_asking(run.time_left_s))

    def answered(self) -> Answered[Ruling]:
        """Returns the ruling; raises as `ask_sovereign` does, once waiting any longer would be too long."""
        while True:
            self.failed.clear()  # what was paid for is read, and told, anew
            try:
                return ask_sovereign(self._run, self._question(), self._access)
            except (RateLimited, ModelsUnavailable) as busy:
                wait_s = max(busy.retry_after_s or 0.0, LEAST_WAIT_S)
                if wait_s >= self._left_s():
                    raise
                self._access.sleep(wait_s)

    def _left_s(self) -> float:
        return self._until - self._access.monotonic()

    def _question(self) -> Question[Ruling]:
        return Question(
            request=self._request,
            decision=self._context_run,
            tier=ARBITER_TIER,
            template=ARBITER_VERSION,
            prompt_tokens=prompt_tokens(self._request),
            time_s=max(self._left_s(), 0.0),
            usual_time_s=self._timeout_s,
            read=ruling_reader(self._bounds),
            repair=repair_request,
            on_failure=self.failed.append,
        )


def _ruled(said: Answered[Ruling], request: ModelRequest, bounds: Bounds, settings: Settings) -> Arbitration:
    fallback = settings.sovereign.fallback_model
    fallback_why = said.why_fallback(request.model, fallback)
    ruling = said.value
    return Arbitration(
        verdict=ruling.verdict,
        question_hash=request.prompt_hash,
        prompt_version=ARBITER_VERSION,
        bounds=bounds,
        reasoning=ruling.reasoning,
        leverage=ruling.leverage,
        size_fraction=ruling.size_fraction,
        entry_price=ruling.entry_price,
        model=request.model if fallback_why is None else str(fallback),
        fallback_used=fallback_why is not None,
        asked=_how(said, fallback_why),
    )


def _how(said: Answered[Ruling], fallback_why: str | None) -> dict[str, Any]:
    """Returns how the answer came about; `content` is what was said, word for word."""
    return {
        "fallback_why": fallback_why,
        "served_as": said.answer.model,
        "answer_reused": said.reused,
        "failed_attempts": [each.to_dict() for each in said.failed],
        "prompt_hash": said.request.prompt_hash,
        "content": said.answer.content[:CONTENT_MAX_CHARS],
        "tokens_in": said.answer.tokens_in,
        "tokens_out": said.answer.tokens_out,
        "latency_ms": said.answer.latency_ms,
        "extras": said.value.extras,
    }
