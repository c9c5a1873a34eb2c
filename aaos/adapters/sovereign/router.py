"""Models that are served at different addresses, asked as one service."""

from __future__ import annotations

from collections.abc import Mapping

from aaos.adapters.sovereign.client import SovereignClient
from aaos.domain.model_request import ModelAnswer, ModelRequest


class ModelRouter:
    """Implements `ports.Sovereign`: asks each model where it is served."""

    def __init__(self, everywhere_else: SovereignClient, elsewhere: Mapping[str, SovereignClient]) -> None:
        """Takes the client of all models but those named, and theirs by model."""
        self._default = everywhere_else
        self._elsewhere = elsewhere

    def ask(self, request: ModelRequest, timeout_s: float | None = None) -> ModelAnswer:
        """See the port."""
        return self._elsewhere.get(request.model, self._default).ask(request, timeout_s)

    def close(self) -> None:
        """Closes the connections of all."""
        for client in {self._default, *self._elsewhere.values()}:
            client.close()
