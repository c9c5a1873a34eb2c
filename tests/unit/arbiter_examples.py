"""Disputes and rulings for tests: every figure in them is an example."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

from market_examples import a_regime, a_signal, a_vote

from aaos.domain.decision import Arbitration, Bounds, CastVote, DecisionInputs

PRICE = 100.0
BOUNDS = Bounds.around(PRICE, 0.05, Decimal(10))
NO_CHANGE: dict[str, float | None] = {"leverage": None, "size_fraction": None, "entry_price": None}


def a_dispute(*votes: CastVote, regime: str = "trending_down", **more: Any) -> DecisionInputs:
    """Two models say BUY, the score too; the regime is 0.8 sure of the opposite. r is 0.75: confidence × 1.15."""
    cast = votes or (a_vote("BUY", 0.7, "a", model="big"), a_vote("BUY", 0.7, "b", model="other"))
    return DecisionInputs("BTC/USDT", a_signal("long"), a_regime(regime), cast, (), len(cast), **more)


def a_ruling(verdict: str = "proceed", **changes: float) -> Arbitration:
    return Arbitration(
        verdict, "ab" * 32, "arbiter-1", BOUNDS, "the trend is young", **changes, model="big",  # type: ignore[arg-type]
    )  # fmt: skip


def no_ruling() -> Arbitration:
    error = "no model gave a usable answer: big: timed out; small: HTTP 500"
    failed = [{"model": "big", "code": "sovereign_timeout"}, {"model": "small", "code": "sovereign_error"}]
    return Arbitration("hold", "ab" * 32, "arbiter-1", BOUNDS, error=error, asked={"failed_attempts": failed})


def said(verdict: str = "proceed", **more: Any) -> str:
    return json.dumps({"reasoning": "the trend is young", "verdict": verdict, **NO_CHANGE} | more)
