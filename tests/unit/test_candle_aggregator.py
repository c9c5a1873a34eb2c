from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from market_examples import MINUTE_MS, START_MS, walk

from aaos.domain.candle_aggregator import CandleAggregator
from aaos.domain.market import Candles, resample
from aaos.errors import ConfigError


def with_gaps(candles: Candles, kept: list[bool]) -> Candles:
    rows = [row for row, keep in zip(candles.rows(), kept, strict=True) if keep]
    return Candles.from_rows(candles.symbol, candles.timeframe, rows)


def gathered(candles: Candles, timeframe: str) -> list[tuple[float, ...]]:
    aggregator = CandleAggregator(candles.timeframe, timeframe)
    return [closed.row for row in candles.rows() for closed in aggregator.add(tuple(row))]  # type: ignore[arg-type]


@pytest.mark.requirement("ENG-2")
@given(
    st.integers(0, 2**32),
    st.integers(0, 14),
    st.lists(st.booleans(), min_size=90, max_size=90),
    st.sampled_from(["5m", "15m"]),
)
@settings(max_examples=60, deadline=None)
def test_candles_gathered_one_by_one_are_those_resampled_at_once(
    seed: int, start: int, kept: list[bool], timeframe: str
) -> None:
    candles = with_gaps(Candles.from_rows("BTC/USDT", "1m", walk(90 + start, seed).rows()[start:]), kept)
    at_once = resample(candles, timeframe).rows()
    one_by_one = gathered(candles, timeframe)
    assert [row[:5] for row in one_by_one] == [tuple(row[:5]) for row in at_once]
    np.testing.assert_allclose([row[5] for row in one_by_one], [row[5] for row in at_once], rtol=1e-12)


def test_a_coarser_candle_closes_with_its_last_minute_and_not_before() -> None:
    aggregator = CandleAggregator("1m", "5m")
    closed = [aggregator.add((START_MS + i * MINUTE_MS, 1.0, 2.0 + i, 0.5, 1.5, 10.0)) for i in range(5)]
    assert closed[:4] == [(), (), (), ()]
    assert closed[4] == (((START_MS, 1.0, 6.0, 0.5, 1.5, 50.0), 5),)


def test_a_timeframe_that_is_no_multiple_is_refused() -> None:
    with pytest.raises(ConfigError, match="not a multiple"):
        CandleAggregator("1h", "15m")
