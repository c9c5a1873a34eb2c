"""A worker started with the other side's database login: it says so and ends, instead of failing every run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import make_url
from support.workers import fleet

from aaos.adapters.postgres.roles import DECIDER, EXECUTOR, create_login

SECRET = "only-for-this-test"


@pytest.mark.requirement("R1")
@pytest.mark.parametrize(
    ("group", "queue", "writes"), [(DECIDER, "execution", "orders"), (EXECUTOR, "risk_assessment", "risk_approvals")]
)
def test_a_worker_whose_login_may_not_do_its_work_refuses_to_start(
    aaos_environment: dict[str, str], tmp_path: Path, group: str, queue: str, writes: str
) -> None:
    url, name = aaos_environment["AAOS_DATABASE_URL"], f"test_wrong_{group}"
    create_login(url, name, group, SECRET)
    wrong = make_url(url).set(username=name, password=SECRET).render_as_string(hide_password=False)
    environment: dict[str, Any] = {**aaos_environment, "AAOS_DATABASE_URL": wrong}
    with fleet(environment, tmp_path) as processes:
        worker = processes.worker(queue, "maintenance", wait=False)
        assert worker.popen.wait(60) != 0
        said = worker.log()
    assert f"may not do the work of -Q {queue} (it writes {writes})" in said
    assert "docs/trading-store.md" in said
    assert "Traceback" not in said
    assert SECRET not in said
