"""Started as any Celery user would, and the settings everything else relies on."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from support.lab import module_environment
from support.workers import Fleet, fleet, wait_until

from aaos.local.ports import pick_free_port

READ_SETTINGS = """
import json, sys
from workers import app
names = json.loads(sys.argv[1])
print(json.dumps({name: app.conf[name] for name in names}))
"""
# What nothing may be lost without (the reasons stand beside them in celeryconfig.py).
EXPECTED = {
    "task_acks_late": True,
    "task_reject_on_worker_lost": True,
    "task_retry_on_worker_lost": True,
    "worker_prefetch_multiplier": 1,
    "worker_cancel_long_running_tasks_on_connection_loss": False,
    "worker_deduplicate_successful_tasks": False,
    "task_create_missing_queues": False,
    "task_ignore_result": True,
    "accept_content": ["json"],
    "task_serializer": "json",
    "result_serializer": "json",
    "broker_connection_max_retries": None,
}
TRANSPORT = {
    "unacked_restore_interval": 5,
    "unacked_restore_throttle": 1,
    "socket_timeout": 10,
    "socket_connect_timeout": 5,
}
HARD_LIMIT_MARGIN_S = 5


@pytest.fixture(scope="module")
def processes(databases: Any, valkey_server: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with (
        module_environment(databases, valkey_server) as environment,
        fleet(environment, tmp_path_factory.mktemp("as_users_do")) as started,
    ):
        yield started


def _celery(processes: Fleet, *words: str) -> Any:
    return processes.celery(*words, name="-".join(words).replace("/", "_")[:40])


def test_a_worker_on_one_queue_starts_as_the_handbook_says(processes: Fleet) -> None:
    worker = _celery(processes, "worker", "-Q", "technical_analysis", "-c", "1", "--loglevel", "INFO")
    worker.wait_for(" ready.")
    queues = worker.log().split("[queues]")[1].split("[tasks]")[0]
    assert "technical_analysis" in queues
    assert queues.count("exchange=") == 1
    assert "password" not in worker.log()
    worker.terminate()


def test_a_misspelt_queue_is_refused_at_once_and_by_name(processes: Fleet) -> None:
    worker = _celery(processes, "worker", "-Q", "technical_analisys", "-c", "1")
    assert worker.popen.wait(30) != 0
    assert "technical_analisys" in worker.log()


def test_beat_starts_and_sends_what_is_due(processes: Fleet) -> None:
    beat = _celery(processes, "beat", "--pidfile", "", "--loglevel", "INFO").wait_for("beat: Starting")
    with redis.Redis.from_url(processes.environment["AAOS_BROKER_URL"]) as broker:
        wait_until(lambda: broker.llen("maintenance") >= 4, "three ticks and a sweep are sent", 20, beat.tail)
    beat.terminate()


def test_flower_starts_and_answers(processes: Fleet) -> None:
    port = pick_free_port()
    flower = _celery(processes, "flower", "--address=127.0.0.1", f"--port={port}")
    flower.wait_for("Visit me at")
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthcheck", timeout=10) as answer:
        assert answer.status == 200
    flower.terminate()


def _read(processes: Fleet, *names: str) -> dict[str, Any]:
    reader = processes.python("-c", READ_SETTINGS, json.dumps(names), name=f"settings-{names[0]}")
    assert reader.popen.wait(30) == 0, reader.tail()
    settings: dict[str, Any] = json.loads(reader.log().splitlines()[-1])
    return settings


def test_the_settings_that_keep_messages_alive_are_in_force(processes: Fleet) -> None:
    assert _read(processes, *EXPECTED) == EXPECTED
    transport = _read(processes, "broker_transport_options")["broker_transport_options"]
    assert TRANSPORT.items() <= transport.items()


@pytest.mark.requirement("F08")
def test_the_visibility_timeout_is_longer_than_any_run_may_take(processes: Fleet) -> None:
    """Shorter, a message would be delivered again while its run is still at work."""
    from aaos.settings import load_settings

    longest_s = max(kind.timeout_seconds for kind in load_settings().kinds.values())
    transport = _read(processes, "broker_transport_options")["broker_transport_options"]
    assert transport["visibility_timeout"] > longest_s + HARD_LIMIT_MARGIN_S
