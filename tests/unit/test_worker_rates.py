"""Celery's rate limit on a kind's messages: at the limit's pace, with one timer, however many wait."""

from __future__ import annotations

import heapq
import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from celery.worker.consumer.consumer import Consumer

from workers.rates import OneTimerBucket, bucket_for_task


@dataclass
class Loop:
    """What a consumer needs to hand rate-limited messages over, and a timer that is fired by hand."""

    handed_over: list[tuple[float, int]] = field(default_factory=list)
    waiting: list[tuple[float, int, Callable[..., None], Any]] = field(default_factory=list)
    most_timers: int = 0
    _limit_order: int = 0
    _numbers: Any = field(default_factory=itertools.count)

    @property
    def timer(self) -> Any:
        return SimpleNamespace(call_after=self._call_after)

    def _call_after(self, wait_s: float, call: Callable[..., None], arguments: Any, priority: int) -> None:
        heapq.heappush(self.waiting, (time.monotonic() + wait_s, next(self._numbers), call, arguments))
        self.most_timers = max(self.most_timers, len(self.waiting))

    def _schedule_bucket_request(self, bucket: OneTimerBucket) -> None:
        Consumer._schedule_bucket_request(self, bucket)

    def _limit_move_to_pool(self, request: int) -> None:
        self.handed_over.append((time.monotonic(), request))

    def receive(self, bucket: OneTimerBucket, *requests: int) -> None:
        for request in requests:
            Consumer._limit_task(self, request, bucket, 1)

    def turn_until_nothing_waits(self) -> None:
        while self.waiting:
            due, _, call, arguments = heapq.heappop(self.waiting)
            time.sleep(max(0.0, due - time.monotonic()))
            call(*arguments)


def test_all_messages_that_wait_have_one_timer_and_come_in_order_at_the_pace() -> None:
    loop, bucket = Loop(), OneTimerBucket(200, capacity=2)
    loop.receive(bucket, *range(30))
    loop.turn_until_nothing_waits()
    assert loop.most_timers == 1
    assert [request for _, request in loop.handed_over] == list(range(30))
    assert loop.handed_over[-1][0] - loop.handed_over[0][0] >= 27 / 200


def test_a_normal_burst_after_a_quiet_time_is_not_held_up() -> None:
    loop, bucket = Loop(), bucket_for_task(SimpleNamespace(rate_limit="50/s"))
    assert bucket is not None
    loop.receive(bucket, *range(50))
    assert len(loop.handed_over) == 50
    assert loop.waiting == []


def test_a_message_after_a_pause_is_not_stuck_behind_a_timer_that_is_gone() -> None:
    loop, bucket = Loop(), OneTimerBucket(100, capacity=1)
    loop.receive(bucket, 1, 2)
    loop.waiting.clear()  # a timer that was lost
    time.sleep(0.03)
    loop.receive(bucket, 3)
    loop.turn_until_nothing_waits()
    assert [request for _, request in loop.handed_over] == [1, 2, 3]


def test_a_lost_connection_forgets_what_waits_and_its_timer() -> None:
    loop, bucket = Loop(), OneTimerBucket(0.01, capacity=1)
    loop.receive(bucket, 1, 2)
    bucket.clear_pending()
    assert bucket.waits_until == 0
    with pytest.raises(IndexError):
        bucket.pop()


@pytest.mark.parametrize("rate", [None, 0])
def test_a_task_without_a_rate_limit_has_no_bucket(rate: object) -> None:
    assert bucket_for_task(SimpleNamespace(rate_limit=rate)) is None
