"""What a refused trade would have become: stop, profit or the horizon's end, and never a look beyond it."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from market_examples import MINUTE_MS, walk
from veto_examples import (
    ANCHOR_MS,
    FREE,
    HORIZON,
    KNOWN,
    MARKET_MS,
    RISK,
    RULES,
    Bar,
    a_market,
    a_veto,
    refused,
    still,
    waiting,
)

from aaos.domain.calibration import SeriesNow
from aaos.domain.market import Candles
from aaos.domain.veto_outcomes import (
    CANDLES_MISSING,
    MARKET_SWITCHED,
    NOT_THERE,
    OTHER_PRICE,
    SERIES_GONE,
    SET_BACK,
    exits_of,
    read_veto,
    settle_veto,
    strand_veto,
)
from aaos.domain.vetoes import TEXT_MAX_CHARS, NewVeto, Veto, VetoOutcome, VetoRules, storable


def outcome(after: list[Bar], refusal: NewVeto | None = None, rules: VetoRules = RULES) -> VetoOutcome:
    """What became of the trade on these candles; the rest of the horizon stands still."""
    last = after[-1][3] if after else 100.0
    market = a_market([*after, *still(HORIZON - len(after), last)])
    ended = settle_veto(waiting(market, refusal, rules), market)
    assert ended.outcome is not None, ended.why
    return ended.outcome


@pytest.mark.parametrize(("side", "low", "high", "stop"), [("buy", 97.9, 100, 98), ("sell", 100, 102.1, 102)])
def test_a_trade_that_would_have_met_its_stop_ends_there_and_refusing_it_saved_the_loss(
    side: str, low: float, high: float, stop: int
) -> None:
    found = outcome([(100, high, low, 100)], refused(side))
    assert (found.exit_by, found.exit_price, found.verdict) == ("stop", stop, "saved")
    # 2 % of the notional of 50, and 0.06 % of it on the way in and of what was left on the way out.
    fees = Decimal("0.06") + Decimal("0.06") * stop / 100
    assert found.return_pct == Decimal(-2) - fees
    assert found.result_quote == found.return_pct * 50 / 100


@pytest.mark.parametrize(("side", "low", "high", "profit"), [("buy", 100, 104, 104), ("sell", 96, 100, 96)])
def test_a_trade_that_would_have_taken_its_profit_ends_there_and_refusing_it_cost_the_gain(
    side: str, low: float, high: float, profit: int
) -> None:
    found = outcome([*still(3), (100, high, low, 100)], refused(side))
    assert (found.exit_by, found.exit_price, found.verdict) == ("take_profit", profit, "cost")
    assert found.return_pct == Decimal(4) - Decimal("0.06") * (1 + Decimal(profit) / 100)
    assert found.after_ms == MARKET_MS + 3 * MINUTE_MS


def test_a_trade_that_meets_neither_is_closed_at_the_horizons_last_close() -> None:
    found = outcome([(100, 101.5, 99.5, 101)])
    assert (found.exit_by, found.exit_price) == ("horizon", 101)
    assert found.return_pct == Decimal(1) - Decimal("0.06") * Decimal("2.01")
    assert found.after_ms == ANCHOR_MS + HORIZON * MINUTE_MS


@pytest.mark.parametrize("side", ["buy", "sell"])
def test_a_candle_that_touches_both_counts_as_the_stop(side: str) -> None:
    assert outcome([(100, 105, 95, 100)], refused(side)).exit_by == "stop"


@pytest.mark.parametrize(("side", "opened"), [("buy", 95.0), ("sell", 105.0)])
def test_a_stop_that_the_market_jumped_over_is_filled_where_the_candle_opened(side: str, opened: float) -> None:
    found = outcome([(opened, opened, opened, opened)], refused(side))
    assert (found.exit_by, found.exit_price) == ("stop", opened)


def test_a_profit_that_the_market_jumped_over_is_filled_as_asked_and_no_better() -> None:
    assert outcome([(107, 108, 107, 108)]).exit_price == 104


def test_without_a_quantity_there_is_a_return_and_no_sum_of_money() -> None:
    found = outcome([(100, 104, 100, 104)], refused(quantity=None))
    assert found.return_pct > 0
    assert found.result_quote is None


def test_a_refusal_without_exits_gets_those_that_risk_would_have_set() -> None:
    bare = {"stop_price": None, "take_profit_price": None}
    assert exits_of(refused(leverage=Decimal(10), **bare), RISK) == (99, 102)
    assert exits_of(refused("sell", leverage=None, **bare), RISK) == (102, 96)  # target_leverage, 5
    assert exits_of(refused("sell", leverage=Decimal("0.1"), **bare), RISK) == (200, None)
    assert exits_of(refused(stop_price=Decimal(97), take_profit_price=None), RISK) == (97, 104)


def test_a_portfolios_trade_is_held_unless_it_names_its_exits() -> None:
    bare = refused(source="trade:4", stop_price=None, take_profit_price=None)
    assert exits_of(bare, RISK) == (None, None)
    assert outcome([(100, 150, 50, 100)], bare).exit_by == "horizon"
    assert exits_of(replace(bare, stop_price=Decimal(70)), RISK) == (70, None)


# --- which market it was -----------------------------------------------------------------------------------


def read_on(market: Candles, veto: Veto | None = None, newest: int | None = None, symbol: str = "BTC/USDT") -> Veto:
    newest_ms = int(market.open_time_ms[-1]) if newest is None else newest
    return read_veto(veto or a_veto(), SeriesNow(symbol, "1m", newest_ms), market.until(MARKET_MS), RULES, RISK)


def test_a_veto_on_a_symbol_that_is_gone_says_so() -> None:
    gone = read_veto(a_veto(), None, a_market([]), RULES, RISK)
    assert (gone.state, gone.why) == ("unscorable", SERIES_GONE)
    other = waiting(a_market(still(HORIZON)))
    assert strand_veto(other, {("ETH/USDT", "1m")}).why == SERIES_GONE
    assert strand_veto(other, {("BTC/USDT", "1m")}).why == SET_BACK


def test_a_market_that_has_not_reached_the_refusal_was_set_back() -> None:
    assert read_on(a_market([]), newest=ANCHOR_MS - MINUTE_MS).why == SET_BACK


def test_a_market_without_the_refusals_candle_or_at_another_price_is_another() -> None:
    market = a_market(still(HORIZON))
    assert read_on(market.tail(HORIZON)).why == NOT_THERE
    assert read_on(a_market(still(HORIZON, 150), 150)).why == OTHER_PRICE
    assert read_on(market, a_veto(refused(price=Decimal("100.01")))).why == OTHER_PRICE


def test_an_execution_is_refused_at_a_books_price_near_the_newest_close() -> None:
    market = a_market(still(HORIZON))
    for price, state in (("101.9", "waiting"), ("102.1", "unscorable"), ("98.1", "waiting"), ("97.9", "unscorable")):
        refusal = refused(stage="execution", price=Decimal(price))
        assert read_on(market, a_veto(refusal)).state == state


def test_a_market_switched_while_a_veto_waits_is_noticed_by_a_single_figure() -> None:
    veto = waiting(a_market(still(HORIZON)))
    other = a_market([(100, 104, 100, 104), *still(HORIZON - 1)])
    assert settle_veto(veto, other).outcome is not None  # the same past, another future: the same market
    volume = other.volume.copy()
    volume[3] += 1
    columns = other.open_time_ms, other.open, other.high, other.low, other.close, volume
    assert settle_veto(veto, Candles("BTC/USDT", "1m", *columns)).why == MARKET_SWITCHED


def test_a_tenth_of_the_horizon_may_be_missing_and_no_more() -> None:
    market = a_market(still(HORIZON))
    veto = waiting(market)
    for missing, state in ((0, "scored"), (2, "scored"), (3, "unscorable")):
        keep = np.ones(len(market), dtype=bool)
        keep[KNOWN + 4 : KNOWN + 4 + missing] = False
        columns = (getattr(market, name)[keep] for name in ("open_time_ms", "open", "high", "low", "close", "volume"))
        assert settle_veto(veto, Candles("BTC/USDT", "1m", *columns)).state == state
    short = market.until(MARKET_MS + 17 * MINUTE_MS)
    assert settle_veto(veto, short).why == CANDLES_MISSING


def test_the_candle_in_progress_at_the_refusal_counts_neither_for_nor_against_it() -> None:
    refusal = refused(market_ms=MARKET_MS + 30_000)
    market = a_market([(100, 110, 90, 100), *still(HORIZON - 1), (100, 101, 100, 101)])
    veto = waiting(market, refusal)
    assert veto.terms is not None
    assert (veto.terms.anchor_ms, veto.terms.due_ms) == (ANCHOR_MS, MARKET_MS + HORIZON * MINUTE_MS)
    found = settle_veto(veto, market).outcome
    assert found is not None
    assert (found.exit_by, found.exit_price) == ("horizon", 101)


def test_a_veto_that_was_not_read_cannot_be_settled() -> None:
    with pytest.raises(ValueError, match="was not read yet"):
        settle_veto(a_veto(), a_market(still(HORIZON)))


def test_texts_are_kept_as_any_store_can_and_any_terminal_may() -> None:
    kept = storable(refused(reason="a\x00b\x1b[2J\u202e" + "c" * 5000, code="RISK\n"))
    assert kept.reason.startswith("a?b?[2J?c")
    assert (len(kept.reason), kept.code) == (TEXT_MAX_CHARS, "RISK?")


# --- for any market ----------------------------------------------------------------------------------------

STEPS = st.lists(st.integers(-120, 120), min_size=HORIZON, max_size=HORIZON)
WICKS = st.lists(st.integers(0, 80), min_size=HORIZON, max_size=HORIZON)


def bars_of(steps: list[int], ups: list[int], downs: list[int]) -> list[Bar]:
    """Candles around 100 in hundredths, each opening where the last one closed."""
    bars, at = [], 10_000
    for step, up, down in zip(steps, ups, downs, strict=True):
        opened, closed = at, max(5_000, min(15_000, at + step))
        bars.append((opened / 100, (max(opened, closed) + up) / 100, (min(opened, closed) - down) / 100, closed / 100))
        at = closed
    return bars


def mirrored(bars: list[Bar]) -> list[Bar]:
    """The same around 100 the other way up."""
    return [(round(200 - o, 2), round(200 - lo, 2), round(200 - h, 2), round(200 - c, 2)) for o, h, lo, c in bars]


@given(STEPS, WICKS, WICKS)
def test_a_short_on_the_mirrored_market_becomes_what_the_long_became(
    steps: list[int], ups: list[int], downs: list[int]
) -> None:
    bars = bars_of(steps, ups, downs)
    long, short = outcome(bars, refused("buy"), FREE), outcome(mirrored(bars), refused("sell"), FREE)
    assert (long.exit_by, long.after_ms, long.return_pct) == (short.exit_by, short.after_ms, short.return_pct)
    assert long.exit_price + short.exit_price == 200


@given(STEPS, WICKS, WICKS, st.lists(st.integers(1, 400), min_size=1, max_size=30), st.sampled_from(["buy", "sell"]))
def test_nothing_that_happens_after_the_horizon_changes_the_outcome(
    steps: list[int], ups: list[int], downs: list[int], later: list[int], side: str
) -> None:
    bars = bars_of(steps, ups, downs)
    future: list[Bar] = [(price, price * 2, price / 2, price) for price in map(float, later)]
    known, whole = a_market(bars), a_market([*bars, *future])
    veto = waiting(known, refused(side))
    assert settle_veto(veto, whole) == settle_veto(veto, known)


@given(STEPS, WICKS, WICKS, st.integers(0, HORIZON - 1), st.integers(1, 200), st.sampled_from(["buy", "sell"]))
def test_nothing_that_happens_after_the_exit_changes_the_outcome(
    steps: list[int], ups: list[int], downs: list[int], at: int, price: int, side: str
) -> None:
    bars = bars_of(steps, ups, downs)
    found = outcome(bars, refused(side))
    ended = (found.after_ms - MARKET_MS) // MINUTE_MS
    if found.exit_by != "horizon":
        changed = [*bars[: ended + 1], *still(HORIZON - ended - 1, float(price))]
        assert outcome(changed, refused(side)) == found


@given(STEPS, WICKS, WICKS, st.sampled_from(["buy", "sell"]))
def test_fees_only_ever_make_it_worse_and_the_loss_is_bounded_by_the_stop(
    steps: list[int], ups: list[int], downs: list[int], side: str
) -> None:
    bars = bars_of(steps, ups, downs)
    paid, free = outcome(bars, refused(side)), outcome(bars, refused(side), FREE)
    assert paid.exit_price == free.exit_price
    assert paid.return_pct < free.return_pct
    # These markets never jump: the worst is the stop itself.
    assert Decimal(-2) <= free.return_pct <= Decimal(4)
    assert (paid.return_pct < 0) == (paid.verdict == "saved")


def test_on_a_real_looking_market_the_outcome_is_that_of_a_plain_walk_through_it() -> None:
    market = walk(KNOWN + HORIZON, seed=11, sigma=6e-3)
    price = Decimal(str(market.close[KNOWN - 1]))
    stop, profit = price * Decimal("0.98"), price * Decimal("1.04")
    refusal = refused(price=price, stop_price=stop, take_profit_price=profit)
    found = settle_veto(waiting(market, refusal), market).outcome
    assert found is not None
    for at in range(KNOWN, KNOWN + HORIZON):
        if market.low[at] <= float(stop):
            assert (found.exit_by, found.after_ms) == ("stop", int(market.open_time_ms[at]))
            break
        if market.high[at] >= float(profit):
            assert (found.exit_by, found.after_ms) == ("take_profit", int(market.open_time_ms[at]))
            break
    else:
        assert found.exit_by == "horizon"
