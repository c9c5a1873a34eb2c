"""Small made-up series for tests: every figure in them is an example."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from aaos.domain.decision import CastVote
from aaos.domain.market import Candles
from aaos.domain.regime import RegimeOutput
from aaos.domain.signals import SignalOutput

START_MS = 1_640_995_200_000  # 2022-01-01T00:00:00Z
MINUTE_MS = 60_000
REAL_DATA = Path(os.environ.get("AAOS_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))


def candles_of(
    close: Sequence[float] | np.ndarray[Any, Any],
    volume: Sequence[float] | np.ndarray[Any, Any] | float = 10.0,
    symbol: str = "BTC/USDT",
) -> Candles:
    """One-minute candles with these closes, each opening where the last one closed, without wicks."""
    closes = np.asarray(close, dtype=float)
    opens = np.concatenate((closes[:1], closes[:-1]))
    times = START_MS + MINUTE_MS * np.arange(len(closes))
    volumes = np.broadcast_to(np.asarray(volume, dtype=float), closes.shape)
    return Candles(symbol, "1m", times, opens, np.maximum(opens, closes), np.minimum(opens, closes), closes, volumes)


def walk(n: int = 300, seed: int = 1, price: float = 100.0, sigma: float = 1e-3, drift: float = 0.0) -> Candles:
    """A random walk with wicks and varying volume; the same for the same arguments."""
    rng = np.random.default_rng(seed)
    close = price * np.exp(np.cumsum(drift + sigma * rng.normal(size=n)))
    plain = candles_of(close, rng.uniform(1, 20, size=n))
    wick = 1 + sigma * rng.uniform(size=n)
    columns = plain.open, plain.high * wick, plain.low / wick, plain.close, plain.volume
    return Candles(plain.symbol, plain.timeframe, plain.open_time_ms, *columns)


def a_signal(direction: str = "long", symbol: str = "BTC/USDT") -> SignalOutput:
    score = {"long": 65.0, "short": -65.0}.get(direction, 0.0)
    return SignalOutput(symbol, "1m", direction, score, abs(score) / 1.3, (), {}, 500, START_MS)  # type: ignore[arg-type]


def a_regime(
    regime: str = "ranging", phase: str = "unknown", volume: str = "flat", symbol: str = "BTC/USDT"
) -> RegimeOutput:
    return RegimeOutput(symbol, "1m", regime, 0.8, phase, volume, {}, 500, START_MS)  # type: ignore[arg-type]


def a_vote(signal: str = "BUY", confidence: float = 0.8, voter: str = "v1", **more: Any) -> CastVote:
    fields = {"model": "big", "risk_score": 0.3, "reasoning": f"{voter} thinks so", **more}
    return CastVote(voter=voter, signal=signal, confidence=confidence, **fields)  # type: ignore[arg-type]
