"""How often chart patterns and divergences are found, in candle files and in a random walk: the tables of the docs.

Counts are per 1,000 candles; no servers are needed. Without files (`--data`) the simulated market stands in for them.
"""

from __future__ import annotations

import math
import statistics
from argparse import Namespace
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, get_args

import numpy as np

from aaos.adapters.market.candle_files import read_candle_file
from aaos.domain.market import Candles, timeframe_ms
from aaos.domain.signals import Divergence, Pattern, SignalParams, Study, study_candles
from aaos.domain.signals.patterns import PatternName
from aaos.domain.signals.read import divergences_at, patterns_at
from bench.figures import table
from bench.signals_series import SEED, UNTIL_MS, recent

SIMULATED = ("1h", 20_000)
# A walk without drift: no candle says anything of the next. Its steps are such that hourly and minute candles differ.
WALK_CANDLES, WALK_STEPS, WALK_SIGMA = 45_000, 20, 2e-4
AFTER = 20  # candles after a confirmation over which the move is measured
PER = 1_000
INDICATORS = ("rsi", "macd", "ao", "obv")
KINDS = (("regular", "bullish"), ("regular", "bearish"), ("hidden", "bullish"), ("hidden", "bearish"))

Key = tuple[Any, ...]


@dataclass
class Found:
    """Everything that was told at some candle of a series, each once."""

    name: str
    candles: int
    forming: set[Key] = field(default_factory=set)
    confirmed: set[Key] = field(default_factory=set)
    moves_atr: list[float] = field(default_factory=list)
    divergences: set[Key] = field(default_factory=set)
    with_pattern: int = 0
    with_divergence: int = 0

    def per(self, count: int) -> float:
        """So many among all candles, per 1,000."""
        return count / self.candles * PER


def run(options: Namespace) -> None:
    """Prints the table of patterns (docs/patterns.md) and that of divergences (docs/divergence.md)."""
    params = SignalParams()
    series = [read_candle_file(path).candles for path in options.data] or [recent(*SIMULATED)]
    names = [f"{each.symbol} {each.timeframe} ({len(each):,})" for each in series]
    found = [count(name, each, params) for name, each in zip(names, series, strict=True)]
    found.append(count(f"random walk ({WALK_CANDLES:,})", random_walk(), params))
    print(table(["forming / confirmed", *(each.name for each in found)], pattern_rows(found)), flush=True)
    print("\n" + table(["divergences", *(each.name for each in found)], divergence_rows(found)), flush=True)


def random_walk() -> Candles:
    """Candles of a walk of many small steps each, with volume drawn at random."""
    rng = np.random.default_rng(SEED)
    path = 100 * np.exp(np.cumsum(WALK_SIGMA * rng.normal(size=(WALK_CANDLES, WALK_STEPS)))).reshape(-1, WALK_STEPS)
    close = path[:, -1]
    opened = np.concatenate((path[:1, 0], close[:-1]))
    high, low = np.maximum(opened, path.max(axis=1)), np.minimum(opened, path.min(axis=1))
    width_ms = timeframe_ms("1m")
    times = UNTIL_MS // width_ms * width_ms + width_ms * np.arange(WALK_CANDLES, dtype=np.int64)
    return Candles("WALK/USD", "1m", times, opened, high, low, close, rng.uniform(1, 9, WALK_CANDLES))


def count(name: str, candles: Candles, params: SignalParams) -> Found:
    """What is told at each candle in turn."""
    study, found = study_candles(candles, params), Found(name, len(candles))
    for at in range(params.candles_needed - 1, len(candles)):
        patterns, divergences = patterns_at(study, at, params), divergences_at(study, at, params)
        found.with_pattern += bool(patterns)
        found.with_divergence += bool(divergences)
        found.divergences |= {_divergence_key(each) for each in divergences}
        for each in patterns:
            _take(found, each, study, at)
    return found


def _take(found: Found, each: Pattern, study: Study, at: int) -> None:
    key = (each.name, *(point.time_ms for point in each.points))
    if each.status == "forming":
        found.forming.add(key)
    elif key not in found.confirmed:
        found.confirmed.add(key)
        close, atr = study.candles.close, float(study.columns.atr[at])
        if at + AFTER < len(close):
            move = float(close[at + AFTER] - close[at]) / atr
            found.moves_atr.append(move if each.side == "bullish" else -move)


def _divergence_key(each: Divergence) -> Key:
    return each.indicator, each.kind, each.side, each.first_ms, each.second_ms


def pattern_rows(found: list[Found]) -> list[list[str]]:
    """One row per pattern, then all of them, how often any is alive, and what came of them."""
    rows = [[name.replace("_", " "), *(_both(each, name) for each in found)] for name in get_args(PatternName)]
    rows.append(["all", *(f"{e.per(len(e.forming)):.1f} / {e.per(len(e.confirmed)):.1f}" for e in found)])
    rows.append(["candles with any", *(f"{e.with_pattern / e.candles:.0%}" for e in found)])
    rows.append(["forming ones that were confirmed", *(_share(e) for e in found)])
    rows.append([f"move in the announced direction after {AFTER} candles, ATRs", *(_move(e) for e in found)])
    return rows


def _both(found: Found, name: str) -> str:
    forming, confirmed = (found.per(sum(key[0] == name for key in keys)) for keys in (found.forming, found.confirmed))
    return f"{forming:.2f} / {confirmed:.2f}"


def _share(found: Found) -> str:
    return f"{len(found.forming & found.confirmed) / max(1, len(found.forming)):.0%}"


def _move(found: Found) -> str:
    """The mean and its standard error."""
    moves = found.moves_atr
    if len(moves) < 2:
        return "–"
    return f"{statistics.mean(moves):+.2f} ± {statistics.stdev(moves) / math.sqrt(len(moves)):.2f}"


def divergence_rows(found: list[Found]) -> list[list[str]]:
    """One row per indicator, kind and side, then all, their second pivots, and how often one is alive."""
    counts = [Counter(key[:3] for key in each.divergences) for each in found]
    rows = [
        [f"{indicator.upper()} {kind} {side}",
         *(f"{e.per(c[indicator, kind, side]):.1f}" for e, c in zip(found, counts, strict=True))]
        for indicator in INDICATORS for kind, side in KINDS
    ]  # fmt: skip
    rows.append(["all", *(f"{e.per(len(e.divergences)):.0f}" for e in found)])
    pivots = [len({(side, second) for _, _, side, _, second in e.divergences}) for e in found]
    rows.append(["second pivots", *(f"{e.per(n):.0f}" for e, n in zip(found, pivots, strict=True))])
    rows.append(["candles with any", *(f"{e.with_divergence / e.candles:.0%}" for e in found)])
    return rows
