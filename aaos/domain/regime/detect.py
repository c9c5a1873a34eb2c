"""Regime, phase and volume trend of one series: at its newest candle, candle by candle, or over a whole history."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence

from aaos.domain.market import Candles, check_candles
from aaos.domain.regime.columns import columns_of, figure
from aaos.domain.regime.events import Found, find_events
from aaos.domain.regime.output import Labels, RegimeOutput, WyckoffEvent
from aaos.domain.regime.params import RegimeParams
from aaos.domain.regime.phase import find_phase
from aaos.domain.regime.trend import find_regime, find_volume_trend
from aaos.errors import InsufficientData

# The newest events that an output names: enough for a range from climax to sign of strength, on both sides.
_EVENTS_SHOWN = 12


def detect_regime(candles: Candles, params: RegimeParams, previous: Labels | None = None) -> RegimeOutput:
    """The labels at the newest candle: a function of the newest `params.window` candles and `previous` alone.

    Args:
        candles: closed candles; with fewer than `params.window` the phase's confidence is lower in proportion.
        params: windows, weights and thresholds.
        previous: the labels last found for this series, which are easier to keep than to enter.

    Raises:
        InsufficientData: with fewer than `params.candles_needed` candles; names how many are needed.
        InvalidMarketData: when a candle of the window is malformed.
    """
    _check_count(candles, params)
    window = candles.tail(params.window)
    check_candles(window)
    return _detect(window, params, previous)


def regimes_over(candles: Candles, params: RegimeParams, previous: Labels | None = None) -> Iterator[RegimeOutput]:
    """One output per candle from the first for which there are enough, each with the one before as its previous.

    Raises:
        InsufficientData, InvalidMarketData: as `detect_regime`; at once for the whole series.
    """
    _check_count(candles, params)
    check_candles(candles)
    for end in range(params.candles_needed, len(candles) + 1):
        output = _detect(_slice(candles, max(0, end - params.window), end), params, previous)
        previous = output.labels
        yield output


class RegimeStream:
    """The same outputs as `regimes_over`, from candles that arrive one by one; holds `params.window` of them."""

    def __init__(self, symbol: str, timeframe: str, params: RegimeParams, previous: Labels | None = None) -> None:
        self._symbol, self._timeframe, self._params, self._previous = symbol, timeframe, params, previous
        self._rows: deque[Sequence[float]] = deque(maxlen=params.window)

    def update(self, row: Sequence[float]) -> RegimeOutput | None:
        """The output at this candle; None until there are enough.

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
        output = _detect(window, self._params, self._previous)
        self._previous = output.labels
        return output


def _check_count(candles: Candles, params: RegimeParams) -> None:
    if len(candles) < params.candles_needed:
        raise InsufficientData(
            f"{candles.symbol} {candles.timeframe}: the regime needs {params.candles_needed} closed candles,"
            f" there are {len(candles)}: wait for more or load more history"
        )


def _detect(window: Candles, params: RegimeParams, previous: Labels | None) -> RegimeOutput:
    columns = columns_of(window)
    regime = find_regime(columns, params, previous.regime if previous else None)
    volume = find_volume_trend(columns, params, previous.volume_trend if previous else None)
    events = find_events(columns, params.events)
    phase = find_phase(columns, events, params.phase, previous.phase if previous else None, len(window) / params.window)
    return RegimeOutput(
        symbol=window.symbol,
        timeframe=window.timeframe,
        regime=regime.label,
        confidence=regime.confidence,
        wyckoff_phase=phase.label,
        volume_trend=volume.label,
        evidence={"regime": regime.evidence, "phase": phase.evidence, "volume": volume.evidence},
        candles_used=len(window),
        newest_candle_ms=int(window.open_time_ms[-1]),
        phase_confidence=phase.confidence,
        volume_confidence=volume.confidence,
        events=tuple(_named(window, event) for event in events[-_EVENTS_SHOWN:]),
        close=float(window.close[-1]),
    )


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
