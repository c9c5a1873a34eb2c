from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any, get_args

import numpy as np
import pytest
from market_examples import candles_of
from pydantic import TypeAdapter, ValidationError

from aaos.domain.market import Candles, FloatArray
from aaos.domain.signals.divergence import (
    Divergence,
    DivergenceIndicator,
    DivergenceParams,
    find_divergences,
)
from aaos.domain.signals.pivots import find_pivots
from aaos.errors import ConfigError

pytestmark = pytest.mark.requirement("ENG-2")

PARAMS = DivergenceParams()
STRENGTH = 5
N = 61
FIRST, SECOND, KNOWN = 20, 40, 45
INDICATORS = get_args(DivergenceIndicator)
KINDS = [(kind, side) for kind in ("regular", "hidden") for side in ("bullish", "bearish")]
Lines = dict[str, FloatArray]


def path(*points: tuple[int, float]) -> FloatArray:
    """Straight lines through the points (candle, value)."""
    return np.interp(np.arange(N), *zip(*points, strict=True))


def dots(close: FloatArray) -> Candles:
    """Candles without body and wicks, so that each turn of the path is a turn of highs and lows."""
    c = candles_of(close)
    return Candles(c.symbol, c.timeframe, c.open_time_ms, c.close, c.close, c.close, c.close, c.volume)


class Planted:
    """A fall to a low at candle 20, a recovery, and a second low at candle 40; the indicator turns beside both.

    For bearish divergences everything is stood on its head.
    """

    def __init__(self, kind: str, side: str, names: Sequence[str] = INDICATORS) -> None:
        self.sign = 1.0 if side == "bullish" else -1.0
        self.prices = (100.0, 98.0) if kind == "regular" else (100.0, 102.0)
        self.values = (-40.0, -30.0) if kind == "regular" else (-30.0, -40.0)
        self.turns = (FIRST + 1, SECOND - 1)
        self.names = names
        self.peak, self.top = 108.0, -10.0
        self.atr = 1.0
        self.close_changes: dict[int, float] = {}
        self.line_changes: dict[int, float] = {}

    def candles(self) -> Candles:
        first, second = self.prices
        close = path((0, 112), (FIRST, first), (30, self.peak), (SECOND, second), (N - 1, second + 10))
        for index, value in self.close_changes.items():
            close[index] = value
        return dots(close if self.sign > 0 else 200 - close)

    def lines(self) -> Lines:
        (first, second), (a, b) = self.turns, self.values
        line = path((0, -5), (first, a), (30, self.top), (second, b), (N - 1, b + 20))
        for index, value in self.line_changes.items():
            line[index] = value
        return dict.fromkeys(self.names, self.sign * line)

    def at(self, index: int = KNOWN, **changed: Any) -> tuple[Divergence, ...]:
        c = self.candles()
        pivots = find_pivots(c.high, c.low, STRENGTH)
        return find_divergences(c, self.lines(), np.full(N, self.atr), pivots, index, replace(PARAMS, **changed))


def planted(kind: str = "regular", side: str = "bullish", **attributes: Any) -> Planted:
    p = Planted(kind, side)
    for name, value in attributes.items():
        assert hasattr(p, name)
        setattr(p, name, value)
    return p


@pytest.mark.parametrize("name", INDICATORS)
@pytest.mark.parametrize(("kind", "side"), KINDS)
def test_each_kind_is_found_with_each_indicator_at_its_exact_points(kind: str, side: str, name: str) -> None:
    p = Planted(kind, side, [name])
    times = p.candles().open_time_ms.tolist()
    (found,) = p.at(KNOWN)
    as_seen = [price if p.sign > 0 else 200 - price for price in p.prices]
    assert (found.indicator, found.kind, found.side) == (name, kind, side)
    assert (found.first_ms, found.second_ms, found.known_at_ms) == (times[FIRST], times[SECOND], times[KNOWN])
    assert (found.first_value_ms, found.second_value_ms) == (times[FIRST + 1], times[SECOND - 1])
    assert [found.first_price, found.second_price] == as_seen
    assert [found.first_value, found.second_value] == [p.sign * value for value in p.values]


@pytest.mark.parametrize(("kind", "side"), KINDS)
def test_price_and_indicator_that_agree_are_no_divergence(kind: str, side: str) -> None:
    other = Planted("hidden" if kind == "regular" else "regular", side)
    assert len(planted(kind, side).at()) == 4
    assert planted(kind, side, prices=other.prices).at() == ()
    assert planted(kind, side, values=other.values).at() == ()


@pytest.mark.parametrize(("kind", "side"), KINDS)
def test_equal_prices_or_equal_values_are_no_divergence_however_low_the_gates(kind: str, side: str) -> None:
    open_gates = {"min_price_atr": 0.0, "min_value_share": 0.0}
    assert planted(kind, side, prices=(100.0, 100.0)).at(**open_gates) == ()
    assert planted(kind, side, values=(-30.0, -30.0)).at(**open_gates) == ()
    assert (
        planted(kind, side, values=(-30.0, math.nextafter(-30.0, 0 if kind == "regular" else -50))).at(**open_gates)
        == ()
    ), "a difference in the last digit is rounding"


@pytest.mark.parametrize(("kind", "side"), KINDS)
def test_nothing_is_known_before_the_price_pivot_is_confirmed(kind: str, side: str) -> None:
    p = planted(kind, side)
    assert [len(p.at(index)) for index in range(SECOND, KNOWN + 1)] == [0, 0, 0, 0, 0, 4]


@pytest.mark.parametrize(("kind", "side"), KINDS)
def test_nothing_is_known_before_the_indicators_turn_is_confirmed(kind: str, side: str) -> None:
    p = planted(kind, side, turns=(FIRST, SECOND + 3))
    assert [len(p.at(index)) for index in range(KNOWN, KNOWN + 3)] == [0, 4, 4]
    times = p.candles().open_time_ms
    assert {d.known_at_ms for d in p.at(KNOWN + 2)} == {times[SECOND + 3 + PARAMS.turn_strength]}


def test_a_divergence_known_late_lives_as_long() -> None:
    p = planted(turns=(FIRST, SECOND + 3))
    assert len(p.at(KNOWN + 1 + PARAMS.max_age)) == 4
    assert p.at(KNOWN + 2 + PARAMS.max_age) == ()


def test_nothing_is_known_before_the_whole_neighbourhood_in_which_the_indicator_may_turn() -> None:
    # Until candle 48 a deeper turn could still come, though price and the turn at 39 are long confirmed.
    p = planted()
    assert [len(p.at(index, match_candles=8, turn_strength=3)) for index in (47, 48)] == [0, 4]
    assert {d.known_at_ms for d in p.at(48, match_candles=8)} == {p.candles().open_time_ms[48]}


def test_the_indicator_may_turn_a_few_candles_beside_the_price_and_no_more() -> None:
    near = PARAMS.match_candles
    assert len(planted(turns=(FIRST - near, SECOND - near)).at()) == 4
    assert planted(turns=(FIRST, SECOND - near - 1)).at() == ()
    assert planted(turns=(FIRST - near - 1, SECOND)).at() == ()
    assert len(planted(turns=(FIRST - near - 1, SECOND)).at(match_candles=near + 1)) == 4
    assert planted(turns=(FIRST + 1, SECOND)).at(match_candles=0) == ()


def test_an_indicator_that_only_passes_through_has_not_turned() -> None:
    falling_on = {index: -30.0 - (index - SECOND) for index in range(SECOND, N)}
    assert planted(line_changes=falling_on).at(KNOWN + 3) == ()


def test_of_equal_values_the_first_is_the_turn() -> None:
    turn = SECOND - 1
    found = planted(line_changes={turn + 2: -30.0}).at()
    assert {d.second_value_ms for d in found} == {planted().candles().open_time_ms[turn]}
    assert len(found) == 4
    assert planted(line_changes={turn - PARAMS.turn_strength: -30.0}).at() == ()


def test_a_divergence_lives_for_its_age_and_no_longer() -> None:
    p = planted()
    assert len(p.at(KNOWN + PARAMS.max_age)) == 4
    assert p.at(KNOWN + PARAMS.max_age + 1) == ()
    assert p.at(KNOWN + 1, max_age=0) == ()
    assert len(p.at(KNOWN, max_age=0)) == 4


@pytest.mark.parametrize(("kind", "side"), KINDS)
def test_a_close_beyond_the_second_pivot_ends_it_and_one_upon_it_does_not(kind: str, side: str) -> None:
    second = planted(kind, side).prices[1]
    upon = planted(kind, side, close_changes={48: second})
    beyond = planted(kind, side, close_changes={48: second - 0.01})
    assert len(upon.at(50)) == 4
    assert len(beyond.at(47)) == 4
    assert beyond.at(48) == beyond.at(50) == ()


def test_a_price_difference_within_the_noise_is_none() -> None:
    # 2 price units apart: half an ATR is the gate
    assert len(planted(atr=4.0).at()) == 4
    assert planted(atr=4.01).at() == ()
    assert len(planted(atr=4.01).at(min_price_atr=0.1)) == 4


@pytest.mark.parametrize("atr", [math.nan, 0.0, math.inf, -1.0])
def test_without_an_average_true_range_there_is_no_divergence(atr: float) -> None:
    assert planted(atr=atr).at(min_price_atr=0.0) == ()


def test_an_indicator_difference_within_the_noise_is_none() -> None:
    # the line ranges from −40 to −5 before the second turn: a tenth is 3.5
    assert len(planted(values=(-40.0, -36.5)).at()) == 4
    assert planted(values=(-40.0, -36.6)).at() == ()
    assert len(planted(values=(-40.0, -36.6)).at(min_value_share=0.01)) == 4


def test_the_spread_is_that_of_the_newest_candles() -> None:
    p = planted(values=(-40.0, -36.6), turns=(FIRST, SECOND))
    assert p.at() == ()
    # without the fall from −5 the range is 30 (−40 … −10)
    assert len(p.at(spread_window=SECOND - FIRST + 3)) == 4
    far_back = planted(values=(-40.0, -36.0), line_changes={3: 5.0})
    assert far_back.at() == ()
    assert len(far_back.at(spread_window=30)) == 4


def test_an_old_divergence_reaches_as_far_back_as_a_young_one() -> None:
    assert len(planted().at(KNOWN + PARAMS.max_age, max_distance=SECOND - FIRST)) == 4


def test_pivots_too_near_or_too_far_apart_are_not_joined() -> None:
    apart = SECOND - FIRST
    assert len(planted().at(min_distance=apart, max_distance=apart)) == 4
    assert planted().at(min_distance=apart + 1) == ()
    assert planted().at(max_distance=apart - 1) == ()


@pytest.mark.parametrize(("kind", "side"), KINDS)
def test_a_price_that_breaks_the_line_between_the_pivots_ends_it(kind: str, side: str) -> None:
    # Half way the straight line is at 99; a tenth of an ATR below it is allowed.
    prices = (100.0, 98.0) if kind == "regular" else (98.0, 100.0)
    for dip, expected in ((98.91, 4), (98.89, 0)):
        p = planted(kind, side, peak=100.5, prices=prices, close_changes={30: dip})
        assert len(p.at(min_distance=SECOND - FIRST)) == expected


@pytest.mark.parametrize(("kind", "side"), KINDS)
def test_an_indicator_that_breaks_the_line_between_its_turns_ends_it(kind: str, side: str) -> None:
    # half way the line is at −35; the range is 35, a tenth of it may be missing
    assert len(planted(kind, side, line_changes={30: -38.4}).at()) == 4
    assert planted(kind, side, line_changes={30: -38.6}).at() == ()


@pytest.mark.parametrize("side", ["bullish", "bearish"])
def test_a_regular_divergence_with_the_awesome_oscillator_needs_twin_peaks_on_one_side_of_zero(side: str) -> None:
    crossing = {"top": 0.0}
    with_ao = {d.indicator for d in planted("regular", side).at()}
    without = {d.indicator for d in planted("regular", side, **crossing).at()}
    assert with_ao - without == {"ao"}
    assert len(planted("regular", side, **crossing).at(ao_twin_peaks=False)) == 4
    assert len(planted("hidden", side, **crossing).at()) == 4


@pytest.mark.parametrize(("kind", "side"), KINDS)
@pytest.mark.parametrize("undefined", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("where", [FIRST + 1, FIRST - 1, 30, SECOND - 1, SECOND + 1])
def test_an_indicator_undefined_at_between_or_beside_the_turns_has_none_and_the_others_do(
    where: int, undefined: float, kind: str, side: str
) -> None:
    p = planted(kind, side)
    c, lines = p.candles(), p.lines()
    lines["macd"] = lines["macd"].copy()
    lines["macd"][where] = undefined
    found = find_divergences(c, lines, np.full(N, 1.0), find_pivots(c.high, c.low, STRENGTH), KNOWN, PARAMS)
    assert {d.indicator for d in found} == {"rsi", "ao", "obv"}


def test_an_indicator_too_large_for_a_range_has_none() -> None:
    huge = {"values": (-1.0e308, -0.2e308), "top": -0.1e308}
    assert len(planted(**huge).at(min_value_share=0.0)) == 4
    assert planted(**huge, line_changes={3: 1.7e308}).at(min_value_share=0.0) == ()


def test_an_indicator_left_out_has_none() -> None:
    assert [d.indicator for d in planted(names=["obv", "rsi"]).at()] == ["rsi", "obv"]


def test_of_several_earlier_pivots_the_nearest_that_fits_is_taken() -> None:
    # lows 100, 99, 98 at candles 10, 25, 40 with an indicator that rises: both earlier lows fit, the nearer counts
    close = path((0, 110), (10, 100), (17, 105), (25, 99), (32, 105), (40, 98), (N - 1, 110))
    line = path((0, -5), (10, -50), (17, -20), (25, -40), (32, -20), (40, -30), (N - 1, -5))
    c = dots(close)
    pivots = find_pivots(c.high, c.low, STRENGTH)
    atr = np.full(N, 1.0)
    (found,) = find_divergences(c, {"rsi": line}, atr, pivots, KNOWN, PARAMS)
    assert found.first_price == 99.0
    (wider,) = find_divergences(c, {"rsi": line}, atr, pivots, KNOWN, replace(PARAMS, min_price_atr=1.5))
    assert wider.first_price == 100.0


def test_the_newest_comes_first_and_at_one_candle_the_indicators_keep_their_order() -> None:
    p = planted()
    assert [d.indicator for d in p.at(KNOWN + 3)] == list(INDICATORS)
    lines = p.lines() | {"rsi": planted(turns=(FIRST, SECOND + 3)).lines()["rsi"]}
    c = p.candles()
    found = find_divergences(c, lines, np.full(N, 1.0), find_pivots(c.high, c.low, STRENGTH), KNOWN + 3, PARAMS)
    assert [d.indicator for d in found] == ["rsi", "macd", "ao", "obv"]
    lines = p.lines() | {"obv": planted(turns=(FIRST, SECOND + 3)).lines()["obv"]}
    found = find_divergences(c, lines, np.full(N, 1.0), find_pivots(c.high, c.low, STRENGTH), KNOWN + 3, PARAMS)
    assert [d.indicator for d in found] == ["obv", "rsi", "macd", "ao"]


def test_strength_is_the_mean_of_price_difference_indicator_difference_and_depth() -> None:
    # 2 of 3 ATRs, 10 of 0.4 × 35, and the deeper turn is the lowest of its window
    (found,) = planted(names=["rsi"]).at()
    assert found.strength == pytest.approx((2 / 3 + 10 / 14 + 1) / 3)
    (shallow,) = planted(names=["rsi"], line_changes={3: -60.0}).at()  # now the range is 55, and −60 its low
    assert shallow.strength == pytest.approx((2 / 3 + 10 / 22 + 1 - 20 / 55) / 3)
    (hidden,) = planted("hidden", names=["rsi"]).at()  # here the second turn is the deeper one
    assert hidden.strength == pytest.approx((2 / 3 + 10 / 14 + 1) / 3)
    (full,) = planted(names=["rsi"], prices=(100.0, 90.0), values=(-40.0, -20.0)).at()
    assert full.strength == 1.0


def test_a_divergence_survives_the_way_through_json() -> None:
    for found in planted().at():
        stored = json.loads(json.dumps(found.to_dict(), allow_nan=False))
        assert Divergence.from_dict(stored) == found
        assert set(stored) == {f.name for f in fields(Divergence)}


def test_parameters_out_of_range_are_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r"divergence\.min_distance is 61.*max_distance \(60\)"):
        DivergenceParams(min_distance=61)
    for key, value in {"min_value_share": 1.5, "max_age": -1, "price_full_atr": 0, "surprise": 1}.items():
        with pytest.raises(ValidationError, match=key):
            TypeAdapter(DivergenceParams).validate_python({key: value})
