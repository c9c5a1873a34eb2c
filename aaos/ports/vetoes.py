"""Port of the veto ledger: what was refused, and what became of it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from aaos.domain.calibration import SeriesNow
from aaos.domain.vetoes import Veto, VetoCount


class Vetoes(Protocol):
    """Refused trades, one per source and stage, stored with the run that refused (`Completed.veto`).

    Raises DatabaseUnavailable when the database is away; nothing is half done then.
    """

    def unread(self, vetoed_before: datetime, limit: int) -> Sequence[Veto]:
        """Returns vetoes that nobody has looked at, oldest first."""
        ...

    def due(self, in_use: Sequence[SeriesNow], vetoed_before: datetime, limit: int) -> Sequence[Veto]:
        """Returns waiting vetoes on these series whose horizon's last candle has closed, oldest due first."""
        ...

    def stranded(self, in_use: Sequence[SeriesNow], vetoed_before: datetime, limit: int) -> Sequence[Veto]:
        """Returns waiting vetoes on other series than these, or on candles that these have not reached."""
        ...

    def write(self, vetoes: Sequence[Veto]) -> int:
        """Stores what was found out, together; returns how many rows changed.

        An unread veto becomes what is said; a waiting one ends; what has ended stays as it is, whoever writes. The
        refusal itself never changes.
        """
        ...

    def vetoes(
        self, limit: int, stage: str | None = None, code: str | None = None, symbol: str | None = None
    ) -> Sequence[Veto]:
        """Returns the newest first."""
        ...

    def of_source(self, source: str) -> Sequence[Veto]:
        """Returns the vetoes of one decision or trade, oldest first."""
        ...

    def scored(self, limit: int) -> Sequence[Veto]:
        """Returns vetoes whose outcome is known, newest first."""
        ...

    def counts(self) -> Sequence[VetoCount]:
        """Returns how many vetoes stand how, by stage and code."""
        ...
