"""The connection to PostgreSQL: one pool per process, foreign errors mapped here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import lru_cache
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import namedtuple_row
from sqlalchemy import Connection, Engine, TextClause, create_engine, text
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from aaos.errors import AaosError, ConfigError, DatabaseUnavailable, InputError, InvariantViolation

SCHEMA_REVISION = "0008"
CONNECT_TIMEOUT_S = 5
# Longer than any statement of ours takes on a healthy server; a frozen one must not hold a worker.
STATEMENT_TIMEOUT_MS = 15_000
# A worker frozen inside a transaction must not keep its locks: shorter than a lease, longer than a call to Redis.
IDLE_TRANSACTION_TIMEOUT_MS = 12_000
POOL_WAIT_S = 10
# The kernel gives up on a silent peer after this long (TCP_USER_TIMEOUT).
TCP_USER_TIMEOUT_MS = 15_000
NOW = text("SELECT clock_timestamp()")
UNDEFINED_TABLE = "42P01"
INSUFFICIENT_PRIVILEGE = "42501"
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
            skip_autocommit_rollback=True,  # nothing to roll back on a connection that returns to the pool
            connect_args={
                "connect_timeout": CONNECT_TIMEOUT_S,
                "application_name": "aaos",
                # enable_seqscan: every statement here has its index. A plan made while the tables were young and
                # empty would read them whole, and stay cached in its session while they grow.
                "options": f"-c statement_timeout={STATEMENT_TIMEOUT_MS} -c timezone=UTC -c enable_seqscan=off "
                f"-c idle_in_transaction_session_timeout={IDLE_TRANSACTION_TIMEOUT_MS}",
                "keepalives_idle": 10,
                "tcp_user_timeout": TCP_USER_TIMEOUT_MS,
            },
        )

    def rows(self, statement: TextClause, parameters: Mapping[str, Any] | None = None) -> Sequence[Any]:
        """Runs one statement in a transaction of its own and returns its rows, as named tuples."""
        with self._cursor() as cursor:
            return cursor.execute(_spelled(statement), parameters or {}).fetchall()

    def row(self, statement: TextClause, parameters: Mapping[str, Any] | None = None) -> Any | None:
        """Runs one statement in a transaction of its own and returns its first row, or None."""
        with self._cursor() as cursor:
            return cursor.execute(_spelled(statement), parameters or {}).fetchone()

    def execute(self, statement: TextClause, parameters: Mapping[str, Any] | None = None) -> int:
        """Runs one statement in a transaction of its own and returns the number of rows it touched."""
        with self._cursor() as cursor:
            return int(cursor.execute(_spelled(statement), parameters or {}).rowcount)

    @contextmanager
    def _cursor(self) -> Iterator[psycopg.Cursor[Any]]:
        """Yields a driver cursor on a pooled connection in autocommit mode.

        Single statements go past SQLAlchemy's execution layer, which costs as much CPU as the statement itself
        (bench/README.md). The pool, and so the reset and replacement of broken connections, is the same.
        """
        with mapped_errors(self.address):
            pooled = self._engine.raw_connection()
            driver: psycopg.Connection[Any] = pooled.driver_connection  # type: ignore[assignment]
            try:
                if not driver.autocommit:
                    driver.autocommit = True
                with driver.cursor(row_factory=namedtuple_row) as cursor:
                    yield cursor
            except BaseException as error:
                # A time limit's signal may have cut in between statement and answer: whoever got that connection
                # next would be told that another command is in progress, for ever.
                if driver.closed or driver.info.transaction_status is not TransactionStatus.IDLE:
                    pooled.invalidate(error)
                raise
            finally:
                pooled.close()

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """Yields an autocommitting connection; errors leave as aaos errors."""
        with mapped_errors(self.address), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Yields a connection inside one transaction (READ COMMITTED), committed at exit."""
        with mapped_errors(self.address), self._engine.connect() as pooled:
            connection = pooled.execution_options(isolation_level="READ COMMITTED")
            with connection.begin():
                try:
                    yield connection
                except BaseException as error:
                    # Cut off as above, it cannot be rolled back; closed, PostgreSQL does that itself.
                    if not connection.invalidated and _is_in_use(connection):
                        connection.invalidate(error)
                    raise

    def now(self) -> datetime:
        """Returns the database's clock: the only one that orders anything."""
        instant: datetime = self.rows(NOW)[0][0]
        return instant

    def close(self) -> None:
        """Closes the pool."""
        self._engine.dispose()

    def forget(self) -> None:
        """Drops the pool without closing sockets: for a forked child, whose parent still uses them."""
        self._engine.dispose(close=False)


def _is_in_use(connection: Connection) -> bool:
    driver = connection.connection.driver_connection
    return driver is not None and driver.info.transaction_status is TransactionStatus.ACTIVE


@contextmanager
def mapped_errors(address: str) -> Iterator[None]:
    """Maps SQLAlchemy's and psycopg's errors to the aaos tree."""
    try:
        yield
    except PoolTimeout as error:
        raise _away(error, address) from error
    except DBAPIError as error:
        mapped = _mapped(error.orig, address)
        if mapped is None and error.connection_invalidated:
            mapped = _away(error.orig, address)
        if mapped is None:
            raise
        raise mapped from error
    except psycopg.Error as error:
        mapped = _mapped(error, address)
        if mapped is None:
            raise
        raise mapped from error


def _mapped(error: BaseException | None, address: str) -> AaosError | None:
    """Returns what a driver's error is called here; None for our own mistakes, which nobody should catch."""
    sqlstate = str(getattr(error, "sqlstate", None) or "")
    if isinstance(error, psycopg.IntegrityError):
        return InvariantViolation(f"the database refused a row: {_first_line(error)}")
    if isinstance(error, psycopg.DataError):
        return InputError(f"the database cannot store this: {_first_line(error)}")
    if sqlstate == UNDEFINED_TABLE:
        return ConfigError(f"the database {address} has no aaos schema; run `aaos migrate`")
    if sqlstate == INSUFFICIENT_PRIVILEGE:
        return ConfigError(
            f"the login of {address} may not do this ({_first_line(error)}); "
            "run this queue with the login meant for it, as docs/trading-store.md says under roles"
        )
    if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError) or sqlstate[:2] in UNAVAILABLE_CLASSES:
        return _away(error, address)
    return None


def broken_rule(error: InvariantViolation) -> tuple[str, str]:
    """Returns the name of the constraint that refused a row ("" for none), and what it said."""
    cause = error.__cause__
    driver = cause.orig if isinstance(cause, DBAPIError) else cause
    if not isinstance(driver, psycopg.Error):
        return "", str(error)
    return driver.diag.constraint_name or "", driver.diag.message_primary or str(error)


def _away(error: BaseException | None, address: str) -> DatabaseUnavailable:
    return DatabaseUnavailable(
        f"PostgreSQL at {address} is not available ({_first_line(error)}); "
        "is it running, and is AAOS_DATABASE_URL right?"
    )


def _first_line(error: BaseException | None) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


@lru_cache(maxsize=512)
def _spelled(statement: TextClause) -> str:
    """Returns the statement with the driver's placeholders, spelled out once: the statements are constants."""
    return str(statement.compile(dialect=_DIALECT))


_DIALECT = PGDialect_psycopg()  # type: ignore[no-untyped-call]
