"""A run that has a question, models that answer it by a script, and what stands between them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from typing import Any

from support.worlds import MemoryWorld, born, taken

from aaos.adapters.memory.breakers import LocalModelBreakers
from aaos.adapters.memory.limiter import LocalCallLimiter
from aaos.domain.breakers import BreakerState
from aaos.domain.call_limits import CallLimits
from aaos.domain.model_request import ModelAnswer, ModelRequest
from aaos.domain.runs import ClaimedRun
from aaos.domain.sovereign import SovereignSettings, Vote, parse_vote
from aaos.errors import (
    RateLimited,
    SovereignTimeout,
    SovereignUnavailable,
)
from aaos.ports import Sovereign
from aaos.services.ask_sovereign import ask_sovereign
from aaos.services.questions import Answered, Question, SovereignAccess

BIG, SMALL = "sovereign-32b", "sovereign-7b"
VOTE = json.dumps({"signal": "BUY", "confidence": 0.85, "risk_score": 0.25, "reasoning": "rising"})
SETTINGS = SovereignSettings(retry_delay_s=0.5, retry_after_max_s=10)
DOWN = SovereignUnavailable("cannot connect", safe_to_retry=True)
CRASHED = SovereignUnavailable("HTTP 500", status=500)

Line = str | BaseException | Callable[[], str]


class Voices:
    """Implements `ports.Sovereign`: each model says the lines of its own script, then the last one for ever."""

    def __init__(self, clock: Clock, **scripts: list[Line]) -> None:
        self._clock = clock
        self._scripts = {name.replace("_", "-"): lines for name, lines in scripts.items()}
        self.asked: list[ModelRequest] = []
        self.timeouts: list[float] = []
        self.takes_s = 1.0

    def models(self) -> list[str]:
        return [request.model for request in self.asked]

    def ask(self, request: ModelRequest, timeout_s: float | None = None) -> ModelAnswer:
        lines = self._scripts[request.model]
        line = lines.pop(0) if len(lines) > 1 else lines[0]
        self.asked.append(request)
        assert timeout_s is not None
        self.timeouts.append(timeout_s)
        self._clock.now_s += timeout_s if isinstance(line, SovereignTimeout) else self.takes_s
        if isinstance(line, BaseException):
            raise line
        said = line() if callable(line) else line
        return ModelAnswer(request.model, said, 100, 20, 1000.0, "stop", f"req-{len(self.asked)}")


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now_s += seconds


class Desk:
    """A run that has a question, and all that stands between it and the models."""

    def __init__(self, settings: SovereignSettings = SETTINGS, limits: CallLimits | None = None) -> None:
        self.clock = Clock()
        self.world = MemoryWorld()
        self.settings = settings
        self.breakers = LocalModelBreakers(settings.breaker, 130, self.clock)
        self.limiter = LocalCallLimiter(limits or CallLimits(), self.clock)
        runs = self.world.runs()
        self.run: ClaimedRun = taken(runs, born(runs))
        self.runs = runs
        self.names = count(1)

    def ask(
        self,
        voices: Sovereign,
        run: ClaimedRun | None = None,
        time_s: float = 100.0,
        read: Callable[[str], Vote] = parse_vote,
    ) -> Answered[Vote]:
        access = SovereignAccess(
            voices, self.world.ledger, self.breakers, self.limiter, self.settings, self.clock, self.clock.sleep
        )
        question = Question(
            request=ModelRequest(BIG, "system", "user"),
            decision=1,
            tier="full",
            template="vote-3",
            prompt_tokens=50,
            time_s=time_s,
            usual_time_s=100.0,
            read=read,
            repair=lambda request, said, fault: replace(request, user=f"{request.user} | {said[:20]} | {fault}"),
        )
        return ask_sovereign(run or self.run, question, access)

    def another_run(self) -> ClaimedRun:
        return taken(self.runs, born(self.runs, f"S{next(self.names)}/USDT"))

    def voices(self, big: list[Line], small: list[Line] | None = None) -> Voices:
        return Voices(self.clock, sovereign_32b=big, sovereign_7b=small or [VOTE])

    def outcomes(self) -> list[Any]:
        return [call["outcome"] for call in self.world.ledger.calls(self.run.id)]

    def state(self, model: str) -> BreakerState:
        return self.breakers.view(model).state

    def free(self) -> int:
        """Returns how many calls could be made at once now."""
        permits = 0
        while True:
            try:
                self.limiter.acquire("probe", 1, 1000)
            except RateLimited:
                return permits
            permits += 1


class Recorded:
    """Passes everything on to what stands behind it, and remembers the calls of one method."""

    def __init__(self, behind: Any, method: str) -> None:
        self._behind, self._method = behind, method
        self.calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def __getattr__(self, name: str) -> Any:
        passed_on = getattr(self._behind, name)
        if name != self._method:
            return passed_on

        def noted(*args: Any, **kwargs: Any) -> Any:
            self.calls.append((args, kwargs))
            return passed_on(*args, **kwargs)

        return noted


class Talkative:
    """Implements `ports.Sovereign`: what is said takes many tokens."""

    def __init__(self, voices: Voices) -> None:
        self._voices = voices

    def ask(self, request: ModelRequest, timeout_s: float | None = None) -> ModelAnswer:
        return replace(self._voices.ask(request, timeout_s), tokens_out=900)
