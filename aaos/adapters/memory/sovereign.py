"""Sovereign from a script."""

from __future__ import annotations

from collections.abc import Callable

from aaos.domain.model_request import ModelAnswer, ModelRequest

Line = str | Exception | Callable[[ModelRequest], str]


class ScriptedSovereign:
    """Implements `ports.Sovereign`: says the lines of its script one after another, then the last one for ever.

    A line is what the model says, an error to raise, or a function of the request that returns what it says.
    """

    def __init__(self, *script: Line) -> None:
        if not script:
            raise ValueError("a script needs at least one line")
        self._script = script
        self.asked: list[ModelRequest] = []
        self.time_limits_s: list[float | None] = []

    def ask(self, request: ModelRequest, timeout_s: float | None = None) -> ModelAnswer:
        """See the port; answers at once, whatever the time limit."""
        self.time_limits_s.append(timeout_s)
        line = self._script[min(len(self.asked), len(self._script) - 1)]
        self.asked.append(request)
        if isinstance(line, Exception):
            raise line
        content = line(request) if callable(line) else line
        return ModelAnswer(
            model=request.model,
            content=content,
            tokens_in=len(request.user),
            tokens_out=len(content),
            latency_ms=1.0,
            finish_reason="stop",
            request_id=f"scripted-{len(self.asked)}",
        )
