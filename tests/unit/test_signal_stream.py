from __future__ import annotations

import math
import pickle
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from market_examples import MINUTE_MS, START_MS, candles_of, walk

from aaos.domain.market import Candles
from aaos.domain.signals import AlignmentParams, SignalOutput, SignalParams, SignalStream, generate_signal
from aaos.errors import InsufficientData, InvalidMarketData

PARAMS = SignalParams()
SHORT = replace(PARAMS, alignment=AlignmentParams(timeframes=("1m", "5m")))


def streamed(candles: Candles, params: SignalParams) -> SignalStream:
    stream = SignalStream(candles.symbol, candles.timeframe, params)
    for row in candles.rows():
        stream.update(*row)  # type: ignore[arg-type]
    return stream


def assert_same(ours: SignalOutput, theirs: SignalOutput) -> None:
    """Equal in every name, candle and word; numbers to the rounding of the last digits."""
    close(ours.to_dict(), theirs.to_dict(), "output")


def close(a: object, b: object, where: str) -> None:
    if isinstance(a, dict) and isinstance(b, dict):
        assert a.keys() == b.keys(), where
        for key in a:
            close(a[key], b[key], f"{where}.{key}")
    elif isinstance(a, list) and isinstance(b, list):
        assert len(a) == len(b), where
        for i, pair in enumerate(zip(a, b, strict=True)):
            close(*pair, f"{where}[{i}]")
    elif isinstance(a, float) and isinstance(b, float):
        assert math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-9), (where, a, b)
    else:
        assert a == b, where


@pytest.mark.requirement("ENG-2")
@given(
    st.integers(0, 2**32),
    st.integers(60, 700),
    st.integers(0, 4),
    st.sampled_from([1e-9, 1.0, 5e4]),
    st.sets(st.integers(0, 699), max_size=12),
)
@settings(max_examples=30, deadline=None)
def test_one_candle_at_a_time_gives_what_all_at_once_give(
    seed: int, n: int, start: int, price: float, missing: set[int]
) -> None:
    rows = [row for i, row in enumerate(walk(n, seed, price).rows()) if i >= start and i not in missing]
    candles = Candles.from_rows("BTC/USDT", "1m", rows)
    try:
        at_once = generate_signal(candles, SHORT)
    except InsufficientData:
        with pytest.raises(InsufficientData):
            streamed(candles, SHORT).signal()
        return
    assert_same(streamed(candles, SHORT).signal(), at_once)


@pytest.mark.requirement("ENG-2")
def test_every_candle_on_the_way_gives_what_a_batch_up_to_it_gives() -> None:
    candles = walk(900, seed=11)
    stream = SignalStream("BTC/USDT", "1m", SHORT)
    for i, row in enumerate(candles.rows()):
        stream.update(*row)  # type: ignore[arg-type]
        if i >= 60 and i % 7 == 0:
            so_far = Candles.from_rows("BTC/USDT", "1m", candles.rows()[: i + 1])
            assert_same(stream.signal(), generate_signal(so_far, SHORT))


@pytest.mark.requirement("ENG-2")
def test_a_stream_does_not_grow_with_its_history() -> None:
    def size(n: int) -> int:
        return len(pickle.dumps(streamed(walk(n, seed=2), SHORT)))

    assert size(6_000) <= size(2_000) * 1.02


def test_a_stream_too_short_says_how_many_candles_are_missing() -> None:
    with pytest.raises(InsufficientData, match="need 50 closed candles, there are 49"):
        streamed(walk(49), PARAMS).signal()
    with pytest.raises(InsufficientData, match="there are 0"):
        SignalStream("BTC/USDT", "1m", PARAMS).signal()


@pytest.mark.requirement("ENG-2")
@pytest.mark.parametrize(
    "bad",
    [
        (START_MS + 99 * MINUTE_MS, 1.0, 1.0, 1.0, 1.0, 1.0),
        (START_MS + 98 * MINUTE_MS, 1.0, 1.0, 1.0, 1.0, 1.0),
        (START_MS + 100 * MINUTE_MS, 1.0, 1.0, 1.0, math.nan, 1.0),
        (START_MS + 100 * MINUTE_MS, 1.0, 0.5, 1.0, 1.0, 1.0),
        (START_MS + 100 * MINUTE_MS + 1, 1.0, 1.0, 1.0, 1.0, 1.0),
        (START_MS + 100 * MINUTE_MS, 1.0, 1.0, 1.0, 1.0, -1.0),
    ],
    ids=["duplicate", "out of order", "NaN", "high below open", "off the grid", "negative volume"],
)
def test_a_bad_candle_is_refused_and_leaves_the_stream_as_it_was(bad: tuple[float, ...]) -> None:
    candles = walk(101)
    stream = streamed(Candles.from_rows("BTC/USDT", "1m", candles.rows()[:100]), PARAMS)
    before = stream.signal()
    with pytest.raises(InvalidMarketData, match="candle"):
        stream.update(*bad)  # type: ignore[arg-type]
    assert stream.signal() == before
    stream.update(*candles.rows()[100])  # type: ignore[arg-type]
    assert_same(stream.signal(), generate_signal(candles, PARAMS))


def test_a_flat_market_streams_as_neutral() -> None:
    output = streamed(candles_of(np.full(300, 3.3333), 0.0), PARAMS).signal()
    assert (output.direction, output.score) == ("neutral", 0.0)
