"""Task events for Flower, sent by the dozen: one by one they cost a worker's main process as much as its tasks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from celery import bootsteps
from celery.worker.consumer.events import Events

# What Flower shows is at most this old.
PAUSE_S = 0.25
# Sent without waiting when so many have come together.
BATCH_MAX = 200


class PacedEvents(bootsteps.StartStopStep):
    """Lets task events gather for a moment; Celery itself sends them at each turn of its event loop."""

    requires = (Events,)

    def start(self, c: Any) -> None:
        """Takes effect at each (re)connection: the dispatcher is a new one then."""
        if c.hub is None or c.event_dispatcher is None:
            return
        c.event_dispatcher.buffer_limit = BATCH_MAX
        c.event_dispatcher.on_send_buffered = _paced(c)

    def stop(self, c: Any) -> None:
        """Sends what has gathered."""
        if c.event_dispatcher is not None and c.event_dispatcher.enabled:
            c.event_dispatcher.flush()


def _paced(c: Any) -> Callable[[], None]:
    dispatcher = c.event_dispatcher
    waiting = False

    def buffered() -> None:
        nonlocal waiting
        if not waiting:
            waiting = True
            c.hub.call_later(PAUSE_S, flush)

    def flush() -> None:
        nonlocal waiting
        waiting = False
        if dispatcher is c.event_dispatcher:
            dispatcher.flush()

    return buffered
