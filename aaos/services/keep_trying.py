"""Work that is done is kept while PostgreSQL is away."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import structlog

from aaos.errors import DatabaseUnavailable

log = structlog.get_logger()
T = TypeVar("T")

# Between tries while PostgreSQL is away: doubling from the first to the last.
RETRY_FIRST_S = 0.2
RETRY_LAST_S = 5.0


def keep_trying(for_s: float, write: Callable[[], T]) -> T:
    """Returns what `write` does, tried until the database takes it or that many seconds have passed.

    Raises:
        DatabaseUnavailable: it was away all that time.
    """
    give_up_at = time.monotonic() + for_s
    pause_s = RETRY_FIRST_S
    while True:
        try:
            return write()
        except DatabaseUnavailable as error:
            if time.monotonic() + pause_s > give_up_at:
                raise
            log.warning("database_away", retry_in_s=pause_s, why=str(error))
            time.sleep(pause_s)
            pause_s = min(pause_s * 2, RETRY_LAST_S)
