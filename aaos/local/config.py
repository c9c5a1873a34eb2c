"""`config/local.yaml` and AAOS_LOCAL__* as one frozen object, read without pydantic (see `aaos.local_settings`)."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aaos.config_sources import DELIMITER, PREFIX, check_variables, nearest, read_yaml
from aaos.errors import ConfigError
from aaos.local_settings import LocalConfig

__all__ = ["LocalConfig", "load_config"]

KEYS = tuple(field.name for field in dataclasses.fields(LocalConfig))
SECTION = f"{PREFIX}LOCAL"


def load_config(directory: Path, environ: Mapping[str, str] = os.environ) -> LocalConfig:
    """The settings in the environment, else in `directory/local.yaml`, else the defaults.

    Raises:
        ConfigError: not readable as YAML, a key that is unknown or there twice, or a value outside its range.
    """
    path = directory / "local.yaml"
    try:
        values = read_yaml(path)
    except FileNotFoundError:
        values = {}
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: must be a list of `key: value` lines")
    values = {**values, **_named_in(environ)}
    unknown = [str(key) for key in values if key not in KEYS]
    if unknown:
        hint = nearest(unknown[0], KEYS)
        raise ConfigError(f"{path}: unknown key {', '.join(unknown)}{hint}; known are {', '.join(KEYS)}")
    return LocalConfig(**values)


def _named_in(environ: Mapping[str, str]) -> dict[str, Any]:
    """Returns what AAOS_LOCAL (a JSON object) and AAOS_LOCAL__* say, as `aaos.settings` would have it."""
    ours = {name.upper(): value for name, value in environ.items() if name.upper().startswith(SECTION)}
    check_variables(ours, {"local": {key: {} for key in KEYS}}, {})
    try:
        whole = dict(json.loads(ours.pop(SECTION, "{}")))
    except (ValueError, TypeError):
        raise ConfigError(f"{SECTION}: must be a JSON object; single keys are {SECTION}{DELIMITER}<KEY>") from None
    return whole | {name.split(DELIMITER)[1].lower(): _number(value) for name, value in ours.items()}


def _number(text: str) -> int | float | str:
    """Returns the number; the text itself, for the key's range to refuse, where it is none."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
