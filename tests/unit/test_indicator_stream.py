from __future__ import annotations

import math
import pickle
import subprocess
import sys
from dataclasses import fields

import numpy as np
import pytest
from market_examples import candles_of, walk

from aaos.domain.signals import IndicatorColumns, SignalParams, compute_indicators
from aaos.domain.signals.streaming import IndicatorStream, IndicatorValues
from aaos.errors import InvalidMarketData

PARAMS = SignalParams()


def test_the_streams_values_are_named_as_the_columns() -> None:
    assert [f.name for f in fields(IndicatorValues)] == [f.name for f in fields(IndicatorColumns)]


@pytest.mark.requirement("ENG-2")
def test_figures_of_the_stream_are_those_of_the_newest_candle_of_the_batch() -> None:
    candles = candles_of(np.concatenate((np.full(80, 5.0), walk(30, price=5.0).close)))
    stream = IndicatorStream(PARAMS)
    for count, row in enumerate(candles.rows(), start=1):
        figures = stream.update(*row[1:]).figures()
        newest = compute_indicators(candles.tail(110).until(row[0] + 60_000), PARAMS).newest()
        assert {name for name, value in figures.items() if value is None} == {
            name for name, value in newest.items() if value is None
        }, count
    assert figures == pytest.approx(newest, rel=1e-11)


def test_the_first_candle_has_nothing_but_an_obv_of_zero() -> None:
    figures = IndicatorStream(PARAMS).update(1, 2, 0.5, 1.5, 7).figures()
    assert {name: value for name, value in figures.items() if value is not None} == {"obv": 0}


def test_the_streams_state_does_not_grow_with_history() -> None:
    rows = walk(5_000).rows()
    stream = IndicatorStream(PARAMS)
    sizes = []
    for row in rows:
        stream.update(*row[1:])
        sizes.append(len(pickle.dumps(stream)))
    # The queues of a range's candidates differ from candle to candle, the count of candles takes a byte more.
    assert max(sizes[100:]) < max(sizes[:100]) + 200


def test_a_stream_stored_and_restored_goes_on_as_if_nothing_had_happened() -> None:
    rows = walk(200).rows()
    stream = IndicatorStream(PARAMS)
    for row in rows[:120]:
        stream.update(*row[1:])
    restored = pickle.loads(pickle.dumps(stream))
    for row in rows[120:]:
        assert restored.update(*row[1:]) == stream.update(*row[1:])


@pytest.mark.parametrize(
    "candle",
    [
        (math.nan, 2, 1, 1, 1),
        (1, math.nan, 1, 1, 1),
        (1, 2, math.nan, 1, 1),
        (1, 2, 1, math.nan, 1),
        (1, 2, 1, 1, math.nan),
        (1, math.inf, 1, 1, 1),
        (1, 2, 1, 1, math.inf),
        (1, 2, 0, 1, 1),
        (1, 2, -1, 1, 1),
        (1, 2, 1.5, 1, 1),
        (1, 1.5, 1, 2, 1),
        (3, 2, 1, 2, 1),
        (0.5, 2, 1, 2, 1),
        (1, 2, 1, 1, -1),
    ],
)
def test_a_malformed_candle_is_refused_by_its_number_and_leaves_no_trace(candle: tuple[float, ...]) -> None:
    rows = walk(120).rows()
    disturbed, quiet = IndicatorStream(PARAMS), IndicatorStream(PARAMS)
    for row in rows[:100]:
        disturbed.update(*row[1:])
        quiet.update(*row[1:])
    with pytest.raises(InvalidMarketData, match=r"candle 100 of the stream.*give it again"):
        disturbed.update(*candle)
    for row in rows[100:]:
        assert disturbed.update(*row[1:]) == quiet.update(*row[1:])


def test_the_stream_works_without_the_indicator_library() -> None:
    code = (
        "import sys; from aaos.domain.signals.params import SignalParams;"
        "from aaos.domain.signals.streaming import IndicatorStream; stream = IndicatorStream(SignalParams());"
        "[stream.update(1, 2, 0.5, 1 + i % 3 / 4, 1) for i in range(100)]; sys.exit('talib' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
