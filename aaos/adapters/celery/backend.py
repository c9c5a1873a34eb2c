"""Celery's Redis result backend for processes that send chords and wait for no answer themselves.

Celery makes every chord that was sent wait for its header's results: the result objects, a subscription each and a
connection per thread were kept, unread, for as long as the worker lived.
"""

from __future__ import annotations

from typing import Any

from celery import Celery
from celery.backends.redis import RedisBackend


class ChordBackend(RedisBackend):
    """Stores results and counts chords; waits for nothing."""

    def add_pending_result(self, result: Any, weak: bool = False, start_drainer: bool = True) -> Any:
        """Returns the result, unwatched."""
        del weak, start_drainer
        return result

    def on_task_call(self, producer: Any, task_id: str) -> None:
        """Subscribes to nothing: the sender does not ask for this task's result."""


def use_chord_backend(app: Celery, address: str) -> None:
    """Makes the app keep its results at `address` in the backend above; without effect on other apps."""
    app.backend_cls = f"{__name__}:{ChordBackend.__name__}+{address}"
