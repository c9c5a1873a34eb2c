from __future__ import annotations

from dataclasses import replace

import pytest
from market_examples import candles_of, walk

from aaos.domain.market import Candles, first_since_gap
from aaos.domain.signals import SignalParams, generate_signal, signal_at, study_candles
from aaos.domain.signals.pivots import Pivot
from aaos.domain.signals.study import pivots_since

PARAMS = SignalParams()


def without(candles: Candles, start: int, count: int) -> Candles:
    rows = candles.rows()
    return Candles.from_rows(candles.symbol, candles.timeframe, rows[:start] + rows[start + count :])


def test_a_stretch_begins_after_a_wide_gap_and_goes_on_over_a_narrow_one() -> None:
    candles = without(without(walk(40), 30, 3), 10, 6)
    assert first_since_gap(candles, 5).tolist() == [0] * 10 + [10] * 21
    assert first_since_gap(candles, 6).tolist() == [0] * 31
    assert first_since_gap(candles, 2).tolist() == [0] * 10 + [10] * 14 + [24] * 7


def test_pivots_after_a_gap_have_all_their_neighbours_after_it() -> None:
    pivots = [Pivot(i, "high", 1.0, i + 2) for i in (3, 11, 12, 20)]
    assert [p.index for p in pivots_since(pivots, 10, 2)] == [12, 20]
    assert pivots_since(pivots, 0, 2) == pivots


@pytest.mark.requirement("ENG-2")
def test_no_divergence_or_pattern_reaches_across_a_wide_gap() -> None:
    """The same candles, told as one stretch and told with an outage in their middle."""
    seen, across = 0, 0
    for seed in range(30):
        whole = walk(300, seed)
        rows = [[row[0] + (40 * 60_000 if i >= 240 else 0), *row[1:]] for i, row in enumerate(whole.rows())]
        torn = Candles.from_rows("BTC/USDT", "1m", rows)  # type: ignore[arg-type]
        resumed_ms = int(torn.open_time_ms[240])
        for index in range(291, 300):
            study = study_candles(torn, PARAMS)
            told = signal_at(study, index, PARAMS)
            begun = [each.first_ms for each in told.divergences] + [each.points[0].time_ms for each in told.patterns]
            seen += len(begun)
            assert min(begun, default=resumed_ms) >= resumed_ms
        blind = replace(PARAMS, max_gap_candles=10_000)
        across += sum(each.first_ms < resumed_ms for each in generate_signal(torn, blind).divergences)
    assert seen  # there is something to be told after the gap,
    assert across  # and something that would be told across it


def test_a_study_of_a_market_without_gaps_is_one_stretch() -> None:
    study = study_candles(candles_of([100 + i % 7 for i in range(80)]), PARAMS)
    assert set(study.stretch.tolist()) == {0}
