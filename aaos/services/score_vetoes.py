"""Find out what became of refused trades: read new vetoes, and end those whose horizon is over."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from aaos.domain.calibration import SeriesNow
from aaos.domain.risk.rules import RiskRules
from aaos.domain.veto_outcomes import ANCHOR_CANDLES, anchor_of, read_veto, settle_veto, strand_veto
from aaos.domain.vetoes import Veto, VetoRules
from aaos.errors import DatabaseUnavailable, UnknownSymbol
from aaos.ports import Clock, MarketHistory, Vetoes

BATCH = 100
# Every process remembers for 2 s which market is in use. A veto is looked at once it is older than that by far: whoever
# does it then knows the market that it was refused on, or one that came after.
SETTLED_AFTER = timedelta(seconds=10)

log = structlog.get_logger()


@dataclass(slots=True)
class VetoScoring:
    """What one look did: vetoes read, vetoes ended, and whether it came to its end."""

    read: int = 0
    ended: int = 0
    finished: bool = False


def score_vetoes(
    vetoes: Vetoes,
    market: MarketHistory,
    clock: Clock,
    rules: VetoRules,
    risk: RiskRules,
    monotonic: Callable[[], float] = time.monotonic,
) -> VetoScoring:
    """Reads new vetoes and ends due ones, batch by batch, until nothing is left or the time is up.

    Any number of workers may do this at once, and any of them may die at any point: a batch is one statement, and
    what has ended stays as it is. With the database away nothing is lost; the next look goes on.
    """
    done = VetoScoring()
    give_up_at = monotonic() + rules.score_time_s
    try:
        done.finished = _score(done, _Scorer(vetoes, market, clock, rules, risk), lambda: monotonic() < give_up_at)
    except (DatabaseUnavailable, UnknownSymbol) as error:  # the latter: the market was switched just now
        log.warning("vetoes_not_scored", why=str(error))
    if done.read or done.ended:
        log.info("vetoes_scored", read=done.read, ended=done.ended, finished=done.finished)
    return done


def _score(done: VetoScoring, scorer: _Scorer, has_time: Callable[[], bool]) -> bool:
    """Returns whether nothing is left to do."""
    now = scorer.clock.now()
    in_use = scorer.market.in_use(now)
    while found := scorer.read(in_use, now):
        done.read += found
        if not has_time():
            return False
    for end in (scorer.settle, scorer.strand):
        while found := end(in_use, now):
            done.ended += found
            if not has_time():
                return False
    return True


@dataclass(frozen=True, slots=True)
class _Scorer:
    """The steps, each over one batch; they return how many vetoes they found."""

    vetoes: Vetoes
    market: MarketHistory
    clock: Clock
    rules: VetoRules
    risk: RiskRules

    def read(self, in_use: Sequence[SeriesNow], now: datetime) -> int:
        """Works out what new vetoes wait for."""
        series = {each.symbol: each for each in in_use}
        found = self.vetoes.unread(now - SETTLED_AFTER, BATCH)
        self._write([self._read(each, series.get(each.refusal.symbol), now) for each in found])
        return len(found)

    def settle(self, in_use: Sequence[SeriesNow], now: datetime) -> int:
        """Ends vetoes whose horizon is over."""
        due = self.vetoes.due(in_use, now - SETTLED_AFTER, BATCH)
        self._write([self._settle(each, now) for each in due])
        return len(due)

    def strand(self, in_use: Sequence[SeriesNow], now: datetime) -> int:
        """Ends vetoes whose market is gone."""
        found = self.vetoes.stranded(in_use, now - SETTLED_AFTER, BATCH)
        known = {(each.symbol, each.timeframe) for each in in_use}
        self._write([strand_veto(each, known) for each in found])
        return len(found)

    def _read(self, veto: Veto, series: SeriesNow | None, now: datetime) -> Veto:
        if series is None:
            return strand_veto(veto, set())
        refusal = veto.refusal
        last_ms = anchor_of(refusal, series.timeframe)
        candles = self.market.candles_until(refusal.symbol, now, last_ms, ANCHOR_CANDLES)
        return read_veto(veto, series, candles, self.rules, self.risk)

    def _settle(self, veto: Veto, now: datetime) -> Veto:
        terms = veto.terms
        if terms is None:
            raise ValueError(f"veto {veto.id} is waiting without terms")
        # One more for the candle that was in progress at the refusal.
        needed = terms.market_candles + 1 + terms.horizon_candles
        return settle_veto(veto, self.market.candles_until(veto.refusal.symbol, now, terms.due_ms, needed))

    def _write(self, vetoes: Sequence[Veto]) -> None:
        if vetoes:
            self.vetoes.write(vetoes)
