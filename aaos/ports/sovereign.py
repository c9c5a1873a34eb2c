"""Ports of the language-model service: asking it, limiting and distrusting it, and keeping account of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Protocol

from aaos.domain.approvals import Approval, Verdict, Waiting
from aaos.domain.audit import ChainCheck
from aaos.domain.breakers import Admission, BreakerChange, BreakerView
from aaos.domain.error_envelope import ErrorEnvelope
from aaos.domain.model_request import ModelAnswer, ModelRequest
from aaos.domain.runs import ClaimedRun, NewRun
from aaos.domain.vetoes import NewVeto


class Sovereign(Protocol):
    """The language-model service."""

    def ask(self, request: ModelRequest, timeout_s: float | None = None) -> ModelAnswer:
        """Returns the answer to one exchange within the total deadline, or raises from the aaos error tree.

        Nothing is tried again here: `ask_sovereign` does that, within a budget.

        Args:
            request: the question.
            timeout_s: total deadline of this exchange; at most, and by default, `sovereign.request_timeout_s`.
        """
        ...


@dataclass(frozen=True, slots=True)
class CallPlan:
    """One call as it is about to be made.

    Attributes:
        request: what is asked, of which model.
        decision: id of the run whose context is voted or ruled on; calls for the same decision share a budget.
        role: whether the model is the voter's own or the one that stands in for it.
        purpose: the question itself (a vote; a ruling, as the template and the run's kind say), or the one repair of an
            answer that was none.
        attempt: counts the calls of this asking, from 1.
        tier: of the context that the prompt carries.
        template: version of the prompt's template.
        prompt_tokens: what the prompt takes at most.
    """

    request: ModelRequest
    decision: int
    role: Literal["primary", "fallback"]
    purpose: Literal["vote", "repair"]
    attempt: int
    tier: str
    template: str
    prompt_tokens: int


class SovereignLedger(Protocol):
    """Every call to the model, written before it is made and after it is answered; prompts and answers by hash."""

    def answered(self, run_id: int, request: ModelRequest) -> ModelAnswer | None:
        """Returns an answer already paid for by an earlier attempt of this run, if there is one."""
        ...

    def begin(self, run: ClaimedRun, plan: CallPlan) -> int:
        """Records that a call is about to be made and reserves its share of the budgets; returns the call's id.

        Earlier unanswered calls of the run under an older fence are abandoned. The first time that a cap refuses a
        call, in its decision or day, an alert is stored.

        Raises:
            FenceLost: the run is no longer the caller's; nothing may be asked.
            BudgetReached: a cap of the decision or the day leaves no room; names the cap. Nothing may be asked.
        """
        ...

    def settle(self, call_id: int, answer: ModelAnswer, fault: str | None = None) -> None:
        """Records the answer, its tokens and cost, and the verdict, together: the asker has read it already.

        Args:
            call_id: what `begin` returned.
            answer: what was said.
            fault: why it is not what was asked for (outcome `invalid`); None: outcome `accepted`.

        Raises:
            FenceLost: the run was taken over meanwhile, or the call abandoned. Again after a lost confirmation it
                changes nothing.
        """
        ...

    def fail(self, call_id: int, envelope: ErrorEnvelope, raw: str = "", free: bool | None = None) -> None:
        """Records that the call gave no answer.

        Args:
            call_id: what `begin` returned.
            envelope: why.
            raw: what came instead of an answer.
            free: whether the call was certainly not charged (`is_free_of_charge`), so that its reservation is free
                again; None: as the envelope's code lets expect.
        """
        ...

    def reuse(self, run: ClaimedRun, plan: CallPlan, ttl_s: float) -> ModelAnswer | None:
        """Returns an accepted answer of any run to the same prompt, model and parameters, at most `ttl_s` old.

        A row of this run's own says so (outcome `accepted`, `cached_from`), with no tokens and no cost; nothing is to
        be settled. None where there is no such answer, or where the run is no longer the caller's.
        """
        ...


class ModelBreakers(Protocol):
    """One circuit breaker per model, shared by all workers. Never raises: without Redis a local one serves."""

    def admit(self, model: str) -> Admission:
        """Returns whether the model may be asked now, and if not, when to come back."""
        ...

    def report(self, admission: Admission, ok: bool) -> BreakerChange | None:
        """Tells how an admitted call went; returns the change of state that this brought about."""
        ...

    def withdraw(self, admission: Admission) -> None:
        """Gives an admission back: nothing was asked, or our side gave up; says nothing about the model."""
        ...

    def view(self, model: str) -> BreakerView:
        """Returns how the model's breaker stands."""
        ...


@dataclass(frozen=True, slots=True)
class Permit:
    """The right to make one call now; `token` names it to the limiter, `tokens` were reserved for it."""

    model: str
    token: str
    tokens: int


class CallLimiter(Protocol):
    """Requests per minute, tokens per minute and calls at once, over all workers.

    Raises nothing but RateLimited: without Redis a local limiter serves, and says so.
    """

    def acquire(self, model: str, tokens: int, hold_s: float) -> Permit:
        """Returns a permit that is given back by itself after `hold_s`, should its holder die.

        Args:
            model: the model to be asked.
            tokens: what the call takes at most, prompt and answer.
            hold_s: how long the call may take.

        Raises:
            RateLimited: over a limit; `retry_after_s` says when there should be room, differently for each caller.
        """
        ...

    def release(self, permit: Permit, tokens_used: int | None = None) -> None:
        """Gives the permit back; what was reserved beyond `tokens_used` is free again (None: all was used)."""
        ...


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """One entry of the audit log; `hash` covers it and all before it."""

    id: int
    at: datetime
    action: str
    actor: str
    subject: str
    details: Mapping[str, Any]
    hash: str


class AuditLog(Protocol):
    """What was changed, by whom or what, and why; only ever appended to."""

    def append(self, action: str, actor: str, subject: str, details: Mapping[str, Any]) -> None:
        """Stores one entry.

        Args:
            action: `breaker.opened`, `vote.degraded`, `decision.approved` …: noun.verb.
            actor: a person, or the run that caused it (`run:17`).
            subject: what it happened to (`model:sovereign-32b`, `run:17`).
            details: figures and reasons, JSON-able, without secrets.

        Raises:
            DatabaseUnavailable: nothing was stored.
        """
        ...

    def entries(self, limit: int, action: str | None = None, subject: str | None = None) -> Sequence[AuditRecord]:
        """Returns the newest entries first."""
        ...

    def verify(self) -> ChainCheck:
        """Returns whether the whole log is what was written: every hash computed anew, gaps and the end looked for."""
        ...


class Approvals(Protocol):
    """Verdicts on decisions that need a person before risk may see them; on database time."""

    def give(
        self,
        run_id: int,
        content_hash: str,
        approval: Verdict,
        by: str,
        reason: str,
        expires_after_s: float,
        starts: NewRun | None = None,
        veto: NewVeto | None = None,
    ) -> Approval:
        """Stores the verdict on that decision, once, and with it its entry in the audit log, the run and the veto.

        All of it is one transaction. The same verdict again returns the stored one, late or not, and stores nothing.

        Args:
            run_id: of the decision.
            content_hash: of the decision as it was read.
            approval: the verdict.
            by: who gives it.
            reason: why.
            expires_after_s: until when it may be given, after the decision was stored.
            starts: the run that an approval sets off.
            veto: what a refusal refuses.

        Raises:
            InputError: the decision has another verdict already, has expired, or is not the one that was read.
        """
        ...

    def verdicts(self, run_ids: Sequence[int]) -> Mapping[int, Approval]:
        """Returns the verdicts on those of the decisions that have one, by run."""
        ...

    def waiting(self, limit: int) -> Sequence[Waiting]:
        """Returns the decisions that need a verdict, have none and are not expired; what expires first, first."""
        ...


class LearnedTrust(Protocol):
    """What outcomes have taught about each model."""

    def factor(self, model: str, regime: str, fallback_used: bool = False) -> float | None:
        """Returns the learned confidence multiplier (0 … 1); quick, and never raises.

        Args:
            model: who answered.
            regime: trend label of the context.
            fallback_used: whether it stood in for the voter's own model: the evidence and the prior are others then.

        Returns:
            None where learned trust is switched off or there is too little evidence: the prior holds.
        """
        ...
