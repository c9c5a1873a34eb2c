"""Slips in files and environment are refused with the nearest name that is known, instead of setting nothing."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import yaml

from aaos import config_sources
from aaos.config_sources import OTHER_VARIABLES, check_variables, read_yaml
from aaos.errors import ConfigError
from aaos.local.config import LocalConfig, load_config
from aaos.settings import PROJECT_ROOT, Settings, known_keys, load_settings
from aaos.shell.worker_commands import queues, worker_command

SHIPPED = PROJECT_ROOT / "config"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A copy of the shipped configuration."""
    return Path(shutil.copytree(SHIPPED, tmp_path / "config"))


def refusal(directory: Path = SHIPPED) -> str:
    with pytest.raises(ConfigError) as caught:
        load_settings(directory)
    return str(caught.value)


# --- the environment ----------------------------------------------------------------------------------------


@pytest.mark.requirement("F16")
@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("AAOS_RUN__LEASE_S", "AAOS_RUNS__LEASE_S"),
        ("AAOS_RUNS_LEASE_S", "AAOS_RUNS__LEASE_S"),
        ("AAOS_RUNS__LEASES", "AAOS_RUNS__LEASE_S"),
        ("AAOS_SIGNALS__RSI_PERIODE", "AAOS_SIGNALS__RSI_PERIOD"),
        ("AAOS_LOCAL__IO_THREAD", "AAOS_LOCAL__IO_THREADS"),
        ("AAOS_BRKER_URL", "AAOS_BROKER_URL"),
        ("AAOS_STATE", "AAOS_STATE_DIR"),
        ("AAOS_SPEED__FACTOR", "AAOS_SPEED"),
        ("aaos_sped", "AAOS_SPEED"),
        ("AAOS_KINDS__TECHNICAL_ANALYSIS__TIMEOUT", "AAOS_KINDS__TECHNICAL_ANALYSIS__TIMEOUT_SECONDS"),
        ("AAOS_SCHEDULES__TECHNICAL_ANALISYS__EVERY_S", "AAOS_SCHEDULES__TECHNICAL_ANALYSIS__EVERY_S"),
        ("AAOS_VOTERS__TRND__MODEL", "AAOS_VOTERS__TREND__MODEL"),
    ],
)
def test_a_mistyped_variable_is_refused_and_the_nearest_one_named(
    monkeypatch: pytest.MonkeyPatch, variable: str, meant: str
) -> None:
    monkeypatch.setenv(variable, "60")
    assert refusal() == f"{variable}: no such setting, did you mean {meant}?"


def test_a_variable_like_no_other_is_refused_without_a_guess(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AAOS_QXZ", "1")
    assert refusal() == "AAOS_QXZ: no such setting"


def test_all_slips_are_told_at_once_and_no_value_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AAOS_SOVEREIGN_API_KEI", "hush-hush")
    monkeypatch.setenv("AAOS_DATABASE_URI", "postgresql://u:hush-hush@h/d")
    message = refusal()
    assert "AAOS_SOVEREIGN_API_KEY?" in message
    assert "AAOS_DATABASE_URL?" in message
    assert "hush-hush" not in message


@pytest.mark.parametrize("variable", [*OTHER_VARIABLES, "AAOS_TEST_ANYTHING", "PATH", "FLOWER_BASIC_AUTH"])
def test_variables_that_are_not_settings_are_passed_over(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    value = str(SHIPPED) if variable == "AAOS_CONFIG_DIR" else "/somewhere"
    monkeypatch.setenv(variable, value)
    assert isinstance(load_settings(), Settings)


def test_every_variable_of_the_example_environment_is_known() -> None:
    example = (PROJECT_ROOT / ".env.example").read_text(encoding="utf-8")
    variables = re.findall(r"^#?(AAOS_\w+)=", example, re.MULTILINE)
    assert len(variables) > 10
    check_variables(variables, known_keys(), {})


def test_every_key_of_every_file_can_be_named_in_the_environment() -> None:
    files = {path.stem: read_yaml(path) for path in SHIPPED.glob("*.yaml")}
    variables = [f"AAOS_{section}__{key}".upper() for section, keys in files.items() for key in keys]
    assert len(variables) > 60
    check_variables(variables, known_keys(), files)


def test_the_environment_may_add_an_entry_to_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AAOS_VOTERS__FOURTH__MODEL", "another-model")
    assert load_settings().voters["fourth"].model == "another-model"


def test_a_whole_section_may_be_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AAOS_RUNS", '{"lease_s": 20}')
    assert load_settings().runs.lease_s == 20
    monkeypatch.setenv("AAOS_RUNS", '{"leese_s": 20}')
    assert "did you mean lease_s?" in refusal()
    monkeypatch.setenv("AAOS_RUNS", "lease_s=20")
    assert "must be a JSON object" in refusal()


# --- files --------------------------------------------------------------------------------------------------


@pytest.mark.requirement("F16")
@pytest.mark.parametrize(
    ("file", "added", "said"),
    [
        ("runs.yaml", "lease_s: 20\n", "key 'lease_s' is there twice"),
        ("runs.yaml", "'lease_s': 20\n", "key 'lease_s' is there twice"),
        ("local.yaml", "io_threads: 9\n", "key 'io_threads' is there twice"),
        ("voters.yaml", "extra:\n  model: a\n  stance: risk\n  model: b\n", "key 'model' is there twice"),
        ("voters.yaml", "risk: {model: a}\n", "key 'risk' is there twice"),
    ],
)
def test_a_key_that_is_there_twice_is_refused_with_file_and_line(
    directory: Path, file: str, added: str, said: str
) -> None:
    path = directory / file
    before = path.read_text(encoding="utf-8")
    path.write_text(before + added, encoding="utf-8")
    line = before.count("\n") + added.count("\n")
    assert refusal(directory) == f"{path} line {line}: {said}"


def test_the_same_key_in_two_entries_and_a_merged_one_are_no_doubles(tmp_path: Path) -> None:
    path = tmp_path / "some.yaml"
    path.write_text("one: &one {a: 1, b: 2}\ntwo:\n  <<: *one\n  b: 3\n", encoding="utf-8")
    assert read_yaml(path) == {"one": {"a": 1, "b": 2}, "two": {"a": 1, "b": 3}}


def test_an_unknown_key_in_a_file_is_refused_and_the_nearest_one_named(directory: Path) -> None:
    for section, slip, meant in (("runs", "leese_s", "lease_s"), ("local", "io_thread", "io_threads")):
        path = directory / f"{section}.yaml"
        before = path.read_text(encoding="utf-8")
        path.write_text(f"{before}{slip}: 20\n", encoding="utf-8")
        assert f"did you mean {meant}?" in refusal(directory)
        path.write_text(before, encoding="utf-8")
    (directory / "signal.yaml").write_text("rsi_period: 9\n", encoding="utf-8")
    assert "did you mean signals?" in refusal(directory)


def test_files_are_parsed_in_c_where_there_is_such_a_parser() -> None:
    """Every process reads them when it starts: 2 ms instead of 17."""
    if yaml.__with_libyaml__:
        assert issubclass(config_sources._EachKeyOnce, yaml.CSafeLoader)


# --- what the supervisor reads without pydantic ---------------------------------------------------------------


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"AAOS_LOCAL__IO_THREADS": "12", "AAOS_LOCAL__YOUNG_S": "2.5"},
        {"AAOS_LOCAL": '{"io_threads": 9, "log_max_mb": 1}', "aaos_local__io_threads": "12"},
    ],
)
def test_the_supervisor_and_everybody_else_read_the_same(
    monkeypatch: pytest.MonkeyPatch, directory: Path, variables: dict[str, str]
) -> None:
    (directory / "local.yaml").write_text("io_threads: 10\ncrash_limit: 3\n", encoding="utf-8")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    read = load_config(directory)
    assert read == load_settings(directory).local
    assert (read.io_threads, read.crash_limit) == (12 if variables else 10, 3)


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("AAOS_LOCAL__IO_THREAD", "9", "AAOS_LOCAL__IO_THREAD: no such setting, did you mean AAOS_LOCAL__IO_THREADS?"),
        ("AAOS_LOCAL_IO_THREADS", "9", "did you mean AAOS_LOCAL__IO_THREADS?"),
        ("AAOS_LOCAL__IO_THREADS", "many", "local.io_threads: 'many' is not a whole number from 2 to 256"),
        ("AAOS_LOCAL__IO_THREADS", "2000", "local.io_threads: 2000 is not a whole number from 2 to 256"),
        ("AAOS_LOCAL", "9", "AAOS_LOCAL: must be a JSON object"),
        ("AAOS_LOCAL", '{"io_thread": 9}', "unknown key io_thread, did you mean io_threads?"),
    ],
)
def test_the_supervisor_refuses_slips_too(variable: str, value: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(SHIPPED, {variable: value})
    assert said in str(caught.value)


def test_the_supervisor_refuses_a_key_that_is_there_twice(directory: Path) -> None:
    (directory / "local.yaml").write_text("io_threads: 8\nio_threads: 9\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"local\.yaml line 2: key 'io_threads' is there twice"):
        load_config(directory)


def test_worker_commands_have_the_concurrency_of_the_stack(directory: Path) -> None:
    defaults = LocalConfig()
    (directory / "local.yaml").unlink()
    plain = load_settings(directory)
    assert worker_command("technical_analysis", plain).endswith(
        f"-P prefork -c {defaults.cpu_processes} -n technical_analysis@%h"
    )
    (directory / "local.yaml").write_text("cpu_processes: 3\nio_threads: 11\n", encoding="utf-8")
    concurrency = {each.queue: each.command.split(" -c ")[1].split()[0] for each in queues(load_settings(directory))}
    assert concurrency["regime_detection"] == "3"
    assert concurrency["trading_analysis"] == concurrency["maintenance"] == "11"
