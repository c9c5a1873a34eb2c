"""`aaos.calibration()`: how far each model can be believed, as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aaos.domain.calibration import CalibrationReport, Figures, ReportRow, calibration_report
from aaos.errors import InputError
from aaos.shell.connection import connect, helpful_errors
from aaos.shell.lists import shortened
from aaos.shell.tables import as_text, table

if TYPE_CHECKING:
    from rich.table import Table

NAME_SHOWN_CHARS = 40
OVERALL = "all"
HEADERS = (
    "model", "role", "regime", "votes", "windows", "HOLD", "said", "right (95 %)", "Brier (95 %)", "skill", "ECE",
    "learned", "in force",
)  # fmt: skip


class Calibration:
    """The report; prints as a table. `rows`, `verdict` and all else of the report are its attributes."""

    def __init__(self, report: CalibrationReport) -> None:
        self.report = report

    def __getattr__(self, name: str) -> Any:
        return getattr(self.report, name)

    def to_dict(self) -> dict[str, Any]:
        """Returns the JSON form, with all bins and parts of the score."""
        return self.report.to_dict()

    def __rich__(self) -> Table:
        """The table, for rich."""
        return table(HEADERS, [_cells(row, self.report) for row in self.report.rows])

    def notes(self) -> list[str]:
        """Returns what the table leaves out, and whether the learned multipliers are used."""
        report, rules = self.report, self.report.rules
        scored_as = (
            f"right: the close moved the vote's way by more than {rules.min_move_fraction:.2%} "
            f"in {rules.horizon_candles} candles; 95 % intervals and `learned` count windows, since votes whose "
            "horizons overlap share their outcome; HOLD claims no move and is not scored"
        )
        waiting = sum(row.waiting for row in report.rows if row.regime is None)
        notes = [scored_as]
        for number, what in (
            (waiting, "wait for the end of their horizon"),
            (report.unread, "have not been looked at yet"),
            *((number, f"can never be scored: {reason}") for reason, number in report.unscorable.items()),
            (report.other_rules, "were scored under another horizon or threshold and are in no figure"),
            (report.beyond_window, f"are older than the newest {rules.window_votes} and are in no figure"),
        ):
            if number:
                notes.append(f"{number} votes {what}")
        return [*notes, report.verdict]

    def __repr__(self) -> str:
        shown = as_text(self) if self.report.rows else "no votes yet"
        return "\n".join([shown, *self.notes()])

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text("…" if cycle else repr(self))


@helpful_errors()
def calibration(model: str | None = None, regime: str | None = None) -> Calibration:
    """Returns how far each model can be believed: figures from what the market did after its votes.

    Args:
        model: only this one.
        regime: only votes in this one: trending_up, trending_down, ranging, volatile.

    Raises:
        InputError: nothing is known of that model or regime; names those there are.
        DatabaseUnavailable: the figures cannot be read.
    """
    container = connect()
    rules = container.settings.calibration
    scored = container.vote_outcomes.scored(rules, rules.window_votes)
    counts = container.vote_outcomes.counts(rules)
    multiplier = container.settings.decision.fallback_multiplier
    report = calibration_report(scored, counts, rules, multiplier, model, regime)
    if not report.rows and (model or regime):
        known = calibration_report(scored, counts, rules, multiplier).rows
        names = sorted({row.model for row in known}), sorted({row.regime for row in known if row.regime})
        raise InputError(
            f"no vote of {model or 'any model'} in {regime or 'any regime'}; "
            f"models: {', '.join(names[0]) or 'none yet'}; regimes: {', '.join(names[1]) or 'none yet'}"
        )
    return Calibration(report)


def _cells(row: ReportRow, report: CalibrationReport) -> list[object]:
    figures = row.figures
    return [
        shortened(row.model, NAME_SHOWN_CHARS),
        "fallback" if row.fallback_used else "primary",
        OVERALL if row.regime is None else shortened(row.regime, NAME_SHOWN_CHARS),
        0 if figures is None else figures.votes,
        0 if figures is None else figures.windows,
        _percent(row.hold_share),
        *_shown(figures),
        _learned(row, report.rules.min_votes),
        f"× {row.in_force:.2f} ({'as said' if row.source == 'none' else row.source})",
    ]


def _shown(figures: Figures | None) -> list[str | None]:
    if figures is None:
        return [None] * 5
    return [
        f"{figures.mean_confidence:.2f}",
        f"{figures.hit_rate:.2f} {_interval(figures.hit_interval, 2)}",
        f"{figures.brier:.3f} {_interval(figures.brier_interval, 3)}",
        None if figures.skill is None else f"{figures.skill:+.2f}",
        f"{figures.ece:.2f}",
    ]


def _interval(interval: tuple[float, float] | None, digits: int) -> str:
    return "(too few)" if interval is None else f"({interval[0]:.{digits}f} … {interval[1]:.{digits}f})"


def _learned(row: ReportRow, needed: int) -> str | None:
    if row.lesson is None:
        return None
    short = "" if row.lesson.enough else f" ({row.lesson.windows} of {needed} windows)"
    return f"× {row.lesson.factor:.2f}{short}"


def _percent(share: float | None) -> str | None:
    return None if share is None else f"{share:.0%}"
