"""The Sovereign ledger and the alerts on PostgreSQL."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from decimal import Decimal
from typing import Any

from sqlalchemy import text

from aaos.adapters.postgres import ledger_sql as sql
from aaos.adapters.postgres.database import Database
from aaos.domain.error_envelope import ErrorEnvelope
from aaos.domain.llm_budget import (
    ALERT_KIND,
    NOTHING,
    UNPRICED,
    BudgetRules,
    Charge,
    ModelCard,
    counted,
    is_free_code,
    refusal,
    reservation,
    scopes,
)
from aaos.domain.model_request import ModelAnswer, ModelRequest
from aaos.domain.runs import ClaimedRun
from aaos.domain.sovereign import storable
from aaos.errors import BudgetReached, FenceLost
from aaos.ports import CallPlan

# What came instead of an answer may be a whole web page; prompts and answers are bounded by configuration.
RAW_MAX_CHARS = 65_536
TEXT_MAX_CHARS = 16_777_216
FAULT_MAX_CHARS = 2_000

RAISE = text("""
    INSERT INTO alerts (kind, message, details) SELECT :kind, :message, CAST(:details AS json)
    WHERE NOT EXISTS (
        SELECT 1 FROM alerts WHERE kind = :kind AND message = :message
          AND created_at > clock_timestamp() - interval '1 minute')
""")
RECENT_ALERTS = text("SELECT id, created_at, kind, message, details FROM alerts ORDER BY id DESC LIMIT :limit")


class PostgresSovereignLedger:
    """Implements `ports.SovereignLedger`.

    Args:
        database: where the ledger is.
        models: prices; a model that is not there costs nothing.
        budget: caps per decision and per day.
    """

    def __init__(
        self, database: Database, models: Mapping[str, ModelCard] | None = None, budget: BudgetRules | None = None
    ) -> None:
        self._database = database
        self._models = models or {}
        self._budget = budget or BudgetRules()

    def answered(self, run_id: int, request: ModelRequest) -> ModelAnswer | None:
        """See the port."""
        row = self._database.row(sql.ANSWERED, {"run_id": run_id, "prompt_hash": request.prompt_hash})
        return None if row is None else ModelAnswer(**row._asdict())

    def begin(self, run: ClaimedRun, plan: CallPlan) -> int:
        """See the port."""
        card = self._models.get(plan.request.model, UNPRICED)
        wanted = reservation(card, plan.prompt_tokens, plan.request.max_tokens)
        caps, (per_input, per_output) = self._budget, card.prices
        row = self._database.row(
            sql.BEGIN,
            _planned(run, plan)
            | {
                "input_per_million": per_input,
                "output_per_million": per_output,
                "tokens": wanted.tokens,
                "cost": wanted.cost,
                "token_caps": [caps.tokens_per_decision, caps.tokens_per_day],
                "cost_caps": [caps.cost_per_decision, caps.cost_per_day],
            },
        )
        if row is None:
            raise FenceLost(f"run {run.id}: fence {run.fence} is no longer its latest; Sovereign was not asked")
        if row.reached is not None:
            raise self._refusal(row, plan, wanted)
        return int(row.id)

    def reuse(self, run: ClaimedRun, plan: CallPlan, ttl_s: float) -> ModelAnswer | None:
        """See the port."""
        row = self._database.row(sql.REUSE, _planned(run, plan) | {"ttl_s": ttl_s})
        return None if row is None else ModelAnswer(**row._asdict())

    def settle(self, call_id: int, answer: ModelAnswer, fault: str | None = None) -> None:
        """See the port."""
        content = storable(answer.content)[:TEXT_MAX_CHARS]
        answer_hash = _hash(content)
        touched = self._database.execute(
            sql.SETTLE,
            {
                "id": call_id,
                "outcome": "accepted" if fault is None else "invalid",
                "fault": None if fault is None else storable(fault)[:FAULT_MAX_CHARS],
                "content": content,
                "answer_hash": answer_hash,
                "answer_model": storable(answer.model),
                "finish_reason": storable(answer.finish_reason),
                "request_id": storable(answer.request_id),
                "tokens_in": counted(answer.tokens_in),
                "tokens_out": counted(answer.tokens_out),
                "latency_ms": answer.latency_ms,
            },
        )
        if touched == 0:
            # Again after a commit whose confirmation got lost: the same call, the same answer.
            row = self._database.row(sql.SETTLED, {"id": call_id})
            if row is None or row.outcome == "abandoned" or row.answer_hash != answer_hash:
                raise FenceLost(f"Sovereign call {call_id} was abandoned; its answer is not accepted")

    def fail(self, call_id: int, envelope: ErrorEnvelope, raw: str = "", free: bool | None = None) -> None:
        """See the port."""
        kept = storable(raw)[:RAW_MAX_CHARS]
        self._database.execute(
            sql.FAIL,
            {
                "id": call_id,
                "error": json.dumps(envelope.to_dict()),
                "raw": kept,
                "raw_hash": _hash(kept) if kept else None,
                "free": is_free_code(envelope.code) if free is None else free,
                "elapsed_ms": envelope.elapsed_ms,
            },
        )

    def calls(self, run_id: int) -> Sequence[Mapping[str, Any]]:
        """Returns the calls made for a run, oldest first."""
        return [row._asdict() for row in self._database.rows(sql.CALLS, {"run_id": run_id})]

    def _refusal(self, row: Any, plan: CallPlan, wanted: Charge) -> BudgetReached:
        """Returns why there is no room, and sees to it that an operator is told, once per cap and scope."""
        name, what = row.reached.rsplit(" ", 1)
        over = scopes(plan.decision, row.day, self._budget)
        scope = next(each for each in over if each.name == name)
        found = self._database.row(sql.SPENT, {"scopes": [name]})
        spent = NOTHING if found is None else Charge(found.tokens, Decimal(found.cost))
        error = refusal(scope.caps[what == "cost"], scope, spent, wanted, plan.request.model, self._budget.currency)
        details = {"cap": error.cap, "scope": name, "spent": error.spent, "wanted": error.wanted}
        self._database.execute(
            sql.ALERT_ONCE,
            {
                "scope": name,
                "cap": error.cap,
                "kind": ALERT_KIND,
                "message": str(error),
                "details": json.dumps(details, default=str),
            },
        )
        return error


def _planned(run: ClaimedRun, plan: CallPlan) -> dict[str, Any]:
    """Returns the parameters that describe a call: texts by hash, in the order in which their rows are locked."""
    request = plan.request
    shape = request.answer_format
    form = None if shape is None else json.dumps(asdict(shape), sort_keys=True)
    system, user = (storable(part)[:TEXT_MAX_CHARS] for part in (request.system, request.user))
    texts = sorted({_hash(part): part for part in (system, user, form) if part is not None}.items())
    parameters = {"temperature": request.temperature, "max_tokens": request.max_tokens, "seed": request.seed}
    return {
        "run_id": run.id,
        "fence": run.fence,
        "decision": plan.decision,
        "model": storable(request.model),
        "role": plan.role,
        "purpose": plan.purpose,
        "attempt": plan.attempt,
        "tier": plan.tier,
        "template": plan.template,
        "prompt_hash": request.prompt_hash,
        "system_hash": _hash(system),
        "user_hash": _hash(user),
        "format_hash": None if form is None else _hash(form),
        "parameters": json.dumps(parameters),
        "hashes": [digest for digest, _ in texts],
        "texts": [part for _, part in texts],
    }


def _hash(part: str) -> str:
    return hashlib.sha256(part.encode()).hexdigest()


class PostgresAlerts:
    """Implements `ports.Alerts`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def raise_alert(self, kind: str, message: str, details: Mapping[str, Any]) -> None:
        """See the port."""
        self._database.execute(RAISE, {"kind": kind, "message": message, "details": json.dumps(details, default=str)})

    def recent(self, limit: int) -> Sequence[Mapping[str, Any]]:
        """Returns the newest alerts first."""
        return [row._asdict() for row in self._database.rows(RECENT_ALERTS, {"limit": limit})]
