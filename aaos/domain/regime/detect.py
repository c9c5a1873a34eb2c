"""Regime, phase and volume trend of one series: at its newest candle, candle by candle, or over a whole history."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence

from aaos.domain.market import Candles, check_candles, check_coverage, first_since_gap, missing_candles
from aaos.domain.regime.columns import Columns, columns_of, figure
from aaos.domain.regime.events import Found, find_events
from aaos.domain.regime.output import Labels, RegimeOutput, WyckoffEvent
from aaos.domain.regime.params import RegimeParams
from aaos.domain.regime.phase import find_phase, no_phase
from aaos.domain.regime.trend import Verdict, find_regime, find_volume_trend
from aaos.errors import InsufficientData

# The newest events that an output names: enough for a range from climax to sign of strength, on both sides. Those known
# at the same candle are all named or none, so that a market upside down names the same ones; the rest is counted.
_EVENTS_SHOWN = 12


def detect_regime(candles: Candles, params: RegimeParams, previous: Labels | None = None) -> RegimeOutput:
    """The labels at the newest candle: a function of the newest `params.window` candles and `previous` alone.

    Args:
        candles: closed candles; with fewer than `params.window` the phase's confidence is lower in proportion.
        params: windows, weights and thresholds.
        previous: the labels last found for this series, which are easier to keep than to enter.

    Events and phase come only from the candles since the newest gap of more than `params.max_gap_candles`: a range that
    nobody saw is none. While they are fewer than `params.candles_needed`, the phase is unknown, with confidence 0, and
    regime and volume trend read that many across the gap. Labels found before the candles read do not count.

    Raises:
        InsufficientData: with fewer than `params.candles_needed` candles, names how many are needed; when more than
            `params.max_missing_share` of the newest of them are missing, names the widest gap.
        InvalidMarketData: when a candle of the window is malformed.
    """
    _check_count(candles, params)
    window = candles.tail(params.window)
    check_candles(window)
    check_coverage(window, params.candles_needed, params.max_missing_share)
    return _detect(window, params, previous)


def regimes_over(candles: Candles, params: RegimeParams, previous: Labels | None = None) -> Iterator[RegimeOutput]:
    """One output per candle from the first for which there are enough, each with the one before as its previous.

    Candles at which too many of the newest ones are missing have none.

    Raises:
        InsufficientData, InvalidMarketData: as `detect_regime`, but for gaps; at once for the whole series.
    """
    _check_count(candles, params)
    check_candles(candles)
    for end in range(params.candles_needed, len(candles) + 1):
        window = _slice(candles, max(0, end - params.window), end)
        if _is_covered(window, params):
            output = _detect(window, params, previous)
            previous = output.labels
            yield output


class RegimeStream:
    """The same outputs as `regimes_over`, from candles that arrive one by one; holds `params.window` of them."""

    def __init__(self, symbol: str, timeframe: str, params: RegimeParams, previous: Labels | None = None) -> None:
        self._symbol, self._timeframe, self._params, self._previous = symbol, timeframe, params, previous
        self._rows: deque[Sequence[float]] = deque(maxlen=params.window)

    def update(self, row: Sequence[float]) -> RegimeOutput | None:
        """The output at this candle; None until there are enough, and while too many of the newest are missing.

        Args:
            row: open time in ms, open, high, low, close, volume of a closed candle.

        Raises:
            InvalidMarketData: when the candle is malformed or not after the one before; it is then left out.
        """
        check_candles(Candles.from_rows(self._symbol, self._timeframe, [*list(self._rows)[-1:], row]))
        self._rows.append(row)
        if len(self._rows) < self._params.candles_needed:
            return None
        window = Candles.from_rows(self._symbol, self._timeframe, list(self._rows))
        if not _is_covered(window, self._params):
            return None
        output = _detect(window, self._params, self._previous)
        self._previous = output.labels
        return output


def _check_count(candles: Candles, params: RegimeParams) -> None:
    if len(candles) < params.candles_needed:
        raise InsufficientData(
            f"{candles.symbol} {candles.timeframe}: the regime needs {params.candles_needed} closed candles,"
            f" there are {len(candles)}: wait for more or load more history"
        )


def _is_covered(window: Candles, params: RegimeParams) -> bool:
    try:
        check_coverage(window, params.candles_needed, params.max_missing_share)
    except InsufficientData:
        return False
    return True


def _detect(window: Candles, params: RegimeParams, previous: Labels | None) -> RegimeOutput:
    n = len(window)
    start = int(first_since_gap(window, params.max_gap_candles)[-1])
    read, stretch = (_slice(window, first, n) for first in (min(start, n - params.candles_needed), start))
    columns = columns_of(read)
    kept = _still_valid(previous, read)
    regime = find_regime(columns, params, kept.regime if kept else None)
    volume = find_volume_trend(columns, params, kept.volume_trend if kept else None)
    phase, events = _phase(columns.since(len(read) - len(stretch)), stretch, params, previous)
    shown = _newest_known(events)
    return RegimeOutput(
        symbol=window.symbol,
        timeframe=window.timeframe,
        regime=regime.label,
        confidence=regime.confidence,
        wyckoff_phase=phase.label,
        volume_trend=volume.label,
        evidence={"regime": regime.evidence, "phase": phase.evidence, "volume": volume.evidence},
        candles_used=len(read),
        newest_candle_ms=int(window.open_time_ms[-1]),
        phase_confidence=phase.confidence,
        volume_confidence=volume.confidence,
        events=tuple(_named(stretch, event) for event in shown),
        close=float(window.close[-1]),
        candles_missing=missing_candles(read),
        events_left_out=len(events) - len(shown),
    )


def _phase(
    columns: Columns, stretch: Candles, params: RegimeParams, previous: Labels | None
) -> tuple[Verdict, tuple[Found, ...]]:
    """The phase and every event, from the candles since the newest wide gap alone."""
    events = find_events(columns, params.events)
    kept = _still_valid(previous, stretch)
    before = kept.phase if kept else None
    if len(stretch) < params.candles_needed:
        return no_phase(columns, before), events
    return find_phase(columns, events, params.phase, before, len(stretch) / params.window), events


def _still_valid(previous: Labels | None, read: Candles) -> Labels | None:
    """The labels found before, unless they were found before all of these candles."""
    known = previous is None or previous.found_at_ms is None or previous.found_at_ms >= int(read.open_time_ms[0])
    return previous if known else None


def _newest_known(events: Sequence[Found]) -> Sequence[Found]:
    if len(events) <= _EVENTS_SHOWN:
        return events
    since = events[-_EVENTS_SHOWN].known_at
    return [event for event in events if event.known_at >= since]


def _named(window: Candles, event: Found) -> WyckoffEvent:
    """The event by its candles' times, with the price it marks: an extreme, or the close that was the sign."""
    column = "close" if event.name.startswith("sign_of") else _marked(event)
    return WyckoffEvent(
        name=event.name,
        side=event.side,
        time_ms=int(window.open_time_ms[event.index]),
        known_at_ms=int(window.open_time_ms[event.known_at]),
        price=float(getattr(window, column)[event.index]),
        strength=figure(event.strength),
        figures={name: figure(value) for name, value in event.figures.items()},
    )


def _marked(event: Found) -> str:
    """The rally away from an extreme marks the other end of its candle."""
    away = event.name in ("automatic_rally", "automatic_reaction")
    return "low" if (event.side == "demand") != away else "high"


def _slice(candles: Candles, start: int, end: int) -> Candles:
    columns = (candles.open, candles.high, candles.low, candles.close, candles.volume)
    cut = (column[start:end] for column in columns)
    return Candles(candles.symbol, candles.timeframe, candles.open_time_ms[start:end], *cut)
