"""One question to Sovereign: the voter's own model, then the one that stands in for it, within the run's time.

What is blamed on a model, and so counts in its breaker: no answer in time, no connection, 429, 5xx, 404, and an
answer that is not what was asked for even after one repair. What is not: our own limits and budgets, a lost fence,
a request that a model refuses (4xx: a key, a context, a schema), and calls that our side ended.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Generic, Literal, TypeVar

import structlog

from aaos.domain.breakers import Admission
from aaos.domain.error_envelope import ErrorEnvelope
from aaos.domain.llm_budget import is_free_of_charge
from aaos.domain.model_request import ModelAnswer, ModelRequest
from aaos.domain.runs import ClaimedRun
from aaos.domain.tokens import prompt_tokens
from aaos.errors import (
    AaosError,
    BudgetReached,
    InputError,
    ModelOutputError,
    ModelsUnavailable,
    SovereignInvalidResponse,
    SovereignModelMissing,
    SovereignRequestRefused,
    SovereignTimeout,
    SovereignUnavailable,
    TransientError,
)
from aaos.ports import CallPlan
from aaos.services.keep_trying import keep_trying
from aaos.services.questions import Answered, Question, Role, SovereignAccess

log = structlog.get_logger()
T = TypeVar("T")

BLAMED = (SovereignTimeout, SovereignUnavailable, SovereignModelMissing, ModelOutputError)
# With less than this share of the time that it usually has a model is not asked: it would be blamed for our hurry.
LEAST_CALL_SHARE = 0.25
# A permit outlives the call's own deadline by this, so that it never ends under a call that goes on.
PERMIT_GRACE_S = 10.0
JITTER = 0.25
NO_TIME = "there was no time to ask it"
# What the final error quotes of each model's last failure: a run's reason has room for two. The ledger has all.
TOLD_MAX_CHARS = 180


def ask_sovereign(run: ClaimedRun, question: Question[T], access: SovereignAccess) -> Answered[T]:
    """Returns a usable answer of the voter's own model, or else of the fallback.

    What an earlier attempt of this run has paid for is used again, not asked for again.

    Raises:
        RateLimited: over a global limit; the run should come back, and what was paid for until then counts.
        BudgetReached: a cap on tokens or money leaves no room.
        ModelsUnavailable: the breakers of all models are open; nothing was asked.
        SovereignTimeout, SovereignUnavailable: no model answered; trying again later may help.
        SovereignInvalidResponse: the models answered, but not what was asked.
        SovereignRequestRefused: every model that could be asked refuses the request.
        ContextTooLarge, InputError: the question is wrong; nothing was sent. (Of a repair it is the next model's turn.)
        FenceLost: the run was taken over; nothing was asked, or the answer is not accepted.
    """
    return _Asking(run, question, access).answered()


@dataclass(frozen=True, slots=True)
class _Unusable:
    """An answer that was paid for and is not what was asked."""

    answer: ModelAnswer
    error: SovereignInvalidResponse


@dataclass(slots=True)
class _Asking(Generic[T]):
    """One asking; counts its calls and remembers what went wrong.

    Attributes:
        unusable: answers that this run has paid for, now or in an earlier attempt, and cannot use, by the hash of
            what was asked: that is not asked, and paid for, again.
        began: whether there was nothing to be used again, so that models are asked.
        asked: whether any was, now and not in an earlier attempt.
    """

    run: ClaimedRun
    question: Question[T]
    access: SovereignAccess
    attempt: int = 0
    failed: list[ErrorEnvelope] = field(default_factory=list)
    errors: list[AaosError] = field(default_factory=list)
    refused: list[Admission] = field(default_factory=list)
    unusable: dict[str, _Unusable] = field(default_factory=dict)
    began: bool = False
    asked: bool = False
    started: float = 0.0

    def answered(self) -> Answered[T]:
        self.started = self._now()
        until = self.started + self.question.time_s
        requests = self._requests()
        for role, request in requests:
            if (found := self._paid_for(role, request)) is not None:
                return found
        if (found := self._given_before(requests[0][1])) is not None:
            return found
        self.began = True
        for role, request in requests:
            share = 1.0 if role == "fallback" else self._share(role)
            found = self._ask_model(role, request, self._now() + share * (until - self._now()))
            if found is not None:
                return found
        raise self._nothing()

    def _requests(self) -> Sequence[tuple[Role, ModelRequest]]:
        own, fallback = self.question.request, self.access.settings.fallback_model
        if fallback is None or fallback == own.model:
            return [("primary", own)]
        return [("primary", own), ("fallback", replace(own, model=fallback))]

    def _paid_for(self, role: Role, request: ModelRequest) -> Answered[T] | None:
        """Returns the usable answer that an earlier attempt of this run got from this model; notes unusable ones."""
        asked: ModelRequest | None = request
        while asked is not None and (paid := self.access.ledger.answered(self.run.id, asked)) is not None:
            self.attempt += 1
            try:
                return self._as_answered(role, asked, paid, self.question.read(paid.content))
            except SovereignInvalidResponse as error:
                self._noted(error, asked.model, paid.latency_ms)
                self.unusable[asked.prompt_hash] = said = _Unusable(paid, error)
                asked = self._repair(request, said) if asked is request else None
        return None

    def _given_before(self, request: ModelRequest) -> Answered[T] | None:
        """Returns the answer that the same question got not long ago, if that is allowed and there is one."""
        ttl_s = self.access.settings.cache_ttl_s
        if ttl_s <= 0:
            return None
        answer = self.access.ledger.reuse(self.run, self._plan("primary", "vote", request), ttl_s)
        if answer is None:
            return None
        try:
            value = self.question.read(answer.content)
        except SovereignInvalidResponse:  # the rules have become stricter since
            return None
        return replace(self._as_answered("primary", request, answer, value), reused=True)

    def _ask_model(self, role: Role, request: ModelRequest, until: float) -> Answered[T] | None:
        """Returns the model's usable answer, None when it gave none and the next model's turn has come."""
        settings = self.access.settings
        for number in range(settings.attempts_per_model):
            if self._has_said_all(request) or not self._time_for_a_call(role, until):
                return None
            admission = self.access.breakers.admit(request.model)
            if not admission.allowed:
                self.refused.append(admission)
                return None
            try:
                return self._admitted(admission, role, request, until)
            except (*BLAMED, SovereignRequestRefused) as error:
                pause_s = self._pause_before_again_s(error, number)
            if pause_s is None or not self._time_for_a_call(role, until - pause_s):
                return None
            self.access.sleep(pause_s)
        return None

    def _admitted(self, admission: Admission, role: Role, request: ModelRequest, until: float) -> Answered[T]:
        """Asks, and tells the breaker how it went; an error that is not the model's gives the admission back."""
        breakers = self.access.breakers
        try:
            found = self._read_or_repaired(role, request, until)
        except BLAMED:
            breakers.report(admission, ok=False)
            raise
        except BaseException:
            breakers.withdraw(admission)
            raise
        breakers.report(admission, ok=True)
        return found

    def _read_or_repaired(self, role: Role, request: ModelRequest, until: float) -> Answered[T]:
        said = self.unusable.get(request.prompt_hash) or self._asked(role, "vote", request, until)
        if isinstance(said, _Unusable) and self._time_for_a_call(role, until):
            said = self._repaired(role, request, said, until)
        if isinstance(said, _Unusable):
            raise said.error
        return said

    def _repaired(self, role: Role, request: ModelRequest, said: _Unusable, until: float) -> Answered[T] | _Unusable:
        try:
            return self._asked(role, "repair", self._repair(request, said), until)
        except BudgetReached:
            raise
        except InputError as error:
            raise said.error from error  # the question itself was taken: quoting made it too long, say

    def _repair(self, request: ModelRequest, said: _Unusable) -> ModelRequest:
        return self.question.repair(request, said.answer.content, str(said.error))

    def _has_said_all(self, request: ModelRequest) -> bool:
        """Whether the model's answer and its repair are paid for, and neither can be used."""
        said = self.unusable.get(request.prompt_hash)
        return said is not None and self._repair(request, said).prompt_hash in self.unusable

    def _asked(
        self, role: Role, purpose: Literal["vote", "repair"], request: ModelRequest, until: float
    ) -> Answered[T] | _Unusable:
        """Makes one call, from the limiter's permit to the ledger's verdict."""
        access = self.access
        self.attempt += 1
        plan = self._plan(role, purpose, request)
        tokens = plan.prompt_tokens + request.max_tokens
        permit = access.limiter.acquire(request.model, tokens, self._call_s(until) + PERMIT_GRACE_S)
        used: int | None = 0
        try:
            call_id = access.ledger.begin(self.run, plan)
            self.asked = True
            used = None  # from here on the model may have worked for us, whatever comes back
            answer = self._said(call_id, request, until)
            used = answer.tokens_in + answer.tokens_out
        finally:
            access.limiter.release(permit, used)
        return self._settled(call_id, role, request, answer)

    def _plan(self, role: Role, purpose: Literal["vote", "repair"], request: ModelRequest) -> CallPlan:
        question = self.question
        return CallPlan(
            request=request,
            decision=question.decision,
            role=role,
            purpose=purpose,
            attempt=self.attempt,
            tier=question.tier,
            template=question.template,
            prompt_tokens=question.prompt_tokens if purpose == "vote" else prompt_tokens(request),
        )

    def _said(self, call_id: int, request: ModelRequest, until: float) -> ModelAnswer:
        started = self._now()
        try:
            # What is left now: the limiter and the ledger may have taken their time.
            return self.access.sovereign.ask(request, self._call_s(until))
        except AaosError as error:
            envelope = self._noted(error, request.model, (self._now() - started) * 1000)
            raw, free = error.raw if isinstance(error, SovereignInvalidResponse) else "", is_free_of_charge(error)
            keep_trying(self._time_left_s(), lambda: self.access.ledger.fail(call_id, envelope, raw, free=free))
            raise

    def _settled(self, call_id: int, role: Role, request: ModelRequest, answer: ModelAnswer) -> Answered[T] | _Unusable:
        """Reads the answer and stores it with its verdict.

        It is paid for: kept while the database is away, not thrown away and asked for again.
        """
        settle = self.access.ledger.settle
        try:
            value = self.question.read(answer.content)
        except SovereignInvalidResponse as error:
            fault = str(error)
            self._noted(error, request.model, answer.latency_ms)
            keep_trying(self._time_left_s(), lambda: settle(call_id, answer, fault))
            self.unusable[request.prompt_hash] = said = _Unusable(answer, error)
            return said
        keep_trying(self._time_left_s(), lambda: settle(call_id, answer))
        return self._as_answered(role, request, answer, value)

    def _as_answered(self, role: Role, request: ModelRequest, answer: ModelAnswer, value: T) -> Answered[T]:
        why = None if role == "primary" else self._why_not_the_primary()
        return Answered(value, answer, request, role, why, tuple(self.failed))

    def _noted(self, error: AaosError, model: str, elapsed_ms: float) -> ErrorEnvelope:
        envelope = ErrorEnvelope.of(error, model, self.attempt, elapsed_ms)
        self.failed.append(envelope)
        self.errors.append(error)
        self.question.on_failure(envelope)
        say = log.warning if self.began else log.debug  # what an earlier attempt met was told then
        say("sovereign_call_failed", run=self.run.id, **envelope.to_dict())
        return envelope

    def _pause_before_again_s(self, error: AaosError, number: int) -> float | None:
        """Returns the seconds before the same model may be asked again; None where that is not safe or worthwhile."""
        settings = self.access.settings
        last = number + 1 == settings.attempts_per_model
        if last or not (isinstance(error, SovereignUnavailable) and error.safe_to_retry):
            return None
        if error.retry_after_s is not None:
            return error.retry_after_s if error.retry_after_s <= settings.retry_after_max_s else None
        return settings.retry_delay_s * 2.0**number * random.uniform(1 - JITTER, 1 + JITTER)

    def _time_for_a_call(self, role: Role, until: float) -> bool:
        usual_s = min(self.access.settings.request_timeout_s, self._share(role) * self.question.usual_time_s)
        return until - self._now() >= LEAST_CALL_SHARE * usual_s

    def _share(self, role: Role) -> float:
        """Returns the share of the asking's time that is usually a model's."""
        own = 1.0 if len(self._requests()) == 1 else self.access.settings.primary_time_share
        return own if role == "primary" else 1 - own

    def _call_s(self, until: float) -> float:
        return min(self.access.settings.request_timeout_s, until - self._now())

    def _time_left_s(self) -> float:
        return self.run.time_left_s - (self._now() - self.started)

    def _now(self) -> float:
        return self.access.monotonic()

    def _why_not_the_primary(self) -> str:
        """Returns what kept the voter's own model from answering: nothing that happened to the fallback."""
        own = self.question.request.model
        reasons = [f"{each.code}: {each.message}" for each in self.failed if each.model == own]
        reasons += [_why(each) for each in self.refused if each.model == own]
        reasons.append(NO_TIME if self.began else "answered for an earlier attempt of this run")
        return reasons[0]

    def _nothing(self) -> AaosError:
        """Returns why there is no answer, of every model: the error that says when trying again makes sense."""
        last = {each.model: each.message for each in self.failed}
        told = [f"{model}: {message[:TOLD_MAX_CHARS]}" for model, message in last.items()]
        told += [f"{each.model}: {_why(each)}" for each in self.refused]
        named = {*last, *(each.model for each in self.refused)}
        told += [f"{each.model}: {NO_TIME}" for _, each in self._requests() if each.model not in named]
        message = "no model gave a usable answer: " + "; ".join(told)
        hints = [*(each.retry_after_s for each in self.refused), *(error.retry_after_s for error in self._transient())]
        back_s = min((hint for hint in hints if hint is not None), default=None)
        if self.errors and not self._transient() and not self.refused:
            return self._final(message)
        if back_s is not None and not self.asked:
            return ModelsUnavailable(message, back_s)
        if self.errors:
            only_late = all(isinstance(error, SovereignTimeout) for error in self._transient()) and not self.refused
            return SovereignTimeout(message) if only_late else SovereignUnavailable(message, retry_after_s=back_s)
        return SovereignTimeout(message)

    def _transient(self) -> list[TransientError]:
        return [error for error in self.errors if isinstance(error, TransientError)]

    def _final(self, message: str) -> AaosError:
        """Returns the error after which trying again makes no sense: unusable answers, a refusal, no such model."""
        unusable = [error for error in self.errors if isinstance(error, SovereignInvalidResponse)]
        if unusable:
            return SovereignInvalidResponse(message, raw=unusable[-1].raw)
        missing = all(isinstance(error, SovereignModelMissing) for error in self.errors)
        return SovereignModelMissing(message) if missing else SovereignRequestRefused(message)


def _why(refusal: Admission) -> str:
    return f"its breaker is {refusal.state.value.replace('_', '-')}"
