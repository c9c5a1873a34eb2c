"""Refused trades for tests of the veto ledger: every figure is an example."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import numpy as np
from market_examples import MINUTE_MS, START_MS

from aaos.domain.calibration import SeriesNow
from aaos.domain.market import Candles
from aaos.domain.risk.rules import RiskRules
from aaos.domain.veto_outcomes import ANCHOR_CANDLES, read_veto
from aaos.domain.vetoes import NewVeto, Veto, VetoOutcome, VetoRules

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
RISK = RiskRules()
HORIZON = 20
RULES = VetoRules(horizon_candles=HORIZON)
FREE = VetoRules(horizon_candles=HORIZON, taker_fee=Decimal(0))
# The refusal comes when so many candles have closed.
KNOWN = 30
MARKET_MS = START_MS + KNOWN * MINUTE_MS
ANCHOR_MS = MARKET_MS - MINUTE_MS

Bar = tuple[float, float, float, float]  # open, high, low, close


def a_market(after: Sequence[Bar], price: float = 100.0) -> Candles:
    """Candles that stood still at `price` until the refusal, and these after it."""
    bars = [(price, price, price, price)] * KNOWN + list(after)
    columns = np.array(bars, dtype=float).T
    times = START_MS + MINUTE_MS * np.arange(len(bars))
    return Candles("BTC/USDT", "1m", times, *columns, np.full(len(bars), 1.0))


def still(n: int, price: float = 100.0) -> list[Bar]:
    """Candles without any move."""
    return [(price, price, price, price)] * n


def refused(side: str = "buy", **more: Any) -> NewVeto:
    """A refused trade at 100, with stop and profit 2 and 4 percent away."""
    sign = 1 if side == "buy" else -1
    fields: dict[str, Any] = {
        "source": "decision:17",
        "stage": "risk",
        "code": "RISK_DRAWDOWN",
        "reason": "daily drawdown 6.1 % of 5 %",
        "symbol": "BTC/USDT",
        "side": side,
        "market_ms": MARKET_MS,
        "price": Decimal(100),
        "quantity": Decimal("0.5"),
        "leverage": Decimal(5),
        "stop_price": Decimal(100 - 2 * sign),
        "take_profit_price": Decimal(100 + 4 * sign),
    }
    return NewVeto(**(fields | more))


def a_veto(refusal: NewVeto | None = None, veto_id: int = 1) -> Veto:
    return Veto(veto_id, 40 + veto_id, NOON, refusal or refused())


def waiting(market: Candles, refusal: NewVeto | None = None, rules: VetoRules = RULES, **more: Any) -> Veto:
    """A veto that was read on this market."""
    newest = SeriesNow(market.symbol, "1m", int(market.open_time_ms[-1]))
    read = read_veto(a_veto(refusal), newest, market.until(MARKET_MS).tail(ANCHOR_CANDLES), rules, RISK)
    assert read.state == "waiting", read.why
    return replace(read, **more)


def scored(return_pct: str, at: int = 0, quote: str | None = None, veto_id: int = 1, **more: Any) -> Veto:
    """A scored veto of the `at`-th horizon, so that those of different ones do not overlap."""
    refusal = refused(**more)
    read = waiting(a_market(still(HORIZON)), replace(refusal, market_ms=MARKET_MS))
    assert read.terms is not None
    moved_ms = at * HORIZON * MINUTE_MS
    terms = replace(read.terms, anchor_ms=ANCHOR_MS + moved_ms, due_ms=read.terms.due_ms + moved_ms)
    outcome = VetoOutcome(
        terms.due_ms, "horizon", Decimal(100), Decimal(return_pct), None if quote is None else Decimal(quote)
    )
    return replace(read, id=veto_id, state="scored", terms=terms, outcome=outcome, scored_at=NOON)
