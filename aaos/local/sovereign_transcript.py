"""What the simulated model service remembers having been asked."""

from __future__ import annotations

import itertools
import json
import time
from collections import deque
from dataclasses import asdict, dataclass

OK = 200


@dataclass(slots=True)
class Call:
    """One request to a model.

    Attributes:
        number: counts from 1, over the life of the process.
        request_hash: what `ModelRequest.prompt_hash` is to the asking side; "" for a request that could not be read.
        received_at: seconds since 1970, like `finished_at`, which is None while it is under way.
        mode: what it was to be answered with.
        outcome: waiting; then the mode, or abandoned (the client hung up), refused (400), down, or missing (404).
        status: of the response, None where there was none.
        charged: whether a complete answer was handed over.
    """

    number: int
    request_hash: str
    model: str
    received_at: float
    finished_at: float | None = None
    mode: str = ""
    outcome: str = "waiting"
    status: int | None = None
    charged: bool = False
    tokens_in: int = 0
    tokens_out: int = 0


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

    def finish(self, call: Call, outcome: str, status: int | None, *, complete: bool = True) -> None:
        """Records how a call ended; a complete answer is charged."""
        call.outcome, call.status, call.finished_at = outcome, status, time.time()
        call.charged = complete and status == OK and outcome != "abandoned"
        self._charged += call.charged

    def clear(self) -> None:
        """Forgets all calls and totals; numbers go on."""
        self._calls.clear()
        self._total = self._charged = 0

    def totals(self) -> dict[str, int]:
        """Returns how many calls there were, how many are remembered, how many are under way."""
        waiting = sum(call.finished_at is None for call in self._calls)
        return {"total": self._total, "charged": self._charged, "remembered": len(self._calls), "waiting": waiting}

    def to_json(self, since: int, limit: int, model: str | None = None) -> bytes:
        """Returns totals and up to `limit` calls (of `model`) with a number above `since`, oldest first."""
        wanted = (
            asdict(call) for call in self._calls if call.number > since and (model is None or call.model == model)
        )
        body = {
            "total": self._total,
            "charged": self._charged,
            "forgotten": self._total - len(self._calls),
            "calls": list(itertools.islice(wanted, limit)),
        }
        return json.dumps(body).encode("ascii")
