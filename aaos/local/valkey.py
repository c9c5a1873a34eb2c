"""Valkey (speaks Redis) as an embedded server: messages, chord counters, result streams."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import ClassVar

from aaos.local.binaries import valkey_server
from aaos.local.files import make_directory, write_private
from aaos.local.probes import LOOPBACK, valkey_answers
from aaos.local.server import Server
from aaos.local.spawn import Command

DEFAULT_MAX_MEMORY_MB = 128

# {…} is filled in below. PostgreSQL keeps the truth: a second of messages may be lost, hence everysec.
# noeviction: a full server must refuse, not silently drop messages that somebody waits for.
_CONFIG = """\
bind {host}
port {port}
protected-mode yes
requirepass {password}
dir {directory}
daemonize no
appendonly yes
appendfsync everysec
auto-aof-rewrite-min-size 16mb
save ""
maxmemory {max_memory_mb}mb
maxmemory-policy noeviction
io-threads 1
tcp-keepalive 60
timeout 0
loglevel warning
logfile ""
enable-debug-command local
"""


class ValkeyServer(Server):
    """An embedded Valkey; `url` is what Celery and redis-py take."""

    name: ClassVar[str] = "valkey"
    title: ClassVar[str] = "Valkey"
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM

    def __init__(
        self,
        state_dir: Path | str,
        port: int | None = None,
        max_memory_mb: int = DEFAULT_MAX_MEMORY_MB,
    ) -> None:
        super().__init__(state_dir, port)
        self._max_memory_mb = max_memory_mb

    @property
    def url(self) -> str:
        """`redis://:PASSWORD@127.0.0.1:PORT/0`: a secret."""
        return self.database_url(0)

    def database_url(self, number: int) -> str:
        """The URL of one of the 16 numbered databases: a secret."""
        return f"redis://:{self.password}@{LOOPBACK}:{self.port}/{number}"

    def answers(self) -> bool:
        """Whether PING is answered, that is, the data is loaded."""
        return valkey_answers(self.port, self.password)

    def _prepare(self) -> Command:
        # The password goes into a file of mode 0600: a command line is visible to every user of the machine.
        config = self.home / "valkey.conf"
        data = make_directory(self.home / "data")
        values = {
            "host": LOOPBACK,
            "port": self.port,
            "password": self.password,
            "directory": _quoted(data),
            "max_memory_mb": self._max_memory_mb,
        }
        write_private(config, _CONFIG.format_map(values))
        return Command(
            argv=(str(valkey_server()), str(config)),
            env={"LC_ALL": "C", "TZ": "UTC"},
            death_signal=signal.SIGTERM,  # an orderly end: the file is flushed
            keep_fds=self._kept_fds,
        )


def _quoted(path: Path) -> str:
    """The path as a quoted word of Valkey's configuration language."""
    escaped = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
