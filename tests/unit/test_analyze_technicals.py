"""The technical analysis as a run: what it reads, and what it leaves behind."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from market_examples import walk

from aaos.domain.market import Candles, MarketSettings
from aaos.domain.runs import ClaimedRun
from aaos.domain.signals import SignalOutput, SignalParams, generate_signal
from aaos.services.analyze_technicals import analyze_technicals

SLOT = datetime(2026, 1, 1, 12, tzinfo=UTC)
MARKET_TIME = SLOT - timedelta(days=400)
CANDLES = walk(3_500)
PARAMS = SignalParams()


@dataclass
class Market:
    asked: list[int] = field(default_factory=list)

    def candles(self, symbol: str, at: datetime, limit: int) -> Candles:
        assert (symbol, at) == ("BTC/USDT", SLOT)
        self.asked.append(limit)
        return CANDLES.tail(limit)

    def market_time(self, symbol: str, at: datetime) -> datetime:
        return MARKET_TIME

    def symbols(self) -> tuple[str, ...]:
        return ("BTC/USDT",)

    def timeframe(self, symbol: str) -> str:
        return "1m"


def a_run() -> ClaimedRun:
    return ClaimedRun(7, "technical_analysis", "BTC/USDT", SLOT, 1, 9, SLOT, True, True, {}, SLOT, 30.0)


@pytest.mark.requirement("ENG-2")
@pytest.mark.parametrize(("history", "read"), [(500, 3_120), (3_300, 3_300)])
def test_an_analysis_reads_enough_candles_to_know_every_timeframe(history: int, read: int) -> None:
    market = Market()
    done = analyze_technicals(a_run(), market, PARAMS, MarketSettings(history_candles=history))
    assert market.asked == [read]
    assert [each["timeframe"] for each in done.body["timeframes"]] == ["1m", "5m", "15m", "1h"]
    assert SignalOutput.from_dict(done.body) == generate_signal(CANDLES.tail(read), PARAMS)


def test_an_analysis_names_the_candles_and_the_instants_it_stands_for() -> None:
    done = analyze_technicals(a_run(), Market(), PARAMS, MarketSettings())
    (candles,) = done.inputs
    assert (candles.name, candles.content_hash) == ("candles", CANDLES.tail(3_120).content_hash())
    assert (done.body["as_of"], done.body["market_time"]) == (SLOT.isoformat(), MARKET_TIME.isoformat())
