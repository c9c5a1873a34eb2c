"""The command line: where `--state DIR` may stand, and exit statuses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aaos.cli.app import _report, main
from aaos.cli.arguments import split_state, spread_replay
from aaos.errors import ConfigError, RunFailed, UnknownSymbol, WaitTimeout

WORDS = st.lists(st.sampled_from(["runs", "results", "--json", "--limit", "5", "BTC/USDT", "--kind=x"]))


@pytest.mark.parametrize(
    "words",
    [
        ["--state", "DIR", "results", "--json"],
        ["results", "--state", "DIR", "--json"],
        ["results", "--json", "--state=DIR"],
    ],
)
def test_the_state_directory_may_stand_before_and_after_the_command(words: list[str]) -> None:
    arguments = split_state(words)
    assert (arguments.rest, arguments.state) == (("results", "--json"), "DIR")


def test_of_runs_a_state_word_is_the_runs_state_and_anything_else_a_directory() -> None:
    arguments = split_state(["--state", "DIR", "runs", "--state", "failed"])
    assert (arguments.rest, arguments.state) == (("runs", "--state", "failed"), "DIR")
    assert split_state(["runs", "--state=failed"]).state is None
    assert split_state(["runs", "--state", "./failed"]).state == "./failed"
    assert split_state(["--state", "failed", "runs"]).state == "failed"
    assert split_state(["orders", "--state", "quarantined"]).rest == ("orders", "--state", "quarantined")
    assert split_state(["orders", "--state", "failed"]).state == "failed"


def test_what_belongs_to_the_simulator_is_left_alone() -> None:
    words = ("sovereign-sim", "--port", "0", "--state", "x")
    assert split_state(words) == split_state(words).__class__(words, None)
    assert split_state(["analyze", "--", "--state", "x"]).rest == ("analyze", "--", "--state", "x")


def test_several_files_may_follow_one_replay_option() -> None:
    assert spread_replay(["up", "--replay", "a.csv", "b.csv", "--speed", "60"]) == [
        "up", "--replay", "a.csv", "--replay", "b.csv", "--speed", "60",
    ]  # fmt: skip
    assert spread_replay(["market", "use", "--replay", "a", "--replay", "b", "c"]).count("--replay") == 3
    assert spread_replay(["runs", "--limit", "5"]) == ["runs", "--limit", "5"]


def test_a_state_option_without_a_value_is_left_for_the_usage_error() -> None:
    assert split_state(["runs", "--state"]).rest == ("runs", "--state")


@given(WORDS, st.integers(0, 20))
def test_taking_the_state_out_leaves_everything_else_as_it_was(words: list[str], place: int) -> None:
    at = min(place, len(words))
    arguments = split_state([*words[:at], "--state", "DIR", *words[at:]])
    assert (list(arguments.rest), arguments.state) == (words, "DIR")


@pytest.mark.parametrize(
    ("error", "status"),
    [(UnknownSymbol("no symbol\n'X'"), 1), (ConfigError("bad"), 1), (WaitTimeout("slow"), 3), (RunFailed("no"), 4)],
)
def test_errors_are_one_line_on_stderr_and_an_exit_status(
    error: Exception, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _report(error) == status  # type: ignore[arg-type]
    shown = capsys.readouterr()
    assert (shown.out, shown.err.count("\n"), shown.err.startswith("error: ")) == ("", 1, True)


def test_an_address_in_an_error_loses_its_password(capsys: pytest.CaptureFixture[str]) -> None:
    _report(ConfigError("postgresql://aaos:hunter2@host/db is wrong"))
    assert "hunter2" not in capsys.readouterr().err


def test_help_names_every_command_and_wrong_usage_is_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    named = "up down status migrate market tick queues runs results analyze regime decide explain dead-letters alerts"
    for command in [*named.split(), "shell", "sovereign-sim", "config", "symbols"]:
        assert f"  {command} " in shown, command
    for wrong in (["nonsense"], ["runs", "--limit", "0"], ["runs", "--state"], ["tick"], ["explain", "1", "--last"]):
        assert main(wrong) == 2, wrong
        assert capsys.readouterr().out == ""
