"""A rebalance: drift against the threshold, sells before buys, what is left alone and why, parts over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aaos.domain.order_book import Instrument
from aaos.domain.portfolio.rebalance import Asset, Line, Rebalance, rebalance
from aaos.domain.portfolio.rules import PortfolioRules
from aaos.errors import ConfigError

ACCOUNT = "paper-portfolio"
D = Decimal
THRESHOLD = D("0.05")


def instrument(symbol: str, **changes: Any) -> Instrument:
    given_: dict[str, Any] = {
        "price_step": D("0.01"),
        "quantity_step": D("0.0001"),
        "min_quantity": D("0.0001"),
        "min_notional": D(5),
        "max_leverage": D(100),
        "maker_fee": D("0.0002"),
        "taker_fee": D("0.0006"),
        "maintenance_margin": D("0.004"),
    }
    return Instrument(symbol=symbol, **(given_ | changes))


def asset(symbol: str, quantity: str = "0", price: str | None = "100", entry: str | None = None, **more: Any) -> Asset:
    on = instrument(symbol, **more.pop("on", {}))
    average = D(entry or price or "0") if D(quantity) else D(0)
    return Asset(symbol, D(quantity), average, None if price is None else D(price), more.pop("instrument", on), **more)


def found(
    assets: Sequence[Asset], targets: Mapping[str, str], cash: str = "10000", every_s: float = 60.0, **rules: Any
) -> Rebalance:
    shares = {symbol: D(share) for symbol, share in targets.items()}
    return rebalance(ACCOUNT, D(cash), assets, PortfolioRules(targets=shares, **rules), every_s)


def line(of: Rebalance, symbol: str) -> Line:
    return next(each for each in of.lines if each.asset.symbol == symbol)


# --- examples ---------------------------------------------------------------------------------------------------------


def test_an_empty_account_buys_its_targets_in_parts_over_time() -> None:
    bought = found([asset("A"), asset("B", price="50")], {"A": "0.4", "B": "0.3"})
    assert (bought.equity, bought.free) == (D(10_000), D(10_000))
    assert (line(bought, "A").trade, line(bought, "B").trade) == (D(40), D(60))
    assert [(each.symbol, each.quantity, each.batch, each.due_after_s) for each in bought.trades] == [
        ("A", D("13.3334"), 0, 0.0),
        ("B", D(20), 0, 0.0),
        ("A", D("13.3333"), 1, 60.0),
        ("B", D(20), 1, 60.0),
        ("A", D("13.3333"), 2, 120.0),
        ("B", D(20), 2, 120.0),
    ]
    assert {each.side for each in bought.trades} == {"buy"}
    assert {each.expires_after_s for each in bought.trades} == {900.0}
    assert bought.trades[0].why == "holds 0.00% of the equity, target 40.00%, drift -40.00%"


@pytest.mark.parametrize(("quantity", "traded"), [("45", False), ("45.0001", True), ("35", False), ("34.9999", True)])
def test_a_holding_is_traded_when_its_drift_is_beyond_the_threshold_not_at_it(quantity: str, traded: bool) -> None:
    held = asset("A", quantity)
    at_target = found([held], {"A": "0.4"}, drift_threshold=THRESHOLD)
    assert bool(at_target.trades) is traded
    assert line(at_target, "A").note == (None if traded else "IN_BAND")


def test_one_that_is_traded_is_traded_all_the_way_to_its_target() -> None:
    sold = found([asset("A", "60")], {"A": "0.4"})
    assert line(sold, "A").trade == D(-20)
    assert sum(each.quantity for each in sold.trades) == D(20)
    assert {each.side for each in sold.trades} == {"sell"}


def test_what_is_held_without_a_target_is_sold_off() -> None:
    sold = found([asset("OLD", "12.3456"), asset("A")], {"A": "0.4"})
    assert line(sold, "OLD").trade == D("-12.3456")


def test_sells_come_in_earlier_batches_than_buys() -> None:
    both = found([asset("A", "80"), asset("B")], {"A": "0.4", "B": "0.4"}, batches=2)
    assert [(each.side, each.symbol, each.batch, each.due_after_s) for each in both.trades] == [
        ("sell", "A", 0, 0.0),
        ("sell", "A", 1, 60.0),
        ("buy", "B", 2, 120.0),
        ("buy", "B", 3, 180.0),
    ]


def test_profit_not_yet_taken_counts_and_what_is_invested_is_not_free() -> None:
    valued = found([asset("A", "40", price="150", entry="100")], {"A": "0.5"}, cash="10000")
    assert (valued.equity, valued.free) == (D(12_000), D(6_000))
    assert line(valued, "A").weight == D("0.5")


@pytest.mark.requirement("ENG-4")
def test_buys_share_the_cash_there_is_and_say_so() -> None:
    # A is over its target but inside the band, and stays: what it has too much of is missing for B.
    short = found([asset("A", "54"), asset("B")], {"A": "0.5", "B": "0.5"})
    cut = line(short, "B")
    assert cut.note == "LESS_FOR_CASH"
    assert "cash is left for 0.9194 of the buys: 45.9724 instead of 50" in cut.detail
    assert cut.trade * 100 * D("1.0006") <= short.free


def test_a_buy_for_which_nothing_is_left_is_not_made() -> None:
    none = found([asset("A", "54"), asset("B", "50"), asset("C")], {"A": "0.5", "B": "0.46", "C": "0.04"}, "10400")
    # Free: 0. Sells: none, since all is inside the band but C, whose target is below it.
    assert none.free == 0
    assert none.trades == ()
    broke = found([asset("A", "54"), asset("B", "46"), asset("C")], {"A": "0.5", "B": "0.42", "C": "0.08"})
    assert (line(broke, "C").note, broke.trades) == ("NO_CASH", ())


def test_a_symbol_without_a_usable_price_is_left_alone_and_valued_at_what_it_cost() -> None:
    stale = asset("A", "30", price=None, entry="100", fault="BOOK_STALE: the order book is 400 s old")
    other = found([stale, asset("B")], {"A": "0.1", "B": "0.3"})
    assert (line(other, "A").note, line(other, "A").detail) == ("NO_PRICE", "BOOK_STALE: the order book is 400 s old")
    assert other.equity == D(10_000)
    assert other.free == D(7_000)
    assert {each.symbol for each in other.trades} == {"B"}


def test_a_target_that_the_market_does_not_list_is_left_alone_and_said_so() -> None:
    unlisted = Asset("X/USDT", D(0), D(0), None, None, "no symbol 'X/USDT' in this market; it has: A")
    other = found([unlisted, asset("A")], {"X/USDT": "0.2", "A": "0.3"})
    assert line(other, "X/USDT").detail.startswith("no symbol 'X/USDT' in this market")
    assert sum(each.quantity for each in other.trades) == D(30)


def test_a_symbol_whose_trade_is_under_way_is_left_alone_and_its_cash_is_kept_for_it() -> None:
    busy = found([asset("A", under_way=D(60)), asset("B")], {"A": "0.6", "B": "0.4"})
    assert line(busy, "A").note == "UNDER_WAY"
    assert line(busy, "A").detail == "a trade of +60 is still under way"
    assert line(busy, "B").note == "LESS_FOR_CASH"
    assert sum(each.quantity for each in busy.trades) * 100 <= D(4_000) - D(6_000) * D("0.0006")


def test_a_sell_under_way_promises_no_cash() -> None:
    busy = found([asset("A", "60", under_way=D(-20)), asset("B")], {"A": "0.4", "B": "0.6"})
    assert line(busy, "B").trade * 100 <= D(4_000)


def test_a_trade_that_the_venue_would_not_take_is_left_out_with_the_figures() -> None:
    small = found([asset("A", on={"min_quantity": D(1)}, price="100000")], {"A": "0.4"})
    assert line(small, "A").note == "TOO_SMALL"
    assert line(small, "A").detail == "0.04000000 is less than the venue's 1, or worth 5"
    assert small.trades == ()


def test_parts_that_the_venue_would_not_take_are_made_fewer() -> None:
    few = found([asset("A", on={"min_notional": D(1500)})], {"A": "0.4"}, batches=10)
    assert [each.quantity for each in few.trades] == [D(20), D(20)]
    one = found([asset("A", on={"min_notional": D(2500)})], {"A": "0.4"}, batches=10)
    assert [each.quantity for each in one.trades] == [D(40)]


def test_steps_too_coarse_for_the_threshold_are_said_so() -> None:
    coarse = found([asset("A", on={"quantity_step": D(30), "min_quantity": D(30)})], {"A": "0.4"})
    assert (line(coarse, "A").trade, line(coarse, "A").note) == (D(30), "GRID")
    assert line(coarse, "A").detail == "the venue's steps leave a drift of 0.1"


def test_an_account_without_equity_trades_nothing() -> None:
    ruined = found([asset("A", "10", price="50", entry="100")], {"A": "0.4"}, cash="400")
    assert (ruined.equity, ruined.trades) == (D(-100), ())
    assert line(ruined, "A").note == "NO_EQUITY"


def test_targets_beyond_the_whole_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"portfolio\.targets add up to 1\.1: at most 1, the rest stays cash"):
        PortfolioRules(targets={"A": D("0.6"), "B": D("0.5")})


def test_the_json_form_has_every_figure_to_the_digit() -> None:
    shown = found([asset("A", "60")], {"A": "0.4"}).to_dict()
    assert shown["equity"] == "10000"
    assert shown["lines"][0] | {"trade": "-20.0", "weight": "0.6", "note": None} == shown["lines"][0]
    assert shown["trades"][0] == {"symbol": "A", "side": "sell", "quantity": "6.6667", "batch": 0}


# --- properties -------------------------------------------------------------------------------------------------------

SYMBOLS = ("A", "B", "C", "D", "E")
prices = st.decimals(D("0.01"), D(100_000), places=2)
weights = st.lists(st.decimals(D(0), D(1), places=3), min_size=5, max_size=5)


@st.composite
def accounts(draw: st.DrawFn, *, fine: bool = False) -> tuple[list[Asset], dict[str, D], D, D]:
    """Returns (assets, targets, cash, threshold): holdings worth up to twice the cash they were bought with."""
    equity = draw(st.decimals(D(100), D(1_000_000), places=2))
    held = _shares(draw(weights), D(1))
    targets = dict(zip(SYMBOLS, _shares(draw(weights), D("0.9") if fine else D(1)), strict=True))
    assets, cash = [], equity
    for symbol, share in zip(SYMBOLS, held, strict=True):
        price = draw(prices)
        step = D("0.00000001") if fine else draw(st.sampled_from([D(1), D("0.01"), D("0.00001")]))
        least = D(0) if fine else draw(st.sampled_from([D(0), D(5), D(100)]))
        on = instrument(symbol, quantity_step=step, min_quantity=step, min_notional=least)
        quantity = on.quantity(share * equity / price)
        entry = (price * draw(st.decimals(D("0.8"), D("1.25"), places=2))) if quantity else D(0)
        usable = fine or draw(st.integers(0, 9)) > 0
        cash -= quantity * (price - entry)
        assets.append(Asset(symbol, quantity, entry, price if usable else None, on, None if usable else "BOOK_EMPTY"))
    threshold = D("0.02") if fine else draw(st.sampled_from([D("0.001"), D("0.05"), D("0.3")]))
    return assets, targets, cash, threshold


def _shares(drawn: Sequence[D], whole: D) -> list[D]:
    total = sum(drawn, D(0))
    scale = whole / total if total > whole else D(1)
    return [(share * scale).quantize(D("0.000001"), rounding="ROUND_DOWN") for share in drawn]


def of(account: tuple[list[Asset], dict[str, D], D, D], batches: int = 3) -> Rebalance:
    assets, targets, cash, threshold = account
    rules = PortfolioRules(targets=targets, drift_threshold=threshold, batches=batches)
    return rebalance(ACCOUNT, cash, assets, rules, 60.0)


def drift_after(each: Line, whole: Rebalance) -> D:
    price = each.asset.price
    assert price is not None
    return abs((each.asset.quantity + each.trade) * price / whole.equity - each.target)


@pytest.mark.requirement("ENG-4")
@given(accounts(fine=True))
def test_once_all_trades_are_filled_at_these_prices_every_drift_is_within_the_threshold(account: Any) -> None:
    whole = of(account)
    assert {each.note for each in whole.lines} <= {None, "IN_BAND"}
    assert all(drift_after(each, whole) <= account[3] for each in whole.lines)


@given(accounts())
def test_a_drift_that_stays_beyond_the_threshold_is_never_left_unsaid(account: Any) -> None:
    whole = of(account)
    for each in whole.lines:
        if each.note in (None, "IN_BAND") and whole.equity > 0:
            assert drift_after(each, whole) <= account[3]
        if each.note not in (None, "LESS_FOR_CASH", "GRID"):
            assert each.trade == 0
        assert each.note is None or each.detail


@pytest.mark.requirement("ENG-4")
@given(accounts())
def test_buys_never_cost_more_than_the_cash_there_is_after_the_sells(account: Any) -> None:
    whole = of(account)
    prices_of = {each.asset.symbol: each.asset.price for each in whole.lines}
    notional = {"buy": D(0), "sell": D(0)}
    for trade in whole.trades:
        price = prices_of[trade.symbol]
        assert price is not None
        notional[trade.side] += trade.quantity * price
    if whole.trades and notional["buy"]:
        fees = D("0.0006") * (notional["buy"] + notional["sell"])
        assert notional["buy"] + fees <= max(whole.free, D(0)) + notional["sell"]


@given(accounts())
def test_nothing_is_traded_for_a_drift_within_the_threshold_and_nothing_is_sold_that_is_not_held(account: Any) -> None:
    whole = of(account)
    traded = {trade.symbol for trade in whole.trades}
    for each in whole.lines:
        if abs(each.drift) <= account[3]:
            assert each.asset.symbol not in traded
        assert each.asset.quantity + each.trade >= 0
        assert each.trade * each.drift <= 0


@given(accounts(), st.integers(1, 12))
def test_parts_add_up_lie_on_the_grid_and_are_none_too_small(account: Any, batches: int) -> None:
    whole = of(account, batches)
    for each in whole.lines:
        parts = [trade.quantity for trade in whole.trades if trade.symbol == each.asset.symbol]
        assert sum(parts, D(0)) == abs(each.trade)
        assert len(parts) <= batches
        on, price = each.asset.instrument, each.asset.price
        for part in parts:
            assert on is not None
            assert price is not None
            assert part > 0
            assert part % on.quantity_step == 0
            assert part >= on.min_quantity
            assert part * price >= on.min_notional


@given(accounts(), st.randoms(use_true_random=False))
def test_the_same_account_gives_the_same_trades_in_whatever_order_it_is_read(account: Any, order: Any) -> None:
    assets, *rest = account
    shuffled = list(assets)
    order.shuffle(shuffled)
    assert of((shuffled, *rest)) == of(account)  # type: ignore[arg-type]


@given(accounts())
def test_every_sell_is_due_before_any_buy(account: Any) -> None:
    trades = of(account).trades
    sells = [trade.batch for trade in trades if trade.side == "sell"]
    buys = [trade.batch for trade in trades if trade.side == "buy"]
    assert max(sells, default=-1) < min(buys, default=1_000)
    assert [trade.due_after_s for trade in trades] == [trade.batch * 60.0 for trade in trades]
