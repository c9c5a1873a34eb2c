"""The embedded Valkey and PostgreSQL, for real: data, ports, passwords, and who outlives whom."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis
from support.workers import wait_until

from aaos.errors import StartupError
from aaos.local.identity import unprivileged_identity
from aaos.local.ports import LOWEST_PORT, pick_free_port
from aaos.local.postgres import PostgresServer
from aaos.local.probes import valkey_answers
from aaos.local.procinfo import start_ticks
from aaos.local.spawn import Identity
from aaos.local.valkey import ValkeyServer

PROJECT = Path(__file__).resolve().parents[2]
OWNER = """
import sys, time
from aaos.local.postgres import PostgresServer
from aaos.local.valkey import ValkeyServer
with PostgresServer(sys.argv[1]) as pg, ValkeyServer(sys.argv[1]) as valkey:
    print(pg.pid, valkey.pid, flush=True)
    time.sleep(100)
"""


def _query(server: PostgresServer, statement: str) -> Any:
    with psycopg.connect(server.dsn.replace("+psycopg", ""), autocommit=True) as connection:
        cursor = connection.execute(statement)
        return cursor.fetchone() if cursor.description else None


@pytest.fixture
def owner(tmp_path: Path) -> Iterator[Callable[[], tuple[subprocess.Popen[str], list[int]]]]:
    """Starts a process that runs both servers in `tmp_path/state`; returns it and the servers' pids."""
    started: list[subprocess.Popen[str]] = []

    def start() -> tuple[subprocess.Popen[str], list[int]]:
        process = subprocess.Popen(
            [sys.executable, "-c", OWNER, str(tmp_path / "state")],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(PROJECT), "LC_ALL": "xx_YY.UTF-8", "TZ": "Asia/Tokyo"},
        )
        started.append(process)
        assert process.stdout is not None
        return process, [int(pid) for pid in process.stdout.readline().split()]

    yield start
    for process in started:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def test_data_port_and_password_survive_stop_crash_and_restart(tmp_path: Path) -> None:
    state = tmp_path / 'a state "directory" with blanks'
    with PostgresServer(state) as pg, ValkeyServer(state) as valkey:
        first = (pg.dsn, valkey.url)
        _query(pg, "CREATE TABLE kept (i int)")
        _query(pg, "INSERT INTO kept VALUES (7)")
        redis.Redis.from_url(valkey.url).set("kept", "7")

    with PostgresServer(state) as pg, ValkeyServer(state) as valkey:
        assert (pg.dsn, valkey.url) == first
        assert _query(pg, "SELECT i FROM kept") == (7,)
        assert redis.Redis.from_url(valkey.url).get("kept") == b"7"

        pg.kill()
        valkey.kill()
        pg.start()
        valkey.start()
        assert (pg.dsn, valkey.url) == first
        assert _query(pg, "SELECT i FROM kept") == (7,)
        assert redis.Redis.from_url(valkey.url).get("kept") == b"7"


def test_postgres_is_durable_utc_utf8_and_local_whatever_the_locale(
    owner: Callable[[], tuple[subprocess.Popen[str], list[int]]], tmp_path: Path
) -> None:
    _, (pid, _) = owner()
    server = PostgresServer(tmp_path / "state")
    port = (tmp_path / "state" / "postgres" / "data" / "postmaster.pid").read_text().splitlines()[3]
    dsn = f"postgresql://aaos:{server.password}@127.0.0.1:{port}/aaos"
    with psycopg.connect(dsn) as connection:
        names = ("timezone", "server_encoding", "fsync", "synchronous_commit", "listen_addresses")
        found = [connection.execute(f"SHOW {name}").fetchone() for name in names]

    assert found == [("UTC",), ("UTF8",), ("on",), ("on",), ("127.0.0.1",)]
    assert start_ticks(pid) is not None


def test_a_killed_owner_leaves_no_server_and_the_next_start_goes_on(
    owner: Callable[[], tuple[subprocess.Popen[str], list[int]]], tmp_path: Path
) -> None:
    process, pids = owner()
    assert len(pids) == 2

    process.send_signal(signal.SIGKILL)
    process.wait()
    # At once, while the servers still end: the start waits for them.
    with PostgresServer(tmp_path / "state") as pg:
        assert _query(pg, "SELECT 1") == (1,)

    wait_until(lambda: all(start_ticks(pid) is None for pid in pids), "servers ended")


def test_a_second_start_on_the_same_directory_is_refused_naming_the_owner(
    owner: Callable[[], tuple[subprocess.Popen[str], list[int]]], tmp_path: Path
) -> None:
    process, _ = owner()

    for server in (PostgresServer(tmp_path / "state"), ValkeyServer(tmp_path / "state")):
        with pytest.raises(StartupError, match=rf"in use by pid {process.pid}: .*--state"):
            server.start()


@pytest.mark.parametrize("kind", [PostgresServer, ValkeyServer])
def test_a_port_in_use_is_refused_naming_holder_and_remedy(
    kind: type[PostgresServer | ValkeyServer], tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        port = stranger.getsockname()[1]

        with pytest.raises(StartupError, match=rf"Port {port} .*pid {os.getpid()}.*--fresh-ports"):
            kind(tmp_path, port=port).start()


def test_a_password_that_others_may_read_is_refused_with_the_command_that_helps(tmp_path: Path) -> None:
    with ValkeyServer(tmp_path):
        secret = tmp_path / "secrets" / "valkey"
        assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    secret.chmod(0o644)

    with pytest.raises(StartupError, match="chmod 600"):
        ValkeyServer(tmp_path).start()


def test_a_directory_that_cannot_be_made_is_refused_with_the_option_that_helps(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a directory")

    with pytest.raises(StartupError, match="--state DIR"):
        PostgresServer(tmp_path / "file" / "state").start()


def test_no_password_stands_on_a_command_line_or_opens_with_another_one(tmp_path: Path) -> None:
    with PostgresServer(tmp_path) as pg, ValkeyServer(tmp_path) as valkey:
        lines = [Path(f"/proc/{pid}/cmdline").read_bytes().decode() for pid in (pg.pid, valkey.pid)]
        assert not any(server.password in line for line in lines for server in (pg, valkey))

        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(pg.dsn.replace("+psycopg", "").replace(pg.password, "guess"))
        assert valkey_answers(valkey.port, valkey.password)
        assert not valkey_answers(valkey.port, "guess")


def test_valkey_refuses_instead_of_evicting(tmp_path: Path) -> None:
    with ValkeyServer(tmp_path) as valkey:
        client = redis.Redis.from_url(valkey.url)

        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert int(client.config_get("maxmemory")["maxmemory"]) > 0
        assert client.config_get("appendonly") == {"appendonly": "yes"}


def test_a_stale_pid_file_that_names_a_living_stranger_does_not_stop_the_start(tmp_path: Path) -> None:
    with PostgresServer(tmp_path) as pg:
        stale = (pg.data / "postmaster.pid").read_text().splitlines()
    # As after a power cut: the file lingers, and its pid now belongs to somebody else.
    (pg.data / "postmaster.pid").write_text("\n".join([str(os.getppid()), *stale[1:]]) + "\n")

    with PostgresServer(tmp_path) as pg:
        assert _query(pg, "SELECT 1") == (1,)


def test_an_interrupted_first_start_is_begun_anew(tmp_path: Path) -> None:
    half = tmp_path / "postgres" / "data.new"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")

    with PostgresServer(tmp_path) as pg:
        assert _query(pg, "SELECT 1") == (1,)


def _identities() -> list[Identity]:
    return [unprivileged_identity(), "nobody"] if os.geteuid() == 0 else [unprivileged_identity()]


def test_the_data_may_move_between_identities_and_is_never_open_to_others(tmp_path: Path) -> None:
    for run, identity in enumerate([*_identities(), *_identities()]):
        with PostgresServer(tmp_path, identity=identity) as pg:
            _query(pg, "CREATE TABLE IF NOT EXISTS runs (i int)")
            _query(pg, "INSERT INTO runs VALUES (1)")
            assert _query(pg, "SELECT count(*) FROM runs") == (run + 1,)
            assert stat.S_IMODE(pg.data.stat().st_mode) == 0o700


def test_picked_ports_lie_below_the_range_of_outgoing_connections() -> None:
    start = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])

    ports = {pick_free_port() for _ in range(20)}

    assert len(ports) > 1
    assert all(LOWEST_PORT <= port < start for port in ports)
