"""Every test of this directory that takes `world` runs twice: in memory, and on a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from support.servers import TestDatabases
from support.venues import EMPTY_VENUE, Venue
from support.worlds import MemoryWorld, PostgresWorld, World

from aaos.adapters.brokers.paper import MemoryVenueStore, VenueStore
from aaos.adapters.brokers.paper.postgres_store import PostgresVenueStore
from aaos.adapters.postgres.database import Database


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


@pytest.fixture(scope="module")
def ledger_url(databases: TestDatabases) -> Iterator[str]:
    """One database for a module's paper venues."""
    with databases.fresh() as url:
        yield url


@pytest.fixture(params=["memory", "postgres"])
def venue_store(request: pytest.FixtureRequest) -> Iterator[VenueStore]:
    """An empty ledger of the paper venue."""
    if request.param == "memory":
        yield MemoryVenueStore()
        return
    url: str = request.getfixturevalue("ledger_url")
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as session:
        session.execute(EMPTY_VENUE)
    database = Database(url, pool_size=10)
    yield PostgresVenueStore(database)
    database.close()


@pytest.fixture
def venue(venue_store: VenueStore) -> Venue:
    """A paper venue on that ledger."""
    return Venue(venue_store)
