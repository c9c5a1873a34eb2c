"""Every test of this directory that takes `world` runs twice: in memory, and on a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.servers import TestDatabases
from support.worlds import MemoryWorld, PostgresWorld, World


@pytest.fixture(scope="session")
def real_world(databases: TestDatabases) -> Iterator[PostgresWorld]:
    """One database for all tests of the contract; emptying it is quicker than making a new one."""
    with databases.fresh() as url:
        real = PostgresWorld(url)
        yield real
        real.close()


@pytest.fixture(params=["memory", "postgres"])
def world(request: pytest.FixtureRequest) -> World:
    """Empty tables and everything that works on them."""
    if request.param == "memory":
        return MemoryWorld()
    real: PostgresWorld = request.getfixturevalue("real_world")
    real.reset()
    return real


@pytest.fixture
def postgres_world(database_url: str) -> Iterator[PostgresWorld]:
    """Only the real one, a database of its own, with a connection for each of a hundred threads."""
    real = PostgresWorld(database_url, pool_size=100)
    yield real
    real.close()
