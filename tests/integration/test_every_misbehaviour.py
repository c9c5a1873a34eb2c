"""Every way in which the model service can answer, once through a real vote in a worker, and what the vote ends as."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from support.checks import check_ledger, check_runs
from support.lab import IDLE, QUICK, SYMBOL, Lab, module_environment, running_lab

from aaos.domain.runs import NewRun
from aaos.local.sovereign_modes import GROUPS, MODES

VOTE = "trading_analysis"
# Each voter's model misbehaves in a way of its own, so that six ways are met at once.
VOTERS = ("trend", "reversal", "risk", "fourth", "fifth", "sixth")
MODELS = {f"AAOS_VOTERS__{name}__MODEL": f"model-of-{name}" for name in VOTERS}
STANCES = {f"AAOS_VOTERS__{name}__STANCE": "trend" for name in VOTERS}
ONCE = {
    "AAOS_RUNS__MAX_ATTEMPTS": "1",
    "AAOS_SOVEREIGN__FALLBACK_MODEL": "null",
    "AAOS_SOVEREIGN__ATTEMPTS_PER_MODEL": "1",
    "AAOS_SOVEREIGN__REQUEST_TIMEOUT_S": "1.5",
    "AAOS_SOVEREIGN__CONNECT_TIMEOUT_S": "1",
}
VOTES = {
    *("ok", "prose", "code_fence", "thinking", "unknown_fields", "lower_case", "injected_reasoning"),
    *("list_content", "wrong_model", "no_usage", "surplus"),
}
LATE = {"hang", "hang_mid_body", "slow_headers", "trickle", "slow_drip"}
# No answer came, or none that is HTTP to its end; where a whole body came that says something else, it is invalid.
LOST = {"close", "reset", "reset_mid_body", "length_too_long", "chunked_cut", "not_http", "endless_head"}
# What a terminal would obey: control characters but for the line's end, and marks that turn the reading direction.
OBEYED = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
ENDED = """
    SELECT runs.id, runs.failure_source, runs.reason, r.body FROM runs LEFT JOIN results r ON r.run_id = runs.id
    WHERE runs.id = ANY(%s) ORDER BY runs.id
"""


@pytest.mark.requirement("FM-TAW-005")
@pytest.mark.requirement("FM-TAW-010")
def test_whatever_the_service_does_it_is_a_sound_vote_or_an_absent_one_with_its_reason(
    databases: Any, valkey_server: Any, tmp_path: Path
) -> None:
    with (
        module_environment(databases, valkey_server) as environment,
        running_lab(environment, tmp_path, {**QUICK, **IDLE, **MODELS, **STANCES, **ONCE}, latency_ms=10) as lab,
    ):
        worker = lab.fleet.worker(VOTE)
        context, modes = lab.store_context(), list(MODES)
        for first in range(0, len(modes), len(VOTERS)):
            for mode, row in zip(*_cast(lab, context, modes[first : first + len(VOTERS)]), strict=True):
                assert (row.failure_source, row.body is None) == (_expected(mode), mode not in VOTES), (mode, row)
                assert row.body is None or _is_sound(row.body), (mode, row)
        assert worker.is_running()
        assert "run_broke" not in worker.log()
        assert OBEYED.search(worker.log()) is None
        check_runs(lab.rows)
        check_ledger(lab.rows, lab.simulator.transcript())


def _cast(lab: Lab, context: int, modes: Sequence[str]) -> tuple[Sequence[str], list[Any]]:
    """Has one vote cast for each of the modes, all at once; returns them with how the votes ended."""
    votes = []
    for voter, mode in zip(VOTERS, modes, strict=False):
        lab.simulator.behave(mode=mode, model=f"model-of-{voter}")
        params = {"context_run": context, "voter": voter}
        votes.append(lab.client.runs.insert_request(NewRun(VOTE, SYMBOL, 20, 60, mode, params=params))[0])
    lab.hint(VOTE, *votes)
    lab.wait_final(votes)
    return modes, lab.rows(ENDED, votes)


def _expected(mode: str) -> str | None:
    if mode in VOTES:
        return None
    if mode in LATE:
        return "sovereign_timeout"
    return "sovereign_error" if mode in LOST or mode in GROUPS["status"] else "sovereign_invalid"


def _is_sound(body: dict[str, Any]) -> bool:
    figures = (body["confidence"], body["risk_score"])
    in_range = all(isinstance(each, int | float) and 0 <= each <= 1 for each in figures)
    return body["signal"] in ("BUY", "SELL", "HOLD") and in_range and OBEYED.search(body["reasoning"]) is None
