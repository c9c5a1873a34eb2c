"""Outcomes of votes in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from aaos.adapters.memory.tables import MemoryDatabase, Tables
from aaos.domain.calibration import CalibrationRules, SeriesNow, StateCount, UnreadVote, VoteOutcome
from aaos.ports import ResultRecord

VOTE = "trading_analysis"


class MemoryVoteOutcomes:
    """Implements `ports.VoteOutcomes`; a vote without an outcome is unread."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database

    def unread(self, limit: int) -> Sequence[UnreadVote]:
        """See the port."""
        with self._database.transaction() as tables:
            return [_unread(vote, tables) for vote in _without_outcome(tables)[:limit]]

    def due(self, in_use: Sequence[SeriesNow], voted_before: datetime, limit: int) -> Sequence[VoteOutcome]:
        """See the port."""
        found = [
            each
            for each, newest_ms in self._waiting(in_use, voted_before)
            if newest_ms is not None and (each.due_ms or 0) <= newest_ms
        ]
        return sorted(found, key=lambda each: (each.due_ms or 0, each.result_id))[:limit]

    def stranded(self, in_use: Sequence[SeriesNow], voted_before: datetime, limit: int) -> Sequence[VoteOutcome]:
        """See the port."""
        found = [
            each
            for each, newest_ms in self._waiting(in_use, voted_before)
            if newest_ms is None or (each.candle_ms or 0) > newest_ms
        ]
        return found[:limit]

    def write(self, outcomes: Sequence[VoteOutcome]) -> int:
        """See the port."""
        changed = 0
        with self._database.transaction() as tables:
            for each in outcomes:
                stored = tables.outcomes.get(each.result_id)
                known = stored is not None or each.result_id in tables.results
                if not known or (stored is not None and (stored.state, each.state == "waiting") != ("waiting", False)):
                    continue
                ended_at = None if each.state == "waiting" else self._database.clock.now()
                tables.outcomes[each.result_id] = replace(each, scored_at=ended_at)
                changed += 1
        return changed

    def scored(self, rules: CalibrationRules, limit: int) -> Sequence[VoteOutcome]:
        """See the port."""
        with self._database.transaction() as tables:
            found = [each for each in tables.outcomes.values() if each.state == "scored" and _is_current(each, rules)]
        return sorted(found, key=lambda each: -each.result_id)[:limit]

    def counts(self, rules: CalibrationRules) -> Sequence[StateCount]:
        """See the port."""
        with self._database.transaction() as tables:
            counted = Counter(
                (each.model, each.fallback_used, each.regime, each.state, each.reason, _is_current(each, rules))
                for each in tables.outcomes.values()
            )
            unread = len(_without_outcome(tables))
        counts = [StateCount(*key, count) for key, count in counted.items()]
        return [*counts, StateCount(None, None, None, "unread", None, None, unread)] if unread else counts

    def _waiting(self, in_use: Sequence[SeriesNow], voted_before: datetime) -> list[tuple[VoteOutcome, int | None]]:
        """Waiting votes, each with the newest candle of its series; None where that is not in use."""
        newest = {(each.symbol, each.timeframe): each.newest_open_ms for each in in_use}
        with self._database.transaction() as tables:
            return [
                (each, newest.get((each.symbol, each.timeframe or "")))
                for each in tables.outcomes.values()
                if each.state == "waiting" and each.voted_at < voted_before
            ]


def _without_outcome(tables: Tables) -> list[ResultRecord]:
    votes = (each for each in tables.results.values() if each.kind == VOTE and each.id not in tables.outcomes)
    return sorted(votes, key=lambda each: each.id)


def _unread(vote: ResultRecord, tables: Tables) -> UnreadVote:
    context_id = next((each["result_id"] for each in vote.inputs if each["name"] == "context"), None)
    context = None if context_id is None else tables.results.get(context_id)
    return UnreadVote(vote.id, vote.analyzed_at, vote.symbol, vote.body, None if context is None else context.body)


def _is_current(outcome: VoteOutcome, rules: CalibrationRules) -> bool | None:
    if outcome.horizon_candles is None or outcome.min_move_fraction is None:
        return None
    said = outcome.horizon_candles, outcome.min_move_fraction
    return said == (rules.horizon_candles, rules.min_move_fraction)
