"""The connection to PostgreSQL: one pool per process, foreign errors mapped here, schema migrations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, Row, TextClause, create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, IntegrityError, InterfaceError, OperationalError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from aaos.errors import ConfigError, DatabaseUnavailable, InvariantViolation

SCHEMA_REVISION = "0001"
CONNECT_TIMEOUT_S = 5
# Longer than any statement of ours takes on a healthy server; a frozen one must not hold a worker.
STATEMENT_TIMEOUT_MS = 15_000
POOL_WAIT_S = 10
# The kernel gives up on a silent peer after this long (TCP_USER_TIMEOUT).
TCP_USER_TIMEOUT_MS = 15_000
UNDEFINED_TABLE = "42P01"
# SQLSTATE classes of a server that is away, shutting down, full or read-only: worth trying again.
UNAVAILABLE_CLASSES = ("08", "53", "57", "58", "25", "40", "55")


class Database:
    """A pool of connections in autocommit mode: a single statement is a transaction of its own.

    Not to be carried across a fork; `bootstrap` makes a new one in the child.
    """

    def __init__(self, url: str, pool_size: int = 4) -> None:
        self.address = make_url(url).render_as_string(hide_password=True)
        self._engine: Engine = create_engine(
            url,
            pool_size=pool_size,
            max_overflow=pool_size,
            pool_timeout=POOL_WAIT_S,
            pool_recycle=1800,
            pool_use_lifo=True,
            isolation_level="AUTOCOMMIT",
            connect_args={
                "connect_timeout": CONNECT_TIMEOUT_S,
                "application_name": "aaos",
                "options": f"-c statement_timeout={STATEMENT_TIMEOUT_MS} -c timezone=UTC",
                "keepalives_idle": 10,
                "tcp_user_timeout": TCP_USER_TIMEOUT_MS,
            },
        )

    def rows(self, statement: TextClause, parameters: Mapping[str, Any] | None = None) -> Sequence[Row[Any]]:
        """Runs one statement in a transaction of its own and returns its rows."""
        with self.connection() as connection:
            return connection.execute(statement, parameters or {}).all()

    def row(self, statement: TextClause, parameters: Mapping[str, Any] | None = None) -> Row[Any] | None:
        """Runs one statement in a transaction of its own and returns its first row, or None."""
        with self.connection() as connection:
            return connection.execute(statement, parameters or {}).first()

    def execute(self, statement: TextClause, parameters: Mapping[str, Any] | None = None) -> int:
        """Runs one statement in a transaction of its own and returns the number of rows it touched."""
        with self.connection() as connection:
            return int(connection.execute(statement, parameters or {}).rowcount)

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """Yields an autocommitting connection; errors leave as aaos errors."""
        with mapped_errors(self.address), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Yields a connection inside one transaction (READ COMMITTED), committed at exit."""
        with mapped_errors(self.address), self._engine.connect() as connection:
            with connection.execution_options(isolation_level="READ COMMITTED").begin():
                yield connection

    def now(self) -> datetime:
        """Returns the database's clock: the only one that orders anything."""
        with self.connection() as connection:
            instant: datetime = connection.execute(text("SELECT clock_timestamp()")).scalar_one()
            return instant

    def close(self) -> None:
        """Closes the pool."""
        self._engine.dispose()

    def forget(self) -> None:
        """Drops the pool without closing sockets: for a forked child, whose parent still uses them."""
        self._engine.dispose(close=False)


@contextmanager
def mapped_errors(address: str) -> Iterator[None]:
    """Maps SQLAlchemy's and psycopg's errors to the aaos tree."""
    try:
        yield
    except IntegrityError as error:
        raise InvariantViolation(f"the database refused a row: {_first_line(error)}") from error
    except ProgrammingError as error:
        if _sqlstate(error) == UNDEFINED_TABLE:
            raise ConfigError(f"the database {address} has no aaos schema; run `aaos migrate`") from error
        raise
    except (OperationalError, InterfaceError, PoolTimeout) as error:
        raise DatabaseUnavailable(
            f"PostgreSQL at {address} is not available ({_first_line(error)}); "
            "is it running, and is AAOS_DATABASE_URL right?"
        ) from error
    except DBAPIError as error:
        if error.connection_invalidated or _sqlstate(error)[:2] in UNAVAILABLE_CLASSES:
            raise DatabaseUnavailable(f"PostgreSQL at {address}: {_first_line(error)}") from error
        raise


def _sqlstate(error: DBAPIError) -> str:
    return str(getattr(error.orig, "sqlstate", None) or "")


def _first_line(error: Exception) -> str:
    cause = getattr(error, "orig", None) or error
    return (str(cause).strip().splitlines() or [type(cause).__name__])[0]


def migrate(url: str) -> str:
    """Brings the schema up to date, one migrator at a time; returns the revision."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.set_main_option("path_separator", "newline")
    engine = create_engine(url, connect_args={"connect_timeout": CONNECT_TIMEOUT_S})
    try:
        with mapped_errors(make_url(url).render_as_string(hide_password=True)), engine.connect() as connection:
            connection.execute(text("SELECT pg_advisory_lock(hashtext('aaos.migrate'))"))
            connection.commit()
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            connection.commit()
            connection.execute(text("SELECT pg_advisory_unlock(hashtext('aaos.migrate'))"))
            connection.commit()
    finally:
        engine.dispose()
    return SCHEMA_REVISION
