"""What a person sees of trading, and the stop, on the command line and in Python, on a real database."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from support.person import Person
from support.trading_story import (
    a_decision,
    a_veto,
    close_it,
    complete,
    let_through,
    quarantined,
    refuse_at_risk,
    trade_it,
)
from support.worlds import PostgresWorld

from aaos.adapters.postgres.vetoes import PostgresVetoes
from aaos.domain.orders import CashFlow
from aaos.domain.runs import Completed
from aaos.domain.vetoes import VetoOutcome, VetoTerms

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
MINUTE_MS = 60_000


@pytest.fixture
def world(alone: Person) -> Iterator[PostgresWorld]:
    """The database behind the person's commands."""
    opened = PostgresWorld(alone.environment["AAOS_DATABASE_URL"])
    yield opened
    opened.close()


def test_before_anything_was_traded_each_command_says_what_leads_to_something(alone: Person) -> None:
    told = {
        "positions": "`aaos decide SYM` may lead to one",
        "orders": "`aaos risk` and `aaos vetoes` say what was let through or refused",
        "fills": "`aaos orders` shows what waits for one",
        "risk": "a tradable decision leads to one",
        "vetoes": "nothing was refused yet",
    }
    for command, remedy in told.items():
        assert remedy in alone.types(command).stdout
        assert alone.json(command) == []
    assert "`aaos positions` shows the open ones" in alone.types("positions", "--closed").stdout
    assert "nothing was refused yet" in alone.types("vetoes", "--by", "code").stdout
    assert "no equity recorded yet" in alone.types("pnl").stdout
    assert "trading is on" in alone.types("trading").stdout


@pytest.mark.requirement("D1")
def test_an_open_position_is_shown_at_the_markets_price_with_its_stop_orders_fills_and_profit(
    alone: Person, world: PostgresWorld
) -> None:
    deposit = CashFlow("paper", "f1", "deposit", None, Decimal(100_000), NOON)
    world.books.book("paper", [], [deposit])
    run_id = a_decision(world)
    placed, protective = trade_it(world, run_id)
    world.books.record_equity("paper", Decimal(100_000), Decimal(0))
    world.books.record_equity("paper", Decimal(100_000), Decimal(50))

    (held,) = alone.json("positions")
    assert (held["symbol"], held["side"], held["quantity"], held["source"]) == (
        "BTC/USDT", "long", "2", f"decision:{run_id}"
    )  # fmt: skip
    mark, profit = Decimal(held["mark"]), Decimal(held["unrealised"])
    assert profit == 2 * (mark - 100)
    assert Decimal(held["roi_pct"]) == (mark - 100) / 100 * 5 * 100
    shown = alone.types("positions").stdout
    assert shown.splitlines()[0].split()[:4] == ["position", "account", "symbol", "side"]
    assert " 98 " in shown

    listed = alone.json("orders")
    assert [(each["leg"], each["state"], each["filled"]) for each in listed] == [
        ("stop:1", "working", "0"), ("entry", "filled", "2")
    ]  # fmt: skip
    assert [each["id"] for each in alone.json("orders", "--state", "working")] == [protective.id]
    assert [each["id"] for each in alone.json("orders", "--source", str(run_id))] == [placed.id, protective.id]
    assert [each["id"] for each in alone.json("orders", "--source", f"decision:{run_id}", "--state", "filled")] == [
        placed.id
    ]
    assert [(each["leg"], each["quantity"]) for each in alone.json("fills")] == [("entry", "1.5"), ("entry", "0.5")]

    books = alone.json("pnl")
    (paper,) = [each for each in books if each["account"] == "paper"]
    assert [each["account"] for each in books] == ["paper", "paper-portfolio"]
    assert Decimal(paper["equity"]) == Decimal(paper["cash"]) + Decimal(paper["unrealised"])
    assert Decimal(paper["cash"]) == 100_000 - Decimal("0.2")
    assert Decimal(paper["net"]) == Decimal(paper["unrealised"]) - Decimal("0.2")
    assert [Decimal(value) for _, value in paper["curve"]] == [100_000, 100_050]
    assert "▁█  100,000.00" in alone.types("pnl", "--account", "paper").stdout
    assert "trading: on, open positions: 1" in alone.types("status").stdout
    assert alone.json("status")["trading"]["open_positions"] == 1


@pytest.mark.requirement("D1")
def test_a_decision_is_explained_from_the_candles_to_the_closed_position(alone: Person, world: PostgresWorld) -> None:
    run_id = a_decision(world)
    orders = trade_it(world, run_id)
    open_told = alone.types("explain", str(run_id)).stdout
    assert "unrealised" in open_told
    close_it(world, orders)
    told = alone.types("explain", str(run_id)).stdout
    parts = [
        "arbitration: modify (by sovereign-32b)", "against it: model small says SELL (0.81)", "changed: size × 0.5",
        "risk: approved", "✓ drawdown: 0, limit 5 (% below)", "used by its order", "execution: order placed",
        "entry: buy 2 limit at 100, filled", "0.5 at 100, fee 0.1", "stop:1: sell 2 stop_market at 98, filled",
        "closed 2026-01-01 12:00:00Z, net -4.30",
    ]  # fmt: skip
    places = [told.find(part) for part in parts]
    assert all(place >= 0 for place in places), [part for part, place in zip(parts, places, strict=True) if place < 0]
    assert places == sorted(places)
    assert "\x1b" not in told
    story = alone.json("explain", str(run_id))["trade"]
    assert (story["risk"]["state"], story["approval"]["quantity"]) == ("completed", "2")
    assert [each["leg"] for each in story["fills"]] == ["entry", "entry", "stop:1"]
    assert story["position"]["realised"] == "-4"
    (closed,) = alone.json("positions", "--closed")
    assert (closed["id"], Decimal(closed["net"])) == (story["position"]["id"], Decimal("-4.3"))
    assert alone.json("positions") == []


@pytest.mark.requirement("D1")
def test_a_refused_decision_is_explained_by_the_check_that_refused_it_and_by_what_it_would_have_become(
    alone: Person, world: PostgresWorld
) -> None:
    run_id = a_decision(world)
    refuse_at_risk(world, run_id)
    told = alone.types("explain", str(run_id)).stdout
    for part in (
        "risk: refused as RISK_DRAWDOWN", "✗ drawdown: 0, limit 5 (% below): drawdown told", "✓ leverage",
        "refused by risk as RISK_DRAWDOWN", "what became of it: not looked at yet",
    ):  # fmt: skip
        assert part in told
    assert alone.json("explain", str(run_id))["trade"]["orders"] == []
    held = a_decision(world, "h", signal="HOLD", tradable=False, arbitration=None, conflicts=[])
    assert "risk:" not in alone.types("explain", str(held)).stdout
    turned = {"code": "CONFIDENCE", "action": "BUY", "why": "0.55 is below 0.6"}
    weak = a_decision(world, "w", tradable=False, refusal=turned)
    assert "not traded: BUY refused as CONFIDENCE: 0.55 is below 0.6" in alone.types("explain", str(weak)).stdout


def test_risk_lists_its_assessments_and_shows_every_check_of_one(alone: Person, world: PostgresWorld) -> None:
    good, bad = a_decision(world, "good"), a_decision(world, "bad")
    let_through(world, good)
    refuse_at_risk(world, bad)
    listed = alone.json("risk")
    assert [(each["source"], each["approved"]) for each in listed] == [
        (f"decision:{bad}", False), (f"decision:{good}", True)
    ]  # fmt: skip
    assert "RISK_DRAWDOWN" in alone.types("risk").stdout
    shown = alone.types("risk", str(good)).stdout
    assert "approval" in shown
    assert "valid until" in shown
    for name in ("position_size", "leverage", "drawdown", "consecutive_losses", "correlation", "break_even",
                 "liquidation_buffer"):  # fmt: skip
        assert name in shown
    assert alone.json("risk", f"decision:{bad}")["checks"][2]["passed"] is False
    assert "no source: say decision:17" in alone.types("risk", "yesterday", status=1).stderr
    assert "there is no run 4711" in alone.types("risk", "4711", status=1).stderr
    assert "`aaos portfolio`" in alone.types("risk", "trade:9", status=1).stderr
    waiting = a_decision(world, "waiting")
    assert f"`aaos explain {waiting}`" in alone.types("risk", str(waiting), status=1).stderr


def test_the_stop_is_one_command_with_a_reason_that_the_audit_log_keeps(alone: Person, world: PostgresWorld) -> None:
    stopped = alone.json("trading", "stop", "--reason", "news", "--by", "anna")
    assert (stopped["stopped"], stopped["by"], stopped["reason"]) == (True, "anna", "news")
    assert world.switch.read().stopped
    shown = alone.types("trading").stdout
    assert "trading is STOPPED" in shown
    assert "`aaos trading resume --reason …`" in shown
    assert "trading: STOPPED" in alone.types("status").stdout
    repeated = alone.types("trading", "stop", "--reason", "again", "--by", "bert")
    assert "this reason is not kept" in repeated.stderr
    again = repeated.stdout
    assert "by anna: news" in again
    assert "trading is on" in alone.types("trading", "resume", "--reason", "over").stdout
    assert [each["action"] for each in alone.json("audit")] == ["trading.resumed", "trading.stopped"]
    assert "say it in 1 to 1000" in alone.types("trading", "stop", "--reason", " ", status=1).stderr
    assert "--reason" in alone.types("trading", "stop", status=2).stderr


def test_a_quarantined_order_is_named_with_its_remedy_and_released_on_a_persons_word(
    alone: Person, world: PostgresWorld
) -> None:
    order = quarantined(world, a_decision(world))
    shown = alone.types("trading").stdout
    assert f"`aaos orders release {order.id} --reason …`" in shown
    assert "the venue does not know it" in shown
    told = alone.json("trading")
    assert (told["goes_on"], [each["state"] for each in told["doubtful"]]) == (False, ["quarantined"])
    said = alone.types("orders", "release", str(order.id), "--reason", "not at the venue, looked twice").stdout
    assert f"order {order.id} released" in said
    assert alone.json("trading")["doubtful"] == []
    assert [each["id"] for each in alone.json("orders", "--state", "quarantined")] == [order.id]
    assert "4711" in alone.types("orders", "release", "4711", "--reason", "x", status=1).stderr


def test_books_in_doubt_are_shown_as_what_holds_entries_back(alone: Person, world: PostgresWorld) -> None:
    world.books.doubt("paper", "order 5 was not answered")
    shown = alone.types("trading").stdout
    assert "books of paper: IN DOUBT, so no entries: order 5 was not answered" in shown
    assert alone.json("trading")["goes_on"] is False


def test_a_filter_that_names_nothing_there_is_says_what_there_is(alone: Person) -> None:
    def told(*words: str) -> str:
        return alone.types(*words, status=1).stderr

    assert "an order is intent, working" in alone.python("""
        try:
            aaos.orders(state="lost")
        except aaos.errors.InputError as error:
            said = str(error)
    """)
    assert "did you mean BTC/USDT?" in told("orders", "--symbol", "btcusdt")
    assert "no symbol 'X/USDT'" in told("fills", "--symbol", "X/USDT")
    assert "there are: paper, paper-portfolio" in told("pnl", "--account", "live")
    assert "ask for 1 to 3650" in told("pnl", "--days", "0")
    assert "refused at decision, review, risk, execution" in told("vetoes", "--stage", "lunch")
    assert "choose code" in told("vetoes", "--by", "stage")
    assert "leave out stage, code and symbol" in told("vetoes", "--by", "code", "--stage", "risk")
    assert "nothing was refused under 'X'" in told("vetoes", "--code", "X")


def test_refusals_are_listed_with_what_they_became_and_added_up_by_code(alone: Person, world: PostgresWorld) -> None:
    ledger = PostgresVetoes(world.database)
    for number in range(1, 4):
        veto = a_veto(f"decision:{number}", code="RISK_LEVERAGE" if number == 3 else "RISK_DRAWDOWN")
        complete(world, "risk_assessment", f"risk:decision:{number}", Completed({"approved": False}, veto=veto))
    terms = VetoTerms("1m", 0, 1, "h", 240, 240 * MINUTE_MS, Decimal("0.0006"), Decimal(98), Decimal(104))
    first, second, _ = (replace(each, state="waiting", terms=terms) for each in ledger.unread(_later(world), 9))
    ledger.write([first, second])
    lost = VetoOutcome(MINUTE_MS, "stop", Decimal(98), Decimal("-2.1188"), Decimal("-4.2376"))
    ledger.write([replace(first, state="scored", outcome=lost)])
    newest, waiting, ended = alone.json("vetoes")
    assert (newest["state"], waiting["state"], ended["state"]) == ("unread", "waiting", "scored")
    assert (ended["verdict"], ended["outcome"]["return_pct"], ended["refusal"]["code"]) == (
        "saved", "-2.1188", "RISK_DRAWDOWN"
    )  # fmt: skip
    shown = alone.types("vetoes").stdout
    assert "saved: stopped out at 98" in shown
    assert "known after 1970-01-01T04:00:00Z market time" in shown
    assert len(alone.json("vetoes", "--code", "RISK_DRAWDOWN", "--limit", "1")) == 1
    rows = alone.json("vetoes", "--by", "code")["rows"]
    assert [(row["stage"], row["code"], row["refused"], row["waiting"]) for row in rows] == [
        (None, None, 3, 2), ("risk", None, 3, 2), ("risk", "RISK_DRAWDOWN", 2, 1), ("risk", "RISK_LEVERAGE", 1, 1)
    ]  # fmt: skip
    assert rows[0]["figures"]["saved_quote"] == "4.2376"
    added = alone.types("vetoes", "--by", "code").stdout
    assert "too few windows to say" in added
    assert "negative: refusing it was right" in added


def test_a_python_shell_has_the_same(alone: Person, world: PostgresWorld) -> None:
    run_id = a_decision(world)
    trade_it(world, run_id)
    said = alone.python(f"""
        said = [
            repr(aaos.positions()).splitlines()[0].split()[0], len(aaos.orders(source={run_id})), len(aaos.fills()),
            aaos.risk({run_id}).approved, aaos.pnl("paper")[0].open_positions, aaos.trading().goes_on,
            repr(aaos.vetoes())[:19], repr(aaos.vetoes(by="code"))[:19], aaos.stop_trading("test").stopped,
            aaos.resume_trading("test").stopped, "unrealised" in repr(aaos.explain({run_id})),
        ]
    """)
    assert said == ["position", 2, 2, True, 1, True, "nothing was refused", "nothing was refused", True, False, True]


def _later(world: PostgresWorld) -> datetime:
    return datetime.fromtimestamp(world.now().timestamp() + 60, UTC)
