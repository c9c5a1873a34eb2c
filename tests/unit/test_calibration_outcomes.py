"""One vote and its outcome: what is read, when it is known, what can never be."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from calibration_examples import MINUTE_MS, NOON, RULES
from hypothesis import given
from hypothesis import strategies as st
from market_examples import candles_of, walk

from aaos.domain.calibration import SeriesNow, UnreadVote, VoteOutcome, read_vote, settled, stranded
from aaos.domain.calibration.outcomes import (
    MARKET_SWITCHED,
    NO_CANDLE_THERE,
    NO_CANDLES,
    NO_CONTEXT,
    NO_VOTE,
    SERIES_GONE,
    SET_BACK,
)
from aaos.domain.market import Candles

MARKET = walk(400, seed=5)
VOTED_AT = 199
LATER = VOTED_AT + RULES.horizon_candles


def a_body(**more: Any) -> dict[str, Any]:
    return {"voter": "trend", "model": "big", "signal": "BUY", "confidence": 0.7, "fallback_used": False, **more}


def a_context(candles: Candles = MARKET, upto: int = VOTED_AT, count: int = 100) -> dict[str, Any]:
    known = candles.until(int(candles.close_times_ms[upto])).tail(count)
    return {"candles": {"timeframe": "1m", "rows": known.rows()}, "regime": {"regime": "trending_up"}}


def read(body: dict[str, Any] | None = None, context: dict[str, Any] | None = None, **rules: Any) -> VoteOutcome:
    vote = UnreadVote(7, NOON, "BTC/USDT", body or a_body(), context or a_context())
    return read_vote(vote, replace(RULES, **rules))


def cut(candles: Candles, *left_out: int) -> Candles:
    rows = [row for at, row in enumerate(candles.rows()) if at not in left_out]
    return Candles.from_rows(candles.symbol, candles.timeframe, rows)


def upto_due(candles: Candles, outcome: VoteOutcome) -> Candles:
    return candles.until((outcome.due_ms or 0) + MINUTE_MS)


# --- reading ------------------------------------------------------------------------------------------------


def test_a_vote_waits_for_the_horizon_after_its_newest_candle_under_the_rules_of_when_it_was_read() -> None:
    outcome = read()
    assert outcome.state == "waiting"
    assert (outcome.candle_ms, outcome.close_then) == (MARKET.open_time_ms[VOTED_AT], MARKET.close[VOTED_AT])
    assert outcome.due_ms == MARKET.open_time_ms[LATER]
    assert (outcome.horizon_candles, outcome.min_move_fraction) == (24, 0.0012)
    assert (outcome.model, outcome.regime, outcome.confidence) == ("big", "trending_up", 0.7)


def test_the_confidence_that_is_scored_is_what_the_model_said_before_distrust() -> None:
    body = a_body(confidence=0.56, original_confidence=0.7, fallback_used=True)
    assert (read(body).confidence, read(body).fallback_used) == (0.7, True)


def test_the_votes_own_regime_goes_before_its_contexts() -> None:
    assert read(a_body(regime="volatile")).regime == "volatile"


def test_hold_is_counted_and_never_scored() -> None:
    held = read(a_body(signal="HOLD"))
    assert (held.state, held.model, held.regime, held.squared_error) == ("held", "big", "trending_up", None)


@pytest.mark.parametrize(
    ("body", "context", "reason"),
    [
        (None, a_context(), NO_VOTE),
        (a_body(signal="MAYBE"), a_context(), NO_VOTE),
        (a_body(confidence=1.5), a_context(), NO_VOTE),
        (a_body(confidence=float("nan")), a_context(), NO_VOTE),
        (a_body(confidence=True), a_context(), NO_VOTE),
        (a_body(), None, NO_CONTEXT),
        (a_body(), {}, NO_CANDLES),
        (a_body(), {"candles": {"timeframe": "7m", "rows": [[0, 1, 1, 1, 1, 1]]}}, NO_CANDLES),
        (a_body(), {"candles": {"timeframe": [], "rows": [[0, 1, 1, 1, 1, 1]]}}, NO_CANDLES),
        (a_body(), {"candles": {"timeframe": "1m", "rows": {"a": 1}}}, NO_CANDLES),
        (a_body(), {"candles": {"timeframe": "1m", "rows": [[2**63 - 1, 1, 1, 1, 1, 1]]}}, NO_CANDLES),
        (a_body(), {"candles": {"timeframe": "1m", "rows": []}}, NO_CANDLES),
        (a_body(), {"candles": {"timeframe": "1m", "rows": [[0, 1, 1]]}}, NO_CANDLES),
        (a_body(), {"candles": {"timeframe": "1m", "rows": [[0, 1, 1, 1, None, 1]]}}, NO_CANDLES),
        (a_body(), {"candles": {"timeframe": "1m", "rows": [[0, 1, 1, 1, -1, 1]]}}, NO_CANDLES),
    ],
)
def test_what_cannot_be_read_is_unscorable_and_says_why(body: Any, context: Any, reason: str) -> None:
    outcome = read_vote(UnreadVote(7, NOON, "BTC/USDT", body, context), RULES)
    assert (outcome.state, outcome.reason) == ("unscorable", reason)


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)
fields = st.sampled_from(["voter", "model", "signal", "confidence", "original_confidence", "fallback_used", "regime"])
candles_field = st.fixed_dictionaries({"timeframe": st.just("1m") | json_values, "rows": json_values}) | json_values


@given(st.dictionaries(fields, json_values), st.fixed_dictionaries({"candles": candles_field, "regime": json_values}))
def test_no_stored_bytes_stop_the_reading(body: dict[str, Any], context: dict[str, Any]) -> None:
    outcome = read_vote(UnreadVote(7, NOON, "BTC/USDT", a_body(**body), context), RULES)
    assert outcome.state in ("waiting", "held", "unscorable")


# --- ending -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("signal", ["BUY", "SELL"])
@pytest.mark.parametrize(("move", "up", "down"), [(0.01, True, False), (-0.01, False, True), (0.001, False, False)])
def test_a_vote_is_right_when_the_close_went_its_way_by_more_than_the_fees(
    signal: str, move: float, up: bool, down: bool
) -> None:
    close = np.full(300, 100.0)
    close[LATER:] = 100 * (1 + move)
    market = candles_of(close)
    outcome = read(a_body(signal=signal), a_context(market))
    end = settled(outcome, upto_due(market, outcome))
    right = up if signal == "BUY" else down
    assert (end.state, end.correct) == ("scored", right)
    assert end.squared_error == pytest.approx((0.7 - right) ** 2)
    assert end.after_ms == outcome.due_ms


def test_a_move_of_exactly_the_fees_is_not_right() -> None:
    close = np.full(300, 100.0)
    close[LATER:] = 150.0
    market = candles_of(close)
    outcome = read(context=a_context(market), min_move_fraction=0.5)
    assert settled(outcome, upto_due(market, outcome)).correct is False


@given(st.integers(0, 2**32 - 1), st.sampled_from(["BUY", "SELL"]), st.integers(1, 100))
def test_no_candle_after_the_horizon_changes_the_outcome(seed: int, signal: str, horizon: int) -> None:
    outcome = read(a_body(signal=signal), horizon_candles=horizon)
    known = upto_due(MARKET, outcome)
    other = walk(400, seed=seed)
    future = [row for row in other.rows() if row[0] > (outcome.due_ms or 0)]
    longer = Candles.from_rows("BTC/USDT", "1m", [*known.rows(), *future])
    assert settled(outcome, upto_due(longer, outcome)) == settled(outcome, known)


def test_candles_of_another_market_never_score_it_even_if_the_newest_close_is_the_same() -> None:
    outcome = read()
    rows = MARKET.rows()
    rows[VOTED_AT - 50][5] *= 1.0000001
    other = Candles.from_rows("BTC/USDT", "1m", rows)
    end = settled(outcome, upto_due(other, outcome))
    assert (end.state, end.reason, end.correct) == ("unscorable", MARKET_SWITCHED, None)


def test_a_file_that_only_grew_is_the_same_market() -> None:
    outcome = read(context=a_context(MARKET))
    longer = walk(800, seed=5)
    rows = [*MARKET.rows(), *longer.rows()[400:]]
    assert settled(outcome, upto_due(Candles.from_rows("BTC/USDT", "1m", rows), outcome)).state == "scored"


def test_a_gap_inside_the_horizon_does_not_matter() -> None:
    outcome = read()
    whole, holed = MARKET, cut(MARKET, *range(VOTED_AT + 3, LATER - 3))
    assert settled(outcome, upto_due(holed, outcome)) == settled(outcome, upto_due(whole, outcome))


@pytest.mark.parametrize(("missing", "state"), [(1, "scored"), (2, "scored"), (3, "unscorable")])
def test_up_to_a_tenth_of_the_horizon_may_be_missing_at_its_end(missing: int, state: str) -> None:
    outcome = read()
    end = settled(outcome, upto_due(cut(MARKET, *range(LATER - missing + 1, LATER + 1)), outcome))
    assert end.state == state
    if state == "scored":
        assert end.after_ms == MARKET.open_time_ms[LATER - missing]
    else:
        assert end.reason == NO_CANDLE_THERE


def test_a_horizon_of_one_candle_needs_that_candle() -> None:
    outcome = read(horizon_candles=1)
    end = settled(outcome, upto_due(cut(MARKET, VOTED_AT + 1), outcome))
    assert (end.state, end.reason) == ("unscorable", NO_CANDLE_THERE)


def test_a_market_that_is_gone_or_was_set_back_is_named() -> None:
    outcome = read()
    behind = SeriesNow("BTC/USDT", "1m", 0)
    assert stranded(outcome, [behind]).reason == SET_BACK
    for other in ([], [SeriesNow("ETH/USDT", "1m", 0)], [SeriesNow("BTC/USDT", "1h", 0)]):
        assert stranded(outcome, other).reason == SERIES_GONE
