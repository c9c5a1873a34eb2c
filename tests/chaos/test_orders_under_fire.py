"""Real worker processes that decide and execute, killed again and again; every fifth time the venue says nothing."""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from datetime import timedelta

import pytest
from support.lab import QUICK, Lab
from support.trading_checks import Ledgers
from support.workers import READY_WORKER, Process

from aaos.domain.orders import ENTRY, TRADING_ACCOUNT, OrderState
from aaos.domain.runs import ClaimedRun, Completed, NewRun
from aaos.domain.venue.misbehaviours import Misbehaviour
from aaos.services.start_risk import risk_run

SYMBOLS = [f"S{number:02d}/USDT" for number in range(24)]
AMBIGUOUS = ("timeout_after", "error_before", "error_after", "not_found")
AMBIGUOUS_SHARE = 0.2
KILL_EVERY_S = 1.5
GROUPS = (
    ("risk_assessment", "maintenance", "result_publishing"),
    ("risk_assessment", "maintenance", "result_publishing"),
    ("execution",),
    ("execution",),
)
# A stop within this of its position's first fill (R5).
STOP_WITHIN_S = 5.0
TRADING = {
    **QUICK,
    "AAOS_MARKET__SYMBOLS": json.dumps(SYMBOLS),
    "AAOS_SPEED": "60",
    "AAOS_RUNS__MAX_CONCURRENT_TASKS": "100",
    "AAOS_KINDS__RISK_ASSESSMENT__MAX_CONCURRENT": "8",
    "AAOS_KINDS__EXECUTION__MAX_CONCURRENT": "8",
    "AAOS_EXECUTION__WATCH_S": "0.5",
    "AAOS_EXECUTION__RECONCILE_S": "2",
    "AAOS_EXECUTION__VISIBLE_WITHIN_S": "0.3",
    # As many positions as there are symbols: the limits have tests of their own.
    "AAOS_RISK__BASE_RISK": "0.001",
    "AAOS_RISK__MAX_POSITIONS": "100",
    "AAOS_RISK__MAX_CONSECUTIVE_LOSSES": "1000",
    "AAOS_RISK__APPROVAL_EXPIRES_S": "120",
}

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.timeout(240),
    pytest.mark.requirement("R1"),
    pytest.mark.requirement("R2"),
    pytest.mark.requirement("R3"),
    pytest.mark.requirement("R4"),
    pytest.mark.requirement("R5"),
]
on_many_symbols = pytest.mark.parametrize("lab", [TRADING], indirect=True)


@on_many_symbols
def test_orders_of_killed_workers_are_neither_lost_nor_doubled(lab: Lab, chance: random.Random) -> None:
    workers = _start(lab)
    for mode in AMBIGUOUS:
        share, seed = AMBIGUOUS_SHARE / len(AMBIGUOUS), chance.randrange(10**6)
        lab.client.venue_store.behave(Misbehaviour(mode, methods=("place",), share=share, seconds=0.5, seed=seed))
    decided, kills = [], 0
    began = next_kill_at = time.monotonic()
    for symbol in SYMBOLS * 4:
        decided.append(_decide(lab, symbol, chance.choice(("BUY", "SELL"))))
        if time.monotonic() >= next_kill_at + KILL_EVERY_S:
            kills += _kill_one(lab, workers, chance)
            next_kill_at = time.monotonic()
        time.sleep(0.2)
    lab.client.venue_store.behave_well()
    took_s = time.monotonic() - began
    ledgers = _settled(lab)
    ledgers.check_prefix()
    ledgers.check_reconciled(lab.client.broker(TRADING_ACCOUNT))
    states = Counter((order.leg.split(":")[0], order.state.value) for order in ledgers.orders)
    print(  # noqa: T201 - the figures are what the test is for
        f"\n{len(decided)} decisions and {kills} kills in {took_s:.0f} s: {len(ledgers.approvals)} approvals, "
        f"{len(ledgers.orders)} orders here, {len(ledgers.at_venue)} at the venue, {len(ledgers.fills)} fills; "
        f"{dict(states)}"
    )
    assert kills >= 5
    assert sum(order.leg == ENTRY for order in ledgers.orders) >= len(SYMBOLS) / 2


@on_many_symbols
def test_every_position_has_a_live_stop_within_five_seconds(lab: Lab, chance: random.Random) -> None:
    _start(lab)
    for symbol in SYMBOLS:
        _decide(lab, symbol, chance.choice(("BUY", "SELL")))
    books = lab.client.trading_books
    lab.wait_until(lambda: len(books.fills(0, TRADING_ACCOUNT)) >= 5, "entries fill", 60)
    until = lab.client.database.now()
    time.sleep(STOP_WITHIN_S)
    ledgers = _settled(lab)
    entered = [fill for fill in ledgers.fills if fill.leg == ENTRY and fill.filled_at < until]
    first_fill = {fill.source: fill.filled_at for fill in reversed(entered)}
    first_stop = {order.source: order.created_at for order in reversed(ledgers.orders) if order.leg == "stop:1"}
    assert first_fill, "positions were opened"
    waits = [first_stop[source] - filled_at for source, filled_at in first_fill.items()]
    print(f"\n{len(waits)} positions, a stop after {max(waits).total_seconds():.2f} s at most")  # noqa: T201
    assert max(waits) < timedelta(seconds=STOP_WITHIN_S), waits


def _start(lab: Lab) -> list[Process]:
    workers = [lab.fleet.worker(*queues, concurrency=4, wait=False) for queues in GROUPS]
    lab.fleet.beat(wait=False)
    lab.fleet.wait_ready()
    cash = lab.client.trading_books.cash
    lab.wait_until(lambda: cash(TRADING_ACCOUNT) > 0, "the account's deposit is booked", 30)
    return workers


def _kill_one(lab: Lab, workers: list[Process], chance: random.Random) -> int:
    up = [number for number, worker in enumerate(workers) if READY_WORKER in worker.log()]
    if not up:
        return 0
    number = chance.choice(up)
    workers[number].kill()
    workers[number] = lab.fleet.worker(*GROUPS[number], concurrency=4, wait=False)
    return 1


def _decide(lab: Lab, symbol: str, signal: str) -> int:
    """Stores a decision that may be traded, as the service does, and hints its risk run."""
    c = lab.client
    key = f"adhoc:decision:{symbol}:{time.monotonic_ns()}"
    run_id, _ = c.runs.insert_request(NewRun("trading_decision", symbol, 60, 600, key))
    run = c.runs.claim(run_id, "the test", 10_000)
    assert isinstance(run, ClaimedRun)
    start = risk_run(run.id, symbol, run.deadline, c.settings)
    assert start is not None
    body = {"symbol": symbol, "signal": signal, "confidence": 0.8, "tradable": True, "reasoning": "the test says so"}
    ended = c.runs.complete(run, Completed(body, starts=[start]), publish=False)
    for started, kind in ended.starts:
        lab.hint(kind, started)
    return run_id


def _settled(lab: Lab) -> Ledgers:
    """Waits until every run is final, nobody's fate is open and the books agree; returns everything as it stands."""
    c = lab.client
    open_runs = "SELECT count(*) FROM runs WHERE finished_at IS NULL"
    lab.wait_until(lambda: lab.patiently(open_runs)[0][0] == 0, "all runs are final", 60)

    def calm() -> bool:
        unsettled = c.orders.unsettled(TRADING_ACCOUNT)
        doubtful = [order for order in unsettled if order.state in (OrderState.INTENT, OrderState.UNKNOWN)]
        return not doubtful and c.trading_books.books(TRADING_ACCOUNT).why is None

    lab.wait_until(calm, "nothing is in doubt", 60)
    # The market goes on; what it does from here on would be one ledger's news before it is the other's.
    for worker in lab.fleet.processes:
        worker.kill()
    for desk in c.desks.values():
        c.reconcile_orders()
        assert c.trading_books.books(desk.account).why is None
    broker = c.broker(TRADING_ACCOUNT)
    return Ledgers(c.risk_desk, c.orders, c.trading_books, broker, c.venue_store)
