"""How good a model's confidences were: the Brier score, what it is made of, and how sure these figures are.

The event that is forecast is "this vote turns out right", so the base rate is the share of votes that did.
Sums are exactly rounded (`math.fsum`): the figures of the same votes in another order are the same to the last bit.

Votes whose horizons overlap share part of their outcome, and so do votes at the same time: of one model under
several stances, and on several symbols, since markets move together. Counted one by one they would claim evidence
that is not there. So uncertainty is computed from windows, the stretches of time that do not overlap.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from operator import itemgetter
from typing import Final

from aaos.domain.calibration.outcomes import VoteOutcome
from aaos.domain.market import timeframe_ms

BINS: Final = 10
# The normal distribution's two-sided 95 % quantile.
Z95: Final = 1.959963984540054
# Below this many windows, an interval computed from how they differ among themselves would be much too narrow.
MIN_WINDOWS: Final = 10


@dataclass(frozen=True, slots=True)
class Bin:
    """Votes with a confidence in [low, high) (the last bin includes 1): how sure they were, how many were right."""

    low: float
    high: float
    votes: int
    mean_confidence: float
    hit_rate: float


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures of a group of scored votes.

    Attributes:
        votes: how many.
        windows: stretches of market time among them that do not overlap: so many votes they are worth at most.
        hit_rate: share that was right; also the base rate.
        hit_interval: 95 % (Wilson 1927), with `windows` in place of the number of votes.
        mean_confidence: as the models said it.
        brier: mean of (confidence − right)² (Brier 1950): 0 is best, 0.25 is a coin's at confidence 0.5.
        brier_interval: 95 %, None below 10 windows.
        skill: 1 − brier / uncertainty: above 0 is better than always saying the base rate; None where all votes
            were right, or all wrong.
        reliability, resolution, uncertainty, within_bins: brier = reliability − resolution + uncertainty +
            within_bins (Murphy 1973; the last is what binning leaves out: Stephenson, Coelho and Jolliffe 2008).
        ece: expected calibration error, the mean distance of a bin's confidence from its hit rate (Naeini 2015).
        bins: those that hold votes.
    """

    votes: int
    windows: int
    hit_rate: float
    hit_interval: tuple[float, float]
    mean_confidence: float
    brier: float
    brier_interval: tuple[float, float] | None
    skill: float | None
    reliability: float
    resolution: float
    uncertainty: float
    within_bins: float
    ece: float
    bins: tuple[Bin, ...]


def figures_of(outcomes: Sequence[VoteOutcome]) -> Figures | None:
    """Returns the figures of the scored votes among these, None if there is none."""
    scored = [each for each in outcomes if each.state == "scored"]
    if not scored:
        return None
    said = [each.confidence or 0.0 for each in scored]
    right = [1.0 if each.correct else 0.0 for each in scored]
    errors = [(p - y) ** 2 for p, y in zip(said, right, strict=True)]
    brier, hit_rate = _mean(errors), _mean(right)
    windows = windows_of(scored)
    bins = _bins(said, right)
    n, uncertainty = len(scored), hit_rate * (1 - hit_rate)
    reliability = math.fsum(b.votes * (b.mean_confidence - b.hit_rate) ** 2 for b in bins) / n
    resolution = math.fsum(b.votes * (b.hit_rate - hit_rate) ** 2 for b in bins) / n
    count = len(set(windows))
    return Figures(
        votes=n,
        windows=count,
        hit_rate=hit_rate,
        hit_interval=wilson_interval(hit_rate, count),
        mean_confidence=_mean(said),
        brier=brier,
        brier_interval=_clustered_interval(errors, windows),
        skill=1 - brier / uncertainty if uncertainty > 0 else None,
        reliability=reliability,
        resolution=resolution,
        uncertainty=uncertainty,
        within_bins=brier - (reliability - resolution + uncertainty),
        ece=math.fsum(b.votes * abs(b.mean_confidence - b.hit_rate) for b in bins) / n,
        bins=bins,
    )


def windows_of(outcomes: Sequence[VoteOutcome]) -> list[int]:
    """Returns for each vote the number of its window: all votes until the first one's horizon is over share one.

    Market time, so that votes on the same candles in a replay played twice share their windows, too.
    """
    return windows_of_spans([(each.candle_ms or 0, _horizon_ms(each)) for each in outcomes])


def windows_of_spans(spans: Sequence[tuple[int, int]]) -> list[int]:
    """Returns for each span (start, length; ms) the number of its window: see `windows_of`."""
    numbers = [0] * len(spans)
    number, end_ms = -1, -math.inf
    for place in sorted(range(len(spans)), key=lambda i: (spans[i][0], -spans[i][1])):
        start_ms, length_ms = spans[place]
        if start_ms >= end_ms:
            number, end_ms = number + 1, start_ms + length_ms
        numbers[place] = number
    return numbers


def wilson_interval(share: float, n: float, z: float = Z95) -> tuple[float, float]:
    """Returns the interval of a share seen in `n` trials (Wilson 1927); sound at 0 and 1 and for few trials, too."""
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def _clustered_interval(values: Sequence[float], clusters: Sequence[int]) -> tuple[float, float] | None:
    mean, half = _mean(values), clustered_half_width(values, clusters)
    return None if half is None else (max(0.0, mean - half), min(1.0, mean + half))


def clustered_half_width(values: Sequence[float], clusters: Sequence[int]) -> float | None:
    """Returns half the 95 % interval of the mean of values that are alike within clusters (Liang and Zeger 1986).

    None below 10 clusters.

    The variance is that of whole clusters' deviations, with Student's t for their number. A vote late in its window
    shares its outcome with the next one's, so neighbours' deviations count together where that makes it wider (Hansen
    and Hodrick 1980); without it, of 95 % intervals over votes on each candle 90 % held the truth.
    """
    by_cluster = sorted(zip(clusters, values, strict=True))
    mean = _mean(values)
    groups = groupby(by_cluster, key=itemgetter(0))
    deviations = [math.fsum(value - mean for _, value in group) for _, group in groups]
    k = len(deviations)
    if k < MIN_WINDOWS:
        return None
    neighbours = math.fsum(earlier * later for earlier, later in pairwise(deviations))
    spread = math.fsum(d * d for d in deviations) + 2 * max(0.0, neighbours)
    error = math.sqrt(spread * k / (k - 1)) / len(values)
    return student_95(k - 1) * error


def student_95(freedom: int) -> float:
    """Returns Student's two-sided 95 % quantile, to 0.1 % from 9 on: Abramowitz and Stegun (1964), 26.7.5."""
    z = Z95
    first, second = (z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / freedom + second / freedom**2 + third / freedom**3


def _bins(said: Sequence[float], right: Sequence[float]) -> tuple[Bin, ...]:
    placed = sorted(zip((min(int(p * BINS), BINS - 1) for p in said), said, right, strict=True))
    found = []
    for place, group in groupby(placed, key=itemgetter(0)):
        members = list(group)
        confidence, hits = _mean([p for _, p, _ in members]), _mean([y for _, _, y in members])
        found.append(Bin(place / BINS, (place + 1) / BINS, len(members), confidence, hits))
    return tuple(found)


def _horizon_ms(outcome: VoteOutcome) -> int:
    return (outcome.horizon_candles or 0) * timeframe_ms(outcome.timeframe or "")


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
