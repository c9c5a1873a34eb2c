"""The simulated model service without a socket: requests to it, and what they are answered."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from aaos.local.sovereign_behaviour import Behaviour
from aaos.local.sovereign_conduct import Conduct
from aaos.local.sovereign_sim import SovereignSim
from aaos.local.sovereign_transcript import Transcript
from aaos.local.tiny_http import HttpRequest

LOCAL = "127.0.0.1"


def ask(model: str = "sovereign-32b", **more: Any) -> bytes:
    return json.dumps({"model": model, "messages": [{"role": "user", "content": "hm"}], **more}).encode()


class Answered:
    """Keeps what a request would have been answered."""

    status: int | None = 0
    body: Any = b""
    headers: Any = None
    hung_up = False

    async def __call__(self, status: int, body: object, headers: Any = None) -> None:
        self.status, self.body, self.headers = status, body, headers

    async def send_raw(self, data: bytes) -> None:
        self.body += data

    def hang_up(self, *, reset: bool = False) -> None:
        self.status, self.hung_up = None, True


def sim(conduct: Conduct | None = None, **options: Any) -> SovereignSim:
    return SovereignSim(conduct or Conduct(Behaviour()), Transcript(100), **options)


def exchange(service: SovereignSim, method: str, path: str, body: bytes = b"", peer: str = LOCAL) -> Answered:
    answered = Answered()
    path, _, query = path.partition("?")
    asked = dict(pair.split("=") for pair in query.split("&")) if query else {}
    asyncio.run(service.handle(HttpRequest(method, path, asked, body, peer), answered))
    return answered


def complete(service: SovereignSim, model: str = "sovereign-32b", **more: Any) -> Answered:
    return exchange(service, "POST", "/v1/chat/completions", ask(model, **more))


def steer(service: SovereignSim, path: str, **wanted: Any) -> Answered:
    return exchange(service, "POST", f"/sim/{path}", json.dumps(wanted).encode())


def modes(conduct: Conduct, n: int, model: str = "m") -> list[str]:
    return [conduct.next(model)[0] for _ in range(n)]
