"""`/sim/*`: how tests and drills steer the simulated model service, and what it tells them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from aaos.local.sovereign_conduct import Conduct
from aaos.local.sovereign_models import Character
from aaos.local.sovereign_modes import GROUPS
from aaos.local.sovereign_transcript import Transcript
from aaos.local.tiny_http import HttpRequest

PAGE_CALLS: Final = 5_000


class Control:
    """Answers what is asked of `/sim/*`."""

    def __init__(
        self,
        conduct: Conduct,
        transcript: Transcript,
        models: Mapping[str, Character],
        drop: Callable[[str | None], None],
    ) -> None:
        """`drop` ends the calls that are under way to a model (None: to all), when it goes down."""
        self._conduct = conduct
        self._transcript = transcript
        self._models = models
        self._drop = drop
        self._routes: Mapping[str, Callable[[HttpRequest], Any]] = {
            "POST /sim/behaviour": lambda request: conduct.change(_object(request.body)),
            "GET /sim/behaviour": lambda _: conduct.behaviour.to_dict(),
            "POST /sim/script": lambda request: conduct.follow(_object(request.body)),
            "POST /sim/down": lambda request: self._set_down(request, down=True),
            "POST /sim/up": lambda request: self._set_down(request, down=False),
            "GET /sim/state": lambda _: self._state(),
            "GET /sim/modes": lambda _: GROUPS,
            "DELETE /sim/transcript": lambda _: self._forget(),
        }

    def answer(self, request: HttpRequest) -> bytes | None:
        """Returns the body of the answer, None when nothing is there; raises ValueError naming what is wrong."""
        route = f"{request.method} {request.path.rstrip('/')}"
        if route == "GET /sim/transcript":
            return self._calls(request.query)
        found = self._routes.get(route)
        return None if found is None else json.dumps(found(request)).encode("ascii")

    def _calls(self, query: Mapping[str, str]) -> bytes:
        since, limit = (_whole(query, name) for name in ("since", "limit"))
        return self._transcript.to_json(since, limit if 0 < limit < PAGE_CALLS else PAGE_CALLS, query.get("model"))

    def _forget(self) -> dict[str, str]:
        self._transcript.clear()
        return {"status": "forgotten"}

    def _set_down(self, request: HttpRequest, *, down: bool) -> dict[str, Any]:
        model = self._conduct.set_down(_object(request.body) if request.body.strip() else {}, down)
        if down:
            self._drop(model)
        return self._conduct.to_dict()

    def _state(self) -> dict[str, Any]:
        served = {
            name: {"character": each.name, "says": each.says, "latency": str(each.latency)}
            for name, each in self._models.items()
        }
        return {"served": served} | self._conduct.to_dict() | self._transcript.totals()


def _object(body: bytes) -> dict[str, Any]:
    try:
        changes = json.loads(body)
    except ValueError as error:
        raise ValueError(f'the body is not JSON ({error}); send an object like {{"mode": "500"}}') from None
    if not isinstance(changes, dict):
        raise ValueError('expected a JSON object, like {"mode": "500"}')
    return changes


def _whole(query: Mapping[str, str], name: str) -> int:
    text = query.get(name, "0")
    if not text.isdecimal():
        raise ValueError(f"{name} must be a whole number from 0, not {text!r:.80}")
    return int(text[:18])
