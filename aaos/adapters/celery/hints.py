"""Messages through Celery: the client side, used by workers and shells alike."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import structlog
from amqp.exceptions import AMQPError
from celery import Celery
from celery.utils import uuid
from kombu.exceptions import ChannelError, KombuError, OperationalError
from redis.exceptions import RedisError

from aaos.adapters.redis.flags import RedisFlag
from aaos.errors import BrokerUnavailable

log = structlog.get_logger()

TICK_TASK = "tick"
LAUNCH_TASK = "launch_pipeline"
PUBLISH_TASK = "publish_results"
LAUNCH_QUEUE = "maintenance"
PUBLISH_QUEUE = "result_publishing"


class CeleryHints:
    """Implements `ports.Hints`; a task is named as its kind, and so is its queue."""

    def __init__(self, app: Celery, publisher_flag: RedisFlag) -> None:
        self._app = app
        self._publisher_flag = publisher_flag
        self._declared: set[str] = set()

    def hint(self, kind: str, run_id: int) -> None:
        """See the port."""
        self._send(kind, kind, run_id)

    def launch(self, run_id: int) -> None:
        """See the port."""
        self._send(LAUNCH_TASK, LAUNCH_QUEUE, run_id)

    def tick(self, schedule: str) -> None:
        """See the port."""
        self._send(TICK_TASK, LAUNCH_QUEUE, schedule)

    def nudge_publisher(self) -> None:
        """See the port."""
        try:
            if self._publisher_flag.raise_once():
                self._send(PUBLISH_TASK, PUBLISH_QUEUE)
        except BrokerUnavailable as error:
            # The result waits in the outbox; the sweep publishes it.
            log.warning("publisher_not_nudged", why=str(error))

    def queued(self, kind: str) -> int:
        """See the port."""
        with mapped_errors(), self._app.connection_for_read() as connection, connection.channel() as channel:
            try:
                return int(channel.queue_declare(kind, passive=True).message_count)
            except ChannelError:
                return 0  # never used yet: the broker does not know the queue

    def _send(self, task: str, queue: str, *args: int | str) -> None:
        """Sends one message; by hand what `send_task` does, without its routing and options, half the CPU time."""
        amqp = self._app.amqp
        message = amqp.create_task_message(uuid(), task, args=args, kwargs={}, ignore_result=True)
        declare = [] if queue in self._declared else [amqp.queues[queue]]
        with mapped_errors(), self._app.producer_or_acquire() as producer:
            amqp.send_task_message(producer, task, message, queue=queue, declare=declare)
        self._declared.add(queue)


@contextmanager
def mapped_errors() -> Iterator[None]:
    """Maps the errors of Celery's brokers and result backend to BrokerUnavailable."""
    try:
        yield
    except (OperationalError, KombuError, RedisError, AMQPError, OSError) as error:
        first_line = (str(error).splitlines() or [type(error).__name__])[0]
        raise BrokerUnavailable(
            f"the broker is not available ({first_line}); is it running, and is AAOS_BROKER_URL right?"
        ) from error
