"""Parameters of regime, Wyckoff phase and volume trend (`config/regime.yaml`), and the labels they lead to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge, Gt, Le, Lt

from aaos.errors import ConfigError

Regime = Literal["trending_up", "trending_down", "ranging", "volatile"]
WyckoffPhase = Literal["accumulation", "markup", "distribution", "markdown", "unknown"]
VolumeTrend = Literal["rising", "declining", "flat"]

Count = Annotated[int, Ge(1), Le(2_000)]
Window = Annotated[int, Ge(5), Le(2_000)]
Sigmas = Annotated[float, Ge(0), Le(10)]
Share = Annotated[float, Ge(0), Le(1)]
Weight = Annotated[float, Ge(0), Le(10)]
Multiple = Annotated[float, Gt(0), Le(100)]


@dataclass(frozen=True, slots=True)
class EventParams:
    """What makes a Wyckoff event: sizes in mean true ranges of the candles before it ("ATRs"), volume in their mean."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    baseline: Window = 48
    lookback: Window = 96
    climax_range_atrs: Multiple = 2.0
    climax_volume: Multiple = 2.5
    climax_move_atrs: Multiple = 8.0
    climax_close: Share = 0.35
    rally_window: Window = 24
    rally_share: Share = 0.33
    test_window: Window = 72
    test_zone: Share = 0.25
    test_volume: Multiple = 0.6
    spring_gap: Count = 12
    spring_return: Annotated[int, Ge(1), Le(20)] = 3
    spring_close: Share = 0.4
    spring_bounce_atrs: Multiple = 4.0
    spring_depth_atrs: Multiple = 4.0
    spring_range_atrs: Multiple = 25.0
    sign_window: Window = 12
    sign_move_atrs: Multiple = 4.0
    sign_volume: Multiple = 1.3
    sign_position: Share = 0.75

    def __post_init__(self) -> None:
        if self.spring_gap >= self.lookback:
            raise ConfigError(
                f"regime.events.spring_gap is {self.spring_gap}: allowed are 1 to {self.lookback - 1}, below lookback"
            )

    @property
    def memory(self) -> int:
        """How many candles back an event may look, itself included: older ones change nothing about it."""
        climax = self.rally_window + self.test_window
        return max(self.baseline, self.lookback) + max(climax, 3 * self.sign_window, self.spring_return) + 2


@dataclass(frozen=True, slots=True)
class PhaseParams:
    """How much each kind of evidence weighs in a phase's score 0…1, and the scores to enter and to leave it."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    zone: Annotated[float, Gt(0), Le(0.5)] = 0.15
    level_candles: Count = 24
    prior_sigmas_low: Sigmas = 0.8
    prior_sigmas_full: Sigmas = 1.6
    carried_prior: Share = 0.7
    stop_candles_low: Count = 12
    stop_candles_full: Count = 48
    traverses_full: Annotated[int, Ge(1), Le(100)] = 4
    volume_full: Annotated[float, Gt(0), Le(1)] = 0.15
    trend_window: Window = 120
    drift_sigmas_full: Annotated[float, Gt(0), Le(10)] = 1.5
    position_low: Share = 0.5
    position_full: Share = 0.85
    fresh_candles: Count = 72
    weight_prior: Weight = 0.25
    weight_stop: Weight = 0.2
    weight_range: Weight = 0.15
    weight_events: Weight = 0.25
    weight_volume: Weight = 0.15
    weight_drift: Weight = 0.4
    weight_position: Weight = 0.35
    weight_fresh: Weight = 0.25
    enter: Share = 0.55
    leave: Share = 0.35
    margin: Share = 0.1
    confirm_candles: Count = 6

    def __post_init__(self) -> None:
        for low, high in (
            ("leave", "enter"),
            ("prior_sigmas_low", "prior_sigmas_full"),
            ("stop_candles_low", "stop_candles_full"),
            ("position_low", "position_full"),
        ):
            _at_most(self, "regime.phase", low, high)
        turn = self.weight_prior + self.weight_stop + self.weight_range + self.weight_events + self.weight_volume
        if min(turn, self.weight_drift + self.weight_position + self.weight_fresh) <= 0:
            raise ConfigError("regime.phase: every weight of a phase is 0: at least one must be above 0")


@dataclass(frozen=True, slots=True)
class RegimeParams:
    """Windows in candles, thresholds to enter and to leave a label (`config/regime.yaml`)."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    window: Annotated[int, Ge(60), Le(10_000)] = 500
    min_window: Annotated[int, Ge(60), Le(10_000)] = 170
    adx_period: Annotated[int, Ge(2), Le(200)] = 14
    adx_enter: Annotated[float, Ge(0), Le(100)] = 25.0
    adx_leave: Annotated[float, Ge(0), Le(100)] = 16.0
    slope_window: Window = 50
    drift_enter_sigmas: Sigmas = 1.0
    drift_leave_sigmas: Sigmas = 0.3
    volatility_window: Window = 24
    volatility_history: Window = 450
    volatile_enter: Share = 0.9
    volatile_leave: Share = 0.75
    confirm_candles: Annotated[int, Ge(1), Le(50)] = 6
    volume_window: Window = 48
    volume_rising: Annotated[float, Gt(1), Le(10)] = 1.25
    volume_declining: Annotated[float, Gt(0), Le(1)] = 0.8
    volume_stay: Annotated[float, Ge(1), Le(10)] = 1.2
    max_missing_share: Annotated[float, Ge(0), Lt(1)] = 0.2
    max_gap_candles: Annotated[int, Ge(0), Le(10_000)] = 12
    events: EventParams = field(default_factory=EventParams)
    phase: PhaseParams = field(default_factory=PhaseParams)

    def __post_init__(self) -> None:
        for low, high in (
            ("adx_leave", "adx_enter"),
            ("drift_leave_sigmas", "drift_enter_sigmas"),
            ("volatile_leave", "volatile_enter"),
            ("min_window", "window"),
        ):
            _at_most(self, "regime", low, high)
        if not self.volume_declining * self.volume_stay <= 1 <= self.volume_rising / self.volume_stay:
            raise ConfigError(
                f"regime.volume_stay is {self.volume_stay}: with it a rise would last below, or a decline above, the"
                f" volume before; allowed are 1 to {min(self.volume_rising, 1 / self.volume_declining):.4g}"
            )
        if self.candles_needed > self.window:
            raise ConfigError(
                f"regime.window is {self.window}: the periods beside it need at least {self.candles_needed} candles;"
                f" allowed are {self.candles_needed} to 10000"
            )
        if self.events.memory > self.window:
            raise ConfigError(
                f"regime.window is {self.window}: with regime.events as they are (baseline, lookback, what follows)"
                f" an event looks back up to {self.events.memory} candles; allowed are {self.events.memory} to 10000"
            )

    @property
    def candles_needed(self) -> int:
        """The fewest candles with which every figure exists; with fewer than `window` confidences are lower."""
        return max(
            self.min_window,
            2 * self.adx_period + self.confirm_candles,
            self.slope_window + self.confirm_candles,
            2 * self.volatility_window + self.confirm_candles,
            2 * self.volume_window,
            max(self.phase.trend_window, self.phase.fresh_candles) + self.phase.confirm_candles + 1,
            self.phase.level_candles,
        )


def _at_most(params: Any, section: str, low: str, high: str) -> None:
    if getattr(params, low) > getattr(params, high):
        raise ConfigError(
            f"{section}.{low} is {getattr(params, low)}: it may be at most {high} ({getattr(params, high)})"
        )
