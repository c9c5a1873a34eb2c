"""The veto ledger as a person sees it: what was refused, and what it saved or cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aaos.domain.vetoes import STAGES, Veto
from aaos.errors import InputError
from aaos.shell.connection import connect, helpful_errors
from aaos.shell.figures import json_form, price, quote, signed
from aaos.shell.filters import check_limit, refuse_unknown
from aaos.shell.lists import REASON_SHOWN_CHARS, shortened
from aaos.shell.runs import instant
from aaos.shell.tables import as_text, table

if TYPE_CHECKING:
    from rich.table import Table

    from aaos.domain.veto_report import VetoFigures, VetoReport, VetoRow

HEADERS = ("veto", "time", "source", "stage", "code", "symbol", "side", "price", "became", "return", "in quote", "why")
TOTAL_HEADERS = (
    "stage", "code", "refused", "waiting", "scored", "windows", "mean return (95 %)", "saved", "missed",
    "saved, quote", "missed, quote", "says",
)  # fmt: skip
NOTHING = (
    "nothing was refused yet; a decision that may not be traded, or that risk or execution refuses, is written down "
    "here with what it would have become"
)
WINDOWS = (
    "the 95 % interval counts windows, stretches of time that do not overlap: trades refused in the same hours share "
    "their outcome"
)
SAYINGS = {
    "too few": "too few windows to say",
    "unclear": "unclear: chance may explain it",
    "saves": "saves: what it refuses loses",
    "costs": "costs: what it refuses gains",
}


class VetoList(list[Veto]):
    """Vetoes, newest first; prints as a table."""

    def __rich__(self) -> Table:
        """The table, for rich."""
        return table(HEADERS, ([
            each.id, instant(each.vetoed_at), each.refusal.source, each.refusal.stage, each.refusal.code,
            each.refusal.symbol, each.refusal.side, price(each.refusal.price), became(each),
            None if each.outcome is None else f"{each.outcome.return_pct:+.2f} %",
            None if each.outcome is None else signed(each.outcome.result_quote),
            shortened(each.refusal.reason, REASON_SHOWN_CHARS),
        ] for each in self))  # fmt: skip

    def to_dicts(self) -> list[dict[str, Any]]:
        """Returns the JSON form."""
        return [veto_dict(each) for each in self]

    def __repr__(self) -> str:
        return as_text(self) if self else NOTHING

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text("…" if cycle else repr(self))


class VetoTotals:
    """The ledger added up; prints as a table. `rows` and all else of the report are its attributes."""

    def __init__(self, report: VetoReport) -> None:
        self.report = report

    def __getattr__(self, name: str) -> Any:
        return getattr(self.report, name)

    def to_dict(self) -> dict[str, Any]:
        """Returns the JSON form."""
        return self.report.to_dict()

    def __rich__(self) -> Table:
        """The table, for rich."""
        return table(TOTAL_HEADERS, [_cells(row) for row in self.report.rows])

    def notes(self) -> list[str]:
        """Returns how it was counted, and what is in no figure."""
        report, rules = self.report, self.report.rules
        counted_as = (
            "return: in percent of the notional, after both fees, of the trade that was refused, ended by its stop, "
            f"its profit or after {rules.horizon_candles} candles; negative: refusing it was right"
        )
        notes = [counted_as, WINDOWS]
        for number, what in (
            *((number, f"can never be scored: {why}") for why, number in report.unscorable),
            (report.other_rules, "were scored under another horizon or fee and are in no figure"),
            (report.beyond_window, f"are older than the newest {rules.window_vetoes} and are in no figure"),
        ):
            if number:
                notes.append(f"{number} vetoes {what}")
        return notes

    def __repr__(self) -> str:
        return "\n".join([as_text(self), *self.notes()]) if self.report.rows else NOTHING

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text("…" if cycle else repr(self))


@helpful_errors()
def vetoes(
    limit: int = 20,
    stage: str | None = None,
    code: str | None = None,
    symbol: str | None = None,
    *,
    by: str | None = None,
) -> VetoList | VetoTotals:
    """Returns the newest refused trades with what became of them, or all of them added up.

    Args:
        limit: of single ones, at most so many.
        stage: only refused there: decision, review, risk, execution.
        code: only refused under it, as in RISK_DRAWDOWN.
        symbol: only these.
        by: `code`: counts, mean outcome, saved and missed by stage and code; of all, so without a filter.

    Raises:
        InputError: no such stage or grouping; UnknownSymbol: names the known ones.
        DatabaseUnavailable: nothing can be read.
    """
    check_limit(limit)
    if stage is not None and stage not in STAGES:
        raise InputError(f"no stage {stage!r}; a trade is refused at {', '.join(STAGES)}")
    container = connect()
    if by is not None:
        return _totals(by, any(each is not None for each in (stage, code, symbol)), container)
    found = VetoList(container.vetoes.vetoes(limit, stage, code, symbol))
    if not found:
        refuse_unknown(symbol, container)
        _refuse_unknown_code(code, container)
    return found


def veto_dict(veto: Veto) -> dict[str, Any]:
    """Returns the JSON form of a veto."""
    form: dict[str, Any] = json_form(veto)
    return {**form, "verdict": None if veto.outcome is None else veto.outcome.verdict}


def became(veto: Veto) -> str:
    """Returns what became of the refused trade, in a few words."""
    if veto.outcome is not None:
        ends = {"stop": "stopped out", "take_profit": "took its profit", "horizon": "ran to the horizon's end"}
        verdict = "saved" if veto.outcome.verdict == "saved" else "missed"
        return f"{verdict}: {ends[veto.outcome.exit_by]} at {price(veto.outcome.exit_price)}"
    if veto.terms is not None and veto.state == "waiting":
        from aaos.domain.market import iso_utc

        return f"known after {iso_utc(veto.terms.due_ms)} market time"
    return veto.why or "not looked at yet"


def _totals(by: str, filtered: bool, container: Any) -> VetoTotals:
    from aaos.domain.veto_report import veto_report

    if by != "code":
        raise InputError(f"cannot add up by {by!r}; choose code")
    if filtered:
        raise InputError("--by code adds up the whole ledger: leave out stage, code and symbol")
    rules = container.settings.vetoes
    return VetoTotals(veto_report(container.vetoes.scored(rules.window_vetoes), container.vetoes.counts(), rules))


def _refuse_unknown_code(code: str | None, container: Any) -> None:
    known = sorted({each.code for each in container.vetoes.counts()})
    if code is not None and code not in known:
        raise InputError(f"nothing was refused under {code!r}; so far: {', '.join(known) or 'nothing at all'}")


def _cells(row: VetoRow) -> list[object]:
    stage, code = row.stage or "all", row.code or "all"
    return [stage, code, row.refused, row.waiting, *_figures(row.figures)]


def _figures(figures: VetoFigures | None) -> list[object]:
    if figures is None:
        return [0, 0, *[None] * 5, "nothing scored yet"]
    low_high = figures.interval_pct
    interval = "(too few)" if low_high is None else f"({low_high[0]:+.2f} … {low_high[1]:+.2f})"
    return [
        figures.scored,
        figures.windows,
        f"{figures.mean_pct:+.2f} % {interval}",
        f"{figures.saved} × {figures.saved_pct:.2f} %",
        f"{figures.missed} × {figures.missed_pct:.2f} %",
        quote(figures.saved_quote),
        quote(figures.missed_quote),
        SAYINGS[figures.leaning],
    ]
