"""The pipeline at thirty times its pace, on a market that rises, and what it decided meanwhile.

What is measured in the pipeline's time runs faster: slots, candles, ages. What is measured in wall time is set
thirty times as short: how long a breaker is open, how long a request may take. Ten minutes are twenty seconds.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from support.lab import IDLE, QUICK, Lab
from support.workers import Process

from aaos.adapters.market.candle_files import HEADER, load_series
from aaos.services.freeze_context import VOTES_END_BEFORE_S
from aaos.services.tick_schedule import STAGES
from aaos.services.use_market import use_replay

SPEED = 30
PRIMARY, FALLBACK = "sovereign-32b", "sovereign-7b"
VOTERS = 3
BREAKER_OPEN_S = 60 / SPEED
DECISION_EVERY_S = 60 / SPEED
TEN_MINUTES_S = 600 / SPEED
FIRST_CANDLE_MS = 1_600_000_020_000
CANDLES = 900
IO_QUEUES = (
    *(*STAGES.values(), "trading_analysis", "trading_decision", "risk_assessment", "execution", "portfolio_rebalance"),
    *("result_publishing", "maintenance"),
)
PIPELINE = {
    **QUICK,
    "AAOS_RUNS__MAX_ATTEMPTS": "3",
    "AAOS_SPEED": f"{SPEED}",
    "AAOS_SCHEDULES__TECHNICAL_ANALYSIS__ENABLED": "true",
    "AAOS_SCHEDULES__REGIME_DETECTION__ENABLED": "true",
    "AAOS_SCHEDULES__TRADING_DECISION__ENABLED": "true",
    # A decision wants inputs newer than the last one.
    "AAOS_SCHEDULES__REGIME_DETECTION__EVERY_S": "60",
    "AAOS_SCHEDULES__TRADING_DECISION__EVERY_S": "60",
    "AAOS_SOVEREIGN__BREAKER__FAILURES_TO_OPEN": "3",
    "AAOS_SOVEREIGN__BREAKER__WINDOW_CALLS": "10",
    "AAOS_SOVEREIGN__BREAKER__OPEN_S": f"{BREAKER_OPEN_S:g}",
    "AAOS_SOVEREIGN__REQUEST_TIMEOUT_S": f"{120 / SPEED:g}",
    "AAOS_SOVEREIGN__CONNECT_TIMEOUT_S": "2",
    "AAOS_SOVEREIGN__RETRY_DELAY_S": "0.05",
    # Ten minutes' votes within twenty seconds are more than a minute's.
    "AAOS_SOVEREIGN__LIMITS__REQUESTS_PER_MINUTE": "100000",
    "AAOS_SOVEREIGN__LIMITS__TOKENS_PER_MINUTE": "100000000",
    "AAOS_SOVEREIGN__LIMITS__CONCURRENT": "64",
    "AAOS_SOVEREIGN__BUDGET__TOKENS_PER_DAY": "1000000000",
    # How long a decision waits for its votes: shortly, so that it is seen what becomes of it without them.
    "AAOS_RUNS__VOTE_START_WITHIN_S": "3",
    "AAOS_KINDS__TRADING_ANALYSIS__TIMEOUT_SECONDS": "5",
    "AAOS_KINDS__TRADING_CONTEXT__TIMEOUT_SECONDS": "10",
    "AAOS_KINDS__TRADING_CONTEXT__MAX_CONCURRENT": "16",
    "AAOS_KINDS__TRADING_DECISION__TIMEOUT_SECONDS": f"{VOTES_END_BEFORE_S + 8:g}",
    "AAOS_KINDS__TRADING_DECISION__MAX_CONCURRENT": "16",
}
STORED = """
    SELECT run_id, kind, symbol, analyzed_at, body FROM results
    WHERE kind = %s AND analyzed_at > %s AND analyzed_at <= %s ORDER BY id
"""
FAILED = "SELECT id, kind, state, failure_source, reason FROM runs WHERE state = 'failed' AND kind = ANY(%s)"
FAR_AHEAD = "infinity"


@dataclass(slots=True)
class Drill:
    """A running pipeline, and a hand on its models."""

    lab: Lab
    workers: list[Process] = field(default_factory=list)
    beat: Process | None = None

    def start(self, directory: Path, symbols: Sequence[str] = ("BTC/USDT",)) -> None:
        """Plays a rising market and starts workers for all queues, and beat; returns after the first decisions."""
        c = self.lab.client
        files = [write_rising(directory / f"{symbol.replace('/', '-')}_1m.csv", n) for n, symbol in enumerate(symbols)]
        widest_ms = max(c.settings.slot_width_ms(name) for name in c.settings.schedules)
        now_ms = int(c.database.now().timestamp() * 1000)
        use_replay(load_series(files), SPEED, now_ms, widest_ms, c.settings.market, c.market_store)
        fleet = self.lab.fleet
        self.workers = [
            fleet.worker("technical_analysis", "regime_detection", pool="prefork", concurrency=2, wait=False),
            fleet.worker(*IO_QUEUES, concurrency=16, wait=False),
            fleet.worker(*IO_QUEUES, concurrency=16, wait=False),
        ]
        self.beat = fleet.beat(wait=False)
        fleet.wait_ready()
        self.wait_decisions(self.now(), 2 * len(symbols), "the pipeline decides")

    def stop(self) -> None:
        """Ends the ticking, not the sweeping, and waits until every run is final."""
        assert self.beat is not None
        self.beat.terminate()
        # A run that passes its deadline unclaimed is ended by the sweep alone, and beat asks for sweeps.
        self.lab.fleet.beat(wait=False, extra=IDLE)
        open_runs = "SELECT count(*) FROM runs WHERE finished_at IS NULL"
        self.lab.wait_until(lambda: self.lab.value(open_runs) == 0, "all runs are final", 40)

    def now(self) -> datetime:
        """The database's clock, which dates results and audit entries."""
        now = self.lab.value("SELECT clock_timestamp()")
        assert isinstance(now, datetime)
        return now

    def decisions(self, after: datetime, until: Any = FAR_AHEAD) -> list[Any]:
        return self.lab.rows(STORED, "trading_decision", after, until)

    def votes(self, after: datetime, until: Any = FAR_AHEAD) -> list[Any]:
        return self.lab.rows(STORED, "trading_analysis", after, until)

    def failed(self, *kinds: str) -> list[Any]:
        return self.lab.rows(FAILED, list(kinds))

    def wait_decisions(self, after: datetime, count: int, what: str, timeout_s: float = 40) -> list[Any]:
        self.lab.wait_until(lambda: len(self.decisions(after)) >= count, what, timeout_s)
        return self.decisions(after)

    def changes(self, model: str, action: str, after: datetime) -> list[Any]:
        """When the model's breaker did that, by the audit log, oldest first."""
        entries = self.lab.client.audit.entries(1000, action, f"model:{model}")
        return sorted(entry.at for entry in entries if entry.at > after)

    def calls_between(self, model: str, begin: float, end: float = math.inf) -> list[dict[str, Any]]:
        """The transcript's calls to a model that came in within these instants (seconds since 1970)."""
        return [call for call in self.lab.simulator.calls(model) if begin < call["received_at"] <= end]


def write_rising(path: Path, seed: int) -> str:
    """Writes one-minute candles of a market that rises steadily, with a little noise; returns the path."""
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(rng.normal(0.0006, 0.0008, CANDLES)))
    opened = np.concatenate([[100.0], close[:-1]])
    high, low = np.maximum(opened, close) * 1.0003, np.minimum(opened, close) * 0.9997
    volume = np.linspace(50, 100, CANDLES) + rng.uniform(-5, 5, CANDLES)
    columns = (opened, high, low, close, volume)
    rows = [
        ",".join([str(FIRST_CANDLE_MS + i * 60_000), *(str(column[i]) for column in columns)]) for i in range(CANDLES)
    ]
    path.write_text("\n".join([HEADER, *rows]) + "\n", encoding="utf-8")
    return str(path)


def trials_at_once(calls: Sequence[dict[str, Any]]) -> list[tuple[int, int]]:
    """Returns, for each call as it began: how many others were under way, and how many had succeeded before."""
    return [
        (
            sum(other["received_at"] < call["received_at"] < (other["finished_at"] or math.inf) for other in calls),
            sum(other["charged"] and (other["finished_at"] or math.inf) <= call["received_at"] for other in calls),
        )
        for call in calls
    ]


def wall_time() -> float:
    """The transcript's clock."""
    return time.time()
