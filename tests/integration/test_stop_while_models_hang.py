"""A soft stop of a worker whose models say nothing: it ends when its time is up, and what it had runs elsewhere."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from support.checks import check_ledger, check_runs
from support.lab import IDLE, QUICK, module_environment, running_lab
from support.workers import READY_WORKER

VOTE = "trading_analysis"
SOFTLY_WITHIN_S = 2
CELERY = f"""
import sys
from workers.app import app
app.conf.worker_soft_shutdown_timeout = {SOFTLY_WITHIN_S}
from celery.__main__ import main
sys.argv[0] = "celery"
main()
"""


@pytest.mark.requirement("F06")
@pytest.mark.requirement("FM-TAW-007")
def test_a_soft_stop_does_not_wait_for_models_that_hang(databases: Any, valkey_server: Any, tmp_path: Path) -> None:
    with (
        module_environment(databases, valkey_server) as environment,
        running_lab(environment, tmp_path, {**QUICK, **IDLE}, latency_ms=20) as lab,
    ):
        lab.simulator.behave(mode="hang")
        words = ("-A", "workers", "worker", "-P", "threads", "-c", "4", "-Q", VOTE, "-n", "leaving@%h", "-l", "INFO")
        leaving = lab.fleet.python("-c", CELERY, *words, name="leaving", extra={"REMAP_SIGTERM": "SIGQUIT"})
        leaving.wait_for(READY_WORKER)
        votes = lab.insert_votes(4, lab.store_context(), "hung")
        lab.hint(VOTE, *votes)
        asking = "SELECT count(*) FROM sovereign_calls WHERE outcome = 'pending'"
        lab.wait_until(lambda: lab.value(asking) == 4, "all of them ask")
        began = time.monotonic()
        leaving.terminate()
        assert time.monotonic() - began < SOFTLY_WITHIN_S + 8
        assert "Unrecoverable error" not in leaving.log()
        assert lab.value("SELECT count(*) FROM runs WHERE state = 'running'") == 0, "handed back, not left to be found"
        assert lab.value(asking) == 0, "and the ledger says how the calls ended"
        lab.simulator.behave(mode="ok")
        lab.fleet.worker(VOTE, "maintenance", wait=False)
        lab.fleet.beat(wait=False)
        assert lab.wait_final(votes) == {"completed": 4}
        check_runs(lab.rows)
        check_ledger(lab.rows, lab.simulator.transcript())
