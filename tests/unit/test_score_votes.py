"""The scoring look: what it reads and ends, in market time, within its own time, whatever else happens."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from calibration_examples import MINUTE_MS, NOON, RULES
from market_examples import START_MS, walk
from support.worlds import MemoryWorld, analysis, taken

from aaos.adapters.memory import MemoryVoteOutcomes
from aaos.domain.calibration import SeriesNow, VoteOutcome
from aaos.domain.calibration.outcomes import MARKET_SWITCHED, SERIES_GONE, SET_BACK
from aaos.domain.market import Candles
from aaos.domain.runs import Completed, Input
from aaos.errors import UnknownSymbol
from aaos.services.score_votes import BATCH, Scoring, score_votes


class Replay:
    """Implements `ports.MarketHistory`: one series whose market time is set by hand."""

    def __init__(self, candles: Candles, newest: int) -> None:
        self.candles = candles
        self.newest = newest
        self.gone = False

    def in_use(self, at: datetime) -> list[SeriesNow]:
        newest_ms = int(self.candles.open_time_ms[0]) + self.newest * MINUTE_MS
        return [SeriesNow(self.candles.symbol, "1m", newest_ms)]

    def candles_until(self, symbol: str, at: datetime, last_open_ms: int, limit: int) -> Candles:
        if self.gone:
            raise UnknownSymbol(symbol)
        newest_ms = self.in_use(at)[0].newest_open_ms
        return self.candles.until(min(last_open_ms, newest_ms) + MINUTE_MS).tail(limit)


class Ground:
    """Votes in memory and a market to play."""

    def __init__(self) -> None:
        self.world = MemoryWorld()
        self.outcomes = MemoryVoteOutcomes(self.world.database)
        self.market = Replay(walk(600, seed=5), 199)
        self.seconds = 0.0
        self.step_s = 0.0
        self.voted = 0

    def vote(self, signal: str = "BUY", confidence: float = 0.7, count: int = 1) -> list[int]:
        """Stores votes on the market as it stands, ten seconds and more ago."""
        runs = self.world.runs()
        known = self.market.candles_until("BTC/USDT", NOON, 2**53, 100)
        body = {"candles": {"timeframe": "1m", "rows": known.rows()}, "regime": {"regime": "ranging"}}
        context = self._complete(runs, "trading_context", Completed(body))
        lineage = [Input("context", "h", "", context)]
        said = {"voter": "trend", "model": "big", "signal": signal, "confidence": confidence}
        votes = [self._complete(runs, "trading_analysis", Completed(said, lineage)) for _ in range(count)]
        self.world.pass_time(60)
        return votes

    def _complete(self, runs: object, kind: str, outcome: Completed) -> int:
        self.voted += 1
        run_id, _ = runs.insert_request(analysis(kind, request_key=f"{kind}:{self.voted}"))  # type: ignore[attr-defined]
        result_id = runs.complete(taken(runs, run_id), outcome, publish=False).result_id  # type: ignore[arg-type,attr-defined]
        assert isinstance(result_id, int)
        return result_id

    def monotonic(self) -> float:
        self.seconds += self.step_s
        return self.seconds

    def score(self) -> Scoring:
        return score_votes(self.outcomes, self.market, self.world.clock, RULES, self.monotonic)

    def outcome(self, result_id: int) -> VoteOutcome:
        return self.world.database.tables.outcomes[result_id]


@pytest.fixture
def ground() -> Ground:
    return Ground()


def test_a_vote_waits_until_the_last_candle_of_its_horizon_has_closed_and_is_scored_then(ground: Ground) -> None:
    [vote] = ground.vote()
    ground.market.newest += RULES.horizon_candles - 1
    assert (ground.score().read, ground.outcome(vote).state) == (1, "waiting")
    ground.market.newest += 1
    assert ground.score().ended == 1
    end, market = ground.outcome(vote), ground.market.candles
    assert (end.state, end.close_then, end.close_after) == ("scored", market.close[199], market.close[223])
    assert end.after_ms == START_MS + 223 * MINUTE_MS


def test_however_late_it_is_looked_the_outcome_is_that_of_the_horizon(ground: Ground) -> None:
    late = Ground()
    [a], [b] = ground.vote(), late.vote()
    ground.market.newest += RULES.horizon_candles
    late.market.newest += 380
    ground.score()
    late.score()
    assert replace(ground.outcome(a), scored_at=None) == replace(late.outcome(b), scored_at=None)


def test_a_second_look_finds_nothing_to_do(ground: Ground) -> None:
    ground.vote(count=3)
    ground.vote("HOLD")
    ground.market.newest += 30
    assert ground.score() == Scoring(read=4, ended=3, finished=True)
    before = dict(ground.world.database.tables.outcomes)
    assert ground.score() == Scoring(finished=True)
    assert ground.world.database.tables.outcomes == before


def test_a_vote_of_the_last_ten_seconds_is_not_judged_yet(ground: Ground) -> None:
    [vote] = ground.vote()
    ground.market.newest += 30
    row = ground.world.database.tables.results[vote]
    ground.world.database.tables.results[vote] = replace(row, analyzed_at=row.analyzed_at + timedelta(seconds=55))
    assert ground.score().ended == 0
    ground.world.pass_time(6)
    assert ground.score().ended == 1


def test_another_file_of_the_same_symbol_and_time_makes_it_unscorable(ground: Ground) -> None:
    [vote] = ground.vote()
    ground.score()
    ground.market = Replay(walk(600, seed=6), 300)
    ground.score()
    assert (ground.outcome(vote).state, ground.outcome(vote).reason) == ("unscorable", MARKET_SWITCHED)


def test_a_market_set_back_before_the_vote_makes_it_unscorable_at_once(ground: Ground) -> None:
    [vote] = ground.vote()
    ground.market.newest = 198
    ground.score()
    assert ground.outcome(vote).reason == SET_BACK


def test_a_market_without_the_symbol_makes_it_unscorable(ground: Ground) -> None:
    [vote] = ground.vote()
    other = replace(ground.market.candles, symbol="ETH/USDT")
    ground.market = Replay(other, 300)
    ground.score()
    assert ground.outcome(vote).reason == SERIES_GONE


def test_what_has_ended_is_not_touched_by_a_later_switch_of_the_market(ground: Ground) -> None:
    [vote] = ground.vote()
    ground.market.newest += 30
    ground.score()
    end = ground.outcome(vote)
    ground.market = Replay(walk(600, seed=6), 300)
    ground.score()
    assert ground.outcome(vote) == end


def test_a_look_stops_when_its_time_is_up_and_the_next_one_goes_on(ground: Ground) -> None:
    votes = ground.vote(count=3 * BATCH)
    ground.market.newest += 30
    ground.step_s = RULES.score_time_s
    looks = [ground.score() for _ in range(7)]
    assert [look.finished for look in looks].index(True) > 2
    assert all(look.read + look.ended <= BATCH for look in looks)
    assert {ground.outcome(vote).state for vote in votes} == {"scored"}


def test_without_the_database_nothing_is_raised_and_nothing_is_lost(ground: Ground) -> None:
    [vote] = ground.vote()
    ground.market.newest += 30
    ground.world.database.away = True
    assert ground.score() == Scoring()
    ground.world.database.away = False
    ground.score()
    assert ground.outcome(vote).state == "scored"


def test_a_market_that_is_switched_in_the_middle_of_a_look_is_left_to_the_next_one(ground: Ground) -> None:
    [vote] = ground.vote()
    ground.market.newest += 30
    ground.market.gone = True
    assert ground.score() == Scoring(read=1)
    assert ground.outcome(vote).state == "waiting"


def test_a_lost_confirmation_changes_no_outcome(ground: Ground) -> None:
    [vote] = ground.vote()
    ground.market.newest += 30
    ground.score()
    end = ground.outcome(vote)
    assert ground.outcomes.write([replace(end, correct=not end.correct, state="scored")]) == 0
    assert ground.outcome(vote) == end
