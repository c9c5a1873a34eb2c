"""The output of technical analysis, which explains itself and survives being stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

from aaos.domain.market import iso_utc, timeframe_ms
from aaos.domain.signals.alignment import TimeframeTrend, Verdict
from aaos.domain.signals.divergence import Divergence
from aaos.domain.signals.patterns import Pattern
from aaos.domain.signals.score import Contribution, Direction

_NESTED: Mapping[str, type[Contribution | Divergence | Pattern | TimeframeTrend]] = {
    "contributions": Contribution,
    "divergences": Divergence,
    "patterns": Pattern,
    "timeframes": TimeframeTrend,
}


@dataclass(frozen=True, slots=True)
class SignalOutput:
    """The technical reading of one series at its newest candle.

    `score` is the sum of the contributions' points, −130…+130; `confidence_pct` is its share of 130;
    `indicators` holds the newest figures, None where one is undefined. `divergences` and `patterns` are those
    alive at that candle; `alignment` compares `timeframes`, None with fewer than two known. `candles_missing`
    counts the candles that gaps in the series lack; `close` is the newest candle's.
    """

    symbol: str
    timeframe: str
    direction: Direction
    score: float
    confidence_pct: float
    contributions: tuple[Contribution, ...]
    indicators: Mapping[str, float | None]
    candles_used: int
    newest_candle_ms: int
    divergences: tuple[Divergence, ...] = ()
    patterns: tuple[Pattern, ...] = ()
    alignment: Verdict | None = None
    timeframes: tuple[TimeframeTrend, ...] = ()
    candles_missing: int = 0
    close: float | None = None

    @property
    def timestamp(self) -> str:
        """When the newest candle closed, and the reading became knowable: ISO 8601 in UTC."""
        return iso_utc(self.newest_candle_ms + timeframe_ms(self.timeframe))

    @property
    def signals(self) -> tuple[str, ...]:
        """What divergences and patterns there are, in words, the newest first."""
        told: list[Divergence | Pattern] = [*self.divergences, *self.patterns]
        return tuple(each.title for each in sorted(told, key=lambda each: -each.known_at_ms))

    def to_dict(self) -> dict[str, Any]:
        """JSON-able fields; every number is finite."""
        plain = {field.name: getattr(self, field.name) for field in fields(self)}
        nested = {name: [each.to_dict() for each in plain[name]] for name in _NESTED}
        said = {"signals": list(self.signals), "timestamp": self.timestamp}
        return {**plain, "indicators": dict(self.indicators), **nested, **said}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        """What `to_dict` gave; other keys are passed over, and what older ones did not store has its default."""
        own = {field.name: stored[field.name] for field in fields(cls) if field.name in stored}
        nested = {
            name: tuple(_restored(kind, each) for each in own[name]) for name, kind in _NESTED.items() if name in own
        }
        return cls(**{**own, **nested})


def _restored(kind: type[Any], stored: Mapping[str, Any]) -> Any:
    """The part, without what a newer version may have stored beside its fields."""
    return kind.from_dict({field.name: stored[field.name] for field in fields(kind) if field.name in stored})
