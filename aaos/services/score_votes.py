"""Find out which votes were right: read new ones, and end those whose horizon is over."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from aaos.domain.calibration import CalibrationRules, SeriesNow, VoteOutcome, read_vote, settled, stranded
from aaos.domain.market import Candles
from aaos.errors import DatabaseUnavailable, UnknownSymbol
from aaos.ports import Clock, MarketHistory, VoteOutcomes

BATCH = 100
# Every process remembers for 2 s which market is in use. A vote is judged once it is older than that by far: whoever
# judges it then knows the market that it was cast on, or one that came after.
SETTLED_AFTER = timedelta(seconds=10)

log = structlog.get_logger()


@dataclass(slots=True)
class Scoring:
    """What one look did: votes read, votes ended, and whether it came to its end."""

    read: int = 0
    ended: int = 0
    finished: bool = False


def score_votes(
    outcomes: VoteOutcomes,
    market: MarketHistory,
    clock: Clock,
    rules: CalibrationRules,
    monotonic: Callable[[], float] = time.monotonic,
) -> Scoring:
    """Reads new votes and ends due ones, batch by batch, until nothing is left or the time is up.

    Any number of workers may do this at once, and any of them may die at any point: a batch is one statement, and
    a vote that has ended stays as it is. With the database away nothing is lost; the next look goes on.
    """
    done = Scoring()
    give_up_at = monotonic() + rules.score_time_s
    try:
        done.finished = _score(done, _Scorer(outcomes, market, clock, rules), lambda: monotonic() < give_up_at)
    except (DatabaseUnavailable, UnknownSymbol) as error:  # the latter: the market was switched just now
        log.warning("votes_not_scored", why=str(error))
    if done.read or done.ended:
        log.info("votes_scored", read=done.read, ended=done.ended, finished=done.finished)
    return done


def _score(done: Scoring, scorer: _Scorer, has_time: Callable[[], bool]) -> bool:
    """Returns whether nothing is left to do."""
    while found := scorer.read():
        done.read += found
        if not has_time():
            return False
    now = scorer.clock.now()
    in_use = scorer.market.in_use(now)
    for end in (scorer.settle, scorer.strand):
        while found := end(in_use, now):
            done.ended += found
            if not has_time():
                return False
    return True


@dataclass(frozen=True, slots=True)
class _Scorer:
    """The steps, each over one batch; they return how many votes they found."""

    outcomes: VoteOutcomes
    market: MarketHistory
    clock: Clock
    rules: CalibrationRules

    def read(self) -> int:
        """Reads new votes."""
        votes = self.outcomes.unread(BATCH)
        self._write([read_vote(vote, self.rules) for vote in votes])
        return len(votes)

    def settle(self, in_use: Sequence[SeriesNow], now: datetime) -> int:
        """Ends votes whose horizon is over."""
        due = self.outcomes.due(in_use, now - SETTLED_AFTER, BATCH)
        # The votes of one decision, and of one model under several stances, need the same candles.
        seen: dict[tuple[object, ...], Candles] = {}
        ended = []
        for each in due:
            key = (each.symbol, each.due_ms, each.market_candles, each.horizon_candles)
            if key not in seen:
                seen[key] = self._candles(each, now)
            ended.append(settled(each, seen[key]))
        self._write(ended)
        return len(due)

    def strand(self, in_use: Sequence[SeriesNow], now: datetime) -> int:
        """Ends votes whose market is gone."""
        found = self.outcomes.stranded(in_use, now - SETTLED_AFTER, BATCH)
        self._write([stranded(each, in_use) for each in found])
        return len(found)

    def _candles(self, outcome: VoteOutcome, now: datetime) -> Candles:
        needed = (outcome.market_candles or 0) + (outcome.horizon_candles or 0)
        return self.market.candles_until(outcome.symbol, now, outcome.due_ms or 0, needed)

    def _write(self, outcomes: Sequence[VoteOutcome]) -> None:
        if outcomes:
            self.outcomes.write(outcomes)
