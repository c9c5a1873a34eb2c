"""`./run` before it has made anything: it must answer, and refuse clearly, on a bare machine."""

from __future__ import annotations

import fcntl
import importlib.machinery
import importlib.util
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of what `./run` needs, in a path with blanks."""
    place = tmp_path / "a check out"
    place.mkdir()
    for name in ("run", "requirements.lock"):
        shutil.copy2(PROJECT / name, place / name)
    return place


def _load(checkout: Path) -> ModuleType:
    loader = importlib.machinery.SourceFileLoader("run_script", str(checkout / "run"))
    spec = importlib.util.spec_from_loader("run_script", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def _run(checkout: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(checkout / "run"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def _fake_environment(run: ModuleType) -> None:
    tools = Path(run.VENV, "bin")
    tools.mkdir(parents=True)
    os.symlink(sys.executable, tools / "python")
    for name in ("aaos", "celery"):
        (tools / name).write_text("#!/bin/sh\n")
        (tools / name).chmod(0o755)
    Path(run.STAMP).write_text(run.wanted_stamp())


def test_help_needs_no_environment(checkout: Path) -> None:
    done = _run(checkout, "help")

    assert done.returncode == 0
    assert "./run up" in done.stdout
    assert not (checkout / ".venv").exists()


def test_an_unknown_command_is_refused_with_those_that_exist(checkout: Path) -> None:
    done = _run(checkout, "fly")

    assert done.returncode == 2
    assert "knows no 'fly'" in done.stderr
    assert "./run test" in done.stderr


def test_the_script_is_executable_and_readable_for_an_older_python(checkout: Path) -> None:
    assert os.access(checkout / "run", os.X_OK)
    compile((checkout / "run").read_text(encoding="utf-8"), "run", "exec", dont_inherit=True)
    import ast

    ast.parse((checkout / "run").read_text(encoding="utf-8"), feature_version=(3, 6))


def test_an_old_python_is_told_what_to_install(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = _load(checkout)
    monkeypatch.setattr(run, "MINIMUM", (99, 0))
    monkeypatch.setattr(run, "NEWER_PYTHONS", ())

    with pytest.raises(run.Trouble, match=r"(?s)needs Python 99\.0 or newer; this is 3\..*apt-get install"):
        run.require_python()


def test_an_environment_is_ready_only_with_the_right_stamp_and_tools(checkout: Path) -> None:
    run = _load(checkout)
    assert not run.is_ready()
    _fake_environment(run)
    assert run.is_ready()

    with (checkout / "requirements.lock").open("a") as lock:
        lock.write("# changed\n")
    assert not run.is_ready()
    Path(run.STAMP).write_text(run.wanted_stamp())
    assert run.is_ready()

    Path(run.VENV, "bin", "celery").unlink()
    assert not run.is_ready()


def test_an_environment_of_another_place_counts_as_moved(checkout: Path) -> None:
    run = _load(checkout)
    _fake_environment(run)
    assert not run.moved()

    Path(run.STAMP).write_text(run.wanted_stamp().replace(run.ROOT, "/elsewhere"))

    assert run.moved()
    assert not run.is_ready()


def test_the_environment_file_of_a_stack_is_read_as_a_shell_would(checkout: Path) -> None:
    run = _load(checkout)
    env = checkout / "env"
    env.write_text("A='with blanks'\nB='it'\"'\"'s'\nC=plain#1\n")

    assert run.read_environment(str(env)) == {"A": "with blanks", "B": "it's", "C": "plain#1"}
    assert run.read_environment(str(checkout / "absent")) == {}


def test_a_state_directory_without_a_stack_is_refused_with_the_way_to_start_one(checkout: Path) -> None:
    run = _load(checkout)
    _fake_environment(run)

    done = _run(checkout, "aaos", "--state", str(checkout / "no such"), "results")

    assert done.returncode == 2
    assert "./run up --state" in done.stderr


def test_two_scripts_wait_for_each_other(checkout: Path) -> None:
    run = _load(checkout)
    _fake_environment(run)
    Path(run.STAMP).unlink()
    held = os.open(checkout, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    with subprocess.Popen(
        [sys.executable, str(checkout / "run"), "setup"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as waiting:
        assert waiting.stderr is not None
        assert "waiting for another ./run" in waiting.stderr.readline()
        Path(run.STAMP).write_text(run.wanted_stamp())
        os.close(held)
        out, _ = waiting.communicate(timeout=30)

    assert waiting.returncode == 0
    assert "ready" in out


def test_the_lock_names_no_addresses_and_every_package_has_a_hash() -> None:
    lines = (PROJECT / "requirements.lock").read_text(encoding="utf-8").splitlines()

    assert not [line for line in lines if "://" in line or line.startswith("-")]
    packages = [index for index, line in enumerate(lines) if "==" in line and not line.startswith(" ")]
    assert len(packages) > 50
    assert all(lines[index + 1].strip().startswith("--hash=sha256:") for index in packages)
    assert not any(lines[index].startswith("pytest-celery") for index in packages)


def test_uv_is_installed_from_the_lock_with_its_hash(checkout: Path) -> None:
    lines = _load(checkout).locked_lines("uv").splitlines()

    assert lines[0].startswith("uv==")
    assert all("--hash=sha256:" in line for line in lines[1:])
    assert len(lines) > 2


def test_the_command_aaos_survives_blanks_in_the_path(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run = _load(checkout)
    _fake_environment(run)
    packages = tmp_path / "packages"
    packages.mkdir()
    monkeypatch.setattr(run.subprocess, "check_output", lambda _command: str(packages).encode())

    run.write_entry_points()

    script = Path(run.VENV, "bin", "aaos")
    assert stat.S_IMODE(script.stat().st_mode) == 0o755
    done = subprocess.run([script, "--version"], capture_output=True, text=True, timeout=60, check=False)
    assert "not found" not in done.stderr
    assert "No module named" in done.stderr or done.returncode == 0  # Python ran; the copy has no aaos
    assert (packages / "aaos-project.pth").read_text() == f"{run.ROOT}\n"
