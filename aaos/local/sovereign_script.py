"""A sequence of behaviours: so many requests of one, so many seconds of the next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from aaos.local.sovereign_behaviour import CHANGES, LATENCIES, Behaviour, is_number, require_known
from aaos.local.sovereign_latency import Latency

STEPS_MAX: Final = 100
STEP_LEAST_S: Final = 0.01
STEP_MOST_S: Final = 86_400.0
STEP_FIELDS: Final = ("mode", "share", *LATENCIES, "calls", "seconds")


@dataclass(frozen=True, slots=True)
class Step:
    """A stretch of a script: so many requests, or so many seconds, or (the last one) for ever."""

    behaviour: Behaviour
    calls: int | None = None
    seconds: float | None = None


class Script:
    """Steps one after another; where it stands follows from the requests and the time."""

    def __init__(self, steps: Sequence[Step], repeat: bool, now: float) -> None:
        self.steps = tuple(steps)
        self.repeat = repeat
        self.position = 0
        self._began = now
        self._calls = 0
        times = [step.seconds for step in steps if step.seconds is not None]
        self._round_s = sum(times) if repeat and len(times) == len(steps) else None

    def at(self, now: float) -> Step | None:
        """Returns the step that is on, None when the script is over."""
        if self._round_s is not None:
            self._began += (now - self._began) // self._round_s * self._round_s
        while (step := self._step()) and step.seconds is not None and now - self._began >= step.seconds:
            self._advance(self._began + step.seconds)
        return step

    def count(self, now: float) -> None:
        """Counts a request to the step that is on."""
        step = self._step()
        self._calls += 1
        if step is not None and step.calls is not None and self._calls >= step.calls:
            self._advance(now)

    def _step(self) -> Step | None:
        return self.steps[self.position] if self.position < len(self.steps) else None

    def _advance(self, now: float) -> None:
        self.position, self._calls, self._began = self.position + 1, 0, now
        if self.repeat:
            self.position %= len(self.steps)


def read_script(wanted: Mapping[str, Any], latency: Latency, now: float) -> Script:
    """Returns the script that a request asks for, beginning now; raises ValueError naming what is wrong.

    Args:
        wanted: {"steps": [{"mode", "share", "latency", "calls" | "seconds"}, …], "repeat"}.
        latency: of the steps that name none.
        now: seconds, on the clock that `Script.at` will be asked by.
    """
    require_known(wanted, ("steps", "repeat"))
    steps, repeat = wanted.get("steps"), wanted.get("repeat", False)
    if not isinstance(repeat, bool):
        raise ValueError(f"repeat must be true or false, not {repeat!r:.80}")
    if not isinstance(steps, list) or not 1 <= len(steps) <= STEPS_MAX:
        raise ValueError(f'steps must be a list of 1 to {STEPS_MAX} objects like {{"mode": "500", "calls": 3}}')
    read = [_read_step(number, step, latency) for number, step in enumerate(steps, 1)]
    endless = [n for n, step in enumerate(read, 1) if step.calls is None and step.seconds is None]
    if endless and (repeat or endless[0] < len(read)):
        raise ValueError(f"steps: number {endless[0]} needs calls or seconds; only the last one may go on for ever")
    return Script(read, repeat, now)


def _read_step(number: int, step: object, latency: Latency) -> Step:
    if not isinstance(step, dict):
        raise ValueError(f'steps: number {number} must be an object like {{"mode": "500", "calls": 3}}')
    try:
        require_known(step, STEP_FIELDS)
        fields = {name: value for name, value in step.items() if name in CHANGES}
        calls, seconds = step.get("calls"), step.get("seconds")
        if calls is not None and (type(calls) is not int or calls < 1):
            raise ValueError(f"calls must be a whole number from 1, not {calls!r:.80}")
        if seconds is not None and not (is_number(seconds) and STEP_LEAST_S <= seconds <= STEP_MOST_S):
            raise ValueError(f"seconds must be {STEP_LEAST_S:g} to {STEP_MOST_S:g}, not {seconds!r:.80}")
        if calls is not None and seconds is not None:
            raise ValueError("calls and seconds: give one of them")
        return Step(Behaviour(latency=latency).changed({"mode": "ok"} | fields), calls, seconds)
    except ValueError as error:
        raise ValueError(f"steps: number {number}: {error}") from None
