"""The scoring look at the veto ledger: what it reads and ends, in market time, whatever else happens."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from decimal import Decimal

import pytest
from market_examples import MINUTE_MS, walk
from support.worlds import MemoryWorld, analysis, taken
from veto_examples import KNOWN, MARKET_MS, RISK, RULES, refused

from aaos.adapters.memory import MemoryVetoes
from aaos.domain.calibration import SeriesNow
from aaos.domain.market import Candles
from aaos.domain.runs import Completed
from aaos.domain.veto_outcomes import MARKET_SWITCHED, SERIES_GONE, SET_BACK
from aaos.domain.vetoes import NewVeto, Veto
from aaos.errors import UnknownSymbol
from aaos.services.score_vetoes import BATCH, VetoScoring, score_vetoes


class Replay:
    """Implements `ports.MarketHistory`: one series whose market time is set by hand."""

    def __init__(self, candles: Candles, newest: int) -> None:
        self.candles = candles
        self.newest = newest
        self.symbol = candles.symbol
        self.gone = False

    def in_use(self, at: datetime) -> list[SeriesNow]:
        newest_ms = int(self.candles.open_time_ms[0]) + self.newest * MINUTE_MS
        return [SeriesNow(self.symbol, "1m", newest_ms)]

    def candles_until(self, symbol: str, at: datetime, last_open_ms: int, limit: int) -> Candles:
        if self.gone:
            raise UnknownSymbol(symbol)
        newest_ms = self.in_use(at)[0].newest_open_ms
        return self.candles.until(min(last_open_ms, newest_ms) + MINUTE_MS).tail(limit)


class Ground:
    """Vetoes in memory and a market to play; it stands at the candle of the refusal."""

    def __init__(self) -> None:
        self.world = MemoryWorld()
        self.vetoes = MemoryVetoes(self.world.database)
        self.market = Replay(walk(400, seed=5), KNOWN - 1)
        self.seconds = 0.0
        self.step_s = 0.0

    def refuse(self, count: int = 1, aged_s: float = 60, **more: object) -> list[int]:
        """Stores vetoes of decisions, so long ago."""
        price = Decimal(str(self.market.candles.close[KNOWN - 1]))
        before = len(self.rows())
        for number in range(count):
            source = f"decision:{before + number}"
            self.complete(refused(source=source, price=price, stop_price=None, take_profit_price=None, **more))
        self.world.pass_time(aged_s)
        return list(self.rows())[before:]

    def complete(self, veto: NewVeto) -> None:
        runs = self.world.runs()
        run_id, _ = runs.insert_request(analysis("risk_assessment", request_key=f"risk:{veto.source}"))
        runs.complete(taken(runs, run_id), Completed({}, veto=veto), publish=False)

    def monotonic(self) -> float:
        self.seconds += self.step_s
        return self.seconds

    def score(self) -> VetoScoring:
        return score_vetoes(self.vetoes, self.market, self.world.clock, RULES, RISK, self.monotonic)

    def rows(self) -> dict[int, Veto]:
        return dict(self.world.database.tables.vetoes)


@pytest.fixture
def ground() -> Ground:
    return Ground()


def test_a_veto_waits_until_the_last_candle_of_its_horizon_has_closed_and_is_scored_then(ground: Ground) -> None:
    [veto] = ground.refuse()
    ground.market.newest += RULES.horizon_candles - 1
    assert ground.score() == VetoScoring(read=1, finished=True)
    assert ground.rows()[veto].state == "waiting"
    ground.market.newest += 1
    assert ground.score() == VetoScoring(ended=1, finished=True)
    ended = ground.rows()[veto]
    assert (ended.state, ended.scored_at) == ("scored", ground.world.now())
    assert ended.outcome is not None
    assert MARKET_MS <= ended.outcome.after_ms <= MARKET_MS + (RULES.horizon_candles - 1) * MINUTE_MS


def test_however_late_it_is_looked_the_outcome_is_that_of_the_horizon(ground: Ground) -> None:
    late = Ground()
    [a], [b] = ground.refuse(), late.refuse()
    ground.market.newest += RULES.horizon_candles
    late.market.newest += 350
    ground.score()
    late.score()
    assert ground.rows()[a].outcome == late.rows()[b].outcome is not None


def test_a_second_look_finds_nothing_to_do(ground: Ground) -> None:
    ground.refuse(count=3)
    ground.market.newest += 30
    assert ground.score() == VetoScoring(read=3, ended=3, finished=True)
    before = ground.rows()
    assert ground.score() == VetoScoring(finished=True)
    assert ground.rows() == before


def test_a_veto_of_the_last_ten_seconds_is_not_looked_at_yet(ground: Ground) -> None:
    [veto] = ground.refuse(aged_s=5)
    assert ground.score() == VetoScoring(finished=True)
    assert ground.rows()[veto].state == "unread"
    ground.world.pass_time(10)
    assert ground.score().read == 1


def test_a_market_switched_before_anybody_looked_ends_the_veto_with_the_reason(ground: Ground) -> None:
    [veto] = ground.refuse()
    ground.market.symbol = "ETH/USDT"
    ground.score()
    assert ground.rows()[veto].why == SERIES_GONE


def test_a_market_switched_while_vetoes_wait_strands_them_with_the_reason(ground: Ground) -> None:
    [gone] = ground.refuse()
    ground.score()
    ground.market.symbol = "ETH/USDT"
    ground.score()
    assert ground.rows()[gone].why == SERIES_GONE
    ground.market.symbol = "BTC/USDT"
    [back] = ground.refuse()
    ground.score()
    ground.market.newest = 5
    ground.score()
    assert ground.rows()[back].why == SET_BACK
    ground.market.newest = KNOWN - 1
    [other] = ground.refuse()
    ground.score()
    ground.market.candles = walk(400, seed=6)
    ground.market.newest += RULES.horizon_candles
    ground.score()
    assert ground.rows()[other].why == MARKET_SWITCHED


def test_a_look_that_has_no_time_left_says_so_and_the_next_one_goes_on(ground: Ground) -> None:
    ground.refuse(count=2 * BATCH + 1)
    ground.step_s = RULES.score_time_s
    assert ground.score() == VetoScoring(read=BATCH)
    ground.step_s = 0.0
    assert ground.score() == VetoScoring(read=BATCH + 1, finished=True)


def test_a_market_switched_at_that_moment_or_a_database_away_loses_nothing(ground: Ground) -> None:
    [veto] = ground.refuse()
    ground.market.gone = True
    assert not ground.score().finished
    ground.market.gone, ground.world.database.away = False, True
    assert not ground.score().finished
    ground.world.database.away = False
    assert ground.rows()[veto].state == "unread"
    ground.score()
    assert ground.rows()[veto].state == "waiting"


def test_rules_changed_while_a_veto_waits_do_not_pick_its_outcome(ground: Ground) -> None:
    [veto] = ground.refuse()
    ground.score()
    ground.market.newest += 300
    other = replace(RULES, horizon_candles=299, taker_fee=Decimal("0.05"))
    score_vetoes(ground.vetoes, ground.market, ground.world.clock, other, RISK)
    terms = ground.rows()[veto].terms
    assert terms is not None
    assert (terms.horizon_candles, terms.taker_fee) == (RULES.horizon_candles, RULES.taker_fee)
    assert ground.rows()[veto].state == "scored"
