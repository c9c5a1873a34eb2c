"""Section `local` of the configuration: how the embedded stack runs.

A plain dataclass that checks itself: the supervisor reads it without pydantic, whose memory it would keep.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar

from aaos.errors import ConfigError


@dataclass(frozen=True, slots=True)
class LocalConfig:
    """How the embedded stack runs; units and meaning stand in `config/local.yaml`."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    cpu_processes: int = 2
    io_threads: int = 8
    trader_threads: int = 4
    restart_delay_s: float = 10.0
    restart_delay_max_s: float = 60.0
    server_restart_delay_s: float = 1.0
    young_s: float = 60.0
    crash_limit: int = 5
    start_timeout_s: float = 120.0
    worker_stop_grace_s: float = 45.0
    stop_grace_s: float = 15.0
    log_max_mb: int = 5
    valkey_max_memory_mb: int = 128

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            _check(field.name, getattr(self, field.name), whole=field.type == "int")
        if self.restart_delay_max_s < self.restart_delay_s:
            raise ConfigError(
                f"local.restart_delay_max_s: {self.restart_delay_max_s} is below "
                f"local.restart_delay_s ({self.restart_delay_s})"
            )


_RANGES: dict[str, tuple[float, float]] = {
    "cpu_processes": (1, 64),
    "io_threads": (2, 256),
    "trader_threads": (2, 64),
    "restart_delay_s": (0, 600),
    "restart_delay_max_s": (0, 3600),
    "server_restart_delay_s": (0, 600),
    "young_s": (1, 3600),
    "crash_limit": (1, 100),
    "start_timeout_s": (5, 3600),
    "worker_stop_grace_s": (1, 3600),
    "stop_grace_s": (1, 3600),
    "log_max_mb": (1, 1024),
    "valkey_max_memory_mb": (16, 65536),
}


def _check(name: str, value: Any, *, whole: bool) -> None:
    low, high = _RANGES[name]
    kinds = (int,) if whole else (int, float)
    # `not low <= value <= high`, since NaN compares false with everything.
    if isinstance(value, bool) or not isinstance(value, kinds) or not low <= value <= high:
        kind = "a whole number" if whole else "a number"
        raise ConfigError(f"local.{name}: {value!r} is not {kind} from {low:g} to {high:g}")
