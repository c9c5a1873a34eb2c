"""From the outbox to the streams: nothing shown that is not stored, nothing stored that is not shown."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from support.checks import check_publishing, check_runs, stream_entries
from support.lab import IDLE, QUICK, Lab, module_environment, running_lab
from support.workers import Process

VOTE = "trading_analysis"
# What PostgreSQL says when its disk is full.
DISK_FULL = """
CREATE FUNCTION disk_full() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = '53100';
END
$$;
CREATE TRIGGER disk_is_full BEFORE INSERT ON results EXECUTE FUNCTION disk_full();
"""
DISK_FREED = "DROP FUNCTION disk_full() CASCADE"


@pytest.fixture(scope="module")
def lab(databases: Any, valkey_server: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A worker for votes and beat; whoever publishes is started by the test."""
    with (
        module_environment(databases, valkey_server) as environment,
        running_lab(environment, tmp_path_factory.mktemp("publishing"), {**QUICK, **IDLE}, latency_ms=20) as lab,
    ):
        lab.fleet.worker(VOTE, "maintenance", concurrency=4, wait=False)
        lab.fleet.beat(wait=False)
        lab.fleet.wait_ready()
        yield lab


@pytest.fixture
def publisher(lab: Lab) -> Iterator[Process]:
    worker = lab.fleet.worker("result_publishing", concurrency=2)
    yield worker
    worker.kill()


@pytest.fixture(scope="module")
def context(lab: Lab) -> int:
    return lab.store_context()


def _cast(lab: Lab, count: int, context: int, prefix: str) -> list[int]:
    votes = lab.insert_votes(count, context, prefix)
    lab.hint(VOTE, *votes)
    return votes


@pytest.mark.requirement("P2")
@pytest.mark.requirement("P1")
def test_a_publisher_killed_between_stream_and_commit_announces_again_and_readers_see_each_once(
    lab: Lab, context: int
) -> None:
    votes = _cast(lab, 40, context, "killed publisher")
    assert lab.wait_final(votes) == {"completed": 40}
    before = len(stream_entries(lab.redis()))
    with psycopg.connect(lab.environment["AAOS_DATABASE_URL"].replace("+psycopg", "")) as blocker:
        # Lets the publisher lock and send its rows, but not mark them.
        blocker.execute("LOCK TABLE outbox IN SHARE MODE")
        publisher = lab.fleet.worker("result_publishing", concurrency=2)
        lab.wait_until(lambda: len(stream_entries(lab.redis())) >= before + 40, "everything is on the stream")
        publisher.kill()
        blocker.rollback()
    assert lab.value("SELECT count(*) FROM outbox WHERE published_at IS NULL") == 40
    again = lab.fleet.worker("result_publishing", concurrency=2)
    lab.wait_published()
    again.kill()
    counted = check_publishing(lab.rows, lab.redis())
    assert counted["entries"] >= counted["results"] + 40, "the crash was where it was meant to be"
    assert counted["distinct"] == counted["results"]


@pytest.mark.requirement("P1")
@pytest.mark.requirement("P2")
def test_publishers_killed_again_and_again_under_load_leave_nothing_out(lab: Lab, context: int) -> None:
    votes = _cast(lab, 150, context, "under load")
    for _ in range(4):
        publisher = lab.fleet.worker("result_publishing", concurrency=2)
        time.sleep(0.3)
        publisher.kill()
    last = lab.fleet.worker("result_publishing", concurrency=2)
    assert lab.wait_final(votes, 60) == {"completed": 150}
    lab.wait_published()
    last.kill()
    counted = check_publishing(lab.rows, lab.redis())
    assert counted["distinct"] == counted["results"]
    check_runs(lab.rows)


@pytest.mark.requirement("FM-RF-004")
@pytest.mark.requirement("P1")
def test_a_result_that_cannot_be_stored_is_not_announced_and_is_kept_until_it_can(
    lab: Lab, context: int, publisher: Process
) -> None:
    before = len(stream_entries(lab.redis()))
    lab.rows(DISK_FULL)
    votes = _cast(lab, 3, context, "disk full")
    answered = "SELECT count(*) FROM sovereign_calls WHERE run_id = ANY(%s) AND outcome = 'accepted'"
    lab.wait_until(lambda: lab.value(answered, votes) == 3, "three answers wait to be stored")
    time.sleep(1)
    assert len(stream_entries(lab.redis())) == before, "nothing is shown that is not stored"
    assert {lab.state(vote) for vote in votes} == {"running"}
    lab.rows(DISK_FREED)
    assert lab.wait_final(votes) == {"completed": 3}
    lab.wait_published()
    assert lab.value("SELECT count(*) FROM sovereign_calls WHERE run_id = ANY(%s)", votes) == 3, "the work was kept"
    assert {row.attempt for row in lab.rows("SELECT attempt FROM runs WHERE id = ANY(%s)", votes)} == {1}
    check_publishing(lab.rows, lab.redis())


@pytest.mark.requirement("FM-RF-004")
@pytest.mark.requirement("P1")
def test_nobody_ever_sees_an_entry_before_its_row(lab: Lab, context: int, publisher: Process) -> None:
    """A reader looks every result up the moment it appears on the stream."""
    last = stream_entries(lab.redis())[-1][0]
    seen, missing = [], []
    stop = threading.Event()

    def read() -> None:
        address = lab.environment["AAOS_DATABASE_URL"].replace("+psycopg", "")
        with psycopg.connect(address, autocommit=True) as connection, lab.redis() as client:
            at = last
            while not stop.is_set():
                for _, entries in client.xread({f"aaos:results:{VOTE}": at}, block=200) or []:
                    for stream_id, fields in entries:
                        at = stream_id
                        wanted = int(fields[b"result_id"])
                        found = connection.execute("SELECT 1 FROM results WHERE id = %s", (wanted,)).fetchone()
                        (seen if found else missing).append(wanted)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        votes = _cast(lab, 60, context, "watched")
        assert lab.wait_final(votes) == {"completed": 60}
        lab.wait_published()
        lab.wait_until(lambda: len(seen) + len(missing) >= 60, "the reader has seen them")
    finally:
        stop.set()
        reader.join(10)
    assert missing == []


@pytest.mark.requirement("P2")
def test_results_completed_while_redis_is_away_wait_in_the_outbox_and_are_announced_later(
    lab: Lab, context: int, publisher: Process, valkey_server: Any
) -> None:
    lab.simulator.behave(latency_ms=1500)
    votes = _cast(lab, 4, context, "no redis")
    running = "SELECT count(*) FROM runs WHERE id = ANY(%s) AND state = 'running'"
    lab.wait_until(lambda: lab.value(running, votes) == 4, "the votes are at work")
    valkey_server.kill()
    try:
        assert lab.value(running, votes) == 4, "Redis went away while they were at work"
        lab.wait_until(lambda: lab.value(running, votes) == 0, "the votes are done without Redis", 30)
        waiting = "SELECT count(*) FROM outbox o JOIN results r ON r.id = o.result_id WHERE r.run_id = ANY(%s) AND {}"
        assert lab.value(waiting.format("published_at IS NULL"), votes) == 4
    finally:
        valkey_server.start()
        lab.simulator.behave(latency_ms=20)
    lab.wait_published(60)
    assert {lab.state(vote) for vote in votes} == {"completed"}
    check_publishing(lab.rows, lab.redis())
    check_runs(lab.rows)
