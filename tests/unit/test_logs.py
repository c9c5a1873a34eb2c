"""Log lines: one each, with fields, and without anything that should stay secret."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
import structlog

from aaos.logs import configure_logging, redact


@pytest.fixture
def logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    beat = logging.getLogger("celery.beat")
    filters = beat.filters[:]
    yield
    root.handlers[:], beat.filters[:] = handlers, filters
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.mark.requirement("S1")
@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("redis://:hush@127.0.0.1:6379/0 is away", "redis://***@127.0.0.1:6379/0 is away"),
        ("postgresql+psycopg://aaos:hush@h/d", "postgresql+psycopg://***@h/d"),
        ("postgresql://aaos@h/d", "postgresql://aaos@h/d"),
        ("Authorization: Bearer hush-hush", "Authorization: Bearer ***"),
        ("Authorization: Basic aGk6aHVzaA==", "Authorization: Basic ***"),
        ("run_completed run=7", "run_completed run=7"),
        ("two: a://x:y@h and b://x:z@h", "two: a://***@h and b://***@h"),
    ],
)
def test_credentials_in_addresses_and_headers_are_hidden(text: str, shown: str) -> None:
    assert redact(text) == shown


@pytest.mark.requirement("S1")
def test_secrets_of_the_environment_are_hidden_wherever_they_turn_up(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], logging_as_before: None
) -> None:
    monkeypatch.setenv("AAOS_SOVEREIGN_API_KEY", "hush-hush-1")
    monkeypatch.setenv("FLOWER_BASIC_AUTH", "me:hush-hush-2")
    configure_logging("INFO")
    structlog.get_logger().info("asked", header="key hush-hush-1", count=3)
    logging.getLogger("somewhere").warning("flower runs with %s", "me:hush-hush-2")
    said = capsys.readouterr().err
    assert "hush-hush" not in said
    assert "asked" in said
    assert "count=3" in said
    assert "flower runs with ***" in said


@pytest.mark.requirement("S1")
def test_a_secret_inside_a_traceback_is_hidden(capsys: pytest.CaptureFixture[str], logging_as_before: None) -> None:
    configure_logging("INFO")
    try:
        raise ValueError("cannot reach redis://:hush-hush@h/0")
    except ValueError:
        structlog.get_logger().exception("it_broke")
        logging.getLogger("somewhere").exception("it broke")
    said = capsys.readouterr().err
    assert said.count("redis://***@h/0") >= 2
    assert "hush-hush" not in said


def test_only_lines_of_the_level_and_above_are_written(
    capsys: pytest.CaptureFixture[str], logging_as_before: None
) -> None:
    configure_logging("WARNING")
    structlog.get_logger().info("quiet")
    structlog.get_logger().warning("loud")
    logging.getLogger("somewhere").info("quiet")
    said = capsys.readouterr().err
    assert "loud" in said
    assert "quiet" not in said


def test_beat_does_not_tell_of_every_task_it_sends(capsys: pytest.CaptureFixture[str], logging_as_before: None) -> None:
    configure_logging("INFO")
    beat = logging.getLogger("celery.beat")
    beat.info("beat: Starting...")
    beat.info("Scheduler: Sending due task recover runs (recover_runs)")
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "Starting" in said
