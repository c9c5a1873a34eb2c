"""What the simulated model service does with a request: a mode, for a share of the requests, after a latency."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from aaos.local.sovereign_latency import NONE, Latency, read_latency
from aaos.local.sovereign_modes import MODES

LATENCIES: Final = ("latency", "latency_ms")
CHANGES: Final = ("mode", "share", "count", *LATENCIES)


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What the service does with a request.

    Attributes:
        mode: a key of MODES.
        share: part of the requests the mode applies to, spread evenly: at 0.5 every second one.
        count: after this many requests the mode applied to, it goes back to ok; None for never.
        latency: waited before any answer, in every mode.
    """

    mode: str = "ok"
    share: float = 1.0
    count: int | None = None
    latency: Latency = NONE

    def changed(self, changes: Mapping[str, Any]) -> Behaviour:
        """Returns the behaviour after `changes`; a new mode begins with its own share and count.

        Raises:
            ValueError: an unknown name or a value out of range; the message names it, and what may stand there.
        """
        require_known(changes, CHANGES)
        wanted = {name: value for name, value in changes.items() if name != "latency_ms"}
        for name in LATENCIES:
            if name in changes:
                wanted["latency"] = _latency(name, changes[name])
        start = Behaviour(latency=self.latency) if "mode" in changes else self
        changed = replace(start, **wanted)
        changed._check()
        return changed

    def to_dict(self) -> dict[str, Any]:
        """Returns it JSON-able."""
        return {"mode": self.mode, "share": self.share, "count": self.count, "latency": str(self.latency)}

    def _check(self) -> None:
        if not isinstance(self.mode, str) or self.mode not in MODES:
            raise ValueError(f"mode must be one of {', '.join(MODES)}, not {self.mode!r:.80}")
        if not is_number(self.share) or not 0 <= self.share <= 1:
            raise ValueError(f"share must be 0 to 1, not {self.share!r:.80}")
        if self.count is not None and (type(self.count) is not int or self.count < 1):
            raise ValueError(f"count must be a whole number from 1, or null, not {self.count!r:.80}")


def _latency(name: str, value: object) -> Latency:
    if name == "latency_ms" and not is_number(value):
        raise ValueError(f"latency_ms must be a number of milliseconds, not {value!r:.80}")
    return read_latency(value)


def require_known(given: Mapping[str, Any], known: Sequence[str]) -> None:
    """Raises ValueError, naming what is known, if `given` has a name that is not."""
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise ValueError(f"unknown: {', '.join(unknown)[:80]}; known: {', '.join(known)}")


def is_number(value: object) -> bool:
    """Returns whether it is a JSON number."""
    return isinstance(value, int | float) and not isinstance(value, bool)
