"""The voters' own model away: real votes by the fallback, marked, audited, and held for a person."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from support.lab import module_environment
from support.person import Person
from support.workers import fleet

from aaos.domain.decision import scaled

SYMBOLS = ("BTC/USDT", "ETH/USDT", "SOL/USDT")
# Whatever the simulated market does, an action is enough to be worth holding.
REVIEWED = {"AAOS_DECISION__FALLBACK_POLICY": "review", "AAOS_DECISION__MIN_CONFIDENCE": "0"}


@pytest.fixture(scope="module")
def person(databases: Any, valkey_server: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Person]:
    """A person whose voters' own model is down, under the policy `review`."""
    with (
        module_environment(databases, valkey_server) as environment,
        fleet(environment | REVIEWED, tmp_path_factory.mktemp("reviewed")) as processes,
    ):
        simulator = processes.simulator(latency_ms=20)
        simulator.down("sovereign-32b")
        processes.environment = {**processes.environment, "AAOS_SOVEREIGN_URL": f"{simulator.base_url}/v1"}
        processes.worker()
        yield Person(processes.environment)


def a_held_decision(person: Person) -> dict[str, Any]:
    """Asks until the fallback wants to act: it may find nothing to do on one symbol."""
    for symbol in SYMBOLS * 2:
        decision: dict[str, Any] = person.json("decide", symbol, "--wait", "90")
        assert decision["body"]["degraded_inference"], decision["body"]
        if "review" in decision["body"]:
            return decision
    raise AssertionError("the fallback model wanted to hold on everything")


@pytest.mark.requirement("FM-TAW-006")
@pytest.mark.requirement("FM-003")
@pytest.mark.requirement("D3")
@pytest.mark.requirement("A1")
def test_with_the_primary_model_down_votes_are_distrusted_audited_and_wait_for_a_person(person: Person) -> None:
    decision = a_held_decision(person)
    run_id, body = decision["run_id"], decision["body"]
    assert body["tradable"] is False
    for vote in body["votes"]:
        assert vote["fallback_used"] is True, vote
        assert vote["confidence"] == scaled(vote["original_confidence"], 0.8)
    step = body["adjustments"][0]
    assert (step["step"], step["factor"], step["after"]) == ("fallback_distrust", 0.8, scaled(step["before"], 0.8))

    degraded = {each["subject"] for each in person.json("audit", "--action", "vote.degraded", "--limit", "100")}
    assert {f"run:{vote['run']}" for vote in body["votes"]} <= degraded
    assert person.json("audit", "--verify")["intact"] is True
    assert any(each["kind"] == "approval_needed" for each in person.json("alerts"))

    explained = person.types("explain", str(run_id)).stdout
    for shown in ("by the fallback model sovereign-7b in place of sovereign-32b", "failed: sovereign-32b (attempt 1",
                  "review: waits for approval until", "fallback_distrust × 0.8"):  # fmt: skip
        assert shown in explained, shown

    assert run_id in [each["run_id"] for each in person.json("approvals")]
    person.types("approve", str(run_id), "--by", "ada", "--reason", "seen")
    assert "review: approved by ada" in person.types("explain", str(run_id)).stdout
    [entry] = person.json("audit", "--action", "decision.approved", "--limit", "1")
    assert entry["subject"] == f"run:{run_id}"
