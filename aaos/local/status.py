"""What runs in a state directory, and what it costs in memory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from aaos.local.probes import LOOPBACK
from aaos.local.procinfo import age_s, children_by_parent, is_same_process, memory_pss_mib, process_tree
from aaos.local.state import StateDir


@dataclass(frozen=True, slots=True)
class ProcessStatus:
    """One process of the stack with all processes it started."""

    name: str
    pid: int | None
    state: str
    restarts: int
    uptime_s: float
    memory_pss_mb: float
    port: int | None = None
    processes: int = 0


@dataclass(frozen=True, slots=True)
class StackStatus:
    """The whole stack; memory is proportional set size in MiB, summed over everything and the supervisor."""

    state_dir: str
    running: bool
    pid: int | None
    uptime_s: float
    memory_pss_mb: float
    flower_url: str | None
    processes: tuple[ProcessStatus, ...]


def status(state_dir: Path) -> StackStatus:
    """What runs in `state_dir` now; `running` is False if nothing does."""
    state = StateDir(state_dir)
    pid = state.supervisor_pid()
    if pid is None:
        return StackStatus(str(state.path), False, None, 0.0, 0.0, None, ())
    record = state.read_record()
    tree = children_by_parent()
    supervisor = ProcessStatus("supervisor", pid, "ready", 0, round(age_s(pid), 1), _own_memory(pid), processes=1)
    children = tuple(_process_status(entry, tree) for entry in record.get("children", ()))
    processes = (supervisor, *children)
    port = record.get("flower_port")
    return StackStatus(
        state_dir=str(state.path),
        running=True,
        pid=pid,
        uptime_s=supervisor.uptime_s,
        memory_pss_mb=round(sum(process.memory_pss_mb for process in processes), 1),
        flower_url=f"http://{LOOPBACK}:{port}" if port else None,
        processes=processes,
    )


def _own_memory(pid: int) -> float:
    return round(memory_pss_mib(pid), 1)


def _process_status(entry: dict[str, object], tree: dict[int, list[int]]) -> ProcessStatus:
    pid, ticks, port = entry["pid"], entry["start_ticks"], entry["port"]
    alive = isinstance(pid, int) and isinstance(ticks, int) and is_same_process(pid, ticks)
    pids = process_tree(pid, tree) if alive and isinstance(pid, int) else []
    return ProcessStatus(
        name=str(entry["name"]),
        pid=pid if alive and isinstance(pid, int) else None,
        state=str(entry["state"]),
        restarts=int(str(entry["restarts"])),
        uptime_s=round(age_s(pids[0]), 1) if pids else 0.0,
        memory_pss_mb=round(sum(memory_pss_mib(each) for each in pids), 1),
        port=port if isinstance(port, int) else None,
        processes=len(pids),
    )
