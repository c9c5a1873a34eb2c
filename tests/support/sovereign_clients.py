"""Clients of Sovereign for tests: closed when a test ends."""

from __future__ import annotations

from typing import Any

from aaos.adapters.sovereign.client import SovereignClient
from aaos.domain.sovereign import ModelRequest, SovereignSettings

REQUEST = ModelRequest(model="sovereign-32b", system="Stance: trend.", user="What now?", max_tokens=700, seed=1)


class Clients:
    def __init__(self) -> None:
        self._made: list[SovereignClient] = []

    def __call__(self, url: str, api_key: str | None = None, **settings: Any) -> SovereignClient:
        settings.setdefault("connect_timeout_s", min(5.0, settings.get("request_timeout_s", 5.0)))
        self._made.append(SovereignClient(url, SovereignSettings(**settings), api_key))
        return self._made[-1]

    def close(self) -> None:
        for client in self._made:
            client.close()


def error_of(future: Any) -> BaseException | None:
    return future.exception(10)
