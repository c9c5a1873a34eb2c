"""A budget that is reached makes decisions HOLD, tells an operator once, and crashes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.checks import check_ledger
from support.lab import QUICK, SYMBOL, module_environment, running_lab

from aaos.domain.llm_budget import ALERT_KIND, BUDGET_REACHED

# Room for one vote of the default voters, not for two: each may take its prompt and 700 tokens of answer.
DAY = {"AAOS_SOVEREIGN__BUDGET__TOKENS_PER_DAY": "25000"}
SIMULATED = {"AAOS_MARKET__SYMBOLS": f'["{SYMBOL}"]'}
ENDED = "SELECT state, reason FROM runs WHERE kind = 'trading_analysis' AND finished_at IS NOT NULL"


@pytest.mark.requirement("FM-TAW-007")
def test_a_day_whose_budget_is_spent_decides_hold_with_the_reason_and_one_alert(
    databases: Any, valkey_server: Any, tmp_path: Path
) -> None:
    with (
        module_environment(databases, valkey_server) as environment,
        running_lab(environment, tmp_path, {**QUICK, **SIMULATED, **DAY}, latency_ms=50) as lab,
    ):
        lab.fleet.worker()
        found = [lab.client.request("trading_decision", SYMBOL, f"budget-{number}").run_id for number in range(4)]
        assert lab.wait_final(found, 60) == {"completed": 4}
        cap = int(DAY["AAOS_SOVEREIGN__BUDGET__TOKENS_PER_DAY"])
        assert lab.value("SELECT tokens FROM llm_spending WHERE scope LIKE 'day:%%'") <= cap
        refused = [row for row in lab.rows(ENDED) if row.state == "failed"]
        assert refused
        assert all(row.reason.removeprefix("BudgetReached: ").startswith(BUDGET_REACHED) for row in refused), refused
        last = lab.client.results.result_of_run(found[-1])
        assert last is not None
        assert last.body["signal"] == "HOLD"
        assert BUDGET_REACHED in str(last.body)
        alerts = lab.rows("SELECT message, details FROM alerts WHERE kind = %s", ALERT_KIND)
        assert [row.details.get("cap") for row in alerts] == ["tokens_per_day"], alerts
        check_ledger(lab.rows, lab.simulator.transcript())
