"""Tables for terminals, pipes and `repr`: only the last column gives way to a terminal's edge, by folding."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

# In a pipe nothing is folded.
UNLIMITED_WIDTH = 10_000
LAST_COLUMN_MIN_CHARS = 24
GAP = (0, 2, 0, 0)
STYLES = {
    "completed": "green", "ready": "green", "yes": "green", "BUY": "green",
    "failed": "red", "no": "red", "SELL": "red",
    "skipped": "yellow", "restarting": "yellow", "running": "cyan", "starting": "cyan",
}  # fmt: skip


def table(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    """Returns a table; `None` shows as `-`, numbers stand to the right."""
    from rich.table import Table

    built = Table(box=None, pad_edge=False, padding=GAP, header_style="bold")
    values = [list(row) for row in rows]
    for position, header in enumerate(headers):
        column = [row[position] for row in values]
        width = max(len(header), *(len(_shown(value)) for value in column), 0)
        if position == len(headers) - 1:
            width = min(width, LAST_COLUMN_MIN_CHARS)
        numeric = bool(column) and all(value is None or isinstance(value, int | float) for value in column)
        built.add_column(header, justify="right" if numeric else "left", overflow="fold", min_width=width)
    for row in values:
        built.add_row(*(_cell(value) for value in row))
    return built


def _shown(value: object) -> str:
    return "-" if value is None else f"{value:.1f}" if isinstance(value, float) else str(value)


def _cell(value: object) -> Text:
    from rich.text import Text

    # Text, not a string: brackets in a reason are not markup.
    text = _shown(value)
    return Text(text, style=STYLES.get(text, ""))


def as_text(shown: object, width: int | None = None) -> str:
    """Returns what rich would print, without colours and trailing blanks; `width` None is the terminal's."""
    from rich.console import Console

    columns = shutil.get_terminal_size().columns if width is None else width
    printed = io.StringIO()
    Console(file=printed, width=columns, color_system=None).print(shown, crop=False)
    return "\n".join(line.rstrip() for line in printed.getvalue().rstrip("\n").split("\n"))
