"""`aaos paper`: the venue's own ledger, and its conduct, at the command line."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

import pytest
from support.person import keyboard
from support.servers import TestDatabases
from support.venues import an_order

from aaos.bootstrap import container
from aaos.cli.app import main
from aaos.errors import AmbiguousReply

SYMBOL = "BTC/USDT"


@pytest.fixture(scope="module")
def environment(databases: TestDatabases) -> Iterator[Mapping[str, str]]:
    """A venue with an entry, its stop, and an order that rests."""
    with databases.fresh() as url:
        here = {"AAOS_DATABASE_URL": url}
        with keyboard(here):
            home = container()
            broker = home.broker("paper")
            mid, grid = home.order_books.book(SYMBOL, home.database.now()).mid, broker.instrument(SYMBOL)
            broker.place(an_order("buy", "0.05", "entry"))
            stop = grid.price(mid * Decimal("0.8"))
            broker.place(an_order("sell", "0.05", "stop", trigger_price=stop, reduce_only=True))
            broker.place(an_order("buy", "0.01", "rests", price=grid.price(mid * Decimal("0.9"))))
        yield here


def typed(environment: Mapping[str, str], *words: str) -> tuple[int, str, str]:
    """(exit status, stdout, stderr) of `aaos paper …`."""
    with keyboard(environment) as (shown, told):
        status = main(["paper", *words])
    return status, shown.getvalue(), told.getvalue()


def told(environment: Mapping[str, str], *words: str) -> Any:
    """The one JSON document that `aaos paper … --json` prints."""
    status, shown, errors = typed(environment, *words, "--json")
    assert status == 0, errors
    return json.loads(shown)


@pytest.mark.requirement("R4")
def test_the_accounts_money_adds_up_from_what_is_shown(environment: Mapping[str, str]) -> None:
    shown = told(environment, "account")
    figures = {name: Decimal(shown[name]) for name in ("cash", "deposits", "realised", "fees")}
    assert figures["cash"] == figures["deposits"] + figures["realised"] - figures["fees"]
    assert figures["deposits"] == 100_000
    trades = told(environment, "trades")
    assert sum(Decimal(trade["fee"]) for trade in trades) == figures["fees"]
    assert (shown["positions"], shown["trades"]) == (1, len(trades))
    assert "fees" in typed(environment, "account")[1]


def test_orders_trades_and_positions_are_shown(environment: Mapping[str, str]) -> None:
    assert [each["client_order_id"] for each in told(environment, "orders")] == ["rests", "stop", "entry"]
    assert [each["client_order_id"] for each in told(environment, "orders", "--open")] == ["rests", "stop"]
    assert {each["symbol"] for each in told(environment, "trades", "--limit", "1")} == {SYMBOL}
    [position] = told(environment, "positions")
    assert (position["symbol"], Decimal(position["quantity"])) == (SYMBOL, Decimal("0.05"))
    for words, expected in (
        (("orders",), "stop_market"),
        (("trades",), "taker"),
        (("positions",), SYMBOL),
        (("requests",), "accepted"),
    ):
        status, shown, _ = typed(environment, *words)
        assert (status, expected in shown) == (0, True)
    assert [each["client_order_id"] for each in told(environment, "requests")] == ["rests", "stop", "entry"]


def test_an_account_without_anything_says_so(environment: Mapping[str, str]) -> None:
    assert "no orders at the venue" in typed(environment, "orders", "--account", "paper-portfolio")[1]
    assert "no trades at the venue" in typed(environment, "trades", "--account", "paper-portfolio")[1]
    assert "no position at the venue" in typed(environment, "positions", "--account", "paper-portfolio")[1]


def test_a_misbehaviour_strikes_in_another_process_and_ends_when_told(environment: Mapping[str, str]) -> None:
    assert "the venue behaves well" in typed(environment, "misbehaviours")[1]
    status, shown, _ = typed(environment, "behave", "timeout_after", "--calls", "3", "--on", "place")
    assert (status, shown) == (0, "timeout_after: every call of place, all accounts, 3 times\n")
    with keyboard(environment), pytest.raises(AmbiguousReply):
        container().broker("paper").place(an_order("buy", "0.001", "lost"))
    [left] = told(environment, "misbehaviours")
    assert (left["mode"], left["calls_left"]) == ("timeout_after", 2)
    status, shown, _ = typed(environment, "behave", "disconnect", "--share", "0.2", "--seed", "7", "--account", "paper")
    assert "20% of the calls (seed 7) of place, cancel, paper, until `aaos paper behave ok`" in shown
    listed = typed(environment, "misbehaviours")[1]
    assert "late_fills" in listed
    assert "disconnect: 20%" in listed
    assert typed(environment, "behave", "ok")[1] == "misbehaviours ended: 2\n"
    assert told(environment, "misbehaviours") == []


def test_money_is_paid_in_and_out(environment: Mapping[str, str]) -> None:
    before = Decimal(told(environment, "account", "--account", "paper-portfolio")["cash"])
    assert typed(environment, "deposit", "500", "--account", "paper-portfolio", "--id", "once")[0] == 0
    _, _, said = typed(environment, "deposit", "500", "--account", "paper-portfolio", "--id", "once")
    assert f"{before + 500:.8f}" in said
    assert typed(environment, "deposit", "-500", "--account", "paper-portfolio")[0] == 0
    assert Decimal(told(environment, "account", "--account", "paper-portfolio")["cash"]) == before


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("orders", "--account", "nobody"), "no account 'nobody' at the paper venue; there are paper, paper-portfolio"),
        (("behave", "nonsense"), "no misbehaviour 'nonsense'; choose one of timeout_after"),
        (("behave", "slow", "--account", "x"), "no account 'x'"),
        (("behave", "slow", "--share", "3"), "share is 3: more than 0, at most 1"),
        (("deposit", "much"), "'much' is not an amount"),
        (("deposit", "nan"), "'nan' is not an amount"),
        (("deposit", "-1e12"), "cannot be paid out"),
    ],
)
def test_bad_input_is_one_line_that_names_what_is_allowed(
    environment: Mapping[str, str], words: tuple[str, ...], why: str
) -> None:
    status, shown, errors = typed(environment, *words)
    assert (status, shown) == (1, "")
    assert why in errors
    assert errors.count("\n") == 1
