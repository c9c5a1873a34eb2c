"""What a regime detection says: labels, their confidences, the events behind them, and the figures of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, Self, get_args

from aaos.domain.regime.params import Regime, VolumeTrend, WyckoffPhase

EventName = Literal[
    "selling_climax", "automatic_rally", "secondary_test", "spring", "sign_of_strength",
    "buying_climax", "automatic_reaction", "upthrust", "sign_of_weakness",
]  # fmt: skip
EventSide = Literal["demand", "supply"]


@dataclass(frozen=True, slots=True)
class WyckoffEvent:
    """One event: its candle, the candle with whose close it became known, the price it marks, and its figures.

    Times are open times of candles in ms. `side` says for whom the event speaks; `strength` is 0…1.
    """

    name: EventName
    side: EventSide
    time_ms: int
    known_at_ms: int
    price: float
    strength: float
    figures: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Labels:
    """The labels found last for a series: each is easier to keep than to enter."""

    regime: Regime
    phase: WyckoffPhase
    volume_trend: VolumeTrend
    # Open time of the candle they were found at; labels from before a wide gap say nothing about what came after it.
    found_at_ms: int | None = field(default=None, compare=False)

    @classmethod
    def of_body(cls, body: Mapping[str, Any]) -> Self | None:
        """The labels in a stored output, or None when it holds no such labels."""
        said = body.get("regime"), body.get("wyckoff_phase"), body.get("volume_trend")
        known = zip(said, (Regime, WyckoffPhase, VolumeTrend), strict=True)
        if not all(label in get_args(kind) for label, kind in known):
            return None
        return cls(*said, body.get("newest_candle_ms"))  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class RegimeOutput:
    """The labels of one series at its newest candle, each with its confidence 0…1.

    `evidence` holds a group of figures per label: `{"regime": {…}, "phase": {…}, "volume": {…}}`; names that end
    in `_ms` are open times of the candles the figures come from. `events` are the newest known, by `known_at_ms`;
    `events_left_out` older ones were counted, too. `candles_missing` is what gaps among the candles used lack.
    """

    symbol: str
    timeframe: str
    regime: Regime
    confidence: float
    wyckoff_phase: WyckoffPhase
    volume_trend: VolumeTrend
    evidence: Mapping[str, Any]
    candles_used: int
    newest_candle_ms: int
    phase_confidence: float = 0.0
    volume_confidence: float = 0.0
    events: tuple[WyckoffEvent, ...] = field(default=())
    close: float | None = None
    candles_missing: int = 0
    events_left_out: int = 0

    @property
    def labels(self) -> Labels:
        """What the next detection takes as `previous`."""
        return Labels(self.regime, self.wyckoff_phase, self.volume_trend, self.newest_candle_ms)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able fields; every number is finite."""
        return {**asdict(self), "events": [asdict(event) for event in self.events]}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        """What `to_dict` gave, now or before events and further confidences existed; other keys are passed over."""
        known = {each.name: stored[each.name] for each in fields(cls) if each.name in stored}
        events = tuple(WyckoffEvent(**event) for event in stored.get("events", ()))
        return cls(**{**known, "events": events})
