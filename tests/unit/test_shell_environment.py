"""Where the servers are, and what is said when they are not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from aaos.errors import BrokerUnavailable, DatabaseUnavailable, UnknownKind
from aaos.settings import load_settings
from aaos.shell.environment import Servers, default_state_dir, find_servers, parse_environment
from aaos.shell.worker_commands import queues


def test_the_environment_file_reads_as_a_shell_would_read_it() -> None:
    text = "# made by ./run up\nAAOS_BROKER_URL='redis://:p a=ss@h/0'\n\nAAOS_SPEED=60\n"
    assert parse_environment(text) == {"AAOS_BROKER_URL": "redis://:p a=ss@h/0", "AAOS_SPEED": "60"}


@pytest.mark.parametrize("name", ["AAOS_BROKER_URL", "AAOS_REDIS_URL", "AAOS_DATABASE_URL"])
def test_any_address_in_the_environment_means_those_servers(name: str) -> None:
    servers = find_servers({name: "somewhere"})
    assert (servers.origin, dict(servers.variables), servers.remedy()) == ("environment", {}, "")


def test_a_model_server_of_ones_own_leaves_the_other_servers_to_the_stack(tmp_path: Path) -> None:
    (tmp_path / "env").write_text("AAOS_BROKER_URL=redis://h/0\nAAOS_SOVEREIGN_URL=http://simulator/v1\n")
    servers = find_servers({"AAOS_STATE_DIR": str(tmp_path), "AAOS_SOVEREIGN_URL": "http://gpu-box:8000/v1"})
    assert (servers.origin, dict(servers.variables)) == ("state", {"AAOS_BROKER_URL": "redis://h/0"})


def test_the_state_directory_is_named_by_the_environment_else_in_the_project() -> None:
    assert default_state_dir({"AAOS_STATE_DIR": "/somewhere/my state"}) == Path("/somewhere/my state")
    assert default_state_dir({}).name == ".aaos"


@pytest.mark.parametrize(
    ("origin", "said"),
    [("state", "start that stack with ./run up --state '/x y'"), ("defaults", "no stack was ever started in /x y")],
)
def test_a_server_that_is_away_comes_with_the_way_to_start_one(origin: str, said: str) -> None:
    assert said in Servers(origin, Path("/x y")).remedy()  # type: ignore[arg-type]


def test_only_servers_that_are_away_get_that_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    from aaos.shell import environment

    monkeypatch.setattr(environment._Chosen, "servers", Servers("defaults", Path("/x")))
    assert "./run up" in str(environment.with_remedy(DatabaseUnavailable("gone")))
    assert "./run up" in str(environment.with_remedy(BrokerUnavailable("gone")))
    assert str(environment.with_remedy(UnknownKind("what?"))) == "what?"


def test_passwords_do_not_show_where_the_servers_are_printed() -> None:
    assert "hunter2" not in repr(Servers("state", Path("/x"), {"AAOS_BROKER_URL": "redis://:hunter2@h/0"}))


def test_every_queue_has_a_worker_command_of_the_right_pool() -> None:
    settings = load_settings()
    commands = {each.queue: each.command for each in queues(settings)}
    assert set(commands) == {*settings.kinds, "result_publishing", "maintenance"}
    assert commands["technical_analysis"] == (
        "celery -A workers worker -Q technical_analysis -P prefork -c 2 -n technical_analysis@%h"
    )
    assert "-P threads -c 8" in commands["trading_analysis"]
