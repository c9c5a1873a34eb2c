"""Databases for tests on one real PostgreSQL: migrated once, copied for each test."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count

import psycopg
from psycopg import sql
from sqlalchemy.engine import make_url

from aaos.adapters.postgres.schema import migrate
from aaos.local.postgres import PostgresServer

# A hundred racing claimers have a connection each; the embedded stack's 60 are for the embedded stack.
POSTGRES_SETTINGS = {"max_connections": "250"}
TEMPLATE = "aaos_migrated"


@dataclass(slots=True)
class TestDatabases:
    """Fresh, migrated databases on one server; the template is migrated when first needed."""

    __test__ = False

    server: PostgresServer
    _numbers: Iterator[int] = field(default_factory=lambda: count(1))
    _migrated: bool = False

    @contextmanager
    def fresh(self) -> Iterator[str]:
        """Yields the URL of a new migrated database that is dropped afterwards, whoever is still connected."""
        self._migrate_template()
        name = f"test_{os.getpid()}_{next(self._numbers)}"
        self._administer("CREATE DATABASE {} TEMPLATE {}", name, TEMPLATE)
        try:
            yield self._url(name)
        finally:
            # A test may have left the server stopped or killed: the next one needs it.
            if not self.server.is_running():
                self.server.start()
            self._administer("DROP DATABASE IF EXISTS {} WITH (FORCE)", name)

    def _migrate_template(self) -> None:
        if not self._migrated:
            self._administer("DROP DATABASE IF EXISTS {} WITH (FORCE)", TEMPLATE)
            self._administer("CREATE DATABASE {}", TEMPLATE)
            migrate(self._url(TEMPLATE))
            self._migrated = True

    def _url(self, name: str) -> str:
        return make_url(self.server.dsn).set(database=name).render_as_string(hide_password=False)

    def _administer(self, statement: str, *names: str) -> None:
        address = self.server.dsn.replace("+psycopg", "")
        with psycopg.connect(address, autocommit=True, connect_timeout=5) as connection:
            connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))
