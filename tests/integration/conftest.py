"""Who types, for the tests of shell and command line; simulator and clients, for those of asking Sovereign."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:  # what the fixtures need loads when a test asks for them
    from support.person import Person
    from support.sovereign_clients import Clients
    from support.sovereign_servers import Sim


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


@pytest.fixture(scope="module")
def shared_sim() -> Iterator[Sim]:
    """A simulated Sovereign that serves any model, for a whole module."""
    from support.sovereign_servers import running_sim

    with running_sim() as sim:
        yield sim


@pytest.fixture
def sim(shared_sim: Sim) -> Sim:
    """The module's simulator, well-behaved and with an empty transcript."""
    shared_sim.reset()
    return shared_sim


@pytest.fixture
def client_of() -> Iterator[Clients]:
    """Makes clients; closes them afterwards."""
    from support.sovereign_clients import Clients

    clients = Clients()
    yield clients
    clients.close()
