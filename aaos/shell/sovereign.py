"""What Sovereign was asked, what it said and what that cost, as a person sees it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal, Self, cast

from aaos.domain.llm_budget import BudgetRules, Charge
from aaos.errors import InputError
from aaos.shell.connection import connect, helpful_errors
from aaos.shell.lists import REASON_SHOWN_CHARS, shortened
from aaos.shell.runs import instant
from aaos.shell.tables import as_text, table

if TYPE_CHECKING:
    from rich.table import Table

    from aaos.bootstrap import Container

By = Literal["day", "model", "decision"]
VOTE = "trading_analysis"
GROUPINGS = ("day", "model", "decision")
OUTCOMES = ("pending", "accepted", "invalid", "failed", "abandoned")
LIMIT_MAX = 100_000
DAYS_MAX = 3_650
ID_MAX = 2**63 - 1


@dataclass(frozen=True, slots=True, repr=False)
class SovereignCall:
    """One call to a model; instants are aware, UTC. `cost` and `tokens_booked` are what counts against the budgets."""

    id: int
    run_id: int
    decision: int | None
    model: str
    role: str
    purpose: str
    attempt: int
    outcome: str
    tier: str | None
    template: str | None
    prompt_hash: str
    tokens_in: int | None
    tokens_out: int | None
    tokens_booked: int
    cost: Decimal
    latency_ms: float | None
    cached_from: int | None
    fault: str | None
    error: Mapping[str, Any] | None
    began_at: datetime
    ended_at: datetime | None

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Self:
        """Returns the call of a stored row."""
        return cls(**{field.name: row[field.name] for field in fields(cls)})

    @property
    def why(self) -> str:
        """Returns why there was no usable answer; empty where there was one, or none yet."""
        if self.error is not None:
            return f"{self.error['code']}: {self.error['message']}"
        return f"answer of call {self.cached_from}" if self.cached_from is not None else self.fault or ""

    def to_dict(self) -> dict[str, Any]:
        """Returns the JSON form; instants in ISO 8601, money as text."""
        return {field.name: _plain(getattr(self, field.name)) for field in fields(self)}

    def __repr__(self) -> str:
        why = f", {shortened(self.why, REASON_SHOWN_CHARS)}" if self.why else ""
        return f"{type(self).__name__}({self.id}, run {self.run_id}, {self.model} {self.purpose}, {self.outcome}{why})"


@dataclass(frozen=True, slots=True, repr=False)
class SovereignExchange(SovereignCall):
    """One call in full: the prompt, and what came back as received, which is untrusted text."""

    fence: int
    parameters: Mapping[str, Any]
    tokens_reserved: int
    answer_model: str | None
    finish_reason: str | None
    request_id: str | None
    system: str
    user: str
    answer_format: str | None
    answer: str | None
    raw: str | None

    def lines(self) -> Iterator[str]:
        """Yields the call for a terminal: whatever would move a cursor or reorder text is spelled out."""
        yield f"call {self.id} of run {self.run_id}: {visible(self.model)}, {self.role}, {self.purpose} {self.attempt}"
        yield f"outcome      {self.outcome}" + (f" ({visible(self.why)})" if self.why else "")
        yield f"asked        {instant(self.began_at)}, answered or given up {instant(self.ended_at)}"
        yield f"tokens       {self.tokens_in} in, {self.tokens_out} out, {self.tokens_booked} booked"
        yield f"cost         {money(self.cost)}"
        yield f"latency      {'-' if self.latency_ms is None else f'{self.latency_ms:.1f} ms'}"
        yield f"context      run {self.decision or '-'}, tier {self.tier or '-'}, template {self.template or '-'}"
        yield f"prompt       {self.prompt_hash} {json.dumps(self.parameters)}"
        if self.error is not None:
            yield f"envelope     {json.dumps(self.error)}"
        parts = {"system": self.system, "user": self.user, "answer format": self.answer_format}
        parts |= {"answer, as received": self.answer, "what came instead of an answer": self.raw}
        for title, content in parts.items():
            if content is not None:
                yield f"--- {title}"
                yield visible(content)

    def __str__(self) -> str:
        return "\n".join(self.lines())


class CallList(list[SovereignCall]):
    """Calls, newest first; prints as a table."""

    def __rich__(self) -> Table:
        """The table, for rich."""
        headers = (
            "call",
            "run",
            "time",
            "model",
            "role",
            "purpose",
            "try",
            "tier",
            "in",
            "out",
            "ms",
            "cost",
            "outcome",
            "why",
        )
        return table(headers, ([
            call.id, call.run_id, instant(call.began_at), shortened(call.model, REASON_SHOWN_CHARS), call.role,
            call.purpose, call.attempt, call.tier, call.tokens_in, call.tokens_out,
            None if call.latency_ms is None else round(call.latency_ms), money(call.cost), call.outcome,
            shortened(call.why, REASON_SHOWN_CHARS),
        ] for call in self))  # fmt: skip

    def __repr__(self) -> str:
        return as_text(self) if self else "no calls"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text("…" if cycle else repr(self))


@dataclass(frozen=True, slots=True)
class CostRow:
    """What one day, model or decision took; latencies (ms) are of answers that were paid for."""

    name: str | None
    calls: int
    accepted: int
    invalid: int
    failed: int
    cached: int
    tokens_in: int
    tokens_out: int
    tokens_booked: int
    cost: Decimal
    p50_ms: float | None
    p95_ms: float | None

    @property
    def accepted_share(self) -> float:
        """How many of the calls gave the answer that counted, 0 … 1."""
        return self.accepted / self.calls


@dataclass(frozen=True, slots=True, repr=False)
class SovereignCost:
    """What Sovereign cost, and what is left of today's budget (UTC); prints as a table."""

    by: By
    rows: tuple[CostRow, ...]
    today: date
    spent: Charge
    budget: BudgetRules

    @property
    def tokens_left(self) -> int | None:
        """Tokens that today's cap still leaves, None without a cap."""
        cap = self.budget.tokens_per_day
        return None if cap is None else max(cap - self.spent.tokens, 0)

    @property
    def money_left(self) -> Decimal | None:
        """Money that today's cap still leaves, None without a cap."""
        cap = self.budget.cost_per_day
        return None if cap is None else max(cap - self.spent.cost, Decimal(0))

    @property
    def left_today(self) -> str:
        """Returns a sentence on today's budget."""
        tokens = "no cap on tokens" if self.tokens_left is None else f"{self.tokens_left} tokens left"
        left = self.money_left
        cost = "no cap on cost" if left is None else f"{money(left)} {self.budget.currency} left"
        return (
            f"{self.today} (UTC): {self.spent.tokens} tokens and {money(self.spent.cost)} {self.budget.currency} "
            f"spent or reserved; {tokens}, {cost}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Returns the JSON form; money as text."""
        rows = [{**asdict(row), "accepted_share": row.accepted_share} for row in self.rows]
        return {
            "by": self.by,
            "currency": self.budget.currency,
            "rows": [{name: _plain(value) for name, value in row.items()} for row in rows],
            "today": {
                "day": self.today.isoformat(),
                "tokens": self.spent.tokens,
                "cost": _plain(self.spent.cost),
                "tokens_left": self.tokens_left,
                "cost_left": _plain(self.money_left),
            },
        }

    def __rich__(self) -> Table:
        """The table, for rich."""
        headers = (self.by, "calls", "accepted", "invalid", "failed", "cached", "tokens in", "tokens out", "booked")
        return table((*headers, f"cost {self.budget.currency}", "p50 ms", "p95 ms"), ([
            None if row.name is None else shortened(row.name, REASON_SHOWN_CHARS), row.calls,
            f"{row.accepted_share:.0%}", row.invalid, row.failed, row.cached, row.tokens_in, row.tokens_out,
            row.tokens_booked, money(row.cost), _rounded(row.p50_ms), _rounded(row.p95_ms),
        ] for row in self.rows))  # fmt: skip

    def __repr__(self) -> str:
        return f"{as_text(self)}\n{self.left_today}" if self.rows else f"no calls\n{self.left_today}"


@helpful_errors()
def sovereign_calls(
    run: int | None = None, model: str | None = None, outcome: str | None = None, limit: int = 20
) -> CallList:
    """Returns the newest calls to models first.

    Args:
        run: only those of this vote's run.
        model: only those to this model.
        outcome: only pending, accepted, invalid, failed or abandoned ones.
        limit: how many.

    Raises:
        InputError: a filter names nothing that there is; says what there is.
        UnknownRun: no such run.
    """
    if not 0 < limit <= LIMIT_MAX:
        raise InputError(f"limit is {limit}: ask for 1 to {LIMIT_MAX} calls")
    if outcome is not None and outcome not in OUTCOMES:
        raise InputError(f"no outcome {outcome!r}; a call is {', '.join(OUTCOMES)}")
    if run is not None:
        _check_id(run, "run")
    container = connect()
    found = CallList(SovereignCall.of(row) for row in container.call_book.calls(limit, run, model, outcome))
    if not found:
        _refuse_unknown(container, run, model)
    return found


@helpful_errors()
def sovereign_call(call_id: int) -> SovereignExchange:
    """Returns one call in full: prompt, answer as received, error; print it to read it safely.

    Raises:
        InputError: no such call; says where to find them.
    """
    _check_id(call_id, "call")
    row = connect().call_book.call(call_id)
    if row is None:
        raise InputError(f"no call {call_id}; `aaos sovereign calls` lists them")
    return SovereignExchange.of(row)


@helpful_errors()
def sovereign_cost(days: int = 7, by: str = "day") -> SovereignCost:
    """Returns tokens, cost and latency of the last days (UTC, today included), and what is left of today's budget.

    Args:
        days: how many.
        by: what to add up over: day, model or decision (the run of its frozen context).

    Raises:
        InputError: names what is possible.
    """
    if not 0 < days <= DAYS_MAX:
        raise InputError(f"days is {days}: ask for 1 to {DAYS_MAX}")
    if by not in GROUPINGS:
        raise InputError(f"cannot add up by {by!r}; choose {', '.join(GROUPINGS)}")
    grouping = cast("By", by)
    container = connect()
    rows = tuple(CostRow(**row) for row in container.call_book.costs(days, grouping))
    today, spent = container.call_book.today()
    return SovereignCost(grouping, rows, today, spent, container.settings.sovereign.budget)


def visible(text: str) -> str:
    """Returns untrusted text as a terminal may show it: line breaks stay, other invisible characters are spelled out.

    That takes the effect from escape sequences, carriage returns, bidirectional overrides and zero-width characters.
    """
    return "".join(
        char if char.isprintable() or char == "\n" else char.encode("unicode_escape").decode("ascii") for char in text
    )


def money(amount: Decimal) -> str:
    """Returns an amount without an exponent and without idle zeros."""
    shown = f"{amount:f}"
    return shown.rstrip("0").rstrip(".") if "." in shown else shown


def _check_id(value: int, what: str) -> None:
    if not 0 < value <= ID_MAX:
        raise InputError(f"{value} is no {what}'s id")


def _refuse_unknown(container: Container, run: int | None, model: str | None) -> None:
    """Nothing found is an answer, unless it was asked for something that does not exist."""
    if run is not None and (kind := container.runs.run(run).kind) != VOTE and not container.call_book.calls(1, run):
        raise InputError(f"run {run} is a {kind}; calls are made by votes: `aaos explain {run}` names their runs")
    if model is not None and model not in (asked := container.call_book.models()):
        there = f"asked so far: {', '.join(asked)}" if asked else "none was asked so far"
        raise InputError(f"no call to a model {model!r}; {there}")


def _rounded(value: float | None) -> int | None:
    return None if value is None else round(value)


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return f"{value:f}"
    return value.isoformat() if isinstance(value, date) else value
