"""Ports of a stack: picked once, remembered in `ports.json`, and who sits on them otherwise."""

from __future__ import annotations

import json
import os
import random
import socket
from dataclasses import dataclass
from pathlib import Path

from aaos.errors import StartupError
from aaos.local.files import read_json, write_private
from aaos.local.probes import LOOPBACK

LOWEST_PORT = 10240  # above what common services use
_EPHEMERAL_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_DEFAULT_EPHEMERAL_START = 32768  # Linux's default; another process's outgoing connection may sit above
_LISTEN_STATE = "0A"  # linux/net/tcp_states.h TCP_LISTEN, as /proc/net/tcp prints it
_HIGHEST_PORT = 65535
_FRESH_REMEDY = "start with --fresh-ports to pick free ones"


@dataclass(frozen=True, slots=True)
class Holder:
    """The process that listens on a port, as far as we may see it."""

    pid: int
    name: str


class PortBook:
    """The ports of one state directory, by name."""

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / "ports.json"

    def claim(self, name: str, asked: int | None = None, remedy: str = _FRESH_REMEDY) -> int:
        """A port for `name` that is free now: the one asked for, the remembered one, or a new one.

        Raises:
            StartupError: the asked or remembered port is in use; names port, holder and remedy.
        """
        remembered = read_json(self._path)
        port = asked or remembered.get(name)
        if port is None:
            port = pick_free_port(taken=frozenset(remembered.values()))
        require_free(port, name, remedy)
        if remembered.get(name) != port:
            write_private(self._path, json.dumps(remembered | {name: port}, indent=1) + "\n")
        return int(port)

    def forget(self) -> None:
        """Forget all ports, so that the next claims pick new ones."""
        self._path.unlink(missing_ok=True)


def pick_free_port(taken: frozenset[int] = frozenset()) -> int:
    """A free loopback port below the range of outgoing connections, chosen at random."""
    end = _ephemeral_start()
    candidates = range(LOWEST_PORT, end if end > LOWEST_PORT else _HIGHEST_PORT)
    # Random, so that two stacks that start at the same moment do not meet.
    for port in random.SystemRandom().sample(candidates, min(len(candidates), 200)):
        if port not in taken and is_free(port):
            return port
    raise StartupError("Found no free port on 127.0.0.1: end what listens there, or name ports yourself.")


def require_free(port: int, name: str, remedy: str) -> None:
    """Nothing, if `port` can be bound on the loopback interface.

    Raises:
        StartupError: it cannot; names the port, its holder if it can be found, and the remedy.
    """
    if not 0 < port <= _HIGHEST_PORT:
        raise StartupError(f"Port {port} for {name} is outside 1…{_HIGHEST_PORT}: {remedy}.")
    if is_free(port):
        return
    holder = find_holder(port)
    who = f"by {holder.name} (pid {holder.pid})" if holder else "by a process of another user"
    raise StartupError(f"Port {port} for {name} is in use {who}: end that process, or {remedy}.")


def is_free(port: int) -> bool:
    """Whether a server could listen on the port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As the servers do it: connections in TIME_WAIT do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def find_holder(port: int) -> Holder | None:
    """Who listens on the port; None where that is not visible (another user's process)."""
    inodes = _listening_inodes(port)
    if not inodes:
        return None
    for entry in os.listdir("/proc"):
        if entry.isdigit() and _holds(int(entry), inodes):
            return Holder(int(entry), _process_name(int(entry)))
    return None


def _ephemeral_start() -> int:
    try:
        return int(_EPHEMERAL_RANGE.read_text(encoding="ascii").split()[0])
    except (OSError, ValueError, IndexError):
        return _DEFAULT_EPHEMERAL_START


def _listening_inodes(port: int) -> frozenset[str]:
    suffix = f":{port:04X}"
    found: set[str] = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            lines = Path(table).read_text(encoding="ascii").splitlines()[1:]
        except OSError:
            continue
        rows = (line.split() for line in lines)
        found.update(f"socket:[{row[9]}]" for row in rows if row[1].endswith(suffix) and row[3] == _LISTEN_STATE)
    return frozenset(found)


def _holds(pid: int, inodes: frozenset[str]) -> bool:
    folder = f"/proc/{pid}/fd"
    try:
        return any(os.readlink(f"{folder}/{entry}") in inodes for entry in os.listdir(folder))
    except OSError:  # ended meanwhile, or another user's
        return False


def _process_name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip()
    except OSError:
        return "an unnamed process"
