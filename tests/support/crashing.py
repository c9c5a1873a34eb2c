"""A process that dies at any call to the outside, before or after it was done."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Crash(BaseException):
    """The process is gone: nothing that it meant to do next is done."""


class Fuse:
    """Counts calls through all ports of a process; the one that it burns down at is its last.

    Attributes:
        passed: names of the calls since it was set, `port.method`.
    """

    def __init__(self) -> None:
        self.left: int | None = None
        self.after = False
        self.passed: list[str] = []

    def set(self, calls: int | None, after: bool = False) -> None:
        """Lets that many calls through, then crashes at the next: before it is done, or after. None: never."""
        self.left, self.after = calls, after
        self.passed = []

    def call(self, name: str, done: Callable[[], Any]) -> Any:
        """Does it, or dies trying."""
        self.passed.append(name)
        if self.left is None:
            return done()
        if self.left > 0:
            self.left -= 1
            return done()
        self.left = None
        if self.after:
            done()
        raise Crash(f"{'after' if self.after else 'before'} {name}")


class Crashing:
    """A port whose every method call goes through a fuse."""

    def __init__(self, name: str, port: Any, fuse: Fuse) -> None:
        self._crashing_name, self._crashing_port, self._crashing_fuse = name, port, fuse

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._crashing_port, name)
        if not callable(found) or name == "watching":  # a context: what is done within it goes through the fuse itself
            return found
        label = f"{self._crashing_name}.{name}"
        return lambda *args, **kwargs: self._crashing_fuse.call(label, lambda: found(*args, **kwargs))
