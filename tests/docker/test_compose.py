"""docker-compose.yml: its Valkey and PostgreSQL serve the pipeline as the embedded ones do."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
UP_TIMEOUT_S = 300


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def environment() -> Iterator[dict[str, str]]:
    words = {name: secrets.token_urlsafe(16) for name in ("VALKEY_PASSWORD", "POSTGRES_PASSWORD")}
    ports = {name: str(free_port()) for name in ("VALKEY_PORT", "POSTGRES_PORT")}
    project = f"aaos-test-{os.getpid()}"
    settings = {**os.environ, **words, **ports}
    compose = ["docker", "compose", "--project-name", project, "--file", str(PROJECT / "docker-compose.yml")]
    try:
        subprocess.run([*compose, "up", "--detach", "--wait"], env=settings, timeout=UP_TIMEOUT_S, check=True)
        yield settings | {
            "AAOS_BROKER_URL": f"redis://:{words['VALKEY_PASSWORD']}@127.0.0.1:{ports['VALKEY_PORT']}/0",
            "AAOS_DATABASE_URL": (
                f"postgresql://aaos:{words['POSTGRES_PASSWORD']}@127.0.0.1:{ports['POSTGRES_PORT']}/aaos"
            ),
        }
    finally:
        subprocess.run([*compose, "down", "--volumes"], env=settings, timeout=UP_TIMEOUT_S, check=False)


def test_the_composed_servers_take_the_schema_and_answer(environment: dict[str, str]) -> None:
    def aaos(*words: str) -> str:
        command = [sys.executable, "-m", "aaos.cli", *words]
        ran = subprocess.run(
            command, env=environment, cwd=PROJECT, capture_output=True, text=True, timeout=60, check=True
        )
        return ran.stdout

    assert "revision" in aaos("migrate")
    assert aaos("runs", "--json").strip() == "[]"
