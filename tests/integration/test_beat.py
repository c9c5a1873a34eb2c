"""Beat on slots: two at once, killed, away; whatever it does, every slot is accounted for, once."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from support.checks import check_runs, check_slots
from support.lab import QUICK, Lab, module_environment, running_lab

# A technical analysis each second, a regime every 5 s, a decision every 10 s.
FAST = {"AAOS_SPEED": "60", "AAOS_SCHEDULES__TRADING_DECISION__EVERY_S": "600"}
WIDTHS_MS = {"technical_analysis": 1000, "regime_detection": 5000, "trading_decision": 10_000}
TOGETHER_S = 8
AWAY_S = 3.2

MISSED = "missed: nobody ticked this slot"


@pytest.fixture(scope="module")
def lab(databases: Any, valkey_server: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Workers for everything, a market played at sixty times its speed, and no beat yet."""
    with (
        module_environment(databases, valkey_server) as environment,
        running_lab(environment, tmp_path_factory.mktemp("beat"), {**QUICK, **FAST}, latency_ms=20) as lab,
    ):
        lab.fleet.worker()
        yield lab


def _newest(lab: Lab, kind: str) -> Any:
    return lab.value("SELECT max(slot) FROM runs WHERE kind = %s AND request_key IS NULL", kind)


def _settle(lab: Lab) -> None:
    """Waits until no run is open; nobody ticks meanwhile, and the sweep is ours."""

    def all_final() -> bool:
        lab.client.recover()
        return not lab.rows("SELECT 1 FROM runs WHERE finished_at IS NULL LIMIT 1")

    lab.wait_until(all_final, "every run final", 60)


def _check(lab: Lab) -> dict[str, dict[str, int]]:
    symbols = lab.client.market.symbols()
    check_runs(lab.rows)
    return {kind: check_slots(lab.rows, kind, width, symbols) for kind, width in WIDTHS_MS.items()}


@pytest.mark.requirement("F01")
@pytest.mark.requirement("Q1")
@pytest.mark.requirement("Q6")
def test_two_beats_one_of_them_killed_and_restarted_double_no_slot_and_miss_none(lab: Lab) -> None:
    first, second = lab.fleet.beat(wait=False), lab.fleet.beat(wait=False)
    lab.fleet.wait_ready()
    time.sleep(TOGETHER_S / 2)
    first.kill()
    lab.fleet.beat()
    time.sleep(TOGETHER_S / 2)
    for beat in lab.fleet.processes:
        if beat.ready_text.startswith("beat"):
            beat.kill()
    assert not second.is_running()
    _settle(lab)
    ended = _check(lab)
    symbols = len(lab.client.market.symbols())
    assert sum(ended["technical_analysis"].values()) >= TOGETHER_S * symbols
    assert ended["technical_analysis"].get("completed", 0) > sum(ended["technical_analysis"].values()) / 2
    assert ended["trading_decision"].get("completed", 0) >= symbols


@pytest.mark.requirement("Q6")
def test_after_an_outage_of_beat_the_newest_slot_runs_and_older_ones_are_recorded_as_missed(lab: Lab) -> None:
    before = _newest(lab, "technical_analysis")
    time.sleep(max(0.0, AWAY_S - (lab.client.database.now() - before).total_seconds()))
    beat = lab.fleet.beat()
    # Missed slots are recorded first, and the newest one is born after them.
    born = "SELECT 1 FROM runs WHERE kind = 'technical_analysis' AND slot > %s AND reason IS DISTINCT FROM %s LIMIT 1"
    lab.wait_until(lambda: lab.rows(born, before, MISSED), "beat ticks again", 20)
    beat.kill()
    _settle(lab)
    after = lab.rows(
        """SELECT slot, state, reason FROM runs
           WHERE kind = 'technical_analysis' AND request_key IS NULL AND slot > %s ORDER BY slot""",
        before,
    )
    symbols = len(lab.client.market.symbols())
    missed = [row for row in after if row.reason == MISSED]
    assert len(missed) >= 2 * symbols
    assert {row.state for row in missed} == {"skipped"}
    assert [row.state for row in after][-symbols:] == ["completed"] * symbols, "the newest slot was run"
    _check(lab)


@pytest.mark.requirement("Q6")
def test_a_decision_tick_that_comes_first_does_not_hide_its_inputs_missed_slots(lab: Lab) -> None:
    """A decision's tick also inserts the current runs of what it depends on."""
    time.sleep(AWAY_S)
    before = _newest(lab, "trading_decision")
    width_s = WIDTHS_MS["trading_decision"] / 1000
    lab.wait_until(
        lambda: (lab.client.database.now() - before).total_seconds() > width_s, "the next slot of decisions", 15
    )
    lab.client.hints.tick("trading_decision")
    lab.wait_until(lambda: _newest(lab, "trading_decision") > before, "the decision's tick was executed", 15)
    _settle(lab)
    _check(lab)


@pytest.mark.requirement("Q6")
def test_a_lost_tick_message_is_made_good_by_the_sweep_within_the_same_slot(lab: Lab) -> None:
    kind, width_s = "regime_detection", WIDTHS_MS["regime_detection"] / 1000
    before = _newest(lab, kind)
    lab.wait_until(lambda: (lab.client.database.now() - before).total_seconds() > width_s, "a new slot", 10)
    # Its tick never comes: nobody sent it, as if the broker had lost it. Only the sweep runs.
    lab.client.hints._send("recover_runs", "maintenance")
    lab.wait_until(lambda: _newest(lab, kind) > before, "the sweep ticked what was left out", 10)
    _settle(lab)
    newest = lab.rows("SELECT state FROM runs WHERE kind = %s AND slot = %s", kind, _newest(lab, kind))
    assert [row.state for row in newest] == ["completed"] * len(lab.client.market.symbols())
    _check(lab)
