"""What the kernel says about processes: alive or not, since when, whose child, how much memory."""

from __future__ import annotations

import os
from pathlib import Path

_KIB_PER_MIB = 1024.0
_STAT_STATE = 0  # offsets in /proc/PID/stat after the command name, see proc(5)
_STAT_PARENT = 1
_STAT_START_TICKS = 19


def start_ticks(pid: int) -> int | None:
    """When the process started, in clock ticks since boot; None if there is no such process (or a zombie).

    Together with the pid it names a process uniquely: pids are used again, this pair is not.
    """
    fields = _stat_fields(pid)
    if fields is None or fields[_STAT_STATE] in {"Z", "X"}:
        return None
    return int(fields[_STAT_START_TICKS])


def is_same_process(pid: int, ticks: int) -> bool:
    """Whether the process that was seen with this pid and start time still runs."""
    return start_ticks(pid) == ticks


def age_s(pid: int) -> float:
    """Seconds since the process started; 0 if it is gone."""
    ticks = start_ticks(pid)
    if ticks is None:
        return 0.0
    up_s = float(Path("/proc/uptime").read_text(encoding="ascii").split()[0])
    return max(0.0, up_s - ticks / os.sysconf("SC_CLK_TCK"))


def children_by_parent() -> dict[int, list[int]]:
    """All processes, keyed by their parent's pid."""
    table: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit() and (fields := _stat_fields(int(entry))) is not None:
            table.setdefault(int(fields[_STAT_PARENT]), []).append(int(entry))
    return table


def process_tree(root: int, children: dict[int, list[int]]) -> list[int]:
    """`root` and all its descendants."""
    tree, waiting = [], [root]
    while waiting:
        pid = waiting.pop()
        tree.append(pid)
        waiting.extend(children.get(pid, ()))
    return tree


def memory_pss_mib(pid: int) -> float:
    """Proportional set size in MiB; where that is not permitted the resident size (shared pages in full)."""
    for source, key in (("smaps_rollup", "Pss:"), ("status", "VmRSS:")):
        try:
            lines = Path(f"/proc/{pid}/{source}").read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:  # ended, not permitted, or a kernel without smaps_rollup
            continue
        sizes = [int(line.split()[1]) for line in lines if line.startswith(key)]
        if sizes:
            return sizes[0] / _KIB_PER_MIB
    return 0.0


def _stat_fields(pid: int) -> list[str] | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The command name is in parentheses and may itself hold blanks and parentheses.
    return text.rpartition(")")[2].split()
