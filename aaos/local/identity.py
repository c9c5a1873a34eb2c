"""Under which identity PostgreSQL runs: it refuses to be root.

A user with an account runs it as himself. Root, and a uid without an account (a container started with
`--user 1234`: `initdb` insists on a name), runs it in a user namespace of its own without a mapping
(`unshare`): the server then sees uid 65534 while its files stay their owner's: nothing is chowned or copied.
Where that is refused (a chroot, Docker's default seccomp profile) root runs it as `nobody`, and its data
directory is chowned.
"""

from __future__ import annotations

import functools
import os
import pwd
import signal
import subprocess
from pathlib import Path

from aaos.errors import StartupError
from aaos.local.launch import NOBODY
from aaos.local.spawn import Identity, launcher

_PROBE_TIMEOUT_S = 20.0


@functools.cache
def unprivileged_identity() -> Identity:
    """`same` for users with an account; otherwise the best of `unshare` and `nobody` this machine allows."""
    if os.geteuid() != 0 and _has_account(os.geteuid()):
        return "same"
    probe = subprocess.run(
        [*launcher("unshare", signal.SIGKILL), "true"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=_PROBE_TIMEOUT_S,
        check=False,
    )
    if probe.returncode == 0:
        return "unshare"
    if os.geteuid() == 0:
        return "nobody"
    raise StartupError(
        f"PostgreSQL needs an account for uid {os.geteuid()}: add one to /etc/passwd, or be another user."
    )


def _has_account(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True


def give_to(directory: Path, identity: Identity) -> None:
    """Make everything under `directory` belong to the kernel uid that `identity` runs with.

    A data directory may have been made under another identity (other machine, other container).
    """
    if os.geteuid() != 0:
        return
    owner = NOBODY if identity == "nobody" else 0
    if directory.stat().st_uid == owner:
        return
    os.chown(directory, owner, owner)
    for path in directory.rglob("*"):
        os.chown(path, owner, owner, follow_symlinks=False)
