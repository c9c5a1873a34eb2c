"""A candle file, and what the regime detection says at each of its candles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path

import numpy as np

from aaos.domain.market import Candles, FloatArray, iso_utc
from aaos.domain.regime import Labels, RegimeOutput, RegimeParams, WyckoffEvent, detect_regime, regimes_over

KINDS = ("phase", "regime", "volume trend")
LABELS = {
    "phase": ("accumulation", "markup", "distribution", "markdown", "unknown"),
    "regime": ("trending_up", "trending_down", "ranging", "volatile"),
    "volume trend": ("rising", "declining", "flat"),
}
HOUR_MS = 3_600_000


@dataclass(frozen=True)
class Episode:
    """A label's uninterrupted time: the candles from `start` up to, not including, `end`."""

    label: str
    start: int
    end: int


@dataclass(frozen=True, eq=False)
class History:
    """Outputs at the candles from `first` on; label series are aligned with them."""

    candles: Candles
    first: int
    outputs: tuple[RegimeOutput, ...]
    fresh: tuple[RegimeOutput, ...]  # the same without hysteresis: no labels before

    @property
    def time_ms(self) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        return self.candles.open_time_ms[self.first :]

    @property
    def close(self) -> FloatArray:
        return self.candles.close[self.first :]

    def labels(self, kind: str, hysteresis: bool = True) -> tuple[str, ...]:
        return tuple(label_of(output, kind) for output in (self.outputs if hysteresis else self.fresh))

    def events(self) -> list[WyckoffEvent]:
        """Every event once, in the order in which they became known."""
        found = {(e.name, e.side, e.time_ms, e.known_at_ms): e for o in self.outputs for e in o.events}
        return sorted(found.values(), key=lambda event: (event.known_at_ms, event.time_ms))

    def between(self, start: str, end: str) -> slice:
        """The outputs of candles opened from one UTC date up to, not including, another."""
        return slice(*(int(np.searchsorted(self.time_ms, instant_ms(date))) for date in (start, end)))


def label_of(output: RegimeOutput, kind: str) -> str:
    return {"phase": output.wyckoff_phase, "regime": output.regime, "volume trend": output.volume_trend}[kind]


def load(path: Path, symbol: str, timeframe: str) -> Candles:
    """The candles of a CSV file with a header: open time in ms, open, high, low, close, volume."""
    rows = np.genfromtxt(path, delimiter=",", skip_header=1)
    return Candles(symbol, timeframe, rows[:, 0].astype(np.int64), *rows[:, 1:6].T)


def detected(candles: Candles, params: RegimeParams) -> History:
    """What is said at each candle.

    Raises:
        ValueError: gaps leave candles without an output; series of labels and candles would no longer be aligned.
    """
    first = params.candles_needed - 1
    outputs = tuple(regimes_over(candles, params))
    if len(outputs) != len(candles) - first:
        raise ValueError(
            f"{candles.symbol} from {iso_utc(int(candles.open_time_ms[0]))}: {len(candles) - first - len(outputs)} "
            "candles"
            " have no output for gaps before them: validate on candles without wide gaps"
        )
    fresh = tuple(
        detect_regime(_upto(candles, end, params.window), params) for end in range(first + 1, len(candles) + 1)
    )
    return History(candles, first, outputs, fresh)


def differs_when_asked_rarely(history: History, params: RegimeParams, step: int, kind: str) -> float:
    """The share of every `step`-th candle's labels that change when only those candles are chained: 0…1."""
    previous: Labels | None = None
    differing = 0
    asked = range(0, len(history.outputs), step)
    for i in asked:
        output = detect_regime(_upto(history.candles, history.first + i + 1, params.window), params, previous)
        previous = output.labels
        differing += label_of(output, kind) != label_of(history.outputs[i], kind)
    return differing / len(asked)


def looks_ahead(history: History, params: RegimeParams, samples: int, seed: int) -> list[int]:
    """The sampled candles whose output changes when later candles do not exist: none, or the report is void."""
    picked = np.random.default_rng(seed).integers(1, len(history.outputs), size=samples)
    return [
        int(i)
        for i in picked
        if detect_regime(
            Candles.from_rows(
                history.candles.symbol,
                history.candles.timeframe,
                _upto(history.candles, history.first + int(i) + 1, params.window).rows(),
            ),
            params,
            history.outputs[i - 1].labels,
        )
        != history.outputs[i]
    ]


def episodes(labels: Sequence[str]) -> list[Episode]:
    found, start = [], 0
    for label, run in groupby(labels):
        end = start + sum(1 for _ in run)
        found.append(Episode(label, start, end))
        start = end
    return found


def instant_ms(date: str) -> int:
    return round(datetime.fromisoformat(date).replace(tzinfo=UTC).timestamp() * 1000)


def utc(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, tz=UTC).strftime("%Y-%m-%d %H:%M")


def _upto(candles: Candles, end: int, window: int) -> Candles:
    cut = slice(max(0, end - window), end)
    columns = (candles.open, candles.high, candles.low, candles.close, candles.volume)
    return Candles(candles.symbol, candles.timeframe, candles.open_time_ms[cut], *(column[cut] for column in columns))
