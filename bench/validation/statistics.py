"""What happened after labels, and whether that is more than chance.

Hourly labels last for days and forward returns overlap, so neighbouring candles are no independent samples. Confidence
intervals therefore come from a moving-block bootstrap (Künsch, 1989), and p-values from turning the label series
against the returns by a random offset (a circular shift): runs
and returns stay as they are, only their coincidence goes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from aaos.domain.market import FloatArray
from bench.validation.history import Episode, episodes

# Two weeks: longer than the longest horizon (one week) and than most labels last.
BLOCK = 336
RESAMPLES = 2_000
INTERVAL = (5.0, 95.0)  # percentiles: a 90 % interval


@dataclass(frozen=True)
class Stability:
    """Share of time, flips per 1,000 candles, and how long the labels last."""

    share: dict[str, float]
    flips_per_1000: float
    median_candles: float


@dataclass(frozen=True)
class Aftermath:
    """The mean log return after a label minus that after any candle, its 90 % interval, and its p-value."""

    label: str
    candles: int
    runs: int
    excess: float
    low: float
    high: float
    p_value: float


def stability(labels: Sequence[str], names: Sequence[str]) -> Stability:
    runs = episodes(labels)
    return Stability(
        {name: labels.count(name) / len(labels) for name in names},
        1000 * (len(runs) - 1) / len(labels),
        float(np.median([run.end - run.start for run in runs])),
    )


def aftermaths(
    labels: Sequence[str], names: Sequence[str], close: FloatArray, horizon: int, seed: int
) -> list[Aftermath]:
    """One per label that occurs, over the candles whose whole horizon has passed."""
    returns = np.log(close[horizon:] / close[:-horizon])
    said = np.array(labels[: len(returns)])
    rng = np.random.default_rng(seed)
    offsets = rng.integers(BLOCK, len(returns) - BLOCK, size=RESAMPLES)
    starts = rng.integers(0, len(returns) - BLOCK, size=(RESAMPLES, -(-len(returns) // BLOCK)))
    found = []
    for name in names:
        where = (said == name).astype(float)
        if where.any():
            excess = float(_excess(where, returns))
            low, high = np.percentile(_resampled(where, returns, starts), INTERVAL)
            shifted = np.array([_excess(np.roll(where, offset), returns) for offset in offsets])
            p_value = float((1 + np.count_nonzero(np.abs(shifted) >= abs(excess))) / (1 + RESAMPLES))
            runs = sum(1 for run in episodes(said.tolist()) if run.label == name)
            found.append(Aftermath(name, int(where.sum()), runs, excess, float(low), float(high), p_value))
    return found


def naive_slope(close: FloatArray, window: int) -> list[str]:
    """The baseline: the sign of the least-squares slope of the newest log closes; the first `window` − 1 are "flat"."""
    x = np.arange(window) - (window - 1) / 2
    slopes = np.lib.stride_tricks.sliding_window_view(np.log(close), window) @ x
    return ["flat"] * (window - 1) + ["up" if slope > 0 else "down" for slope in slopes.tolist()]


def ends_of_ranges(labels: Sequence[str], kind: str) -> dict[str, int]:
    """What each range of that kind became: the next trend, whatever unknown lay between, or the range again."""
    runs = [run for run in episodes(labels) if run.label != "unknown"]
    merged: list[Episode] = []
    for run in runs:
        if not merged or merged[-1].label != run.label:
            merged.append(run)
    counts: dict[str, int] = {}
    for run, after in pairwise(merged):
        if run.label == kind:
            counts[after.label] = counts.get(after.label, 0) + 1
    return counts


def _excess(where: FloatArray, returns: FloatArray) -> float:
    return float(where @ returns / where.sum() - returns.mean())


def _resampled(
    where: FloatArray, returns: FloatArray, starts: np.ndarray[tuple[int, int], np.dtype[np.int64]]
) -> FloatArray:
    """The excess in each resample of blocks; block sums make it cheap. Resamples without the label are left out."""
    hits, gains, totals = (np.concatenate(([0.0], np.cumsum(each))) for each in (where, where * returns, returns))
    of_blocks = [(sums[starts + BLOCK] - sums[starts]).sum(axis=1) for sums in (hits, gains, totals)]
    count, gained, total = of_blocks
    some = count > 0
    return np.asarray(gained[some] / count[some] - total[some] / (starts.shape[1] * BLOCK))
