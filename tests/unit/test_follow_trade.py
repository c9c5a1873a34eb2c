"""What became of a decision, on the stores in memory: each way a trade can go, and where it stands on the way."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from support.trading_story import (
    a_decision,
    close_it,
    complete,
    let_through,
    quarantined,
    refuse_at_risk,
    risk_body,
    trade_it,
)
from support.worlds import MemoryWorld, analysis, taken

from aaos.adapters.memory import MemoryVetoes
from aaos.domain.orders import OrderState
from aaos.domain.runs import Completed, Failed
from aaos.services.follow_trade import TradeRecords, TradeStory, follow_trade
from aaos.shell.positions import HeldPosition
from aaos.shell.story import Followed, arbitration_nodes, refusal_nodes, story_nodes
from aaos.shell.trees import Node, tree_lines

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.fixture
def world() -> MemoryWorld:
    return MemoryWorld()


def story_of(world: MemoryWorld, source: str | int) -> TradeStory:
    name = source if isinstance(source, str) else f"decision:{source}"
    records = TradeRecords(
        world.runs(), world.results, world.desk, world.orders, world.books, MemoryVetoes(world.database)
    )
    return follow_trade(name, "BTC/USDT", records)


def told(story: TradeStory, held: HeldPosition | None = None) -> str:
    return "\n".join(tree_lines(Node("root", story_nodes(Followed(story, held)))))


def test_a_decision_that_nothing_came_of_has_no_story(world: MemoryWorld) -> None:
    story = story_of(world, a_decision(world))
    assert not story.began
    assert story_nodes(Followed(story)) == ()


def test_a_trade_is_followed_from_risk_to_the_closed_position(world: MemoryWorld) -> None:
    run_id = a_decision(world)
    orders = trade_it(world, run_id)
    close_it(world, orders, 97)
    story = story_of(world, run_id)
    assert story.began
    assert [each.leg for each in story.orders] == ["entry", "stop:1"]
    assert [(each.leg, each.quantity) for each in story.fills] == [
        ("entry", Decimal("0.5")), ("entry", Decimal("1.5")), ("stop:1", Decimal(2))
    ]  # fmt: skip
    assert story.position is not None
    assert (story.position.realised, story.position.quantity) == (-6, 0)
    text = told(story)
    assert text.index("risk: approved") < text.index("approval ") < text.index("execution:") < text.index("orders")
    assert "net -6.30 (realised -6.00, fees -0.30" in text


def test_an_open_position_is_shown_at_the_price_now_or_with_why_there_is_none(world: MemoryWorld) -> None:
    run_id = a_decision(world)
    trade_it(world, run_id)
    story = story_of(world, run_id)
    assert story.position is not None
    now = HeldPosition(story.position, Decimal(103), Decimal(6), Decimal(15))
    assert "long 2 at 100" in told(story, now)
    assert "now 103, unrealised +6.00; stop 98, profit at 104" in told(story, now)
    unpriced = HeldPosition(story.position, None, None, None, "BOOK_STALE: its book is old")
    assert "BOOK_STALE: its book is old" in told(story, unpriced)
    assert Followed(story, now).to_dict()["position"]["unrealised"] == "6"


def test_a_decision_whose_fills_went_into_anothers_position_names_whose_it_is(world: MemoryWorld) -> None:
    first, second = a_decision(world, "a"), a_decision(world, "b")
    trade_it(world, first)
    trade_it(world, second)
    story = story_of(world, second)
    assert story.position is not None
    assert story.position.source == f"decision:{first}"
    held = HeldPosition(story.position, Decimal(100), Decimal(0), Decimal(0))
    assert f"opened by decision:{first}" in told(story, held)


def test_a_refusal_is_found_by_its_veto_and_shows_the_check_that_failed(world: MemoryWorld) -> None:
    run_id = a_decision(world)
    refuse_at_risk(world, run_id, "leverage")
    story = story_of(world, run_id)
    assert story.risk.result is not None
    assert story.risk.result.body["code"] == "RISK_LEVERAGE"
    assert "✗ leverage: 5, limit 10 (times)" in told(story)
    assert "what became of it: not looked at yet" in told(story)


def test_a_run_that_waits_or_failed_is_found_by_its_key_and_says_where_it_stands(world: MemoryWorld) -> None:
    run_id = a_decision(world)
    runs = world.runs()
    spec = analysis("risk_assessment", request_key=f"risk:decision:{run_id}")
    risk_run, _ = runs.insert_request(spec)
    assert f"risk: run {risk_run} is pending" in told(story_of(world, run_id))
    runs.end(taken(runs, risk_run), Failed("network", "the venue did not answer"))
    assert f"risk: run {risk_run} is failed: the venue did not answer" in told(story_of(world, run_id))
    assert Followed(story_of(world, run_id)).to_dict()["risk"]["body"] is None


def test_an_execution_that_refused_or_lost_its_order_says_so(world: MemoryWorld) -> None:
    refused, lost = a_decision(world, "a"), a_decision(world, "b")
    let_through(world, refused)
    body = {
        "placed": False,
        "denial": "SLIPPAGE_EXCEEDED",
        "reason": "0.7 % of 0.5 %",
        "mid": "100",
        "slippage": "0.007",
    }
    complete(world, "execution", f"execution:decision:{refused}", Completed(body))
    text = told(story_of(world, refused))
    assert "execution: refused as SLIPPAGE_EXCEEDED: 0.7 % of 0.5 %, mid 100, slippage 0.7000%" in text
    order = quarantined(world, lost)
    complete(world, "execution", f"execution:decision:{lost}", Completed({"placed": None}))
    story = story_of(world, lost)
    assert [each.state for each in story.orders] == [OrderState.QUARANTINED]
    assert "nobody knows: its order is quarantined" in told(story)
    assert order.client_order_id in told(story)


def test_an_approval_that_ran_out_unused_says_so(world: MemoryWorld) -> None:
    run_id = a_decision(world)
    let_through(world, run_id)
    assert "unused, valid until" in told(story_of(world, run_id))
    world.pass_time(61)
    assert "expired unused" in told(story_of(world, run_id))


def test_a_portfolios_trade_has_its_story_too(world: MemoryWorld) -> None:
    complete(world, "risk_assessment", "risk:trade:4", Completed(risk_body("trade:4", "drawdown")))
    story = story_of(world, "trade:4")
    assert story.risk.result is not None
    assert "risk: refused as RISK_DRAWDOWN" in told(story)


def test_an_arbitration_without_a_ruling_shows_its_error_and_old_decisions_have_none() -> None:
    failed = {
        "verdict": "hold",
        "model": None,
        "fallback_used": False,
        "error": "big: late; small: late",
        "reasoning": "",
    }
    against = [{"name": "regime", "says": "SELL", "confidence": 0.7}]
    lines = tree_lines(Node("", arbitration_nodes({"conflicts": against, "arbitration": failed})))
    assert any("arbitration: hold (no ruling)" in line for line in lines)
    assert any("error: big: late; small: late" in line for line in lines)
    assert arbitration_nodes({}) == ()
    assert refusal_nodes({}) == ()
    [only] = arbitration_nodes({"conflicts": against})
    assert only.text == "conflict, nobody was asked"
