"""Schedules: what recurs, how often, and what it must wait for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Final, Literal

from annotated_types import Ge, Gt, Le, MinLen

from aaos.errors import ConfigError

OnRestart = Literal["rerun", "skip", "alert"]
ALL_SYMBOLS: Final = "*"
"""The symbol of a run that is for all symbols at once."""
JOINT: Final = frozenset({"portfolio_rebalance"})
"""Schedules with one such run per slot; it waits for the runs of every symbol."""
RATE: Final = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?/[smh]")
"""What Celery takes as `rate_limit`, less the forms that hide the unit or switch the limit off."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """A recurring job; one run per symbol and slot.

    Attributes:
        every_s: interval in seconds at speed 1; also the width of a slot.
        depends_on: schedules whose run for the current slot must be completed first.
        enabled: whether beat ticks it.
        max_age_factor: an input older than this many of *its own* intervals is stale.
        on_restart: what happens, at start, to runs whose worker died with the last stop.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    every_s: Annotated[float, Ge(1), Le(7 * 86_400)]
    depends_on: tuple[str, ...] = ()
    enabled: bool = True
    max_age_factor: Annotated[float, Gt(0), Le(100)] = 2.0
    on_restart: OnRestart = "rerun"


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of run: its queue carries the same name, so a worker per kind is a worker per queue.

    Attributes:
        requires: capabilities a worker must have to take it.
        pool: `cpu` wants Celery's prefork pool (its time limits work there), `io` the threads pool.
        timeout_seconds: hard limit of one attempt; for a kind with inputs, of the whole wait and work.
        max_concurrent: runs of this kind that may be running at once, over all workers.
        publish: whether results go to the stream `aaos:results:{kind}`.
        rate_limit: Celery's own brake on a kind's messages, per worker process: `60/m`, or `/s`, `/h`; None for none.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    requires: Annotated[tuple[str, ...], MinLen(1)]
    pool: Literal["cpu", "io"]
    timeout_seconds: Annotated[float, Ge(1), Le(1500)]
    max_concurrent: Annotated[int, Ge(1), Le(10_000)] = 3
    publish: bool = True
    rate_limit: str | None = None

    def __post_init__(self) -> None:
        given = self.rate_limit
        if given is not None and (RATE.fullmatch(given) is None or not float(given.partition("/")[0])):
            raise ValueError(
                f"rate_limit = {given!r} must be a number above 0 and a unit (s, m or h), as in 60/m; null for none"
            )


def check_dependencies(schedules: Mapping[str, Schedule]) -> None:
    """Raises ConfigError for an unknown name, a self-dependency or a cycle in `depends_on`, naming it."""
    for name, schedule in schedules.items():
        for dependency in schedule.depends_on:
            if dependency == name:
                raise ConfigError(f"schedules.{name}.depends_on: {name} cannot depend on itself")
            if dependency not in schedules:
                known = ", ".join(sorted(schedules))
                raise ConfigError(f"schedules.{name}.depends_on: unknown schedule {dependency!r}; known: {known}")
            if schedule.enabled and not schedules[dependency].enabled:
                raise ConfigError(f"schedules.{name}.depends_on: {dependency} is not enabled; enable it or drop it")
    cycle = find_cycle({name: schedule.depends_on for name, schedule in schedules.items()})
    if cycle:
        raise ConfigError(f"schedules: depends_on runs in a circle: {' → '.join(cycle)}")


def check_depth(schedules: Mapping[str, Schedule]) -> None:
    """Raises ConfigError for a schedule that would have to wait through more levels than pipelines have, naming both.

    A run of one symbol waits for runs that wait for nothing; one of all symbols may wait for those, too.
    """
    for name, schedule in schedules.items():
        for needed in schedule.depends_on:
            if needed in JOINT:
                raise ConfigError(
                    f"schedules.{name}.depends_on: {needed} is one run for all symbols; nothing can wait for it"
                )
            if schedules[needed].depends_on and name not in JOINT:
                raise ConfigError(
                    f"schedules.{name}.depends_on: {needed} waits for others itself; a schedule can only depend on "
                    f"ones that depend on nothing, but for {', '.join(sorted(JOINT))}"
                )


def find_cycle(graph: Mapping[str, Iterable[str]]) -> list[str]:
    """Returns one cycle as [a, b, …, a], or [] when there is none (depth-first search, three colours)."""
    finished: set[str] = set()

    def visit(node: str, path: list[str]) -> list[str]:
        if node in path:
            return [*path[path.index(node) :], node]
        if node in finished:
            return []
        for successor in graph.get(node, ()):
            cycle = visit(successor, [*path, node])
            if cycle:
                return cycle
        finished.add(node)
        return []

    for start in graph:
        cycle = visit(start, [])
        if cycle:
            return cycle
    return []
