"""How the simulated model service behaves and misbehaves, and what it remembers having done."""

from __future__ import annotations

import itertools
import json
import math
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

MODES: Final[Mapping[str, str]] = {
    "ok": "a valid vote",
    "prose": "a valid vote in a code fence between sentences",
    "unknown_fields": "a valid vote with fields nobody asked for, in an envelope with more of them",
    "nan": "a vote whose confidence is NaN",
    "babble": "an envelope whose content holds no JSON",
    "garbage": "a body that is not JSON",
    "oversized": "an envelope of 4 MiB",
    "429": "Too Many Requests, with Retry-After",
    "500": "Internal Server Error",
    "slow_drip": "a valid answer, one byte every 0.25 s",
    "hang": "no answer, ever",
}
LATENCY_MAX_MS: Final = 600_000.0
ROUNDING: Final = 1e-9
"""Keeps 0.1 × 10 from being counted as less than one."""


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What the service does with a request.

    Attributes:
        latency_ms: waited before any answer, in every mode.
        mode: a key of MODES.
        share: part of the requests the mode applies to, spread evenly: at 0.5 every second one.
        count: after this many requests the mode applied to, it goes back to ok; None for never.
        model: the mode applies only to requests for this model; None for all.
    """

    latency_ms: float = 0.0
    mode: str = "ok"
    share: float = 1.0
    count: int | None = None
    model: str | None = None

    def changed(self, changes: Mapping[str, Any]) -> Behaviour:
        """Returns the behaviour after `changes`; a new mode begins with its own share, count and model.

        Raises:
            ValueError: an unknown name or a value out of range; the message names it.
        """
        unknown = sorted(set(changes) - set(asdict(self)))
        if unknown:
            raise ValueError(f"unknown: {', '.join(unknown)}; known: {', '.join(asdict(self))}")
        start = Behaviour(latency_ms=self.latency_ms) if "mode" in changes else self
        changed = replace(start, **changes)
        changed._check()
        return changed

    def _check(self) -> None:
        if self.mode not in MODES:
            raise ValueError(f"mode must be one of {', '.join(MODES)}, not {self.mode!r}")
        if not _is_number(self.latency_ms) or not 0 <= self.latency_ms <= LATENCY_MAX_MS:
            raise ValueError(f"latency_ms must be 0 to {LATENCY_MAX_MS:g}, not {self.latency_ms!r}")
        if not _is_number(self.share) or not 0 <= self.share <= 1:
            raise ValueError(f"share must be 0 to 1, not {self.share!r}")
        if self.count is not None and (type(self.count) is not int or self.count < 1):
            raise ValueError(f"count must be a whole number from 1, or null, not {self.count!r}")
        if self.model is not None and not isinstance(self.model, str):
            raise ValueError(f"model must be a model's name, or null, not {self.model!r}")


class Conduct:
    """The behaviour in force, and how far its share and count have been used up."""

    def __init__(self, behaviour: Behaviour) -> None:
        self._behaviour = behaviour
        self._seen = 0
        self._applied = 0

    @property
    def behaviour(self) -> Behaviour:
        """Returns the behaviour in force."""
        return self._behaviour

    def change(self, changes: Mapping[str, Any]) -> Behaviour:
        """Returns the new behaviour, now in force; raises ValueError as Behaviour.changed does."""
        self._set(self._behaviour.changed(changes))
        return self._behaviour

    def next_mode(self, model: str) -> str:
        """Returns the mode the next request is answered in, and counts it."""
        now = self._behaviour
        if now.mode == "ok" or now.model not in (None, model):
            return "ok"
        before, self._seen = self._seen, self._seen + 1
        if math.floor(self._seen * now.share + ROUNDING) == math.floor(before * now.share + ROUNDING):
            return "ok"
        self._applied += 1
        if now.count is not None and self._applied >= now.count:
            self._set(Behaviour(latency_ms=now.latency_ms))
        return now.mode

    def _set(self, behaviour: Behaviour) -> None:
        self._behaviour, self._seen, self._applied = behaviour, 0, 0


@dataclass(slots=True)
class Call:
    """One request to a model; `outcome` is the mode it ended in, or abandoned, or refused."""

    number: int
    request_hash: str
    model: str
    received_at: float
    finished_at: float | None = None
    outcome: str = "waiting"
    status: int | None = None
    charged: bool = False


class Transcript:
    """The newest calls, at most `capacity`; totals count all of them."""

    def __init__(self, capacity: int) -> None:
        self._calls: deque[Call] = deque(maxlen=capacity)
        self._numbers = itertools.count(1)
        self._total = 0
        self._charged = 0

    def begin(self, request_hash: str, model: str) -> Call:
        """Returns the record of a call that has just come in."""
        self._total += 1
        call = Call(next(self._numbers), request_hash, model, time.time())
        self._calls.append(call)
        return call

    def finish(self, call: Call, outcome: str, status: int | None) -> None:
        """Records how a call ended; a complete answer is charged."""
        call.outcome, call.status, call.finished_at = outcome, status, time.time()
        call.charged = status == 200 and outcome != "abandoned"  # noqa: PLR2004 - HTTP's OK
        self._charged += call.charged

    def clear(self) -> None:
        """Forgets all calls and totals; numbers go on."""
        self._calls.clear()
        self._total = self._charged = 0

    def to_json(self, since: int, limit: int) -> bytes:
        """Returns totals and up to `limit` calls with a number above `since`, oldest first."""
        wanted = (asdict(call) for call in self._calls if call.number > since)
        body = {
            "total": self._total,
            "charged": self._charged,
            "forgotten": self._total - len(self._calls),
            "calls": list(itertools.islice(wanted, limit)),
        }
        return json.dumps(body).encode("ascii")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
