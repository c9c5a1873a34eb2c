"""Where the servers are: named in the environment, else those of a stack's state directory, else the defaults."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from aaos.errors import AaosError, BrokerUnavailable, DatabaseUnavailable, StartupError

PROJECT_ROOT = Path(__file__).resolve().parents[2]
ADDRESSES = ("AAOS_BROKER_URL", "AAOS_REDIS_URL", "AAOS_DATABASE_URL")
"""Any of them means servers of one's own. AAOS_SOVEREIGN_URL does not: `./run up` asks the model server it names."""
STATE_VARIABLE = "AAOS_STATE_DIR"


@dataclass(frozen=True, slots=True)
class Servers:
    """Where the addresses come from; `variables` are those to be added to the environment (secrets among them)."""

    origin: Literal["named", "environment", "state", "defaults"]
    state_dir: Path
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)

    def remedy(self) -> str:
        """Returns what to do when a server does not answer; empty where the person named the servers."""
        option = self._option()
        if self.origin in ("named", "state"):
            return f"the addresses come from {self.state_dir / 'env'}: start that stack with ./run up{option}"
        if self.origin == "defaults":
            return (
                f"no AAOS_DATABASE_URL or AAOS_BROKER_URL is set and no stack was ever started in {self.state_dir}: "
                f"start one with ./run up{option}, or name servers in the environment (.env.example)"
            )
        return ""

    def _option(self) -> str:
        default = self.state_dir == PROJECT_ROOT / ".aaos"
        return "" if default else f" --state {shlex.quote(str(self.state_dir))}"


def find_servers(environ: Mapping[str, str], named: Path | None = None) -> Servers:
    """Returns where the servers are; `named` is a state directory that the person named, which wins over all.

    Raises:
        StartupError: no stack was ever started in the named directory, or its environment may not be read.
    """
    if named is not None:
        variables = read_environment(named)
        if not variables:
            raise StartupError(
                f"no stack was ever started in {named}: start one with ./run up --state {shlex.quote(str(named))}"
            )
        return Servers("named", named, variables)
    state_dir = default_state_dir(environ)
    if any(environ.get(name) for name in ADDRESSES):
        return Servers("environment", state_dir)
    variables = read_environment(state_dir)
    wanted = {name: value for name, value in variables.items() if not environ.get(name)}
    return Servers("state" if variables else "defaults", state_dir, wanted)


def default_state_dir(environ: Mapping[str, str]) -> Path:
    """Returns AAOS_STATE_DIR, else `.aaos` in the project."""
    return absolute(Path(environ.get(STATE_VARIABLE) or PROJECT_ROOT / ".aaos"))


def absolute(path: Path) -> Path:
    """Returns the path from the root, `~` expanded."""
    return path.expanduser().absolute()


def read_environment(state_dir: Path) -> dict[str, str]:
    """Returns the variables in the directory's file `env`; none where there is no such file."""
    path = state_dir / "env"
    try:
        return parse_environment(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise StartupError(
            f"{path} cannot be read ({error.strerror}): the stack belongs to another user, run this as that user"
        ) from None


def parse_environment(text: str) -> dict[str, str]:
    """Returns NAME=VALUE pairs as a shell would read them."""
    return dict(word.split("=", 1) for word in shlex.split(text, comments=True) if "=" in word)


class _Chosen:
    """What this process was told and found; one environment, so one of it."""

    named: Path | None = None
    servers: Servers | None = None


def choose_state(directory: Path) -> None:
    """Makes this process use the stack of that state directory, whatever the environment says."""
    _Chosen.named = absolute(directory)
    _Chosen.servers = None


def state_dir() -> Path:
    """Returns the state directory that was named, else the default one."""
    return _Chosen.named or default_state_dir(os.environ)


def enter() -> Servers:
    """Puts the servers' addresses into this process's environment, once; returns where they come from."""
    if _Chosen.servers is None:
        servers = find_servers(os.environ, _Chosen.named)
        os.environ.update(servers.variables)
        _Chosen.servers = servers
    return _Chosen.servers


def leave() -> None:
    """Forgets what was named and found; variables that were set stay."""
    _Chosen.named = _Chosen.servers = None


def with_remedy(error: AaosError) -> AaosError:
    """Returns the error, with what to do about it where a server is away that the person did not name."""
    remedy = "" if _Chosen.servers is None else _Chosen.servers.remedy()
    away = isinstance(error, DatabaseUnavailable | BrokerUnavailable)
    if not remedy or not away or remedy in str(error):
        return error
    return type(error)(f"{error}; {remedy}")
