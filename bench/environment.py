"""Where a benchmark runs: embedded servers in a directory of its own, and the environment that leads there."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from aaos.local.postgres import PostgresServer
from aaos.local.valkey import ValkeyServer

ROOT = Path(__file__).resolve().parent.parent
SCRATCH = ROOT / ".aaos" / "bench"
# What every worker gets that takes part; the embedded stack's other settings stay as they are.
MAX_CONNECTIONS = "200"
KIND = "bench_noop"
MAX_CONCURRENT = 64
RUN_TIMEOUT_S = 600


@dataclass(frozen=True, slots=True)
class Servers:
    """Both servers, running; fsync and synchronous_commit are on, as in the embedded stack."""

    valkey: ValkeyServer
    postgres: PostgresServer
    directory: Path

    def database_url(self, name: str = "aaos") -> str:
        """The URL (plain, as libpq takes it) of one database of the server: a secret."""
        return self.postgres.dsn.replace("postgresql+psycopg://", "postgresql://").rpartition("/")[0] + "/" + name

    def environment(self) -> dict[str, str]:
        """The variables that lead aaos here, with the no-op kind declared."""
        return {
            "AAOS_BROKER_URL": self.valkey.url,
            "AAOS_REDIS_URL": self.valkey.url,
            "AAOS_DATABASE_URL": self.postgres.dsn,
            **noop_kind(),
        }


def noop_kind(max_concurrent: int = MAX_CONCURRENT) -> dict[str, str]:
    """The settings of the kind that does nothing, and of a schedule that ticks it every second."""
    kind, schedule = f"AAOS_KINDS__{KIND.upper()}__", f"AAOS_SCHEDULES__{KIND.upper()}__"
    return {
        kind + "REQUIRES": '["market_data"]',
        kind + "POOL": "cpu",
        kind + "TIMEOUT_SECONDS": str(RUN_TIMEOUT_S),
        kind + "MAX_CONCURRENT": str(max_concurrent),
        schedule + "EVERY_S": "1",
        "AAOS_RUNS__MAX_CONCURRENT_TASKS": str(max_concurrent),
    }


@contextmanager
def servers(postgres_settings: Mapping[str, str] | None = None) -> Iterator[Servers]:
    """Yields fresh servers with an aaos schema; everything is removed afterwards."""
    SCRATCH.mkdir(parents=True, exist_ok=True)
    directory = Path(tempfile.mkdtemp(prefix="state-", dir=SCRATCH))
    try:
        settings = {"max_connections": MAX_CONNECTIONS, **(postgres_settings or {})}
        with ValkeyServer(directory) as valkey, PostgresServer(directory, settings=settings) as postgres:
            found = Servers(valkey, postgres, directory)
            _lead_here(found)
            yield found
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _lead_here(found: Servers) -> None:
    """Points this process at the servers, too: `aaos.settings` reads the environment when first asked."""
    os.environ.update(found.environment())
    from aaos import bootstrap
    from aaos.adapters.postgres.schema import migrate
    from aaos.settings import settings

    settings.cache_clear()
    bootstrap.reset()
    migrate(found.postgres.dsn)
