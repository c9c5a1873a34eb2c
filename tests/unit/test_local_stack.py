"""The embedded stack's rules that need no process: settings, log lines, restart delays."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from aaos.errors import ConfigError
from aaos.local.child import Child, ProcessSpec
from aaos.local.config import LocalConfig
from aaos.local.logs import Console, LineReader
from aaos.local.stack import ReplayFile, child_environment
from aaos.local.supervisor import _describe


class _NoLog:
    def write(self, data: bytes) -> None: ...

    def close(self) -> None: ...


def _child(restart_delay_s: float) -> Child:
    def never() -> Any:
        raise AssertionError("not started in this test")

    spec = ProcessSpec("worker", 1, never, restart_delay_s=restart_delay_s)
    return Child(spec, _NoLog(), ())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("cpu_processes", 0),
        ("cpu_processes", 2.5),
        ("cpu_processes", True),
        ("io_threads", 1),
        ("restart_delay_s", -1),
        ("restart_delay_s", float("nan")),
        ("stop_grace_s", "10"),
        ("crash_limit", None),
    ],
)
def test_a_setting_outside_its_range_is_refused_by_name_and_range(key: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=rf"local\.{key}: .* from "):
        LocalConfig(**{key: value})


def test_a_longest_restart_delay_below_the_first_is_refused() -> None:
    with pytest.raises(ConfigError, match="restart_delay_max_s"):
        LocalConfig(restart_delay_s=20, restart_delay_max_s=10)


def test_the_default_restart_delay_is_the_one_the_spec_asks_for() -> None:
    assert LocalConfig().restart_delay_s == 10


def test_restart_delays_grow_by_half_up_to_the_longest() -> None:
    child = _child(restart_delay_s=10)

    delays = []
    for young_deaths in (1, 2, 3, 20):
        child.young_deaths = young_deaths
        delays.append(child.next_delay_s(longest_s=60))

    assert delays == [10, 15, 22.5, 60]


def test_lines_are_put_together_from_pieces() -> None:
    reader = LineReader()

    assert reader.feed(b"one\ntw") == ["one"]
    assert reader.feed(b"o\r\nthree") == ["two"]
    assert reader.flush() == ["three"]


def test_secrets_never_pass_a_line_reader() -> None:
    reader = LineReader(secrets=("hunter2", ""))

    (line,) = reader.feed(b"connecting to redis://:hunter2@127.0.0.1\n")

    assert line == "connecting to redis://:***@127.0.0.1"
    assert list(reader.recent) == [line]


def test_a_child_that_prints_no_newline_cannot_fill_the_memory() -> None:
    reader = LineReader()

    lines = [line for _ in range(50) for line in reader.feed(b"x" * 10_000)]

    assert sum(map(len, lines)) > 400_000


def test_bytes_that_are_not_text_are_shown_not_fatal() -> None:
    assert LineReader().feed(b"caf\xe9\n") == ["caf�"]


def test_without_a_terminal_there_is_no_colour() -> None:
    stream = io.StringIO()

    Console(stream).line("beat", "hello")

    assert stream.getvalue() == "beat      | hello\n"


def test_a_console_whose_terminal_is_gone_stays_silent() -> None:
    stream = io.StringIO()
    console = Console(stream)
    stream.close()

    console.line("beat", "hello")
    console.line("beat", "again")


def test_children_find_the_stack_and_the_tools_of_this_environment() -> None:
    environment = child_environment({"AAOS_STATE_DIR": "/somewhere"}, {"REMAP_SIGTERM": "SIGQUIT"})

    assert environment["AAOS_STATE_DIR"] == "/somewhere"
    assert environment["REMAP_SIGTERM"] == "SIGQUIT"
    assert environment["PYTHONUNBUFFERED"] == "1"
    assert Path(environment["PATH"].split(":")[0], "python").name == "python"


@pytest.mark.parametrize(
    ("status", "words"),
    [(-signal.SIGKILL, "killed by SIGKILL"), (3, "exit status 3"), (None, "could not be started")],
)
def test_a_death_is_told_in_words(status: int | None, words: str) -> None:
    assert _describe(status) == words


def test_a_file_to_replay_may_say_which_series_it_holds(tmp_path: Path) -> None:
    plain, odd = tmp_path / "candles.csv", tmp_path / "BTC=odd.csv"
    odd.touch()
    assert ReplayFile.parse(str(plain)) == ReplayFile(plain)
    assert str(ReplayFile.parse(f"BTC/USDT@1m={plain}")) == f"BTC/USDT@1m={plain}"
    assert ReplayFile.parse(str(odd)) == ReplayFile(odd)


@pytest.mark.parametrize("words", [["up", "--speed", "fast"], ["up", "--speed", "-1"], ["up"]])
def test_a_speed_that_is_none_is_refused_wherever_it_comes_from(tmp_path: Path, words: list[str]) -> None:
    environment = {**os.environ, "AAOS_SPEED": "fast"}
    command = [sys.executable, "-m", "aaos.local", *words, "--state", str(tmp_path / "state")]
    ended = subprocess.run(command, check=False, timeout=60, capture_output=True, text=True, env=environment)
    assert ended.returncode == 2
    assert "is not a positive number (--speed N, or AAOS_SPEED)" in ended.stderr
    assert not (tmp_path / "state").exists()
