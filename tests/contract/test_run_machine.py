"""Random lives of runs: claims, crashes, stale writers, sweeps, in any order; the invariants of SPEC 19 hold."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from support.worlds import SLOT, MemoryWorld, PostgresWorld, Row, World, analysis

from aaos.domain.runs import ClaimedRun, Completed, Failed, RunRules, Skipped, State
from aaos.errors import FenceLost
from aaos.ports import Ended

RULES = RunRules(max_concurrent_tasks=4)
PER_KIND = 3
SYMBOLS = ["A/USDT", "B/USDT"]
KINDS = ["technical_analysis", "regime_detection", "trading_context", "trading_decision", "trading_analysis"]
# Real time passes between looking at a row and acting on it; nearer than this to a limit, either may be right.
TOO_CLOSE_S = 0.4
# So few unfinished runs that the same ones are met again and again.
CROWD = 5
# Off every limit of the rules (5, 15, 30, 60, 120 s and their sums) by enough.
JUMPS_S = st.sampled_from([1.6, 6.6, 16.6, 33.6])
FINAL = {"completed", "failed", "skipped"}


class RunLives(RuleBasedStateMachine):
    """Workers that crash, come back late and write whatever they like; all claims ever granted stay in play."""

    world: World

    def __init__(self) -> None:
        super().__init__()
        self.world.reset()
        self.runs = self.world.runs(RULES)
        self.claims: list[ClaimedRun] = []
        self.ended: dict[int, tuple[Any, ...]] = {}
        self.slots = 0

    def open_runs(self) -> int:
        return sum(row.state not in FINAL for row in self.world.rows().values())

    # --- what happens ---------------------------------------------------------------------------------------

    @precondition(lambda self: self.open_runs() < CROWD)
    @rule(symbols=st.lists(st.sampled_from(SYMBOLS), min_size=1, unique=True), again=st.booleans())
    def tick(self, symbols: list[str], again: bool) -> None:
        self.slots += not again
        spec = analysis(symbol="", start_within_s=60.0)
        self.runs.insert_slot(spec, symbols, SLOT + timedelta(minutes=self.slots), PER_KIND)

    @precondition(lambda self: self.open_runs() < CROWD)
    @rule(symbol=st.sampled_from(SYMBOLS), again=st.booleans())
    def tick_pipeline(self, symbol: str, again: bool) -> None:
        self.slots += not again
        slot = SLOT + timedelta(minutes=self.slots)
        decision, stage = (
            analysis(kind, "", dependent=True, timeout_s=120.0) for kind in ("trading_decision", "trading_context")
        )
        inputs = [(analysis("technical_analysis", ""), slot), (analysis("regime_detection", ""), slot)]
        self.runs.insert_pipeline(decision, [symbol], slot, stage, inputs)

    @rule(key=st.sampled_from(["k1", "k2"]))
    def request(self, key: str) -> None:
        first, _ = self.runs.insert_request(analysis(request_key=key))
        assert self.runs.insert_request(analysis(request_key=key)) == (first, False)

    @precondition(lambda self: self.world.rows())
    @rule(data=st.data(), times=st.integers(1, 3))
    def claim(self, data: st.DataObject, times: int) -> None:
        for _ in range(times):
            self._claim(data.draw(st.sampled_from(sorted(self.world.rows())), label="run"))

    @precondition(lambda self: self.claims)
    @rule(data=st.data(), times=st.integers(1, 4), swept=st.booleans())
    def crash_and_be_taken_over(self, data: st.DataObject, times: int, swept: bool) -> None:
        claim = data.draw(st.sampled_from(self.claims[-2:]), label="claim")
        for _ in range(times):
            self.world.pass_time(16.6)
            if swept:
                self.sweep()
            self._claim(claim.id)

    @precondition(lambda self: self.claims)
    @rule(data=st.data())
    def deliver_twice(self, data: st.DataObject) -> None:
        self._claim(data.draw(st.sampled_from(self.claims[-2:]), label="claim").id)

    def _claim(self, run_id: int) -> None:
        before = self.world.rows()[run_id]
        claim = self.runs.claim(before.id, f"worker-{len(self.claims)}", PER_KIND)
        if not isinstance(claim, ClaimedRun):
            return
        assert before.state not in FINAL
        assert before.lease_left_s is None or before.lease_left_s < TOO_CLOSE_S, "Q4: two leases at once"
        assert all(claim.fence > each.fence for each in self.claims), "Q3: fences rise"
        assert claim.attempt == before.attempt + 1
        self.claims.append(claim)

    @precondition(lambda self: self.claims)
    @rule(data=st.data(), feed=st.booleans())
    def complete(self, data: st.DataObject, feed: bool) -> None:
        claim = data.draw(st.sampled_from(self.claims), label="claim")
        feeds = []
        if feed and claim.kind == "trading_context":
            feeds = [analysis("trading_analysis", claim.symbol, request_key=f"vote:{claim.id}:{n}") for n in range(2)]
        outcome = Completed({"fence": claim.fence}, feeds=feeds)
        self._write(claim, "completed", lambda: self.runs.complete(claim, outcome, publish=True))

    @precondition(lambda self: self.claims)
    @rule(data=st.data(), outcome=st.sampled_from([Skipped("stale"), Failed("network", "away")]))
    def end(self, data: st.DataObject, outcome: Skipped | Failed) -> None:
        claim = data.draw(st.sampled_from(self.claims), label="claim")
        state = "failed" if isinstance(outcome, Failed) else "skipped"
        self._write(claim, state, lambda: self.runs.end(claim, outcome))

    @precondition(lambda self: self.claims)
    @rule(data=st.data(), delay_s=st.sampled_from([0.0, 10.0]))
    def release(self, data: st.DataObject, delay_s: float) -> None:
        claim = data.draw(st.sampled_from(self.claims), label="claim")
        self._write(claim, "pending", lambda: self.runs.release(claim, delay_s, "away"))

    @precondition(lambda self: self.claims)
    @rule(data=st.data())
    def heartbeat(self, data: st.DataObject) -> None:
        held = data.draw(st.lists(st.sampled_from(self.claims), unique_by=lambda each: each.fence), label="held")
        before = self.world.rows()
        kept = self.runs.renew({claim.id: claim.fence for claim in held})
        fences = {claim.id: claim.fence for claim in held}
        for run_id, fence in fences.items():
            ours = _owned(before[run_id], fence)
            assert ours is None or (run_id in kept) == ours

    @rule(seconds=JUMPS_S)
    def pass_time(self, seconds: float) -> None:
        self.world.pass_time(seconds)

    @rule()
    def sweep_once(self) -> None:
        self.sweep()

    def sweep(self) -> None:
        swept = self.runs.recover()
        rows = self.world.rows()
        assert all(rows[run_id].attempt < RULES.max_attempts for run_id, _ in swept.returned), "Q8: tried for ever"
        assert all(rows[run_id].failure_source == "agent_crash" for run_id, _ in swept.crashed)

    @rule(kind=st.sampled_from(KINDS))
    def hint_again(self, kind: str) -> None:
        for run_id in self.runs.hint_again(kind, PER_KIND):
            assert self.world.rows()[run_id].state == "pending"

    @rule()
    def abandon_orphans(self) -> None:
        for orphan in self.runs.orphans()[:1]:
            assert self.runs.abandon_orphan(orphan.id, "left running")

    def _write(self, claim: ClaimedRun, state: str, write: Callable[[], Ended | None]) -> None:
        before = self.world.rows()[claim.id]
        ours = _owned(before, claim.fence)
        try:
            ended = write()
        except FenceLost:
            assert not ours, "Q3: the owner was refused"
            assert self.world.rows()[claim.id].substance == before.substance, "Q3: a refused writer touched a row"
            return
        if ours is False:
            # Only a commit whose confirmation was lost is told again, and nothing is written for it.
            assert (before.state, before.fence) == (state, claim.fence)
            assert self.world.rows()[claim.id].substance == before.substance
            assert ended is not None
            assert ended.result_id == self.runs.run(claim.id).result_id

    # --- what holds -----------------------------------------------------------------------------------------

    @invariant()
    def q1_one_run_and_one_result_per_slot(self) -> None:
        runs = [record for record in self.runs.runs(1000) if record.request_key is None]
        assert len({(run.kind, run.symbol, run.slot) for run in runs}) == len(runs)
        results = self.world.results.results(1000)
        scheduled = [r for r in results if self.runs.run(r.run_id).request_key is None]
        assert len({result.run_id for result in results}) == len(results)
        assert len({(r.kind, r.symbol, r.slot) for r in scheduled}) == len(scheduled)
        assert {r.run_id for r in results} == {row.id for row in self.world.rows().values() if row.state == "completed"}
        assert set(self.world.announced()) == {result.id for result in results}

    @invariant()
    def q3_the_result_carries_the_highest_fence_granted(self) -> None:
        highest: dict[int, int] = {}
        for claim in self.claims:
            highest[claim.id] = max(claim.fence, highest.get(claim.id, 0))
        for result in self.world.results.results(1000):
            assert result.fence == highest[result.run_id] == result.body["fence"]

    @invariant()
    def q8_no_run_is_tried_too_often(self) -> None:
        for row in self.world.rows().values():
            granted = [claim for claim in self.claims if claim.id == row.id]
            assert row.attempt == len(granted) <= RULES.max_attempts

    @invariant()
    def no_more_run_at_once_than_there_is_room_for(self) -> None:
        running = [row.kind for row in self.world.rows().values() if row.state == "running"]
        assert len(running) <= RULES.max_concurrent_tasks
        assert all(running.count(kind) <= PER_KIND for kind in running)

    @invariant()
    def what_is_final_stays_as_it_is_and_says_why(self) -> None:
        for row in self.world.rows().values():
            if row.state in FINAL:
                assert self.ended.setdefault(row.id, row.substance) == row.substance
                assert (row.state == "failed") == (row.failure_source is not None)
                assert row.state == "completed" or row.reason

    def teardown(self) -> None:
        """Q2: once faults stop, every run is final by its deadline and a sweep."""
        for _ in range(8):
            self.world.pass_time(61)
            self.runs.recover()
        assert all(State(row.state).final for row in self.world.rows().values())


def _owned(row: Row, fence: int) -> bool | None:
    """Whether that fence may write; None when it is too close to the deadline to tell."""
    if row.state != "running" or row.fence != fence:
        return False
    return None if abs(row.deadline_left_s) < TOO_CLOSE_S else row.deadline_left_s > 0


def lives_in(ground: World) -> type[RunLives]:
    return type("Lives", (RunLives,), {"world": ground})


@pytest.mark.requirement("Q1")
@pytest.mark.requirement("Q2")
@pytest.mark.requirement("Q3")
@pytest.mark.requirement("Q4")
@pytest.mark.requirement("Q8")
def test_the_invariants_hold_whatever_happens_in_memory() -> None:
    run_state_machine_as_test(
        lives_in(MemoryWorld()), settings=settings(max_examples=200, stateful_step_count=50, deadline=None)
    )


@pytest.mark.requirement("Q1")
@pytest.mark.requirement("Q2")
@pytest.mark.requirement("Q3")
@pytest.mark.requirement("Q4")
@pytest.mark.requirement("Q8")
def test_the_invariants_hold_whatever_happens_on_postgresql(postgres_world: PostgresWorld) -> None:
    run_state_machine_as_test(
        lives_in(postgres_world),
        settings=settings(
            max_examples=50,
            stateful_step_count=50,
            deadline=None,
            # Shrinking a failure would take minutes here; the same machine in memory finds small ones.
            phases=[Phase.reuse, Phase.generate],
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        ),
    )
