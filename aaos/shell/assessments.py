"""Risk assessments as a person sees them: what was let through, what was not, and every check's figure and limit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aaos.errors import InputError, UnknownRun
from aaos.shell.connection import connect, helpful_errors
from aaos.shell.figures import json_form
from aaos.shell.filters import check_limit, source_of
from aaos.shell.lists import REASON_SHOWN_CHARS, shortened
from aaos.shell.runs import instant
from aaos.shell.tables import as_text, table

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

    from aaos.bootstrap import Container
    from aaos.domain.orders import RiskApproval
    from aaos.ports import ResultRecord

KIND = "risk_assessment"
HEADERS = ("run", "time", "source", "symbol", "signal", "verdict", "quantity", "leverage", "notional", "why")
CHECK_HEADERS = ("check", "passed", "figure", "limit", "unit", "why")
NOTHING = (
    "no risk assessments; a tradable decision leads to one: `aaos results --kind trading_decision` shows whether there "
    "is any, `aaos vetoes` what was refused before risk saw it"
)
LOOKED_THROUGH = 10_000
WHY_SHOWN_CHARS = 400


@dataclass(frozen=True, slots=True)
class Assessed:
    """One assessment: its report as it is stored, and the approval that came of it; prints with every check."""

    result: ResultRecord
    approval: RiskApproval | None

    @property
    def source(self) -> str:
        """`decision:17`, `trade:4`."""
        return str(self.result.body["source"])

    @property
    def approved(self) -> bool:
        """Whether every check passed."""
        return self.result.body["approved"] is True

    @property
    def verdict(self) -> str:
        """`approved`, or the code it was refused under."""
        return "approved" if self.approved else str(self.result.body["code"])

    @property
    def checks(self) -> Sequence[Mapping[str, Any]]:
        """Each with name, passed, figure, limit, unit, why, and its measures; none where risk did not look."""
        return tuple(self.result.body["checks"])

    def to_dict(self) -> dict[str, Any]:
        """Returns the JSON form."""
        stored: dict[str, Any] = {"run_id": self.result.run_id, "result_id": self.result.id}
        stored["analyzed_at"] = self.result.analyzed_at.isoformat()
        return {**stored, **self.result.body, "approval": json_form(self.approval)}

    def __rich__(self) -> Group:
        """The report, for rich."""
        from rich.console import Group

        shown: list[Any] = self.lines()
        if self.checks:
            shown += ["", checks_table(self.checks)]
        return Group(*shown)

    def lines(self) -> list[str]:
        """Returns what stands above the checks."""
        body, result = self.result.body, self.result
        where = f"result {result.id}, run {result.run_id}, {instant(result.analyzed_at)}"
        verdict = self.verdict if self.approved else f"refused as {self.verdict}"
        lines = [
            f"{self.source}: {body['signal']} {result.symbol} on {body['account']}, {verdict}  ({where})",
            f"  {shortened(str(body['reason']), WHY_SHOWN_CHARS)}",
        ]
        sizing = body["sizing"]
        if sizing:
            lines.append(f"  {sized(sizing)}")
        lines.append(f"  {standing(self.approval)}")
        return lines

    def __repr__(self) -> str:
        return as_text(self)

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text("…" if cycle else repr(self))


class AssessmentList(list[Assessed]):
    """Assessments, newest first; prints as a table."""

    def __rich__(self) -> Table:
        """The table, for rich."""
        return table(HEADERS, [_row(each) for each in self])

    def to_dicts(self) -> list[dict[str, Any]]:
        """Returns the JSON form."""
        return [each.to_dict() for each in self]

    def __repr__(self) -> str:
        return as_text(self) if self else NOTHING

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text("…" if cycle else repr(self))


@helpful_errors()
def risk(source: str | int | None = None, limit: int = 20) -> AssessmentList | Assessed:
    """Returns the newest risk assessments, or the newest one of a source with every check.

    Args:
        source: of a decision (`decision:17`, or its run's number) or of a portfolio trade (`trade:4`).
        limit: at most so many.

    Raises:
        InputError: it is no source, or risk has not looked at it; says what can be done.
        DatabaseUnavailable: nothing can be read.
    """
    check_limit(limit)
    container = connect()
    if source is None:
        found = container.results.results(limit, KIND)
        return AssessmentList(_assessed(each, container) for each in found)
    wanted = source_of(source)
    record = assessment_of(wanted, container)
    if record is None:
        raise InputError(_not_assessed(wanted, container))
    return _assessed(record, container)


def assessment_of(source: str, container: Container) -> ResultRecord | None:
    """Returns the stored assessment of a source."""
    approval = container.risk_desk.of_source(source)
    if approval is not None:
        return container.results.result_of_run(approval.run_id)
    refused = [each for each in container.vetoes.of_source(source) if each.refusal.stage == "risk"]
    if refused:
        return container.results.result_of_run(refused[-1].run_id)
    recent = container.results.results(LOOKED_THROUGH, KIND)
    return next((each for each in recent if each.body["source"] == source), None)


def checks_table(checks: Sequence[Mapping[str, Any]]) -> Table:
    """Returns every check with its figure and limit; what failed inside a check stands under it."""
    rows: list[list[object]] = []
    for check in checks:
        rows.append(_check_row(check, str(check["name"])))
        measures = check.get("measures", ())
        if len(measures) > 1:
            rows += [_check_row(each, f"  {each['name']}") for each in measures]
    return table(CHECK_HEADERS, rows)


def sized(sizing: Mapping[str, Any]) -> str:
    """Returns what would be traded, in a line."""
    stop = f", stop {sizing['stop_price']}" if sizing.get("stop_price") else ""
    profit = f", profit at {sizing['take_profit_price']}" if sizing.get("take_profit_price") else ""
    size = f"{sizing['quantity']} at {sizing['price']} (notional {sizing['notional']}), leverage {sizing['leverage']}"
    return f"{size}{stop}{profit}"


def standing(approval: RiskApproval | None) -> str:
    """Returns where an approval stands: used up, expired or waiting."""
    if approval is None:
        return "no approval"
    until = instant(approval.expires_at)
    if approval.used_at is not None:
        return f"approval {approval.id}, used by its order {instant(approval.used_at)}"
    return f"approval {approval.id}, {'expired unused' if approval.expired else 'unused, valid until'} {until}"


def _row(assessed: Assessed) -> list[object]:
    body = assessed.result.body
    sizing = body["sizing"] or {}
    return [
        assessed.result.run_id, instant(assessed.result.analyzed_at), assessed.source, assessed.result.symbol,
        body["signal"], assessed.verdict, sizing.get("quantity"), sizing.get("leverage"), sizing.get("notional"),
        shortened(str(body["reason"]), REASON_SHOWN_CHARS),
    ]  # fmt: skip


def _check_row(check: Mapping[str, Any], name: str) -> list[object]:
    passed = "yes" if check["passed"] else "no"
    why = shortened(str(check["why"]), WHY_SHOWN_CHARS)
    return [name, passed, check["figure"], check["limit"], check["unit"], why]


def _assessed(record: ResultRecord, container: Container) -> Assessed:
    approval = container.risk_desk.of_source(str(record.body["source"]))
    ours = approval is not None and approval.run_id == record.run_id
    return Assessed(record, approval if ours else None)


def _not_assessed(source: str, container: Container) -> str:
    kind, _, number = source.partition(":")
    if kind == "trade":
        return f"risk has not looked at {source}; `aaos portfolio` shows where the trade stands"
    try:
        run = container.runs.run(int(number))
    except UnknownRun:
        return f"there is no run {number}; `aaos results --kind trading_decision` lists the decisions"
    if run.kind != "trading_decision":
        return f"run {number} is a {run.kind}, no decision; `aaos results --kind trading_decision` lists them"
    return f"risk has not looked at {source}; `aaos explain {number}` says what became of the decision"
