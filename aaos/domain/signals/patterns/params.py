"""The parameters of chart patterns (the section `patterns` of `config/signals.yaml`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from annotated_types import Ge, Gt, Le

from aaos.errors import ConfigError

Span = Annotated[int, Ge(5), Le(500)]
Atrs = Annotated[float, Gt(0), Le(20)]
Share = Annotated[float, Gt(0), Le(1)]


@dataclass(frozen=True, slots=True)
class PatternParams:
    """Sizes of patterns: spans in candles, distances in ATRs, the rest as shares of the pattern's height.

    From the literature: 22 candles between two tops (Lo, Mamaysky & Wang 2000), five touches (Bulkowski 2005), a last
    touch no later than three quarters of the way to the apex (Edwards & Magee 1948). The other defaults were chosen by
    looking at what they find on hourly and one-minute BTC candles: docs/patterns.md.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    min_span: Span = 22
    max_span: Span = 120
    max_wait: Annotated[int, Ge(1), Le(500)] = 40
    max_age: Annotated[int, Ge(0), Le(500)] = 20
    break_atr: Annotated[float, Ge(0), Le(5)] = 0.25
    min_height_atr: Atrs = 4.0
    prior_trend: Annotated[float, Ge(0), Le(5)] = 0.5
    top_tolerance: Share = 0.15
    head_atr: Atrs = 1.0
    shoulder_atr: Atrs = 1.0
    shoulder_tolerance: Share = 0.25
    time_ratio: Annotated[float, Gt(1), Le(10)] = 2.5
    neckline_tolerance: Share = 0.25
    min_touches: Annotated[int, Ge(4), Le(12)] = 5
    max_touches: Annotated[int, Ge(4), Le(12)] = 9
    fit_atr: Atrs = 0.5
    flat_share: Share = 0.15
    min_width_ratio: Annotated[float, Gt(0), Le(0.95)] = 0.25
    max_width_ratio: Annotated[float, Gt(0), Le(0.95)] = 0.6
    min_quality: Annotated[float, Ge(0), Le(1)] = 0.4

    def __post_init__(self) -> None:
        for low, high in (
            ("min_span", "max_span"),
            ("min_touches", "max_touches"),
            ("min_width_ratio", "max_width_ratio"),
        ):
            if getattr(self, low) > getattr(self, high):
                raise ConfigError(
                    f"signals.patterns.{low} is {getattr(self, low)}:"
                    f" it must not be above {high} ({getattr(self, high)})"
                )

    @property
    def max_life(self) -> int:
        """How many candles after its last point a pattern can be alive."""
        return self.max_wait + self.max_age

    @property
    def settled_within(self) -> int:
        """How many candles back the last points lie that decide what is told: of the living, and of what they met.

        A status became known at most the longer of `max_wait` and `max_age` candles ago, and then met patterns that
        were alive.
        """
        return self.max_life + max(self.max_wait, self.max_age)

    @property
    def lookback(self) -> int:
        """How many of the newest candles may hold a point that matters."""
        return self.max_span + self.settled_within + 1

    @property
    def candles_needed(self) -> int:
        """How many of the newest candles can matter: the points' and, for the prior trend, one more span.

        Dropping older candles changes nothing as long as the pivots' strength is at most half of `max_span`.
        """
        return self.lookback + self.max_span
