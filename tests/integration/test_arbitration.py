"""A conflict in real processes: the arbiter is asked by the worker that decides, and without one it is HOLD."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.lab import module_environment
from support.person import Person
from support.workers import Simulator, fleet

from aaos.adapters.market.candle_files import HEADER

SYMBOL = "UPP/USDT"
FIRST_CANDLE_MS = 1_600_000_020_000
CONTRARIANS = {f"AAOS_VOTERS__{name}__MODEL": "sovereign-contrarian" for name in ("TREND", "REVERSAL", "RISK")}
# Voters who do the opposite of what the figures say, on a market that says it clearly: a conflict of all with all.
DISPUTED = CONTRARIANS | {
    "AAOS_DECISION__ARBITER_MODEL": "sovereign-32b",
    "AAOS_DECISION__CONFLICT_CONFIDENCE": "0.01",
    "AAOS_DECISION__MIN_CONFIDENCE": "0",
    "AAOS_DECISION__HIDDEN_HAND_MIN_AGREEMENT": "0",
    "AAOS_DECISION__CONSENSUS_MIN_SIGNALS": "1",
}


@pytest.fixture(scope="module")
def court(
    databases: Any, valkey_server: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Person, Simulator]]:
    with (
        module_environment(databases, valkey_server) as environment,
        fleet(environment | DISPUTED, tmp_path_factory.mktemp("disputed")) as processes,
    ):
        simulator = processes.simulator(latency_ms=20)
        processes.environment = {**processes.environment, "AAOS_SOVEREIGN_URL": f"{simulator.base_url}/v1"}
        processes.worker()
        person = Person(processes.environment)
        person.types("market", "use", "--replay", str(_rising(tmp_path_factory.mktemp("market"))))
        yield person, simulator


def _rising(directory: Path) -> Path:
    """Minutes that rise by four hundredths of a percent on average, with noise: a trend that nobody overlooks."""
    rng = np.random.default_rng(7)
    close = 100 * np.exp(np.cumsum(rng.normal(0.0004, 0.0006, 900)))
    opened = np.concatenate([[100.0], close[:-1]])
    high, low = np.maximum(opened, close) * 1.0003, np.minimum(opened, close) * 0.9997
    columns = (opened, high, low, close, np.linspace(10, 100, 900))
    rows = [
        ",".join([str(FIRST_CANDLE_MS + i * 60_000), *(f"{column[i]:.4f}" for column in columns)]) for i in range(900)
    ]
    path = directory / "UPP-USDT_1m.csv"
    path.write_text("\n".join([HEADER, *rows]) + "\n", encoding="utf-8")
    return path


def a_disputed_decision(person: Person) -> dict[str, Any]:
    decision: dict[str, Any] = person.json("decide", SYMBOL, "--wait", "90")
    assert "arbitration" in decision["body"], decision["body"]
    return decision


@pytest.mark.requirement("F14")
def test_the_arbiter_rules_on_a_conflict_and_its_call_is_in_the_ledger(court: tuple[Person, Simulator]) -> None:
    person, _ = court
    decision = a_disputed_decision(person)
    body, run_id = decision["body"], decision["run_id"]
    ruled = body["arbitration"]
    assert (ruled["model"], ruled["fallback_used"], ruled["error"]) == ("sovereign-32b", False, None)
    # The careful model finds the opposite of what the contrarians found.
    assert ruled["verdict"] in ("hold", "modify")
    [call] = person.json("sovereign", "calls", "--run", str(run_id))
    assert (call["template"], call["outcome"], call["prompt_hash"]) == ("arbiter-1", "accepted", ruled["question_hash"])
    assert f"arbitration: {ruled['verdict']} (by sovereign-32b)" in person.types("explain", str(run_id)).stdout


@pytest.mark.requirement("F14")
def test_with_the_arbiter_and_its_fallback_down_it_is_hold_with_both_errors_and_a_veto(
    court: tuple[Person, Simulator],
) -> None:
    person, simulator = court
    for model in ("sovereign-32b", "sovereign-7b"):
        simulator.down(model)
    decision = a_disputed_decision(person)
    body, run_id = decision["body"], decision["run_id"]
    assert (body["signal"], body["tradable"], body["refusal"]["code"]) == ("HOLD", False, "ARBITER_FAILED")
    for model in ("sovereign-32b", "sovereign-7b"):
        assert f"{model}: " in body["arbitration"]["error"]
    assert body["adjustments"][-1]["becomes"] == "HOLD"
    [veto] = [each["refusal"] for each in person.json("vetoes") if each["refusal"]["source"] == f"decision:{run_id}"]
    assert (veto["stage"], veto["code"]) == ("decision", "ARBITER_FAILED")
    keys = [each["request_key"] for each in person.json("runs", "--limit", "200")]
    assert f"risk:decision:{run_id}" not in keys
