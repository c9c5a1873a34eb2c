"""Small files of a state directory: written whole or not at all, readable by their owner only."""

from __future__ import annotations

import json
import os
import secrets
import stat
from pathlib import Path
from typing import Any

from aaos.errors import StartupError

PRIVATE_FILE = 0o600
PRIVATE_DIRECTORY = 0o700
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_PASSWORD_BYTES = 24  # 192 bits, 32 characters


def make_directory(path: Path) -> Path:
    """`path`, made if missing (owner only).

    Raises:
        StartupError: it cannot be made or written; names the remedy.
    """
    try:
        path.mkdir(mode=PRIVATE_DIRECTORY, parents=True, exist_ok=True)
    except OSError as error:
        raise StartupError(
            f"Cannot make {path} ({error.strerror}): choose another directory with --state DIR."
        ) from error
    if not os.access(path, os.W_OK | os.X_OK):
        owner = path.stat().st_uid
        raise StartupError(
            f"{path} is not writable for uid {os.geteuid()} (it belongs to uid {owner}): "
            "run as that user, or choose another directory with --state DIR."
        )
    return path


def write_private(path: Path, text: str) -> None:
    """Replace `path` by a file of mode 0600 with this text, in one step."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, PRIVATE_FILE)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        os.fchmod(descriptor, PRIVATE_FILE)
        file.write(text)
        file.flush()
        os.fsync(descriptor)
    draft.replace(path)


def read_json(path: Path) -> dict[str, Any]:
    """The object stored in `path`; empty if there is no such file.

    Raises:
        StartupError: the file is not a JSON object; names the remedy.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise StartupError(f"{path} is damaged ({error}): delete it and start again.") from error
    if not isinstance(content, dict):
        raise StartupError(f"{path} is damaged (not an object): delete it and start again.")
    return content


def password(state_dir: Path, name: str) -> str:
    """The password called `name` of this state directory, made at the first use.

    Raises:
        StartupError: the file may be read by other users; names the remedy.
    """
    path = password_file(state_dir, name)
    if not path.exists():
        make_directory(path.parent)
        write_private(path, secrets.token_urlsafe(_PASSWORD_BYTES) + "\n")
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & _OTHERS:
        raise StartupError(f"{path} may be read by other users (mode {mode:o}): chmod 600 '{path}'.")
    return path.read_text(encoding="utf-8").strip()


def password_file(state_dir: Path, name: str) -> Path:
    """Where the password called `name` is kept."""
    return state_dir / "secrets" / name
