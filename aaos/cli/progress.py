"""The stages of a pipeline, live, on a terminal's stderr."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from rich.live import Live
from rich.table import Table
from rich.text import Text

from aaos.cli.output import console
from aaos.domain.runs import State
from aaos.errors import DatabaseUnavailable
from aaos.shell.lists import shortened
from aaos.shell.tables import STYLES

if TYPE_CHECKING:
    from aaos.shell.handle import Handle

REASON_SHOWN_CHARS = 60
_MARKS = {State.PENDING: "·", State.RUNNING: "▸", State.COMPLETED: "✓", State.FAILED: "✗", State.SKIPPED: "-"}


@contextmanager
def live_stages(handle: Handle[Any]) -> Iterator[Callable[[], None]]:
    """Yields what redraws the stages; they stay on screen at the end, as they ended."""
    began_at = time.monotonic()
    with Live(console=console(stderr=True), auto_refresh=False) as live:

        def redraw() -> None:
            live.update(_drawn(handle, time.monotonic() - began_at), refresh=True)

        redraw()
        try:
            yield redraw
        finally:
            # PostgreSQL may have gone meanwhile: then the waiting's own error says so, and the last picture stays.
            with suppress(DatabaseUnavailable):
                redraw()


def _drawn(handle: Handle[Any], elapsed_s: float) -> Table:
    drawn = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    for stage in handle.stages():
        style = STYLES.get(stage.state.value, "dim")
        reason = Text(shortened(stage.reason or "", REASON_SHOWN_CHARS), style="dim")
        state = Text(f"{_MARKS[stage.state]} {stage.state.value}", style=style)
        drawn.add_row(state, Text(stage.kind), Text(f"run {stage.run_id}", style="dim"), reason)
    drawn.add_row(Text(f"{elapsed_s:.1f} s", style="dim"), Text(handle.symbol, style="bold"))
    return drawn
