"""The signals' benchmark: everybody gets sound candles and does the same work, and differences are told."""

from __future__ import annotations

import sys
import time
from dataclasses import asdict
from itertools import count
from typing import Any

import numpy as np
import pytest

from aaos.domain.market import Candles, check_candles
from aaos.domain.signals import IndicatorColumns, SignalParams, compute_indicators
from bench.signals_full import STRETCH, WARM_UP, measured
from bench.signals_race import LIMIT, OURS, PEERS, Entry, Lap, _differences, same
from bench.signals_series import CANDLES, TIMEFRAMES, kinds

OHLCV = ("open", "high", "low", "close", "volume")


@pytest.fixture(scope="module")
def candles() -> Candles:
    return kinds("1m")["trending"]


@pytest.fixture(scope="module")
def columns(candles: Candles) -> IndicatorColumns:
    return compute_indicators(candles, SignalParams())


@pytest.fixture
def limit(candles: Candles, monkeypatch: pytest.MonkeyPatch) -> Any:
    """TA-Lib alone, as it races: its script stands beside the others', outside of any package."""
    monkeypatch.syspath_prepend(str(PEERS))
    import talib_alone

    contestant = talib_alone.Talib()
    contestant.params = asdict(SignalParams())
    contestant.columns = {name: getattr(candles, name).tolist() for name in OHLCV}
    contestant.prepare()
    yield contestant
    for name in ("talib_alone", "turns"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("timeframe", TIMEFRAMES)
def test_calm_trending_and_jumpy_candles_are_sound_and_different_from_each_other(timeframe: str) -> None:
    found = kinds(timeframe)
    for each in found.values():
        assert len(each) == CANDLES
        check_candles(each)
    moves = {kind: np.abs(np.diff(np.log(each.close))) for kind, each in found.items()}
    assert moves["calm"].sum() < moves["trending"].sum()
    assert moves["jumpy"].max() > 2 * moves["calm"].max()


def test_talib_alone_computes_every_figure_that_we_compute_and_the_same_ones(
    limit: Any, columns: IndicatorColumns
) -> None:
    figures = limit.figures(limit.compute())
    ours = {**columns.newest(), "obv": float(columns.obv[-1] - columns.obv[0])}
    assert set(figures) == set(ours)
    assert [name for name in ours if not same(figures[name], ours[name])] == []


def test_a_library_that_lacks_a_figure_or_sees_one_otherwise_is_told_by_name() -> None:
    process: Any = None
    ours = Entry(OURS, process, 1, {"rsi": 50.0, "adx": 20.0, "kdj_k": 80.0})
    assert _differences(Entry(LIMIT, process, 1, dict(ours.figures)), ours) == "the same"
    poorer = Entry("poorer", process, 1, {"rsi": 50.00001, "kdj_k": 81.0})
    assert _differences(poorer, ours) == "lacks adx; other: kdj_k 81 for 80"


def test_calls_are_counted_after_a_warm_up_and_a_disturbed_stretch_gives_way_to_a_calm_one() -> None:
    made = count(1)

    def call() -> None:
        if next(made) <= WARM_UP + STRETCH:
            time.sleep(0.0002)  # its first stretch has little of the core, as if others had taken it
        sum(range(3000))

    lap = measured({"a": call}, STRETCH, tries=2)["a"]
    assert next(made) > WARM_UP + 2 * STRETCH
    assert len(lap.wall) == len(lap.cpu) == STRETCH
    assert lap.share > 0.3
    assert Lap([10.0, 30.0], [10.0, 10.0]).share == 0.5
