"""Chance, repeatable: the seed of a run is printed, and AAOS_CHAOS_SEED repeats it."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from typing import Any

import pytest
from support.lab import IDLE, ROOM, Lab, module_environment, running_lab

# Read on import: tests run without the developer's AAOS_* variables.
SEED = int(os.environ.get("AAOS_CHAOS_SEED") or time.time_ns() % 1_000_000)

# The limits of a production configuration, but for those that would only make the test longer.
STORM = {
    **ROOM,
    # A storm may hit one run more than three times; that a run is given up after three has its own test.
    "AAOS_RUNS__MAX_ATTEMPTS": "12",
    **IDLE,
}


def pytest_report_header() -> str:
    return f"chaos seed: {SEED} (repeat with AAOS_CHAOS_SEED={SEED})"


@pytest.fixture
def chance() -> random.Random:
    print(f"AAOS_CHAOS_SEED={SEED}")  # noqa: T201 - shown with a test that fails
    return random.Random(SEED)


@pytest.fixture
def lab(databases: Any, valkey_server: Any, tmp_path: Any, request: pytest.FixtureRequest) -> Iterator[Lab]:
    """Servers and a Sovereign that takes 150 ms; leases and sweeps as in production unless the test says otherwise."""
    extra = getattr(request, "param", {})
    with (
        module_environment(databases, valkey_server) as environment,
        running_lab(environment, tmp_path, {**STORM, **extra}, latency_ms=150) as lab,
    ):
        yield lab
