"""Scored votes for tests of calibration: every figure is an example."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np

from aaos.domain.calibration import CalibrationRules, VoteOutcome

RULES = CalibrationRules()
MINUTE_MS = 60_000
HORIZON_MS = RULES.horizon_candles * MINUTE_MS
START_MS = 1_640_995_200_000
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def scored(confidence: float, right: bool, at: int = 0, **more: Any) -> VoteOutcome:
    """A scored vote of the `at`-th window, so that those of different windows do not overlap."""
    candle_ms = START_MS + at * HORIZON_MS
    fields: dict[str, Any] = {
        "result_id": at + 1,
        "voted_at": NOON,
        "state": "scored",
        "symbol": "BTC/USDT",
        "voter": "trend",
        "model": "big",
        "fallback_used": False,
        "regime": "ranging",
        "signal": "BUY",
        "confidence": confidence,
        "timeframe": "1m",
        "candle_ms": candle_ms,
        "close_then": 100.0,
        "market_candles": 100,
        "market_hash": "h",
        "horizon_candles": RULES.horizon_candles,
        "min_move_fraction": RULES.min_move_fraction,
        "due_ms": candle_ms + HORIZON_MS,
        "after_ms": candle_ms + HORIZON_MS,
        "close_after": 101.0 if right else 99.0,
        "correct": right,
        "squared_error": (confidence - right) ** 2,
        "scored_at": NOON,
    }
    return VoteOutcome(**{**fields, **more})


def forecasts(n: int, seed: int, trust: float = 1.0, **more: Any) -> list[VoteOutcome]:
    """Votes in windows of their own whose model is right in `trust` × confidence of the cases."""
    rng = np.random.default_rng(seed)
    said = rng.uniform(0.5, 0.95, size=n)
    right = rng.uniform(size=n) < trust * said
    return [scored(float(p), bool(y), at, **more) for at, (p, y) in enumerate(zip(said, right, strict=True))]


def shuffled(outcomes: Sequence[VoteOutcome], seed: int) -> list[VoteOutcome]:
    order = np.random.default_rng(seed).permutation(len(outcomes))
    return [outcomes[place] for place in order]
