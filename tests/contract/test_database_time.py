"""Only the database's clock orders anything: machine clocks may lie, and now() stands still in a transaction."""

from __future__ import annotations

import ast
import re
from datetime import timedelta
from pathlib import Path

import pytest
from support.worlds import World, born, taken

from aaos.adapters import postgres

SOURCES = sorted(Path(postgres.__file__).parent.rglob("*.py"))
MACHINE_CLOCKS = {"now", "utcnow", "today", "time", "time_ns", "localtime", "gmtime"}
# Frozen at the start of the transaction, which may have waited for a lock since.
FROZEN = re.compile(
    r"\b(now\s*\(|current_timestamp|transaction_timestamp|statement_timestamp|localtimestamp)", re.IGNORECASE
)


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.name)
def test_the_postgres_adapters_ask_no_other_clock(source: Path) -> None:
    tree = ast.parse(source.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in MACHINE_CLOCKS:
            asked = ast.unparse(node.func)
            assert not asked.startswith(("datetime", "time", "date")), f"{source.name}:{node.lineno} asks {asked}"
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            assert not FROZEN.search(node.value), f"{source.name}:{node.lineno}: {FROZEN.findall(node.value)}"


def test_every_instant_of_a_run_lies_between_two_looks_at_the_database_s_clock(world: World) -> None:
    runs = world.runs()
    before = world.clock.now()
    claim = taken(runs, born(runs))
    after = world.clock.now()
    record = runs.run(claim.id)
    assert record.started_at is not None
    assert before <= record.created_at <= record.started_at <= after
    assert before <= claim.deadline - timedelta(seconds=30) <= after
    assert claim.created_at == record.created_at
    assert record.created_at.utcoffset() == timedelta(0)
