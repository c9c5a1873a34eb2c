"""What a chart shows: a stretch of candles with everything that was read from it, and when each could be known."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from aaos.domain.market import Candles, check_coverage
from aaos.domain.signals import (
    Divergence,
    IndicatorColumns,
    Pattern,
    Pivot,
    SignalOutput,
    SignalParams,
    generate_signal,
    study_candles,
)
from aaos.domain.signals.read import divergences_at, patterns_at
from aaos.errors import InsufficientData


@dataclass(frozen=True, slots=True, eq=False)
class FoundPattern:
    """A pattern as it was last told, when it was first known, when it was confirmed, and until when it was told.

    Times are the open times, in ms, of the candles whose close made it so; `confirmed_ms` is None if nothing did.
    `levels` are (time, level) at every candle up to that one: the neckline or trend line as it was watched.
    """

    pattern: Pattern
    first_known_ms: int
    confirmed_ms: int | None
    levels: tuple[tuple[int, float], ...]
    last_told_ms: int


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """A series as it was read; the candles from index `first` on are drawn, the ones before fed the indicators.

    Attributes:
        candles: closed candles, oldest first.
        columns: their indicators, shape (n,).
        pivots: those of the whole series.
        divergences: every one that was known at some drawn candle, oldest first.
        patterns: every one that was alive at some drawn candle, oldest first.
        signal: the reading at the newest candle.
        params: what it was computed with.
        first: index of the first drawn candle.
    """

    candles: Candles
    columns: IndicatorColumns
    pivots: tuple[Pivot, ...]
    divergences: tuple[Divergence, ...]
    patterns: tuple[FoundPattern, ...]
    signal: SignalOutput
    params: SignalParams
    first: int = 0


def read_candles(candles: Candles, params: SignalParams, drawn: int, analysed: int | None = None) -> Reading:
    """The reading of a series, its newest `drawn` candles to be shown.

    Args:
        candles: closed candles, oldest first.
        params: periods, thresholds, weights.
        drawn: how many are shown.
        analysed: how many of the newest the score is made from; None for all. An exponential average never quite
            forgets where it began, so for the score that an analysis gives, give the candles that it reads.

    Raises:
        InsufficientData: with fewer candles than the slowest indicator needs, or too wide gaps; see `generate_signal`.
        InvalidMarketData: when a candle is malformed.
    """
    signal = generate_signal(candles if analysed is None else candles.tail(analysed), params)
    study = study_candles(candles, params)
    first = max(0, len(candles) - drawn)
    divergences, patterns = _DivergenceHistory(), _PatternHistory()
    for at in range(max(first, params.candles_needed - 1), len(candles)):
        if not _is_readable(candles, at, params):
            continue
        divergences.see(divergences_at(study, at, params))
        patterns.see(patterns_at(study, at, params), int(candles.open_time_ms[at]))
    return Reading(
        candles,
        study.columns,
        study.pivots,
        divergences.found(),
        patterns.found(),
        signal,
        params,
        first,
    )


def _is_readable(candles: Candles, at: int, params: SignalParams) -> bool:
    """Whether an analysis at candle `at` would have told anything: soon after a wide gap it refuses."""
    newest = candles.until(int(candles.close_times_ms[at])).tail(params.candles_needed)
    try:
        check_coverage(newest, params.candles_needed, params.max_missing_share)
    except InsufficientData:
        return False
    return True


@dataclass(slots=True)
class _DivergenceHistory:
    """Divergences by what makes them the same one; none changes once it is known."""

    _seen: dict[tuple[object, ...], Divergence] = field(default_factory=dict)

    def see(self, divergences: Iterable[Divergence]) -> None:
        for each in divergences:
            self._seen.setdefault((each.indicator, each.kind, each.side, each.first_ms, each.second_ms), each)

    def found(self) -> tuple[Divergence, ...]:
        return tuple(sorted(self._seen.values(), key=lambda each: each.known_at_ms))


@dataclass(slots=True)
class _PatternHistory:
    """Patterns by what makes them the same one: their name and the candles of their points."""

    _seen: dict[tuple[object, ...], FoundPattern] = field(default_factory=dict)

    def see(self, patterns: Iterable[Pattern], now_ms: int) -> None:
        for each in patterns:
            key = (each.name, *(point.time_ms for point in each.points))
            before = self._seen.get(key)
            known_ms = each.known_at_ms if before is None else min(before.first_known_ms, each.known_at_ms)
            confirmed_ms = each.known_at_ms if each.status == "confirmed" else None
            levels = () if before is None else before.levels
            if confirmed_ms is None or now_ms <= confirmed_ms:
                levels = (*levels, (now_ms, each.level))
            self._seen[key] = FoundPattern(each, known_ms, confirmed_ms, levels, now_ms)

    def found(self) -> tuple[FoundPattern, ...]:
        return tuple(sorted(self._seen.values(), key=lambda each: each.first_known_ms))
