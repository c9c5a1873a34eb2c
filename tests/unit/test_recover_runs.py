"""The sweep: hints without breeding messages, alerts for what died, policies after a restart."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.examples import shipped_settings
from support.worlds import KIND, SLOT, MemoryWorld, analysis, born, roomy, taken

from aaos.adapters.memory import MemoryHints
from aaos.ports import Recovery
from aaos.services.recover_runs import recover_at_start, recover_runs

SETTINGS = shipped_settings()
SYMBOLS = [f"S{n}/USDT" for n in range(6)]


class Sweeper:
    def __init__(self) -> None:
        self.world = MemoryWorld()
        self.runs = self.world.runs(roomy())
        self.hints = MemoryHints()

    def sweep(self) -> Recovery:
        return recover_runs(SETTINGS.kinds, SETTINGS.schedules, self.runs, self.hints, self.world.alerts)


@pytest.fixture
def sweeper() -> Sweeper:
    return Sweeper()


@pytest.mark.requirement("F06")
def test_a_run_whose_message_got_lost_is_hinted_again(sweeper: Sweeper) -> None:
    run_id = born(sweeper.runs)
    sweeper.world.pass_time(6)
    sweeper.sweep()
    assert sweeper.hints.sent == [(KIND, run_id)]


def test_no_more_messages_are_sent_than_runs_may_start(sweeper: Sweeper) -> None:
    for symbol in SYMBOLS:
        born(sweeper.runs, symbol)
    taken(sweeper.runs, 1)
    sweeper.world.pass_time(6)
    sweeper.sweep()
    assert len(sweeper.hints.sent) == SETTINGS.kinds[KIND].max_concurrent - 1


def test_messages_still_in_the_queue_count_so_that_a_backlog_breeds_none(sweeper: Sweeper) -> None:
    for symbol in SYMBOLS:
        born(sweeper.runs, symbol)
    sweeper.hints.waiting[KIND] = 2
    for _ in range(20):
        sweeper.world.pass_time(5)
        sweeper.sweep()
    assert len(sweeper.hints.sent) == 1, "room for three, two on their way"
    assert sweeper.hints.waiting[KIND] == 3


def test_a_queue_with_as_many_messages_as_pending_runs_gets_none(sweeper: Sweeper) -> None:
    born(sweeper.runs)
    sweeper.hints.waiting[KIND] = 1
    sweeper.world.pass_time(60)
    sweeper.sweep()
    assert sweeper.hints.sent == []


@pytest.mark.requirement("F06")
def test_after_the_broker_was_wiped_everything_pending_is_hinted_by_and_by(sweeper: Sweeper) -> None:
    ids = {born(sweeper.runs, symbol) for symbol in SYMBOLS}
    for _ in range(12):
        sweeper.world.pass_time(5)
        sweeper.hints.waiting.clear()
        sweeper.sweep()
    assert {run_id for _, run_id in sweeper.hints.sent} == ids


def test_without_a_broker_the_sweep_still_enforces_leases(sweeper: Sweeper) -> None:
    claim = taken(sweeper.runs, born(sweeper.runs))
    sweeper.hints.away = True
    sweeper.world.pass_time(16)
    assert sweeper.sweep().returned == [(claim.id, KIND)]


@pytest.mark.requirement("Q8")
def test_a_dead_letter_raises_one_alert(sweeper: Sweeper) -> None:
    run_id = born(sweeper.runs)
    for _ in range(3):
        taken(sweeper.runs, run_id)
        sweeper.world.pass_time(16)
        swept = sweeper.sweep()
    assert swept.crashed == [(run_id, KIND)]
    assert [(alert.kind, alert.details) for alert in sweeper.world.alerts.raised] == [("dead_letter", {"run": run_id})]


@pytest.mark.requirement("F03")
def test_a_dependent_run_whose_chord_got_lost_is_fired(sweeper: Sweeper) -> None:
    decision = analysis("trading_decision", "", dependent=True, start_within_s=300.0)
    [plan] = sweeper.runs.insert_pipeline(decision, ["A/USDT"], SLOT, None, [])
    sweeper.world.pass_time(6)
    sweeper.sweep()
    assert sweeper.hints.sent == [("trading_decision", plan.run_id)]


def test_nothing_to_do_is_nothing_done(sweeper: Sweeper) -> None:
    assert sweeper.sweep() == Recovery([], [], [], [])
    assert (sweeper.hints.sent, sweeper.world.alerts.raised) == ([], [])


# --- restart ------------------------------------------------------------------------------------------------


@pytest.mark.requirement("F06")
@pytest.mark.parametrize(
    ("policy", "state", "then"),
    [("rerun", "running", "run again"), ("alert", "running", "run again"), ("skip", "skipped", "skipped")],
)
def test_what_the_last_stop_left_behind_is_listed_and_treated_as_its_schedule_says(
    sweeper: Sweeper, policy: str, state: str, then: str
) -> None:
    schedules = {KIND: replace(SETTINGS.schedules[KIND], on_restart=policy)}
    left = taken(sweeper.runs, born(sweeper.runs), "host:7:task")
    sweeper.world.pass_time(16)
    assert recover_at_start(schedules, sweeper.runs, sweeper.world.alerts) == [left.id]
    assert sweeper.world.rows()[left.id].state == state
    [alert] = sweeper.world.alerts.raised
    assert (alert.kind, alert.message) == (
        "run_left_behind",
        "technical_analysis BTC/USDT was left running by host:7:task",
    )
    assert alert.details == {"run": left.id, "on_restart": policy, "then": then}
    sweeper.sweep()
    assert sweeper.world.rows()[left.id].state == ("skipped" if policy == "skip" else "pending")


@pytest.mark.requirement("F06")
def test_a_stage_that_no_schedule_names_is_run_again(sweeper: Sweeper) -> None:
    left = taken(sweeper.runs, born(sweeper.runs, kind="trading_analysis"))
    sweeper.world.pass_time(16)
    assert recover_at_start(SETTINGS.schedules, sweeper.runs, sweeper.world.alerts) == [left.id]
    assert sweeper.world.rows()[left.id].state == "running"


def test_runs_of_a_worker_that_lives_are_not_listed(sweeper: Sweeper) -> None:
    taken(sweeper.runs, born(sweeper.runs))
    assert recover_at_start(SETTINGS.schedules, sweeper.runs, sweeper.world.alerts) == []
