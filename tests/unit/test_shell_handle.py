"""Waiting for a run, and what is said when it takes too long or ends badly."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from shell_examples import SYMBOL

from aaos.adapters.memory import MemoryDatabase, MemoryResultStore, MemoryRunStore
from aaos.domain.runs import ClaimedRun, Completed, Failed, NewRun, RunRules, Skipped, State
from aaos.errors import DatabaseUnavailable, InputError, RunFailed, WaitTimeout
from aaos.settings import load_settings
from aaos.shell.handle import Handle, poll_until
from aaos.shell.results import Result

PLENTY = 1000


class Desk:
    """Runs in memory, and a handle on one of them."""

    def __init__(self) -> None:
        self.database = MemoryDatabase()
        self.runs = MemoryRunStore(self.database, RunRules())
        self.results = MemoryResultStore(self.database)

    def handle(self, run_id: int, kind: str) -> Handle[Result]:
        container: Any = SimpleNamespace(runs=self.runs, results=self.results, settings=load_settings())
        return Handle(run_id, kind, SYMBOL, "key", True, _container=container)

    def request(self, kind: str, dependent: bool = False) -> int:
        return self.runs.insert_request(NewRun(kind, SYMBOL, 30, 60, f"{kind}:{dependent}", dependent))[0]

    def claim(self, run_id: int) -> ClaimedRun:
        claimed = self.runs.claim(run_id, "host:1:task", PLENTY)
        assert isinstance(claimed, ClaimedRun)
        return claimed


def test_a_completed_run_gives_its_stored_answer_at_once() -> None:
    desk = Desk()
    handle = desk.handle(desk.request("trading_context"), "trading_context")
    desk.runs.complete(desk.claim(handle.id), Completed({"symbol": SYMBOL}), publish=False)
    assert handle.wait(0).body == {"symbol": SYMBOL}
    assert handle.result() == handle.wait(30)
    assert handle.state is State.COMPLETED


@pytest.mark.parametrize(
    ("outcome", "state", "source"),
    [(Failed("sovereign_timeout", "no answer in 120 s"), "failed", "sovereign_timeout"),
     (Skipped("stale input: a gap"), "skipped", None)],
)  # fmt: skip
def test_a_run_that_ended_badly_raises_with_state_source_and_reason(
    outcome: Failed | Skipped, state: str, source: str | None
) -> None:
    desk = Desk()
    handle = desk.handle(desk.request("trading_analysis"), "trading_analysis")
    desk.runs.end(desk.claim(handle.id), outcome)
    with pytest.raises(RunFailed) as caught:
        handle.wait(0)
    assert (caught.value.run_id, caught.value.state, caught.value.reason) == (handle.id, state, outcome.reason)
    assert caught.value.failure_source == source
    assert outcome.reason in str(caught.value)


def test_a_timeout_on_a_run_nobody_took_names_the_queue_and_the_workers_command() -> None:
    desk = Desk()
    handle = desk.handle(desk.request("technical_analysis"), "technical_analysis")
    with pytest.raises(WaitTimeout, match="still pending and goes on; no worker has taken it") as caught:
        handle.wait(0)
    assert "celery -A workers worker -Q technical_analysis -P prefork -c 2 -n technical_analysis@%h" in str(
        caught.value
    )


def test_a_timeout_on_a_running_run_names_the_worker() -> None:
    desk = Desk()
    handle = desk.handle(desk.request("technical_analysis"), "technical_analysis")
    desk.claim(handle.id)
    with pytest.raises(WaitTimeout, match="still running and goes on; worker host:1:task is at it"):
        handle.wait(0)


def a_pipeline(desk: Desk) -> tuple[int, int, int]:
    decision = NewRun("trading_decision", SYMBOL, 300, 300, "d", True)
    stage = NewRun("trading_context", SYMBOL, 120, 120, "c", True)
    needed = NewRun("technical_analysis", SYMBOL, 30, 60, "t")
    (plan,) = desk.runs.insert_pipeline(decision, [SYMBOL], None, stage, [(needed, None)])
    return plan.run_id, plan.body[0], plan.header[0][0]


def test_a_timeout_on_a_decision_names_the_stage_it_waits_for() -> None:
    desk = Desk()
    decision, _, technical = a_pipeline(desk)
    with pytest.raises(WaitTimeout, match=rf"waits for technical_analysis \(run {technical}\)") as caught:
        desk.handle(decision, "trading_decision").wait(0)
    assert "queues technical_analysis and maintenance" in str(caught.value)
    desk.claim(technical)
    with pytest.raises(WaitTimeout, match=rf"waits for technical_analysis \(run {technical}\), which is running"):
        desk.handle(decision, "trading_decision").wait(0)


def test_a_timeout_on_a_stage_that_was_put_back_says_why_before_it_doubts_the_workers() -> None:
    desk = Desk()
    decision, _, technical = a_pipeline(desk)
    desk.runs.release(desk.claim(technical), 5, "no model gave a usable answer: a: its breaker is open")
    with pytest.raises(WaitTimeout, match=rf"technical_analysis \(run {technical}\), which was put back") as caught:
        desk.handle(decision, "trading_decision").wait(0)
    told = str(caught.value)
    assert "no model gave a usable answer: a: its breaker is open" in told
    assert "no worker has taken" not in told
    assert told.index("breaker is open") < told.index("Is a worker running")


def test_stages_come_in_the_order_in_which_they_run() -> None:
    desk = Desk()
    decision, context, technical = a_pipeline(desk)
    shown = desk.handle(decision, "trading_decision").stages()
    assert [(stage.run_id, stage.depth) for stage in shown] == [(technical, 2), (context, 1), (decision, 0)]


def test_waiting_for_not_a_number_is_refused() -> None:
    desk = Desk()
    with pytest.raises(InputError):
        desk.handle(desk.request("technical_analysis"), "technical_analysis").wait(float("nan"))


class StillClock:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.pauses: list[float] = []

    def monotonic(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now_s += seconds


def poll(clock: StillClock, look: Callable[[], Any], limit_s: float) -> Any:
    return poll_until(look, limit_s, lambda: None, clock.monotonic, clock.sleep)


def test_looks_are_frequent_at_first_and_rarer_later_and_end_on_time() -> None:
    clock = StillClock()
    assert poll(clock, lambda: None, 30) is None
    assert clock.pauses[0] == pytest.approx(0.02)
    assert max(clock.pauses) == pytest.approx(0.25)
    assert clock.pauses[:-1] == sorted(clock.pauses[:-1])
    assert clock.now_s == pytest.approx(30)


def test_a_database_that_comes_back_in_time_is_forgiven() -> None:
    clock = StillClock()

    def look() -> str | None:
        if clock.now_s < 5:
            raise DatabaseUnavailable("gone")
        return "run"

    assert poll(clock, look, 30) == "run"


def test_a_database_still_away_at_the_end_is_the_error() -> None:
    def look() -> None:
        raise DatabaseUnavailable("gone")

    with pytest.raises(DatabaseUnavailable):
        poll(StillClock(), look, 2)


def test_a_handle_prints_its_run_and_only_keys_that_a_person_chose() -> None:
    desk = Desk()
    assert repr(desk.handle(5, "trading_decision")) == (
        "Handle(run 5, trading_decision BTC/USDT, key 'key'; .state, .wait(30))"
    )
