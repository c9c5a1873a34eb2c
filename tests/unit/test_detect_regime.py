"""The regime as a run: whose labels count as the ones before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from market_examples import MINUTE_MS, walk
from shell_examples import stored

from aaos.domain.market import Candles, MarketSettings
from aaos.domain.regime import Labels, RegimeParams
from aaos.domain.regime import detect_regime as classify
from aaos.domain.runs import ClaimedRun, Completed
from aaos.ports import ResultRecord
from aaos.services.detect_regime import KIND, detect_regime

SLOT = datetime(2026, 1, 1, 12, tzinfo=UTC)
PARAMS = RegimeParams()
CANDLES = walk(600)
EARLIER = CANDLES.until(int(CANDLES.close_times_ms[-6]))
BEFORE = Labels("volatile", "markup", "rising")


@dataclass
class Market:
    whole: Candles = CANDLES

    def candles(self, symbol: str, at: datetime, limit: int) -> Candles:
        return self.whole.tail(limit)

    def market_time(self, symbol: str, at: datetime) -> datetime:
        return at

    def symbols(self) -> Sequence[str]:
        return (self.whole.symbol,)


@dataclass
class Results:
    newest: ResultRecord | None = None

    def latest(self, kind: str, symbol: str, before: datetime | None = None) -> ResultRecord | None:
        return self.newest

    def result(self, result_id: int) -> ResultRecord:
        raise NotImplementedError

    def result_of_run(self, run_id: int) -> ResultRecord | None:
        raise NotImplementedError

    def results(self, limit: int, kind: str | None = None, symbol: str | None = None) -> Sequence[ResultRecord]:
        raise NotImplementedError


def earlier(**changes: Any) -> ResultRecord:
    """What was stored five minutes ago, about the same candles unless changed."""
    said = replace(
        classify(EARLIER, PARAMS), regime=BEFORE.regime, wyckoff_phase=BEFORE.phase, volume_trend=BEFORE.volume_trend
    )
    return stored(7, KIND, said.to_dict() | changes)


def detected(before: ResultRecord | None, market: Candles = CANDLES) -> Completed:
    run = ClaimedRun(1, KIND, "BTC/USDT", SLOT, 1, 1, SLOT + timedelta(seconds=30), False, True, {}, SLOT, 30.0)
    return detect_regime(run, Market(market), Results(before), PARAMS, MarketSettings())


def previous(done: Completed) -> list[Any]:
    return [done.body["evidence"][label]["previous"] for label in ("regime", "phase", "volume")]


def test_the_labels_found_before_on_the_same_candles_count_and_are_an_input() -> None:
    done = detected(earlier())
    assert previous(done) == ["volatile", "markup", "rising"]
    assert [(each.name, each.result_id) for each in done.inputs] == [("candles", None), ("regime_before", 7)]


def test_the_first_detection_has_no_labels_before() -> None:
    done = detected(None)
    assert previous(done) == [None, None, None]
    assert [each.name for each in done.inputs] == ["candles"]
    assert done.body == classify(CANDLES.tail(500), PARAMS).to_dict() | {
        "as_of": SLOT.isoformat(), "market_time": SLOT.isoformat()
    }  # fmt: skip


@pytest.mark.parametrize(
    "changes",
    [
        {"close": 1.0},
        {"newest_candle_ms": int(CANDLES.open_time_ms[0])},  # older than the 500 candles in sight
        {"newest_candle_ms": int(CANDLES.open_time_ms[-1]) + MINUTE_MS},
        {"newest_candle_ms": int(CANDLES.open_time_ms[-6]) + 1},
        {"timeframe": "5m"},
        {"regime": "sideways"},
        {"close": None},
    ],
)
def test_labels_found_on_other_candles_do_not_count(changes: dict[str, Any]) -> None:
    """After a change of the replayed file, or of the market's source, the last label is about another market."""
    done = detected(earlier(**changes))
    assert previous(done) == [None, None, None]
    assert [each.name for each in done.inputs] == ["candles"]


def test_labels_of_another_market_at_the_same_times_do_not_count() -> None:
    other = walk(600, seed=99)
    assert not np.array_equal(other.close, CANDLES.close)
    assert np.array_equal(other.open_time_ms, CANDLES.open_time_ms)
    assert previous(detected(earlier(), other)) == [None, None, None]


def test_a_regime_stored_before_it_kept_its_close_does_not_count() -> None:
    body = {name: value for name, value in earlier().body.items() if name != "close"}
    assert previous(detected(stored(7, KIND, body))) == [None, None, None]
