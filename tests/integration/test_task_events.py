"""What Flower listens to: every task event, by the dozen and soon, instead of one message for each."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import redis
from support.lab import IDLE, Lab, module_environment, running_lab

KIND = "technical_analysis"
TASKS = 200
LIFE = ("task-received", "task-started", "task-succeeded")
NO_SUCH_RUN = 1_000_000_000
# What workers/events.py promises: so long do events gather, unless so many have come together.
PAUSE_S = 0.25
BATCH_MAX = 200


class Listener:
    """Reads the broker's event channel; each batch is the events of one message."""

    def __init__(self, channel: redis.client.PubSub) -> None:
        self._channel = channel
        self.batches: list[list[dict[str, Any]]] = []

    def count(self) -> int:
        """Returns how many task events have come so far."""
        while (message := self._channel.get_message(ignore_subscribe_messages=True)) is not None:
            body = json.loads(base64.b64decode(json.loads(message["data"])["body"]))
            batch = [event for event in (body if isinstance(body, list) else [body]) if event["type"] in LIFE]
            self.batches += [batch] if batch else []
        return sum(map(len, self.batches))

    @property
    def events(self) -> list[dict[str, Any]]:
        return [event for batch in self.batches for event in batch]


@contextmanager
def listening(lab: Lab) -> Iterator[Listener]:
    with lab.broker() as client, client.pubsub() as channel:
        channel.psubscribe("*celeryev*")
        lab.wait_until(lambda: channel.get_message() is not None, "subscribed")
        yield Listener(channel)


@pytest.fixture(scope="module")
def lab(databases: Any, valkey_server: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with (
        module_environment(databases, valkey_server) as environment,
        running_lab(environment, tmp_path_factory.mktemp("events"), IDLE) as lab,
    ):
        yield lab


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_task_events_come_all_soon_and_many_to_a_message(lab: Lab, pool: str) -> None:
    worker = lab.fleet.worker(KIND, pool=pool, concurrency=2)
    with listening(lab) as listener:
        # A run that does not exist is the shortest task there is.
        lab.hint(KIND, NO_SUCH_RUN)
        lab.wait_until(lambda: listener.count() == 3, "a lone task's events come without others to push them")
        lab.hint(KIND, *range(NO_SUCH_RUN, NO_SUCH_RUN + TASKS))
        lab.wait_until(lambda: listener.count() == 3 * (TASKS + 1), "every task's events")
    _check(listener)
    worker.terminate()


def _check(listener: Listener) -> None:
    seen = {event["uuid"]: [each["type"] for each in listener.events if each["uuid"] == event["uuid"]]
            for event in listener.events}  # fmt: skip
    assert all(sorted(life) == sorted(LIFE) for life in seen.values()), "each event once"
    instants = [event["timestamp"] for event in listener.events]
    took_s = max(instants) - min(instants)
    # One for each pause begun and each batch filled, and one in each case for what was left over.
    allowed = took_s / PAUSE_S + len(listener.events) / BATCH_MAX + 2
    assert len(listener.batches) <= allowed, f"{len(listener.batches)} messages in {took_s:.2f} s"
