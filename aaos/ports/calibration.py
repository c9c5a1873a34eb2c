"""Ports of calibration: what became of votes, and the market's past."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from aaos.domain.calibration import CalibrationRules, SeriesNow, StateCount, UnreadVote, VoteOutcome
from aaos.domain.market import Candles


class VoteOutcomes(Protocol):
    """What became of each stored vote. Every stored vote has its row from the moment it is stored.

    Raises DatabaseUnavailable when the database is away; nothing is half done then.
    """

    def unread(self, limit: int) -> Sequence[UnreadVote]:
        """Returns votes that nobody has looked at, oldest first."""
        ...

    def due(self, in_use: Sequence[SeriesNow], voted_before: datetime, limit: int) -> Sequence[VoteOutcome]:
        """Returns waiting votes on these series whose horizon's last candle has closed, oldest due first."""
        ...

    def stranded(self, in_use: Sequence[SeriesNow], voted_before: datetime, limit: int) -> Sequence[VoteOutcome]:
        """Returns waiting votes on other series than these, or on candles that these have not reached."""
        ...

    def write(self, outcomes: Sequence[VoteOutcome]) -> int:
        """Stores what was found out, together; returns how many rows changed.

        An unread vote becomes what is said; a waiting one ends; what has ended stays as it is, whoever writes.
        """
        ...

    def scored(self, rules: CalibrationRules, limit: int) -> Sequence[VoteOutcome]:
        """Returns votes scored under this horizon and threshold, newest first."""
        ...

    def counts(self, rules: CalibrationRules) -> Sequence[StateCount]:
        """Returns how many votes stand how."""
        ...


class MarketHistory(Protocol):
    """Closed candles by market time, for looking back: no candle is too old, and too few are no error."""

    def in_use(self, at: datetime) -> Sequence[SeriesNow]:
        """Returns the series in use, each with the newest candle that had closed at the wall-clock instant `at`."""
        ...

    def candles_until(self, symbol: str, at: datetime, last_open_ms: int, limit: int) -> Candles:
        """Returns up to `limit` candles that opened at or before `last_open_ms`, oldest first.

        Only those that had closed at `at`, whatever is asked for.

        Raises:
            UnknownSymbol: the market does not list it.
        """
        ...
