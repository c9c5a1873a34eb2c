"""From approval to broker on a real PostgreSQL; the stop's gap; 1,000 open orders compared with the venue's."""

from __future__ import annotations

import logging
import random
import statistics
import threading
import time
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import structlog

from bench.environment import servers
from bench.figures import percentile, spread, table

if TYPE_CHECKING:
    from aaos.bootstrap import Container
    from aaos.domain.runs import ClaimedRun
    from aaos.services.trading_desk import TradingDesk

SYMBOL = "BTC/USDT"
ACCOUNT = "paper"
QUANTITY = Decimal("0.001")
LEVERAGE = Decimal(5)
WARM_UP = 20
SAMPLES = 100
STOPS = 40
ENTRIES_PER_STOP = 8
AT_ONCE = 4
OPEN_ORDERS = 1000
STEPS = (
    "approval → at the broker",
    "approval → accepted by the venue",
    "approval → result stored",
    "CPU of our process, all of it",
    "look at the stop → sending",
)
TO_BROKER_TARGET_MS = 30.0
STOP_TARGET_MS = 250.0
RECONCILE_TARGET_S = 2.0


@dataclass
class Stopwatch:
    """A broker that notes when each order reaches it, and when it has answered; all else goes through."""

    broker: Any
    reached: list[tuple[float, float]] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.broker, name)

    def place(self, order: Any) -> Any:
        at = time.perf_counter()
        try:
            return self.broker.place(order)
        finally:
            self.reached.append((at, time.perf_counter()))


def run(options: Namespace) -> None:
    """Prints what each part found, and whether its target is kept."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    with servers():
        from aaos.bootstrap import container

        floor = Floor(container())
        print(sending(floor, options.rounds), flush=True)
        print(stopping(floor), flush=True)
        print(reconciling(floor, options.rounds), flush=True)


class Floor:
    """The real services on the real database and the paper venue; approvals are stored as risk stores them."""

    def __init__(self, c: Container) -> None:
        from aaos.services.reconcile_orders import reconcile_orders

        self.c = c
        self.watch = Stopwatch(c.desks[ACCOUNT].broker)
        self.desk: TradingDesk = replace(c.desks[ACCOUNT], broker=self.watch)
        self.price = c.order_books.book(SYMBOL, c.database.now()).mid
        self._approved = 0
        if not reconcile_orders(self.desk).in_order:
            raise SystemExit("a fresh account must be in order")

    def approve(self) -> ClaimedRun:
        """Stores an approval with its risk run, and returns the claimed execution run that was born with it."""
        from aaos.domain.orders import NewRiskApproval
        from aaos.domain.runs import ClaimedRun, Completed, NewRun

        self._approved += 1
        source = f"decision:{self._approved}"
        run_id, _ = self.c.runs.insert_request(NewRun("risk_assessment", SYMBOL, 60, 600, f"risk:{source}"))
        risk_run = self.c.runs.claim(run_id, "bench", 1000)
        if not isinstance(risk_run, ClaimedRun):
            raise SystemExit(f"the risk run of {source} was not granted: {risk_run}")
        stop, version = self.price * Decimal("0.8"), self.c.risk_desk.snapshot(ACCOUNT).version
        approval = NewRiskApproval(
            source, "ab" * 32, ACCOUNT, SYMBOL, "buy", QUANTITY, LEVERAGE, self.price, None, stop, None, False, 3600.0,
            version,
        )  # fmt: skip
        starts = [NewRun("execution", SYMBOL, 60, 3600, f"execution:{source}", params={"source": source})]
        ended = self.c.runs.complete(risk_run, Completed({"source": source}, approval=approval, starts=starts), False)
        claimed = self.c.runs.claim(ended.starts[0][0], "bench", 1000)
        if not isinstance(claimed, ClaimedRun):
            raise SystemExit(f"the execution run of {source} was not granted: {claimed}")
        return claimed

    def place(self, claimed: ClaimedRun) -> Any:
        """Places it as a worker does, and ends its run."""
        from aaos.services.place_order import place_order

        done = place_order(claimed, {ACCOUNT: self.desk}, self.c.execution)
        self.c.runs.complete(claimed, done, False)
        return done.body


def sending(floor: Floor, rounds: int) -> str:
    """Times the service from knowing the source to the broker, to its answer, and to the stored result."""
    laps: dict[str, list[list[float]]] = {name: [] for name in STEPS}
    for _ in range(WARM_UP):
        floor.place(floor.approve())
    for _ in range(rounds):
        timed = list(zip(*(_timed(floor) for _ in range(SAMPLES)), strict=True))
        for name, values in zip(STEPS, timed, strict=True):
            laps[name].append(list(values))
    rows = [
        [name, *(spread([percentile(lap, p) for lap in each], 2) for p in (50, 95, 99)), f"{max(map(max, each)):.1f}"]
        for name, each in laps.items()
    ]
    p99 = statistics.median(percentile(lap, 99) for lap in laps[STEPS[0]])
    return (
        f"\n{rounds} rounds of {SAMPLES} orders, one after another\n\n"
        f"{table(['ms', 'p50', 'p95', 'p99', 'largest'], rows)}\n\n"
        f"approval → broker p99 is {p99:.1f} ms, target {TO_BROKER_TARGET_MS:g}: {kept(p99 < TO_BROKER_TARGET_MS)}"
    )


def _timed(floor: Floor) -> tuple[float, ...]:
    """Places one order; returns the milliseconds of `STEPS`."""
    claimed = floor.approve()
    wall, cpu = time.perf_counter(), time.thread_time()
    body = floor.place(claimed)
    ended, cpu_ended = time.perf_counter(), time.thread_time()
    if not body["placed"]:
        raise SystemExit(f"what is timed must be placed: {body}")
    reached, answered = floor.watch.reached[-1]
    spans = (reached - wall, answered - wall, ended - wall, cpu_ended - cpu)
    return (*(each * 1000 for each in spans), body["check_to_send_ms"])


def stopping(floor: Floor) -> str:
    """Stops trading while entries are being sent; how long after the commit does the last one leave?"""
    late: list[float] = []
    refused = sent = 0
    for number in range(STOPS):
        claimed = [floor.approve() for _ in range(ENTRIES_PER_STOP)]
        before = len(floor.watch.reached)
        bodies: list[Any] = []
        shares = [claimed[thread::AT_ONCE] for thread in range(AT_ONCE)]
        threads = [threading.Thread(target=_send_all, args=(floor, share, bodies)) for share in shares]
        for thread in threads:
            thread.start()
        time.sleep(random.uniform(0.0, 0.06))
        floor.c.trading_switch.stop("bench", f"round {number}")
        committed = time.perf_counter()
        for thread in threads:
            thread.join()
        floor.c.trading_switch.resume("bench", "next round")
        late += [(at - committed) * 1000 for at, _ in floor.watch.reached[before:] if at > committed]
        sent += sum(body["placed"] is True for body in bodies)
        refused += sum(body.get("denial") == "TRADING_STOPPED" for body in bodies)
    largest = max(late, default=0.0)
    return (
        f"\n{STOPS} stops among {STOPS * ENTRIES_PER_STOP} entries, {AT_ONCE} at once: {sent} sent before, "
        f"{refused} refused; {len(late)} left after the stop had returned, the last {largest:.1f} ms after, "
        f"target {STOP_TARGET_MS:g} ms (E1): {kept(largest < STOP_TARGET_MS)}"
    )


def _send_all(floor: Floor, share: Sequence[ClaimedRun], bodies: list[Any]) -> None:
    bodies.extend(floor.place(each) for each in share)


def reconciling(floor: Floor, rounds: int) -> str:
    """Compares an account with 1,000 open orders: as on schedule, and as a new process does."""
    from aaos.services.reconcile_orders import reconcile_orders
    from aaos.services.trading_desk import Reconciled

    while len(floor.desk.broker.open_orders()) < OPEN_ORDERS:
        _rest_far_away(floor)
    laps: dict[str, list[float]] = {"on schedule": [], "first in a process, with expiry": []}
    for _ in range(rounds):
        for name, gate in (("on schedule", floor.desk.gate), ("first in a process, with expiry", Reconciled())):
            began = time.perf_counter()
            found = reconcile_orders(replace(floor.desk, gate=gate))
            laps[name].append(time.perf_counter() - began)
            if not found.in_order:
                raise SystemExit(f"the account must be in order: {found.why}")
    rows = [[name, spread(each, 3)] for name, each in laps.items()]
    worst = max(statistics.median(each) for each in laps.values())
    return (
        f"\n{OPEN_ORDERS:,} open orders, {rounds} rounds\n\n{table(['reconciliation', 's'], rows)}\n\n"
        f"median {worst:.2f} s, target {RECONCILE_TARGET_S:g}: {kept(worst < RECONCILE_TARGET_S)}"
    )


def _rest_far_away(floor: Floor) -> None:
    """An entry that does not fill while it is counted."""
    from aaos.domain.orders import NewOrder
    from aaos.domain.runs import Completed
    from aaos.services.send_order import send_order

    claimed = floor.approve()
    approval = floor.c.risk_desk.of_source(claimed.params["source"])
    if approval is None:
        raise SystemExit("an approval that was just stored is there")
    price = floor.desk.broker.instrument(SYMBOL).price(floor.price / 2, "buy")
    new = NewOrder(
        approval.id, approval.source, approval.source_hash, ACCOUNT, "entry", SYMBOL, "buy", "limit", QUANTITY,
        LEVERAGE, price,
    )  # fmt: skip
    send_order(new, floor.desk, claimed)
    floor.c.runs.complete(claimed, Completed({"source": approval.source}), False)


def kept(is_kept: bool) -> str:
    """How a target went."""
    return "kept" if is_kept else "MISSED"
