"""What a worker process asks of its machine, as far as no process is needed for it."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from celery.concurrency.thread import TaskPool

from workers.processes import is_prefork, is_threads, stop_threads_from_signals


@pytest.fixture
def pool() -> Iterator[TaskPool]:
    before = TaskPool.on_stop
    stop_threads_from_signals()
    stop_threads_from_signals()
    started = TaskPool(limit=1)
    yield started
    TaskPool.on_stop = before
    started.executor.shutdown()


@pytest.mark.requirement("F06")
def test_a_stop_that_comes_while_a_task_is_being_handed_over_does_not_wait_for_itself(pool: TaskPool) -> None:
    returned = threading.Event()

    def interrupted_while_handing_over() -> None:
        with pool.executor._shutdown_lock:
            pool.on_stop()
            returned.set()

    threading.Thread(target=interrupted_while_handing_over, daemon=True).start()
    assert returned.wait(5)
    assert pool.executor.submit(int).result(5) == 0, "what was being handed over still is"


def test_any_other_stop_ends_the_pool_at_once(pool: TaskPool) -> None:
    pool.on_stop()
    with pytest.raises(RuntimeError, match="shutdown"):
        pool.executor.submit(int)


def test_pools_are_told_apart_by_class_or_by_name() -> None:
    assert is_threads(TaskPool)
    assert is_threads("threads")
    assert not is_threads("prefork")
    assert is_prefork("prefork")
    assert not is_prefork(TaskPool)
