"""Real servers for tests, started once and only when a test asks; each test gets a database of its own.

Nothing is skipped: a server that does not start fails the tests that need it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as property_settings

if TYPE_CHECKING:  # unit tests need neither servers nor what drives them
    from support.servers import TestDatabases

    from aaos.local.postgres import PostgresServer
    from aaos.local.valkey import ValkeyServer

# Which of Valkey's numbered databases carries what.
MESSAGES, RESULTS = 0, 1

# Hypothesis holds each example against 200 ms of the wall's clock, and fails what a busy machine makes late. What must
# be quick has a test that says so; what hangs is ended by the test's own timeout.
property_settings.register_profile("aaos", deadline=None, suppress_health_check=[HealthCheck.too_slow])
property_settings.load_profile("aaos")


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """The developer's own AAOS_* variables decide nothing here (AAOS_TEST_* are meant for tests)."""
    for name in [each for each in os.environ if each.startswith("AAOS_") and not each.startswith("AAOS_TEST_")]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def servers_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where both servers keep their data."""
    return tmp_path_factory.mktemp("servers")


@pytest.fixture(scope="session")
def postgres_server(servers_directory: Path) -> Iterator[PostgresServer]:
    """One PostgreSQL for all tests, fsync on as in production."""
    from support.servers import POSTGRES_SETTINGS

    from aaos.local.postgres import PostgresServer

    with PostgresServer(servers_directory, settings=POSTGRES_SETTINGS) as server:
        yield server


@pytest.fixture(scope="session")
def valkey_server(servers_directory: Path) -> Iterator[ValkeyServer]:
    """One Valkey for all tests."""
    from aaos.local.valkey import ValkeyServer

    with ValkeyServer(servers_directory) as server:
        yield server


@pytest.fixture(scope="session")
def databases(postgres_server: PostgresServer) -> TestDatabases:
    """Where fresh databases come from, for tests that need more than one."""
    from support.servers import TestDatabases

    return TestDatabases(postgres_server)


@pytest.fixture
def database_url(databases: TestDatabases) -> Iterator[str]:
    """A fresh, migrated database; dropped afterwards."""
    with databases.fresh() as url:
        yield url


@pytest.fixture
def redis_url(valkey_server: ValkeyServer) -> str:
    """Where streams and chord counters live; all of Valkey is empty now."""
    import redis

    if not valkey_server.is_running():  # a test killed it
        valkey_server.start()
    with redis.Redis.from_url(valkey_server.url) as client:
        client.flushall()
    return valkey_server.database_url(RESULTS)


@pytest.fixture
def aaos_environment(redis_url: str, database_url: str, valkey_server: ValkeyServer) -> dict[str, str]:
    """What a subprocess of ours needs to find the servers; to be laid over `os.environ`."""
    return {
        "AAOS_BROKER_URL": valkey_server.database_url(MESSAGES),
        "AAOS_REDIS_URL": redis_url,
        "AAOS_DATABASE_URL": database_url,
    }
