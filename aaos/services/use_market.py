"""Choose the market the pipeline works on: replayed files or the simulated market, at a speed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from aaos.domain.market import Candles, MarketSettings, timeframe_ms
from aaos.domain.market_clock import MarketAnchor, market_time_ms, slot_of
from aaos.errors import InsufficientData, InvalidMarketData

SIMULATED = "simulated"
REPLAY = "replay"


@dataclass(frozen=True, slots=True)
class ChosenSeries:
    """A series now in use, and the market time it stands at."""

    source: str
    symbol: str
    timeframe: str
    content_hash: str
    first_open_ms: int
    last_open_ms: int


class MarketChoiceStore(Protocol):
    """Where the choice is kept."""

    def stored(self, source: str, symbol: str, timeframe: str) -> Any:
        """Returns the series as stored, or None."""
        ...

    def anchors(self, source: str, symbol: str) -> Sequence[MarketAnchor]:
        """Returns the clock anchors of a series, oldest first."""
        ...

    def use(
        self, series: Sequence[Any], candles: Sequence[Candles], anchors: Sequence[tuple[str, str, MarketAnchor]]
    ) -> None:
        """Stores the choice in one transaction."""
        ...


def use_replay(
    series: Sequence[Candles],
    speed: float,
    now_ms: int,
    widest_slot_ms: int,
    settings: MarketSettings,
    store: MarketChoiceStore,
) -> Sequence[ChosenSeries]:
    """Loads the series and sets their clocks, all or nothing; returns what is in use now.

    A series whose candles and speed are unchanged goes on as a real market would have while we were away; one
    that has run out by now, or is new, begins after its first `history_candles`.

    Raises:
        InvalidMarketData: the same symbol comes in two timeframes.
        InsufficientData: a series is too short to leave anything to play after the warm-up.
    """
    _refuse_two_timeframes(series)
    chosen, fresh, anchors = [], [], []
    for candles in series:
        one = _describe(candles)
        stored = store.stored(REPLAY, one.symbol, one.timeframe)
        unchanged = stored is not None and stored.content_hash == one.content_hash
        if not unchanged:
            fresh.append(candles)
        known = store.anchors(REPLAY, one.symbol)
        if not (unchanged and _still_playing(known, one, speed, now_ms)):
            wall_ms = _anchor_wall_ms(known, now_ms, widest_slot_ms)
            anchors.append((REPLAY, one.symbol, MarketAnchor(wall_ms, _warm_up_end_ms(candles, settings), speed)))
        chosen.append(one)
    store.use(chosen, fresh, anchors)
    return chosen


def use_simulated(
    speed: float, now_ms: int, widest_slot_ms: int, settings: MarketSettings, store: MarketChoiceStore
) -> Sequence[ChosenSeries]:
    """Chooses the simulated market; its time starts at the wall clock's and then runs `speed` times as fast."""
    chosen, anchors = [], []
    for symbol in settings.symbols:
        chosen.append(ChosenSeries(SIMULATED, symbol, settings.timeframe, f"seed:{settings.seed}", 0, 0))
        known = store.anchors(SIMULATED, symbol)
        if not known or known[-1].speed != speed:
            wall_ms = _anchor_wall_ms(known, now_ms, widest_slot_ms)
            anchors.append((SIMULATED, symbol, MarketAnchor(wall_ms, wall_ms, speed)))
    store.use(chosen, [], anchors)
    return chosen


def _refuse_two_timeframes(series: Sequence[Candles]) -> None:
    seen: dict[str, str] = {}
    for candles in series:
        other = seen.setdefault(candles.symbol, candles.timeframe)
        if other != candles.timeframe:
            raise InvalidMarketData(
                f"{candles.symbol} comes as {other} and as {candles.timeframe}; replay one timeframe per symbol"
            )


def _describe(candles: Candles) -> ChosenSeries:
    first, last = int(candles.open_time_ms[0]), int(candles.open_time_ms[-1])
    return ChosenSeries(REPLAY, candles.symbol, candles.timeframe, candles.content_hash(), first, last)


def _still_playing(known: Sequence[MarketAnchor], series: ChosenSeries, speed: float, now_ms: int) -> bool:
    if not known or known[-1].speed != speed:
        return False
    return market_time_ms(known, now_ms) <= series.last_open_ms + timeframe_ms(series.timeframe)


def _warm_up_end_ms(candles: Candles, settings: MarketSettings) -> int:
    """Market time at which the replay begins: after the history an analysis reads, or the least it needs."""
    if len(candles) <= settings.min_candles:
        raise InsufficientData(
            f"{candles.symbol} has {len(candles)} candles; a replay needs more than {settings.min_candles} "
            "(market.min_candles): give a longer file"
        )
    warm_up = settings.history_candles if len(candles) > settings.history_candles else settings.min_candles
    return int(candles.open_time_ms[warm_up - 1]) + timeframe_ms(candles.timeframe)


def _anchor_wall_ms(known: Sequence[MarketAnchor], now_ms: int, widest_slot_ms: int) -> int:
    """Where a new anchor goes: the start of the widest current slot, so that every current slot lies after it.

    Where an anchor stands there or later already, this instant instead: old slots keep their mapping.
    """
    wall_ms = slot_of(now_ms, widest_slot_ms)
    if known and known[-1].wall_ms >= wall_ms:
        return max(now_ms, known[-1].wall_ms + 1)
    return wall_ms
