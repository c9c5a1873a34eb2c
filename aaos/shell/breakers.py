"""How the models' breakers stand, as all workers see it."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aaos.bootstrap import Container
    from aaos.domain.breakers import BreakerView


def breaker_rows(container: Container) -> list[dict[str, Any]]:
    """Returns a row per model that voters or the fallback use: model, state, failures_in_a_row, retry_after_s.

    All but the model is None where Redis is away: this process's own breaker has seen nothing.
    """
    chosen = container.settings
    fallback = chosen.sovereign.fallback_model
    models = [voter.model for voter in chosen.voters.values()] + ([] if fallback is None else [fallback])
    return [_row(container.breakers.view(model)) for model in dict.fromkeys(models)]


def _row(seen: BreakerView) -> dict[str, Any]:
    row = asdict(seen)
    if row.pop("local"):
        return {name: value if name == "model" else None for name, value in row.items()}
    return {**row, "state": seen.state.value.replace("_", "-")}
