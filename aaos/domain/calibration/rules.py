"""When a vote's outcome is known, what counts as right, and how much evidence teaches how much."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from annotated_types import Ge, Gt, Le


@dataclass(frozen=True, slots=True)
class CalibrationRules:
    """Section `calibration` of the configuration: when a vote's outcome is known, and whether it counts."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    horizon_candles: Annotated[int, Ge(1), Le(10_000)] = 24
    min_move_fraction: Annotated[float, Ge(0), Le(1)] = 0.0012
    min_votes: Annotated[int, Ge(1), Le(1_000_000)] = 50
    prior_votes: Annotated[float, Gt(0), Le(1_000_000)] = 50.0
    window_votes: Annotated[int, Ge(1), Le(1_000_000)] = 20_000
    use_learned_trust: bool = False
    score_every_s: Annotated[float, Ge(1), Le(3_600)] = 30.0
    score_time_s: Annotated[float, Gt(0), Le(60)] = 2.0
