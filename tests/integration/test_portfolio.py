"""The portfolio on real servers and workers: ticked behind its decisions, rebalanced on request, seen by a person."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from support.checks import check_slots
from support.lab import QUICK, Lab, module_environment, running_lab

from aaos.domain.runs import State

# A decision, and a rebalance behind all of them, each 10 s; parts of a trade a second apart.
FAST = {
    "AAOS_SPEED": "60",
    "AAOS_SCHEDULES__TRADING_DECISION__EVERY_S": "600",
    "AAOS_SCHEDULES__PORTFOLIO_REBALANCE__EVERY_S": "600",
    "AAOS_PORTFOLIO__BATCH_EVERY_S": "60",
    "AAOS_PORTFOLIO__RELEASE_S": "0.5",
}
REBALANCE, DECISION = "portfolio_rebalance", "trading_decision"
WIDTH_MS = 10_000


@pytest.fixture(scope="module")
def lab(databases: Any, valkey_server: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Workers for everything, a market played at sixty times its speed, and beat."""
    with (
        module_environment(databases, valkey_server) as environment,
        running_lab(environment, tmp_path_factory.mktemp("portfolio"), {**QUICK, **FAST}, latency_ms=20) as lab,
    ):
        lab.fleet.worker(wait=False)
        lab.fleet.beat(wait=False)
        lab.fleet.wait_ready()
        yield lab


def _aaos(lab: Lab, *words: str) -> str:
    command = [sys.executable, "-m", "aaos", *words]
    done = subprocess.run(command, env=lab.environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _count(lab: Lab, where: str) -> int:
    return int(lab.value(f"SELECT count(*) FROM runs WHERE kind = '{REBALANCE}' AND {where}"))


@pytest.mark.requirement("F03")
@pytest.mark.requirement("ENG-4")
def test_beat_ticks_one_rebalance_per_slot_behind_the_decisions_of_every_symbol(lab: Lab) -> None:
    lab.wait_until(lambda: _count(lab, "state = 'completed' AND request_key IS NULL") >= 2, "two rebalances", 90)
    early = """
        SELECT r.id FROM runs r JOIN run_dependencies d ON d.run_id = r.id JOIN runs n ON n.id = d.depends_on_id
        WHERE r.kind = %s AND r.started_at IS NOT NULL AND (n.finished_at IS NULL OR n.finished_at > r.started_at)
    """
    assert lab.rows(early, REBALANCE) == [], "a rebalance began before a decision of its slot was over"
    symbols = set(lab.client.market.symbols())
    [newest] = lab.client.runs.runs(1, kind=REBALANCE, state="completed")
    waited = lab.client.runs.dependencies(newest.id)
    assert {(each.kind, each.symbol) for each in waited} == {(DECISION, symbol) for symbol in symbols}
    slots = {row.slot for row in lab.rows("SELECT slot FROM runs WHERE id = ANY(%s)", [each.run_id for each in waited])}
    assert slots == {newest.slot}
    check_slots(lab.rows, REBALANCE, WIDTH_MS, ["*"])


@pytest.mark.requirement("F07")
def test_a_requested_rebalance_waits_for_nobody_and_its_trades_come_to_an_end(lab: Lab) -> None:
    asked = json.loads(_aaos(lab, "portfolio", "rebalance", "--key", "mine", "--json"))
    assert (asked["kind"], asked["symbol"]) == (REBALANCE, "*")
    assert lab.client.runs.dependencies(asked["run_id"]) == []
    assert "targets" in _aaos(lab, "explain", str(asked["run_id"]))
    again = json.loads(_aaos(lab, "portfolio", "rebalance", "--key", "mine", "--json"))
    assert again["id"] == asked["id"]

    def over() -> bool:
        return bool(lab.rows("SELECT 1 FROM scheduled_trades WHERE state IN ('done', 'skipped') AND risk_run > 0"))

    lab.wait_until(over, "a released trade has an outcome", 60)
    done = [trade for trade in lab.client.scheduled_trades.trades(1000) if trade.state == "done"]
    assert all(trade.outcome and " filled, filled " in trade.outcome for trade in done), (
        "ended before its fills were booked"
    )
    for trade in lab.client.scheduled_trades.trades(1000):
        if trade.risk_run is not None:
            assert lab.client.runs.run(trade.risk_run).request_key == f"risk:{trade.source}"
    shown = json.loads(_aaos(lab, "portfolio", "trades", "--json"))
    assert {"id", "state", "due_at", "outcome", "source", "why"} <= set(shown[0])


def test_a_person_sees_holdings_targets_and_drift(lab: Lab) -> None:
    found = json.loads(_aaos(lab, "portfolio", "--json"))
    assert found["account"] == "paper-portfolio"
    lines = {line["symbol"]: line for line in found["lines"]}
    assert set(lab.client.settings.portfolio.targets) <= set(lines)
    printed = _aaos(lab, "portfolio")
    assert printed.splitlines()[0].split()[:2] == ["symbol", "held"]
    assert "(cash)" in printed
    assert "account paper-portfolio: equity" in printed
    assert lab.client.runs.runs(1, kind=REBALANCE)[0].state in list(State)
