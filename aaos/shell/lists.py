"""Lists that print as tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aaos.shell.results import Result
from aaos.shell.runs import Run, instant
from aaos.shell.tables import as_text, table

if TYPE_CHECKING:
    from rich.table import Table

HASH_SHOWN_CHARS = 10
REASON_SHOWN_CHARS = 120


class RunList(list[Run]):
    """Runs, newest first; prints as a table."""

    def __rich__(self) -> Table:
        """The table, for rich."""
        headers = ("run", "kind", "symbol", "slot", "state", "try", "took s", "result", "why")
        return table(headers, ([
            run.id, run.kind, run.symbol, instant(run.slot), run.state.value, run.attempt,
            None if run.took_s is None else f"{run.took_s:.2f}", run.result_id, shortened(run.why, REASON_SHOWN_CHARS),
        ] for run in self))  # fmt: skip

    def __repr__(self) -> str:
        return as_text(self) if self else "no runs"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text("…" if cycle else repr(self))


class ResultList(list[Result]):
    """Results, newest first; prints as a table."""

    def __rich__(self) -> Table:
        """The table, for rich."""
        headers = ("result", "run", "kind", "symbol", "slot", "hash", "published", "says")
        return table(headers, ([
            each.id, each.run_id, each.kind, each.symbol, instant(each.slot),
            each.content_hash[:HASH_SHOWN_CHARS], "no" if each.published_at is None else "yes", each.headline,
        ] for each in self))  # fmt: skip

    def __repr__(self) -> str:
        return as_text(self) if self else "no results"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text("…" if cycle else repr(self))


def shortened(text: str, limit: int) -> str:
    """Returns the text on one line, at most that long, without control characters: a model's words are untrusted."""
    line = "".join(char if char.isprintable() else "?" for char in " ".join(text.split()))
    return line if len(line) <= limit else line[: limit - 1] + "…"
