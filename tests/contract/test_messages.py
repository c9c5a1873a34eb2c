"""Streams, hints and leases: in memory and on a real Valkey through Celery's own client."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from celery import Celery
from support.worlds import SLOT, PostgresWorld, born, roomy, taken

from aaos.adapters.celery.hints import CeleryHints
from aaos.adapters.leases import ThreadLeaseKeeper
from aaos.adapters.memory import MemoryHints, MemoryResultStream
from aaos.adapters.redis.flags import RedisFlag, connect
from aaos.adapters.redis.streams import RedisResultStream
from aaos.errors import BrokerUnavailable
from aaos.local.valkey import ValkeyServer
from aaos.ports import Hints, ResultRecord, ResultStream

NOBODY_LISTENS = "redis://127.0.0.1:1/0"


def a_result(number: int, kind: str = "technical_analysis") -> ResultRecord:
    return ResultRecord(
        id=number,
        run_id=number + 100,
        kind=kind,
        symbol="BTC/USDT",
        slot=SLOT,
        fence=number + 1000,
        analyzed_at=datetime(2026, 1, 1, 12, 0, 1, tzinfo=UTC),
        content_hash="abc",
        body={"score": number},
        inputs=[],
        published_at=None,
    )


# --- streams ------------------------------------------------------------------------------------------------


@dataclass
class Streams:
    stream: ResultStream
    read: Callable[[str], list[int]]
    go_away: Callable[[], ResultStream]


def _memory_streams() -> Streams:
    stream = MemoryResultStream()

    def go_away() -> ResultStream:
        stream.away = True
        return stream

    return Streams(stream, lambda kind: [r.id for _, r in stream.entries if r.kind == kind], go_away)


def _redis_streams(url: str) -> Streams:
    redis = connect(url)

    def read(kind: str) -> list[int]:
        return [int(entry[b"result_id"]) for _, entry in redis.xrange(f"aaos:results:{kind}")]

    return Streams(RedisResultStream(redis, 1000), read, lambda: RedisResultStream(connect(NOBODY_LISTENS), 1000))


@pytest.fixture(params=["memory", "valkey"])
def streams(request: pytest.FixtureRequest) -> Streams:
    return _memory_streams() if request.param == "memory" else _redis_streams(request.getfixturevalue("redis_url"))


def test_results_are_appended_to_the_stream_of_their_kind_and_named_by_entry(streams: Streams) -> None:
    ids = streams.stream.publish([a_result(1), a_result(2, "regime_detection"), a_result(3)])
    assert set(ids) == {1, 2, 3}
    assert ids[1] != ids[3], "entries of one stream"
    assert streams.read("technical_analysis") == [1, 3]
    assert streams.read("regime_detection") == [2]


def test_publishing_nothing_is_nothing(streams: Streams) -> None:
    assert streams.stream.publish([]) == {}


def test_published_twice_stands_there_twice_for_subscribers_to_tell_apart(streams: Streams) -> None:
    first, second = streams.stream.publish([a_result(1)]), streams.stream.publish([a_result(1)])
    assert first[1] != second[1]
    assert streams.read("technical_analysis") == [1, 1]


def test_a_broker_that_is_away_is_named(streams: Streams) -> None:
    with pytest.raises(BrokerUnavailable):
        streams.go_away().publish([a_result(1)])


def test_an_entry_carries_what_orders_and_what_identifies_a_result(redis_url: str) -> None:
    redis = connect(redis_url)
    RedisResultStream(redis, 1000).publish([a_result(7)])
    [(_, entry)] = redis.xrange("aaos:results:technical_analysis")
    assert entry == {
        b"result_id": b"7",
        b"run_id": b"107",
        b"kind": b"technical_analysis",
        b"symbol": b"BTC/USDT",
        b"slot": b"2026-01-01T12:00:00+00:00",
        b"fence": b"1007",
        b"analyzed_at": b"2026-01-01T12:00:01+00:00",
        b"content_hash": b"abc",
        b"body": b'{"score":7}',
    }


def test_a_stream_does_not_grow_for_ever(redis_url: str) -> None:
    stream = RedisResultStream(connect(redis_url), 100)
    for start in range(0, 2000, 200):
        stream.publish([a_result(start + n) for n in range(200)])
    assert 100 <= stream.length("technical_analysis") < 400


# --- hints --------------------------------------------------------------------------------------------------


def _celery_hints(broker: str, redis_url: str) -> CeleryHints:
    app = Celery("contract", broker=broker, set_as_current=False)
    app.conf.update(task_publish_retry=False, broker_connection_timeout=1, broker_connection_retry=False)
    return CeleryHints(app, RedisFlag(connect(redis_url), "aaos:test:nudged"))


@pytest.fixture(params=["memory", "celery"])
def hints(request: pytest.FixtureRequest) -> Hints:
    if request.param == "memory":
        return MemoryHints()
    server: ValkeyServer = request.getfixturevalue("valkey_server")
    return _celery_hints(server.url, request.getfixturevalue("redis_url"))


@pytest.fixture(params=["memory", "celery"])
def hints_without_a_broker(request: pytest.FixtureRequest) -> Iterator[Hints]:
    if request.param == "celery":
        yield _celery_hints(NOBODY_LISTENS, NOBODY_LISTENS)
        return
    away = MemoryHints()
    away.away = True
    yield away


def test_each_hint_waits_in_the_queue_of_its_kind(hints: Hints) -> None:
    assert hints.queued("technical_analysis") == 0
    for run_id in (1, 2, 2):
        hints.hint("technical_analysis", run_id)
    hints.hint("regime_detection", 3)
    assert hints.queued("technical_analysis") == 3
    assert hints.queued("regime_detection") == 1


def test_a_nudge_on_its_way_is_not_doubled(hints: Hints) -> None:
    for _ in range(5):
        hints.nudge_publisher()
    assert hints.queued("result_publishing") == 1


def test_launches_and_ticks_are_taken(hints: Hints) -> None:
    hints.launch(7)
    hints.tick("technical_analysis")


@pytest.mark.parametrize(
    "send",
    [
        lambda hints: hints.hint("technical_analysis", 1),
        lambda hints: hints.launch(1),
        lambda hints: hints.tick("technical_analysis"),
        lambda hints: hints.queued("technical_analysis"),
    ],
)
def test_a_hint_without_a_broker_raises(hints_without_a_broker: Hints, send: Callable[[Hints], Any]) -> None:
    with pytest.raises(BrokerUnavailable):
        send(hints_without_a_broker)


def test_a_nudge_without_a_broker_is_given_up_quietly(hints_without_a_broker: Hints) -> None:
    hints_without_a_broker.nudge_publisher()


def test_a_flag_is_raised_by_one_of_many_until_it_is_lowered(redis_url: str) -> None:
    flag = RedisFlag(connect(redis_url), "flag", ttl_ms=60_000)
    assert [flag.raise_once() for _ in range(3)] == [True, False, False]
    flag.lower()
    assert flag.raise_once()


# --- leases -------------------------------------------------------------------------------------------------


@pytest.mark.requirement("Q4")
def test_a_kept_lease_outlives_itself_and_a_run_that_was_let_go_does_not(postgres_world: PostgresWorld) -> None:
    runs = postgres_world.runs(roomy(lease_s=1.0, heartbeat_s=0.3))
    keeper = ThreadLeaseKeeper(runs.renew, 0.3)
    kept, let_go = taken(runs, born(runs, "A/USDT")), taken(runs, born(runs, "B/USDT"))
    with keeper.holding(let_go):
        pass
    with keeper.holding(kept) as still_held:
        time.sleep(1.6)
        assert still_held()
        assert runs.recover().returned == [(let_go.id, "technical_analysis")]
    assert not any(thread.name == "leases" and not thread.daemon for thread in threading.enumerate())


@pytest.mark.requirement("Q3")
def test_a_keeper_learns_that_its_run_was_taken_over(postgres_world: PostgresWorld) -> None:
    runs = postgres_world.runs(roomy(lease_s=1.0, heartbeat_s=0.3))
    keeper = ThreadLeaseKeeper(runs.renew, 0.3)
    stale = taken(runs, born(runs))
    with keeper.holding(stale) as still_held:
        postgres_world.pass_time(20)
        fresh = runs.claim(stale.id, "worker-2", 10)
        deadline = time.monotonic() + 10
        while still_held():
            assert time.monotonic() < deadline
            time.sleep(0.02)
    assert postgres_world.rows()[stale.id].fence == fresh.fence  # type: ignore[union-attr]
