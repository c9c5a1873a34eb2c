"""Becomes another program, after tying its life to its owner's and shedding root where asked.

Run by path, never imported by the stack (`python -I -S launch.py IDENTITY SIGNAL OWNER -- COMMAND…`), so that
everything that must happen between fork and exec happens in a process of one thread: `preexec_fn` in an owner
with threads may deadlock, and `unshare(CLONE_NEWUSER)` refuses a process with threads.

IDENTITY is `same`, `unshare` or `nobody` (see `identity.py`); SIGNAL reaches the program when its owner dies;
OWNER is the owner's pid. Linux ties the signal to the owner's *thread*: owners start children from a thread
that lives as long as they do.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h
PR_SET_KEEPCAPS = 8
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
CLONE_NEWUSER = 0x10000000  # linux/sched.h
CAPABILITY_VERSION_3 = 0x20080522  # linux/capability.h
CAP_DAC_OVERRIDE = 1
CAP_DAC_READ_SEARCH = 2
NOBODY = 65534  # the kernel's overflow uid, `nobody` on every distribution
EXIT_REFUSED = 126
EXIT_NOT_FOUND = 127


class _CapabilityHeader(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _CapabilitySet(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


def _checked(libc: ctypes.CDLL, name: str, *arguments: object) -> None:
    if getattr(libc, name)(*arguments) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")


def _become_nobody(libc: ctypes.CDLL) -> None:
    """Uid and gid 65534, keeping only the right to pass directories that are closed to others.

    Without that right neither the virtual environment nor the state directory of a root user (under
    /root, say) could be reached, and both would have to be copied.
    """
    _checked(libc, "prctl", PR_SET_KEEPCAPS, 1, 0, 0, 0)
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    header = _CapabilityHeader(CAPABILITY_VERSION_3, 0)
    sets = (_CapabilitySet * 2)()
    _checked(libc, "capget", ctypes.byref(header), sets)
    kept = sets[0].permitted & (1 << CAP_DAC_OVERRIDE | 1 << CAP_DAC_READ_SEARCH)
    sets[0] = _CapabilitySet(kept, kept, kept)
    sets[1] = _CapabilitySet(0, 0, 0)
    _checked(libc, "capset", ctypes.byref(header), sets)
    for capability in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):
        if kept & (1 << capability):
            _checked(libc, "prctl", PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0)


def _prepare(identity: str, death_signal: int, owner: int) -> None:
    """Change identity, then ask for the death signal: changing identity would clear it."""
    libc = ctypes.CDLL(None, use_errno=True)
    if identity == "unshare":
        _checked(libc, "unshare", CLONE_NEWUSER)
    elif identity == "nobody":
        _become_nobody(libc)
    _checked(libc, "prctl", PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
    if os.getppid() != owner:
        raise OSError("the process that asked for this one is already gone")


def main(arguments: list[str]) -> int:
    """Exit status of a launch that failed; a launch that succeeds never returns."""
    identity, death_signal, owner = arguments[0], int(arguments[1]), int(arguments[2])
    command = arguments[4:]
    # Python ignores these two, and what is ignored stays ignored across exec.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    try:
        if sys.platform == "linux":
            _prepare(identity, death_signal, owner)
    except OSError as error:
        print(f"launch refused: {error}", file=sys.stderr)
        return EXIT_REFUSED
    try:
        os.execvp(command[0], command)
    except OSError as error:
        print(f"cannot run {command[0]}: {error}", file=sys.stderr)
        return EXIT_NOT_FOUND


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
