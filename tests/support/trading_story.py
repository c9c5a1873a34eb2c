"""A decision that became a position, and others that were refused, stored the way the services store them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

from support.desk import SYMBOL, entry, new_approval, seen, stop, trade
from support.worlds import SLOT, World, analysis, taken

from aaos.domain.orders import NewRiskApproval, Order
from aaos.domain.runs import Completed
from aaos.domain.vetoes import NewVeto

MARKET_MS = 1_767_268_800_000  # 2026-01-01 12:00 UTC
TIMES = {"as_of": SLOT.isoformat(), "market_time": SLOT.isoformat()}
CHECKS = (
    ("position_size", "10", "20", "% of equity"),
    ("leverage", "5", "10", "times"),
    ("drawdown", "0", "5", "% below"),
    ("consecutive_losses", "0", "5", "positions"),
    ("correlation", "10", "40", "% of equity"),
    ("break_even", "0.65", "20", "% of margin"),
    ("liquidation_buffer", "17.5", "5", "% of entry price"),
)


def decision_body(signal: str = "BUY", **more: Any) -> dict[str, Any]:
    """A decision as it is stored: two votes, one adjustment, a conflict that an arbiter ruled on."""
    return {
        "timeframe": "1m",
        "signal": signal,
        "confidence": 0.75,
        "original_confidence": 0.7,
        "risk_score": 0.3,
        "reasoning": "it rises",
        "wyckoff_phase": "markup",
        "hidden_hand_warning": None,
        "phase_signal_conflict": False,
        "degraded_inference": False,
        "degradation_reason": None,
        "agreement": 1.0,
        "tradable": True,
        "adjustments": [{"step": "consensus", "factor": 1.07, "before": 0.7, "after": 0.75, "why": "all agree"}],
        "votes": [{"run": 1, "voter": "trend", "model": "big", "signal": signal, "confidence": 0.7}],
        "conflicts": [{"name": "model small", "says": "SELL", "confidence": 0.81}],
        "arbitration": {
            "verdict": "modify",
            "model": "sovereign-32b",
            "fallback_used": False,
            "error": None,
            "reasoning": "half of it \x1b[2J",
            "leverage": None,
            "size_fraction": 0.5,
            "entry_price": None,
        },
        **TIMES,
        **more,
    }


def risk_body(source: str, refused_by: str | None = None, **more: Any) -> dict[str, Any]:
    """A risk report as it is stored: all seven checks, one of which may have failed."""
    checks = [_check(name, name != refused_by, *figures) for name, *figures in CHECKS]
    sizing = {"quantity": "2", "price": "100", "notional": "200", "leverage": "5", "stop_price": "98",
              "take_profit_price": "104"}  # fmt: skip
    return {
        "source": source,
        "source_hash": "h",
        "account": "paper",
        "symbol": SYMBOL,
        "signal": "BUY",
        "approved": refused_by is None,
        "code": None if refused_by is None else f"RISK_{refused_by.upper()}",
        "reason": "all 7 checks passed" if refused_by is None else f"{refused_by}: {refused_by} told",
        "checks": checks,
        "sizing": sizing,
        "figures": {},
        **TIMES,
        **more,
    }


def _check(name: str, passed: bool, figure: str, limit: str, unit: str) -> dict[str, Any]:
    found = {"name": name, "passed": passed, "figure": figure, "limit": limit, "unit": unit, "why": f"{name} told"}
    return found | {"measures": [found | {"name": "one"}]}


def complete(world: World, kind: str, key: str, outcome: Completed, symbol: str = SYMBOL) -> int:
    """Runs a run of that kind to its end and returns its id."""
    runs = world.runs()
    run_id, _ = runs.insert_request(analysis(kind, symbol, request_key=key))
    runs.complete(taken(runs, run_id), outcome, publish=False)
    return run_id


def a_decision(world: World, key: str = "d", **more: Any) -> int:
    """Stores a decision and returns its run."""
    return complete(world, "trading_decision", key, Completed(decision_body(**more)))


def let_through(world: World, run_id: int, **changes: Any) -> NewRiskApproval:
    """Stores risk's report on a decision, with the approval that came of it."""
    source = f"decision:{run_id}"
    approval = new_approval(world, source, **changes)
    complete(world, "risk_assessment", f"risk:{source}", Completed(risk_body(source), approval=approval))
    return approval


def refuse_at_risk(world: World, run_id: int, check: str = "drawdown") -> NewVeto:
    """Stores risk's report on a decision that it refuses, with the veto."""
    source = f"decision:{run_id}"
    veto = a_veto(source, code=f"RISK_{check.upper()}")
    complete(world, "risk_assessment", f"risk:{source}", Completed(risk_body(source, check), veto=veto))
    return veto


def a_veto(source: str, **more: Any) -> NewVeto:
    fields: dict[str, Any] = {
        "source": source,
        "stage": "risk",
        "code": "RISK_DRAWDOWN",
        "reason": "drawdown told",
        "symbol": SYMBOL,
        "side": "buy",
        "market_ms": MARKET_MS,
        "price": Decimal(100),
        "quantity": Decimal(2),
        "leverage": Decimal(5),
        "stop_price": Decimal(98),
        "take_profit_price": Decimal(104),
    }
    return NewVeto(**(fields | more))


def trade_it(world: World, run_id: int, price: object = 100, **changes: Any) -> Sequence[Order]:
    """Lets a decision through, places its entry, fills it in two parts, and places its stop; returns both orders."""
    source = f"decision:{run_id}"
    let_through(world, run_id, **changes)
    approval = world.desk.of_source(source)
    assert approval is not None
    placed = world.orders.intend(entry(approval, price=Decimal(str(price)))).order
    world.orders.settle(placed.id, seen(placed))
    world.books.book(placed.account, [trade(placed, "0.5", price), trade(placed, "1.5", price)], [])
    world.orders.settle(placed.id, seen(placed, "filled"))
    protective = world.orders.intend(stop(approval)).order
    world.orders.settle(protective.id, seen(protective))
    body = {"source": source, "symbol": SYMBOL, "placed": True, "denial": None, "mid": "100", "slippage": "0.0009"}
    complete(world, "execution", f"execution:{source}", Completed(body))
    return [world.orders.order(placed.id), world.orders.order(protective.id)]


def close_it(world: World, orders: Sequence[Order], price: object = 98) -> None:
    """Fills the stop."""
    protective = orders[1]
    world.books.book(protective.account, [trade(protective, None, price)], [])
    world.orders.settle(protective.id, seen(protective, "filled"))


def quarantined(world: World, run_id: int) -> Order:
    """Lets a decision through; nobody knows what became of its entry, and the venue does not know it."""
    let_through(world, run_id)
    approval = world.desk.of_source(f"decision:{run_id}")
    assert approval is not None
    placed = world.orders.intend(entry(approval)).order
    world.orders.doubt(placed.id, "no answer in 5 s")
    world.orders.quarantine(placed.id, "the venue does not know it after 2 s")
    return replace(placed)
