"""Bare Celery on the same Valkey: a task that does nothing, acknowledged late, prefetch 1, no result kept."""

import os
import time

from celery import Celery
from redis import Redis

QUEUE = "bare"

app = Celery("bare", broker=os.environ["BENCH_BARE_URL"])
app.conf.update(
    task_default_queue=QUEUE,
    task_acks_late=True,
    worker_prefetch_multiplier=1,
    task_ignore_result=True,
    task_serializer="json",
    broker_connection_retry_on_startup=True,
)
_redis = Redis.from_url(os.environ["BENCH_BARE_URL"])


@app.task(name="bare.noop")
def noop(number: int) -> None:
    """Does nothing."""


@app.task(name="bare.stamp")
def stamp(key: str) -> None:
    """Writes down when it began (wall clock of this machine)."""
    began = time.time()
    _redis.set(key, repr(began), ex=60)
