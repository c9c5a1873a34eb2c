"""Only what needs a Docker engine, and the only tests that may skip: without one there is nothing to show."""

from __future__ import annotations

import shutil
import subprocess

import pytest


def engine_answers() -> bool:
    """Returns whether a Docker engine is there; a client alone is not enough."""
    docker = shutil.which("docker")
    if docker is None:
        return False
    return subprocess.run([docker, "info"], capture_output=True, timeout=20, check=False).returncode == 0


@pytest.fixture(scope="session", autouse=True)
def _engine() -> None:
    if not engine_answers():
        pytest.skip("no Docker engine answers `docker info`")
