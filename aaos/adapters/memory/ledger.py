"""The Sovereign ledger in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from aaos.adapters.memory.tables import AlertRow, CallRow, MemoryDatabase, Tables
from aaos.domain.error_envelope import ErrorEnvelope
from aaos.domain.llm_budget import (
    ALERT_KIND,
    NOTHING,
    UNPRICED,
    BudgetRules,
    Charge,
    ModelCard,
    charge_of,
    is_free_code,
    refusal,
    reservation,
    scopes,
)
from aaos.domain.model_request import ModelAnswer, ModelRequest
from aaos.domain.runs import ClaimedRun, State
from aaos.errors import BudgetReached, FenceLost, InvariantViolation
from aaos.ports import CallPlan


class MemorySovereignLedger:
    """Implements `ports.SovereignLedger`; `models` are prices, `budget` caps: see the one on PostgreSQL."""

    def __init__(
        self, database: MemoryDatabase, models: Mapping[str, ModelCard] | None = None, budget: BudgetRules | None = None
    ) -> None:
        self._database = database
        self._models = models or {}
        self._budget = budget or BudgetRules()

    def answered(self, run_id: int, request: ModelRequest) -> ModelAnswer | None:
        """See the port."""
        with self._database.transaction() as tables:
            asked = [call for call in _calls(tables, run_id) if call.plan.request.prompt_hash == request.prompt_hash]
            return next((call.answer for call in reversed(asked) if call.answer is not None), None)

    def begin(self, run: ClaimedRun, plan: CallPlan) -> int:
        """See the port."""
        card = self._models.get(plan.request.model, UNPRICED)
        wanted = reservation(card, plan.prompt_tokens, plan.request.max_tokens)
        with self._database.transaction() as tables:
            if not _is_ours(tables, run):
                raise FenceLost(f"run {run.id}: fence {run.fence} is no longer its latest; Sovereign was not asked")
            self._leave_behind(tables, run)
            refused = self._book(tables, plan, wanted)
            if refused is None:
                call_id = self._database.next_id()
                began_at = self._database.clock.now()
                tables.calls[call_id] = CallRow(call_id, run.id, run.fence, plan, began_at, card, wanted)
                return call_id
        raise refused

    def reuse(self, run: ClaimedRun, plan: CallPlan, ttl_s: float) -> ModelAnswer | None:
        """See the port."""
        now = self._database.clock.now()
        with self._database.transaction() as tables:
            since = now - timedelta(seconds=ttl_s)
            found = [call for call in tables.calls.values() if _is_reusable(call, plan.request, since)]
            source = found[-1] if found and _is_ours(tables, run) else None
            if source is None or source.answer is None:
                return None
            self._leave_behind(tables, run)
            answer = replace(source.answer, tokens_in=0, tokens_out=0, latency_ms=0.0)
            call_id = self._database.next_id()
            row = CallRow(call_id, run.id, run.fence, plan, now, ended_at=now)
            tables.calls[call_id] = replace(row, outcome="accepted", answer=answer, cached_from=source.id)
            return answer

    def settle(self, call_id: int, answer: ModelAnswer, fault: str | None = None) -> None:
        """See the port."""
        with self._database.transaction() as tables:
            call = tables.calls[call_id]
            if call.outcome in ("accepted", "invalid") and call.answer == answer:
                return  # a commit whose confirmation got lost: the same call, the same answer
            if call.outcome != "pending" or tables.runs[call.run_id].fence != call.fence:
                raise FenceLost(f"Sovereign call {call_id} was abandoned; its answer is not accepted")
            for other in _calls(tables, call.run_id):
                same = other.plan.request.prompt_hash == call.plan.request.prompt_hash and other.cached_from is None
                if (same and other.answer is not None) or (fault is None and other.outcome == "accepted"):
                    raise InvariantViolation(f"run {call.run_id}: a second accepted answer, or one to the same prompt")
            took = charge_of(call.card, answer)
            outcome = "accepted" if fault is None else "invalid"
            self._end(tables, replace(call, outcome=outcome, answer=answer, fault=fault), took)

    def fail(self, call_id: int, envelope: ErrorEnvelope, raw: str = "", free: bool | None = None) -> None:
        """See the port."""
        with self._database.transaction() as tables:
            call = tables.calls[call_id]
            if call.outcome == "pending":
                took = NOTHING if (is_free_code(envelope.code) if free is None else free) else call.booked
                self._end(tables, replace(call, outcome="failed", error=envelope, raw=raw), took)

    def calls(self, run_id: int) -> Sequence[Mapping[str, object]]:
        """Returns the calls made for a run, oldest first."""
        with self._database.transaction() as tables:
            return [_shown(call) for call in _calls(tables, run_id)]

    def _leave_behind(self, tables: Tables, run: ClaimedRun) -> None:
        for call in _calls(tables, run.id):
            if call.outcome == "accepted" or (call.outcome == "pending" and call.fence < run.fence):
                ended_at = call.ended_at or self._database.clock.now()
                tables.calls[call.id] = replace(call, outcome="abandoned", ended_at=ended_at)

    def _book(self, tables: Tables, plan: CallPlan, wanted: Charge) -> BudgetReached | None:
        """Reserves on both scopes, or on none: then returns why, and alerts once per cap and scope."""
        now = self._database.clock.now()
        over = scopes(plan.decision, now.date(), self._budget)
        for scope in over:
            spent = tables.spending.get(scope.name, NOTHING)
            cap = scope.reached(spent, wanted)
            if cap is not None:
                error = refusal(cap, scope, spent, wanted, plan.request.model, self._budget.currency)
                if (scope.name, cap) not in tables.told:
                    tables.told[scope.name, cap] = True
                    details = {"cap": cap, "scope": scope.name, "spent": str(error.spent), "wanted": str(error.wanted)}
                    tables.alerts[self._database.next_id()] = AlertRow(now, ALERT_KIND, str(error), details)
                return error
        for scope in over:
            tables.spending[scope.name] = tables.spending.get(scope.name, NOTHING) + wanted
        return None

    def _end(self, tables: Tables, call: CallRow, took: Charge) -> None:
        for scope in scopes(call.plan.decision, call.began_at.date(), self._budget):
            tables.spending[scope.name] = tables.spending[scope.name] + took - call.booked
        tables.calls[call.id] = replace(call, booked=took, ended_at=self._database.clock.now())


def _calls(tables: Tables, run_id: int) -> Sequence[CallRow]:
    return [call for call in tables.calls.values() if call.run_id == run_id]


def _is_ours(tables: Tables, run: ClaimedRun) -> bool:
    row = tables.runs.get(run.id)
    return row is not None and row.fence == run.fence and row.state is State.RUNNING


def _is_reusable(call: CallRow, request: ModelRequest, since: datetime) -> bool:
    same = call.plan.request.prompt_hash == request.prompt_hash
    young = call.ended_at is not None and call.ended_at > since
    return same and young and call.outcome == "accepted" and call.cached_from is None


def _shown(call: CallRow) -> dict[str, object]:
    plan, answer = call.plan, call.answer
    return {
        "id": call.id,
        "run_id": call.run_id,
        "model": plan.request.model,
        "role": plan.role,
        "purpose": plan.purpose,
        "attempt": plan.attempt,
        "outcome": call.outcome,
        "fault": call.fault,
        "prompt_hash": plan.request.prompt_hash,
        "tokens_in": None if answer is None else answer.tokens_in,
        "tokens_out": None if answer is None else answer.tokens_out,
        "latency_ms": answer.latency_ms if answer else call.error.elapsed_ms if call.error else None,
        "cached_from": call.cached_from,
        "error_code": None if call.error is None else call.error.code,
        "began_at": call.began_at,
    }
