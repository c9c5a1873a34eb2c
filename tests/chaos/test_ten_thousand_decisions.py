"""Decisions by the thousand on a real PostgreSQL: every fifth answer of the venue is ambiguous, and every process dies.

0 double orders, 0 unapproved ones, 0 orphans once all is reconciled.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from support.trading_checks import ALL
from support.trading_grounds import PostgresGround
from support.trading_market import STEP
from support.trading_world import KINDS, TradingWorld

from aaos.domain.orders import ENTRY, TRADING_ACCOUNT
from aaos.domain.venue.misbehaviours import Misbehaviour
from aaos.settings import load_settings

SYMBOLS = tuple(f"S{number:02d}/USDT" for number in range(40))
AMBIGUOUS = ("timeout_after", "error_before", "error_after", "not_found")
AMBIGUOUS_SHARE = 0.2
# What one process does between its start and its last decision takes fewer calls than this.
CALLS_MAX = 60
DECISIONS_AT_ONCE = 5
LOOKS = 10
LEASE_S = 1.0
VISIBLE_WITHIN_S = 0.02

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.requirement("R1"),
    pytest.mark.requirement("R2"),
    pytest.mark.requirement("R3"),
    pytest.mark.requirement("R4"),
]


@pytest.mark.timeout(300)
def test_300_decisions_under_ambiguous_answers_and_a_crash_each(database_url: str, chance: random.Random) -> None:
    _survive(database_url, chance, 300)


@pytest.mark.slow
@pytest.mark.timeout(5400)
def test_10000_decisions_under_ambiguous_answers_and_a_crash_each(database_url: str, chance: random.Random) -> None:
    _survive(database_url, chance, 10_000)


def _survive(url: str, chance: random.Random, count: int) -> None:
    trading = _world(url)
    try:
        crashes, began = _Trading(trading, chance).decide(count), time.monotonic()
        trading.ground.venue.behave_well()
        trading.settle()
        trading.release_quarantined()
        trading.settle()
        ledgers = trading.ledgers()
        ledgers.check_prefix()
        ledgers.check_reconciled(trading.broker)
        ledgers.check_protected()
        struck = Counter(r.misbehaviour for r in trading.ground.venue.requests(ALL) if r.misbehaviour)
        entries = Counter(order.state.value for order in ledgers.orders if order.leg == ENTRY)
        print(  # noqa: T201 - the figures are what the test is for
            f"\n{count} decisions, {sum(crashes.values())} crashes at {len(crashes)} different calls, "
            f"{len(ledgers.approvals)} approvals, entries {dict(entries)}, {len(ledgers.orders)} orders here and "
            f"{len(ledgers.at_venue)} at the venue, {len(ledgers.fills)} fills, ambiguous {dict(struck)}; "
            f"settled in {time.monotonic() - began:.1f} s"
        )
        assert sum(entries.values()) > count / 10
        assert sum(struck.values()) > 0
        assert len(crashes) > 10, "crashes at many different calls"
    finally:
        trading.ground.close()  # type: ignore[attr-defined]


def _world(url: str) -> TradingWorld:
    shipped = load_settings()
    settings = shipped.model_copy(
        update={
            "runs": replace(
                shipped.runs, lease_s=LEASE_S, heartbeat_s=LEASE_S / 3, max_attempts=20, max_concurrent_tasks=10_000
            ),
            "execution": replace(shipped.execution, visible_within_s=VISIBLE_WITHIN_S),
            # As many positions as there are symbols: the limits have tests of their own.
            "risk": replace(
                shipped.risk,
                base_risk=Decimal("0.001"),
                max_positions=len(SYMBOLS),
                max_consecutive_losses=1000,
                max_daily_drawdown_percent=Decimal(90),
                max_weekly_drawdown_percent=Decimal(90),
                max_drawdown_percent=Decimal(90),
            ),
        }
    )
    return TradingWorld(PostgresGround(url, settings.execution), SYMBOLS, settings, sleep=time.sleep)


class _Trading:
    """Decides, works, and dies, again and again."""

    def __init__(self, trading: TradingWorld, chance: random.Random) -> None:
        self.trading = trading
        self.chance = chance
        self.crashes: Counter[str] = Counter()
        self.stops: dict[int, Decimal] = {}

    def decide(self, count: int) -> Counter[str]:
        """Makes so many decisions; returns at which calls processes died."""
        self.trading.reconcile()
        for mode in AMBIGUOUS:
            share = AMBIGUOUS_SHARE / len(AMBIGUOUS)
            seed = self.chance.randrange(10**6)
            self.trading.ground.venue.behave(
                Misbehaviour(mode, methods=("place",), share=share, seconds=VISIBLE_WITHIN_S * 2, seed=seed)
            )
        made = 0
        while made < count:
            for symbol in self.chance.sample(SYMBOLS, DECISIONS_AT_ONCE):
                self.trading.decide(symbol, self.chance.choice(("BUY", "SELL")))
                made += 1
            self._work()
            self._move()
            self._mortal(self.trading.watch)
            if made % 50 == 0:
                self._mortal(self.trading.reconcile)
                self.trading.release_quarantined()
            # Everything is read for it: ten times in all, however many decisions there are.
            if made % (count // LOOKS) == 0:
                ledgers = self.trading.ledgers()
                ledgers.check_prefix()
                ledgers.check_stops_never_fall(self.stops)
        return self.crashes

    def _work(self) -> None:
        self.trading.recover()
        for kind in KINDS:
            for run_id in self.trading.pending(kind):
                self._mortal(lambda run_id=run_id, kind=kind: self.trading.execute(run_id, kind))

    def _mortal(self, step: Any) -> None:
        """Takes a step in a process that dies at one of its next calls, before or after it."""
        fuse = self.trading.process.fuse
        fuse.set(self.chance.randrange(CALLS_MAX), after=self.chance.random() < 0.5)
        if not self.trading.survives(step):
            self.crashes[fuse.passed[-1]] += 1

    def _move(self) -> None:
        """Moves some markets to where an order of ours is: entries fill, positions close."""
        open_orders = self.trading.ground.venue.orders(TRADING_ACCOUNT, 500, open_only=True)
        for order in self.chance.sample(open_orders, min(len(open_orders), DECISIONS_AT_ONCE)):
            price = order.price or order.trigger_price
            if price is not None:
                falls = (order.side == "buy") == (order.type in ("limit", "take_profit_market"))
                self.trading.market.move(order.symbol, price + STEP * (-5 if falls else 5))
