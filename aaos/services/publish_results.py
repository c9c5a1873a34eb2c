"""From the outbox to the streams: nothing is announced that is not stored, and all that is stored is announced."""

from __future__ import annotations

import time
from typing import Protocol

from aaos.ports import Outbox, ResultStream

# While results keep coming one publisher stays and takes them by the dozen: a message, a task and a commit for
# every single result cost as much as the run itself. Far below what a reader notices.
PAUSE_S = 0.05
# Then it ends, so that its own message is acknowledged; the next result calls the next publisher.
STAY_MAX_S = 5.0


class Nudge(Protocol):
    """Whether a publisher has been called: who stores a result calls one only if not."""

    def lower(self) -> None:
        """Makes the next result call a publisher again."""
        ...

    def keep(self) -> None:
        """Tells that a publisher is there and will look again; forgotten by itself if it dies."""
        ...


def publish_results(outbox: Outbox, stream: ResultStream, nudge: Nudge, batch: int) -> int:
    """Publishes until the outbox stays empty for a moment; returns how many results were announced.

    A row is marked only after the stream accepted it. A crash in between announces it again: subscribers
    de-duplicate by result id.

    Raises:
        BrokerUnavailable: the stream is away; the results stay in the outbox.
    """
    nudge.keep()
    found = published = _empty(outbox, stream, batch)
    leave_at = time.monotonic() + STAY_MAX_S
    while found and time.monotonic() < leave_at:
        nudge.keep()
        time.sleep(PAUSE_S)
        found = _empty(outbox, stream, batch)
        published += found
    # Lowered first, looked at afterwards: a result stored in between is seen here or calls another publisher.
    nudge.lower()
    return published + _empty(outbox, stream, batch)


def _empty(outbox: Outbox, stream: ResultStream, batch: int) -> int:
    published = 0
    while True:
        with outbox.batch(batch) as held:
            if held.results:
                held.mark_published(stream.publish(held.results))
            published += len(held.results)
            if len(held.results) < batch:
                return published
