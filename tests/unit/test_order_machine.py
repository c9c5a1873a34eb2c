"""From decision to order under everything at once: crashes at any call, ambiguous and wrong answers, duplicates,
markets that jump, stops of all trading. R1 to R3, R5 and R6 hold at every step; R4 as soon as faults have stopped."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from support.trading_grounds import MemoryGround
from support.trading_market import STEP
from support.trading_world import KINDS, TradingWorld

from aaos.domain.orders import TRADING_ACCOUNT
from aaos.domain.venue.misbehaviours import Misbehaviour
from aaos.settings import load_settings

SYMBOLS = ("AAA/USDT", "BBB/USDT", "CCC/USDT", "DDD/USDT")
SHIPPED = load_settings()
# Fewer positions than symbols, or the limit could never be broken.
SETTINGS = SHIPPED.model_copy(update={"risk": replace(SHIPPED.risk, max_positions=2)})
# Each may strike the next calls; `slow` would only take a test's time.
MODES = (
    *("timeout_after", "error_before", "error_after", "not_found", "disconnect", "rejected", "reads_fail"),
    *("duplicate_fills", "reordered_fills", "late_fills"),
)
# Beyond the longest way through a service; None lets it pass.
FUSES = st.one_of(st.none(), st.integers(0, 30))
MOVES = st.integers(-80, 80).map(lambda tenths: Decimal(1) + Decimal(tenths) / 1000)


class OrderMachine(RuleBasedStateMachine):
    """One account over four symbols, one process at a time, which dies and is replaced."""

    def __init__(self) -> None:
        super().__init__()
        self.trading = TradingWorld(MemoryGround(SETTINGS.execution), SYMBOLS, SETTINGS)
        self.stopped = False
        self.entries_sent = 0
        self.worked: list[tuple[int, str]] = []
        self.stops: dict[int, Decimal] = {}

    @initialize()
    def open_account(self) -> None:
        self.trading.reconcile()

    # --- what is done ---------------------------------------------------------------------------------------

    @rule(symbol=st.sampled_from(SYMBOLS), signal=st.sampled_from(("BUY", "SELL", "BUY", "SELL", "HOLD")))
    def decide(self, symbol: str, signal: str) -> None:
        self.trading.decide(symbol, signal)

    @rule(symbol=st.sampled_from(SYMBOLS), signal=st.sampled_from(("BUY", "SELL")), calls=FUSES, after=st.booleans())
    def decide_and_work(self, symbol: str, signal: str, calls: int | None, after: bool) -> None:
        """The whole way at once, as when nothing else is in the queues; it may end in a crash."""
        self.trading.decide(symbol, signal)
        for kind in KINDS:
            for run_id in self.trading.pending(kind):
                self.worked.append((run_id, kind))
                left = calls if kind == "execution" else None
                self._with_fuse(left, after, partial(self.trading.execute, run_id, kind))

    @rule(symbol=st.sampled_from(SYMBOLS), signal=st.sampled_from(("BUY", "SELL")), calls=FUSES, after=st.booleans())
    def trade(self, symbol: str, signal: str, calls: int | None, after: bool) -> None:
        """A decision whose entry fills at once; the watch that sees it may die of it."""
        self.decide_and_work(symbol, signal, None, after)
        self.move_through_an_order(symbol, 5)
        self.watch(calls, after)

    @rule(kind=st.sampled_from(KINDS), which=st.integers(0, 3), calls=FUSES, after=st.booleans())
    def work(self, kind: str, which: int, calls: int | None, after: bool) -> None:
        waiting = self.trading.pending(kind)
        if waiting:
            run_id = waiting[which % len(waiting)]
            self.worked.append((run_id, kind))
            self._with_fuse(calls, after, lambda: self.trading.execute(run_id, kind))

    @precondition(lambda self: self.worked)
    @rule(which=st.integers(0, 30))
    def deliver_again(self, which: int) -> None:
        run_id, kind = self.worked[which % len(self.worked)]
        self.trading.survives(lambda: self.trading.execute(run_id, kind))

    @rule(calls=FUSES, after=st.booleans())
    def watch(self, calls: int | None, after: bool) -> None:
        self._with_fuse(calls, after, self.trading.watch)

    @rule(calls=FUSES, after=st.booleans())
    def reconcile(self, calls: int | None, after: bool) -> None:
        self._with_fuse(calls, after, self.trading.reconcile)

    @rule()
    def expire(self) -> None:
        self.trading.survives(self.trading.expire)

    def _with_fuse(self, calls: int | None, after: bool, step: Any) -> None:
        self.trading.process.fuse.set(calls, after)
        self.trading.survives(step)

    # --- what happens ---------------------------------------------------------------------------------------

    @rule(symbol=st.sampled_from(SYMBOLS), factor=MOVES)
    def move(self, symbol: str, factor: Decimal) -> None:
        self.trading.market.move(symbol, self.trading.market.mid(symbol) * factor)

    @rule(symbol=st.sampled_from(SYMBOLS), beyond=st.integers(1, 30))
    def move_through_an_order(self, symbol: str, beyond: int) -> None:
        """To where the symbol's oldest order is, and some steps further: entries fill, stops and profits are hit."""
        for order in self.trading.ground.venue.orders(TRADING_ACCOUNT, 1000, open_only=True):
            price = order.price or order.trigger_price
            if order.symbol == symbol and price is not None:
                falls = (order.side == "buy") == (order.type in ("limit", "take_profit_market"))
                self.trading.market.move(symbol, price + STEP * (-beyond if falls else beyond))
                return

    @rule(seconds=st.sampled_from((0.5, 1.5, 3.0, 16.0, 70.0, 400.0)))
    def pass_time(self, seconds: float) -> None:
        self.trading.pass_time(seconds)

    @rule()
    def sweep(self) -> None:
        self.trading.recover()

    @rule(mode=st.sampled_from(MODES), calls=st.integers(1, 3))
    def misbehave(self, mode: str, calls: int) -> None:
        self.trading.ground.venue.behave(misbehaviour(mode, calls))

    @rule()
    def restart(self) -> None:
        self.trading.restart()

    @precondition(lambda self: self.worked and not self.stopped)
    @rule()
    def stop_trading(self) -> None:
        self.trading.ground.switch.stop("a person", "looks wrong")
        self.stopped, self.entries_sent = True, self._entries_at_venue()

    @precondition(lambda self: self.stopped)
    @rule()
    def resume_trading(self) -> None:
        self.trading.ground.switch.resume("a person", "looks right")
        self.stopped = False

    @rule()
    def release_quarantined(self) -> None:
        self.trading.release_quarantined()

    # --- what holds -----------------------------------------------------------------------------------------

    @invariant()
    def no_order_is_doubled_unapproved_or_too_large(self) -> None:
        ledgers = self.trading.ledgers()
        ledgers.check_prefix()
        ledgers.check_limits(SETTINGS.risk)
        ledgers.check_stops_never_fall(self.stops)

    @invariant()
    def nothing_is_entered_while_trading_is_stopped(self) -> None:
        if self.stopped:
            assert self._entries_at_venue() == self.entries_sent

    def _entries_at_venue(self) -> int:
        asked = self.trading.ground.venue.requests(1_000_000, TRADING_ACCOUNT)
        return sum(each.method == "place" and each.reduce_only is False for each in asked)

    def teardown(self) -> None:
        self.trading.ground.venue.behave_well()
        self.trading.settle()
        self.trading.release_quarantined()
        self.trading.settle()
        ledgers = self.trading.ledgers()
        ledgers.check_prefix()
        ledgers.check_reconciled(self.trading.broker)
        ledgers.check_protected()


def misbehaviour(mode: str, calls: int) -> Misbehaviour:
    from aaos.domain.venue.misbehaviours import MODES as KNOWN

    return Misbehaviour(mode, methods=KNOWN[mode].methods, seconds=1.0, calls_left=calls)


@pytest.mark.requirement("R1")
@pytest.mark.requirement("R2")
@pytest.mark.requirement("R3")
@pytest.mark.requirement("R4")
@pytest.mark.requirement("R5")
@pytest.mark.requirement("R6")
class TestOrderMachine(OrderMachine.TestCase):  # type: ignore[name-defined, misc]
    """The machine as pytest runs it."""

    settings = settings(
        max_examples=40,
        stateful_step_count=60,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )
