"""A time limit's signal that cuts into a statement: the connection must not go back to the pool half used."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import text

from aaos.adapters.postgres.database import Database

LONG = text("SELECT pg_sleep(5)")


class CutOff(Exception):
    """Raised by the signal handler, wherever the main thread is, as Celery's SoftTimeLimitExceeded."""


@contextmanager
def _cut_off_after(seconds: float) -> Iterator[None]:
    def cut_off(*_: Any) -> None:
        raise CutOff

    before = signal.signal(signal.SIGUSR1, cut_off)  # SIGALRM belongs to pytest-timeout
    main = threading.main_thread().ident
    assert main is not None
    timer = threading.Timer(seconds, signal.pthread_kill, (main, signal.SIGUSR1))
    timer.start()
    try:
        yield
    finally:
        timer.join()
        signal.signal(signal.SIGUSR1, before)


@pytest.mark.requirement("F08")
def test_a_connection_cut_off_in_a_statement_is_not_used_again(database_url: str) -> None:
    database = Database(database_url, pool_size=1)
    try:
        for _ in range(3):
            with pytest.raises(CutOff), _cut_off_after(0.2):
                database.rows(LONG)
            assert database.now() is not None
    finally:
        database.close()


@pytest.mark.requirement("F08")
def test_a_transaction_cut_off_in_a_statement_leaves_a_usable_pool(database_url: str) -> None:
    database = Database(database_url, pool_size=1)
    try:
        for _ in range(3):
            with pytest.raises(CutOff), _cut_off_after(0.2), database.transaction() as connection:
                connection.execute(LONG)
            assert database.now() is not None
    finally:
        database.close()
