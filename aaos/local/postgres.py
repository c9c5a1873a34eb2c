"""PostgreSQL as an embedded server: the truth about runs, results and orders."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from aaos.errors import StartupError
from aaos.local.binaries import postgres_bin
from aaos.local.files import PRIVATE_DIRECTORY, password_file, write_private
from aaos.local.identity import give_to, unprivileged_identity
from aaos.local.probes import LOOPBACK, postgres_answers
from aaos.local.server import Server
from aaos.local.spawn import Command, Identity, launcher

USER = "aaos"
DATABASE = "aaos"
_INIT_TIMEOUT_S = 120.0

# A clean environment: PostgreSQL must answer under any locale and time zone of whoever starts it.
_ENVIRONMENT = {"LC_ALL": "C", "TZ": "UTC", "PATH": "/usr/bin:/bin"}

# Small on purpose: the whole stack has 512 MB. Durability stays at its defaults, said aloud because
# everything else in aaos rests on it.
_SETTINGS = {
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "listen_addresses": f"'{LOOPBACK}'",
    "unix_socket_directories": "''",  # TCP only: socket paths end at 107 bytes, state directories do not
    "password_encryption": "scram-sha-256",
    "max_connections": "60",
    "shared_buffers": "32MB",
    "work_mem": "4MB",
    "maintenance_work_mem": "32MB",
    "max_wal_size": "512MB",
    "io_method": "sync",  # no I/O worker processes
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_worker_processes": "2",
    "max_logical_replication_workers": "0",
    "autovacuum_worker_slots": "3",
    "autovacuum_max_workers": "1",
    "jit": "off",
    "timezone": "'UTC'",
    "log_timezone": "'UTC'",
    "datestyle": "'iso, ymd'",
    "lc_messages": "'C'",
    "lc_monetary": "'C'",
    "lc_numeric": "'C'",
    "lc_time": "'C'",
    "log_line_prefix": "'%m [%p] '",
}


class PostgresServer(Server):
    """An embedded PostgreSQL; `dsn` is what SQLAlchemy takes."""

    name: ClassVar[str] = "postgres"
    title: ClassVar[str] = "PostgreSQL"
    stop_signal: ClassVar[signal.Signals] = signal.SIGINT  # fast shutdown: sessions are ended, all is written
    ready_line: ClassVar[str | None] = "ready to accept connections"

    def __init__(
        self,
        state_dir: Path | str,
        port: int | None = None,
        settings: Mapping[str, str] | None = None,
        identity: Identity | None = None,
    ) -> None:
        super().__init__(state_dir, port)
        self._settings = _SETTINGS | dict(settings or {})
        self._identity = identity
        self.data = self.home / "data"

    @property
    def dsn(self) -> str:
        """`postgresql+psycopg://aaos:PASSWORD@127.0.0.1:PORT/aaos`: a secret."""
        return self.dsn_of(USER, self.password or "")

    def dsn_of(self, user: str, password: str) -> str:
        """The same for another user of the server: a secret, too."""
        return f"postgresql+psycopg://{user}:{password}@{LOOPBACK}:{self.port}/{DATABASE}"

    def answers(self) -> bool:
        """Whether sessions are accepted, that is, recovery is over."""
        return postgres_answers(self.port, USER, DATABASE)

    def _prepare(self) -> Command:
        if not self.data.exists():
            self._initialise()
        give_to(self.data, self._server_identity())
        self.data.chmod(PRIVATE_DIRECTORY)  # PostgreSQL refuses data that others may read
        # The lock is ours and every process of a former server inherited it: nobody runs, the pid is a
        # leftover, and after a reboot it may be a stranger's, which PostgreSQL would take for itself.
        (self.data / "postmaster.pid").unlink(missing_ok=True)
        self._write_settings()
        program = str(postgres_bin() / "postgres")
        return Command(
            argv=(program, "-D", str(self.data)),
            env=_ENVIRONMENT,
            identity=self._server_identity(),
            death_signal=signal.SIGINT,
            keep_fds=self._kept_fds,
        )

    def _server_identity(self) -> Identity:
        return self._identity or unprivileged_identity()

    def _initialise(self) -> None:
        """Make the cluster in a draft directory and rename it: an interrupted start leaves no half of one."""
        draft = self.home / "data.new"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(mode=PRIVATE_DIRECTORY)
        give_to(draft, self._server_identity())
        assert self.password  # noqa: S101 - makes the file that initdb reads
        options = ("--no-instructions", "--auth=scram-sha-256", f"--username={USER}", "--encoding=UTF8")
        # The built-in provider sorts and compares alike on every machine, whatever its C library.
        locale = ("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")
        secret = f"--pwfile={password_file(self.state_dir, self.name)}"
        self._run("initdb", "-D", str(draft), *options, *locale, secret)
        self._run("postgres", "--single", "-D", str(draft), "postgres", query=f"CREATE DATABASE {DATABASE}\n")
        draft.rename(self.data)

    def _run(self, program: str, *arguments: str, query: str = "") -> None:
        command = [str(postgres_bin() / program), *arguments]
        done = subprocess.run(
            [*launcher(self._server_identity(), signal.SIGKILL), *command],
            input=query.encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=_ENVIRONMENT,
            pass_fds=self._kept_fds,
            timeout=_INIT_TIMEOUT_S,
            check=False,
        )
        output = done.stdout.decode(errors="replace")
        if done.returncode != 0 or "FATAL" in output or "ERROR" in output:
            raise StartupError(
                f"{program} could not set up PostgreSQL in {self.home} (status {done.returncode}, "
                f"uid {os.geteuid()}): "
                f"check free space and permissions there, or choose another --state DIR. It said:\n{output}"
            )

    def _write_settings(self) -> None:
        lines = [
            "# Written by aaos at each start; your own settings belong into ALTER SYSTEM.",
            f"port = {self.port}",
        ]
        lines += [f"{key} = {value}" for key, value in self._settings.items()]
        path = self.data / "postgresql.conf"
        write_private(path, "\n".join(lines) + "\n")
        if os.geteuid() == 0:
            owner = self.data.stat().st_uid
            os.chown(path, owner, owner)
