"""Who types, for the tests of shell and command line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:  # what the fixtures need loads when a test asks for them
    from support.person import Person


@pytest.fixture(scope="module")
def person(databases: Any, valkey_server: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Person]:
    """A person whose servers have one worker for everything; no beat, so nothing happens unasked."""
    from support.lab import module_environment
    from support.person import Person
    from support.workers import fleet

    with (
        module_environment(databases, valkey_server) as environment,
        fleet(environment, tmp_path_factory.mktemp("typed")) as processes,
    ):
        simulator = processes.simulator(latency_ms=20)
        processes.environment = {**environment, "AAOS_SOVEREIGN_URL": f"{simulator.base_url}/v1"}
        processes.worker()
        yield Person(processes.environment)


@pytest.fixture
def alone(aaos_environment: dict[str, str]) -> Person:
    """A person whose servers run, but no worker."""
    from support.person import Person

    return Person(aaos_environment)
