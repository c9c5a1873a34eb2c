"""Whether the model service is the one that was meant: what its list of models says about address, key and names."""

from __future__ import annotations

import json
from collections.abc import Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from aaos.shell.lists import shortened

if TYPE_CHECKING:
    from aaos.settings import Settings

NAMES_SHOWN_CHARS = 200
DEFAULT_TAG = ":latest"
"""What Ollama adds to a name in its list; asked for, the name is the same without."""


def models_asked(settings: Settings) -> list[str]:
    """Returns the models that are asked at the common address: the voters' and the fallback."""
    fallback = settings.sovereign.fallback_model
    asked = [voter.model for voter in settings.voters.values()] + ([] if fallback is None else [fallback])
    elsewhere = {name for name, card in settings.models.items() if card.url is not None}
    return [model for model in dict.fromkeys(asked) if model not in elsewhere]


def problem_of(status: int, body: bytes, wanted: Sequence[str]) -> str | None:
    """Returns what is wrong with an answer to `GET …/models`, with the remedy; None where nothing seems to be.

    Args:
        status: the HTTP status.
        body: as received; untrusted.
        wanted: the models that will be asked for.
    """
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return f"it answers {status}: is AAOS_SOVEREIGN_API_KEY right?"
    if status != HTTPStatus.OK:
        return f"it answers {status} to GET /models: is AAOS_SOVEREIGN_URL right, up to and including /v1?"
    served = _served(body)
    if served is None:
        return "its list of models cannot be read: is AAOS_SOVEREIGN_URL right, up to and including /v1?"
    missing = [model for model in wanted if model not in served]
    if not missing:
        return None
    names = shortened(", ".join(dict.fromkeys(name.removesuffix(DEFAULT_TAG) for name in served)), NAMES_SHOWN_CHARS)
    return (
        f"it does not list {', '.join(missing)}, it lists {names or 'none'}: give the models these names there, "
        "or use its names in config/voters.yaml and sovereign.fallback_model (docs/sovereign.md)"
    )


def _served(body: bytes) -> list[str] | None:
    """Returns the names in a list of models, each also without the default tag; None for what is no such list."""
    try:
        listed: Any = json.loads(body)
        names = [str(model["id"]) for model in listed["data"]]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return names + [name.removesuffix(DEFAULT_TAG) for name in names if name.endswith(DEFAULT_TAG)]
