"""Wyckoff phase: where a market stands in the cycle accumulation, markup, distribution, markdown.

Each phase has a score 0…1, a weighted mean of named parts, so that it can be read off why it won:

- **distribution** (accumulation is its mirror image): a rise led up to the window's top (`prior`); the top zone was
  entered a while ago and nothing was gained since (`stop`); price has gone to and fro between the thirds of the range
  made since (`range`); the events since speak for supply (`events`), and so does more volume in candles that closed
  lower than in those that closed higher (`volume`). Without the rise before it there is no distribution, however much
  it looks like a range.
- **markup** (markdown is its mirror image): the closes drift up (`drift`), price is near the window's top
  (`position`), and the top is recent (`fresh`).

The best score is the phase if it reaches `enter`, otherwise it is unknown. The phase found last is kept down to
`leave` unless another is better by `margin`; a range, moreover, is left for a trend only by a close beyond its bounds
as they were `fresh_candles` ago (`beyond`), and never directly for the opposite kind of range. Since ranges outlive
windows, the rise before a range found earlier counts as `carried_prior`. A change is accepted only if the candle
`confirm_candles` before the newest one called for it, too; those between are not asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from aaos.domain.market import FloatArray
from aaos.domain.regime.columns import FLAT, Columns, figure, in_sigmas, ramp
from aaos.domain.regime.events import Found
from aaos.domain.regime.output import EventName, EventSide
from aaos.domain.regime.params import PhaseParams, WyckoffPhase
from aaos.domain.regime.trend import Verdict

# What shows that a range will be left, and on which side: tests of its bounds, and moves out of its other half.
_DECISIVE: frozenset[EventName] = frozenset({"spring", "upthrust", "sign_of_strength", "sign_of_weakness"})
# Between the two kinds of range lies a trend: one never becomes the other directly, but by way of a trend or unknown.
_OPPOSITE: dict[WyckoffPhase | None, WyckoffPhase] = {"accumulation": "distribution", "distribution": "accumulation"}

Scores = dict[WyckoffPhase, dict[str, float]]


def find_phase(
    columns: Columns, events: Sequence[Found], p: PhaseParams, previous: WyckoffPhase | None, coverage: float
) -> Verdict:
    """The phase at the newest candle.

    Args:
        columns: the window's candles.
        events: those found in the window.
        p: weights and thresholds.
        previous: the phase found last, if any.
        coverage: the share of the full window that is there; confidence is in proportion.
    """
    scores = _scores(columns, events, p, previous)
    newest = _called_for(scores, p, previous)
    label = newest
    if previous is not None and newest != previous:
        end = len(columns) - p.confirm_candles
        earlier = _scores(columns.upto(end), [e for e in events if e.known_at < end], p, previous)
        label = newest if _called_for(earlier, p, previous) == newest else previous
    totals = {name: parts["score"] for name, parts in scores.items()}
    certainty = 1 - max(totals.values()) if label == "unknown" else totals[label]
    evidence: dict[str, Any] = {
        "scores": {name: {part: figure(value) for part, value in parts.items()} for name, parts in scores.items()},
        "newest_candle_says": newest,
        "previous": previous,
        "window_from_ms": int(columns.time_ms[0]),
        "trend_from_ms": int(columns.time_ms[-p.trend_window - 1]),
        "distribution_from_ms": int(columns.time_ms[_range_start(columns, p)]),
        "accumulation_from_ms": int(columns.time_ms[_range_start(columns.mirrored(), p)]),
    }
    return Verdict(label, coverage * certainty, evidence)


def no_phase(columns: Columns, previous: WyckoffPhase | None) -> Verdict:
    """Unknown, of no confidence: what is said of too few candles to hold a range or a leg."""
    names: tuple[WyckoffPhase, ...] = ("distribution", "accumulation", "markup", "markdown")
    evidence: dict[str, Any] = {
        "scores": {name: {"score": 0.0} for name in names},
        "newest_candle_says": "unknown",
        "previous": previous,
        "window_from_ms": int(columns.time_ms[0]),
    }
    return Verdict("unknown", 0.0, evidence)


def _scores(columns: Columns, events: Sequence[Found], p: PhaseParams, previous: WyckoffPhase | None) -> Scores:
    upside_down = columns.mirrored()
    carried = {name: p.carried_prior if previous == name else 0.0 for name in ("distribution", "accumulation")}
    return {
        "distribution": _turn(columns, events, "supply", p, carried["distribution"]),
        "accumulation": _turn(upside_down, events, "demand", p, carried["accumulation"]),
        "markup": _leg(columns, p),
        "markdown": _leg(upside_down, p),
    }


def _called_for(scores: Scores, p: PhaseParams, previous: WyckoffPhase | None) -> WyckoffPhase:
    totals = {name: parts["score"] for name, parts in scores.items() if _OPPOSITE.get(previous) != name}
    if previous is None or previous == "unknown" or totals[previous] < p.leave:
        best = max(totals, key=totals.__getitem__)
        return best if totals[best] >= p.enter else "unknown"
    if previous in _OPPOSITE:
        totals = {name: score for name, score in totals.items() if name == previous or scores[name]["beyond"] > 0}
    best = max(totals, key=totals.__getitem__)
    better = totals[best] >= p.enter and totals[best] - totals[previous] >= p.margin
    return best if better else previous


def _turn(c: Columns, events: Sequence[Found], side: EventSide, p: PhaseParams, carried: float) -> dict[str, float]:
    """The parts of distribution, for which the events of `side` speak."""
    n = len(c)
    top, bottom = float(c.high.max()), float(c.low.min())
    height = top - bottom
    if height <= FLAT:
        return {"prior": 0.0, "score": 0.0}
    start = _range_start(c, p)
    rise = float(c.high[start] - c.close[: p.level_candles].mean())
    sigma = float(np.diff(c.close).std())
    sigmas = in_sigmas(rise, sigma, n)
    prior = ramp(sigmas, p.prior_sigmas_low, p.prior_sigmas_full) if rise > FLAT else 0.0
    lost = ramp((top - float(c.close[-1])) / rise, 1.0, 1.5) if prior > 0 else 0.0
    prior = max(prior * (1 - lost), carried)
    gained = ramp(float(c.close[-1] - c.close[start]), 0.0, p.zone * height)
    age = n - 1 - start
    parts = {
        "prior": prior,
        "stop": ramp(age, p.stop_candles_low, p.stop_candles_full) * (1 - gained),
        "range": ramp(_traverses(c.high[start:], c.low[start:], c.close[start:]), 0, p.traverses_full),
        "events": _balance([event for event in events if event.known_at >= start], side),
        "volume": ramp(-_volume_balance(c, start), -p.volume_full, p.volume_full) * 2 - 1,
    }
    return _scored(parts, p) if prior > 0 else {**parts, "score": 0.0}


def _range_start(c: Columns, p: PhaseParams) -> int:
    """The first candle in the window's top zone."""
    top = float(c.high.max())
    return int(np.argmax(c.high >= top - p.zone * (top - float(c.low.min()))))


def _leg(c: Columns, p: PhaseParams) -> dict[str, float]:
    """The parts of markup; `beyond`, 0 or 1: price closed above every high that is no longer fresh."""
    height = float(c.high.max() - c.low.min())
    leg = c.close[-p.trend_window - 1 :]
    drift = in_sigmas(float(leg[-1] - leg[0]), float(np.diff(leg).std()), len(leg) - 1)
    if height <= FLAT or drift <= 0:
        return {"drift": 0.0, "beyond": 0.0, "score": 0.0}
    age = len(c) - 1 - int(np.argmax(c.high))
    parts = {
        "drift": ramp(drift, 0.0, p.drift_sigmas_full),
        "position": ramp(float(c.close[-1] - c.low.min()) / height, p.position_low, p.position_full),
        "fresh": 1 - ramp(age, 0, p.fresh_candles),
    }
    return {**_scored(parts, p), "beyond": float(c.close[-1] > c.high[: -p.fresh_candles].max())}


def _scored(parts: dict[str, float], p: PhaseParams) -> dict[str, float]:
    weights = {name: float(getattr(p, f"weight_{name}")) for name in parts}
    total = sum(weights[name] * value for name, value in parts.items()) / sum(weights.values())
    return {**parts, "score": min(1.0, max(0.0, total))}


def _traverses(high: FloatArray, low: FloatArray, close: FloatArray) -> int:
    """How often the closes went from the range's upper third to its lower third or back."""
    top, bottom = float(high.max()), float(low.min())
    third = (top - bottom) / 3
    sides = (close >= top - third).astype(np.int8) - (close <= bottom + third).astype(np.int8)
    visited = sides[sides != 0]
    return int(np.count_nonzero(np.diff(visited)))


def _balance(events: Sequence[Found], side: EventSide) -> float:
    """−1…1: which side the events speak for; one event alone is not yet a proof.

    The other side's climax, rally and test do not count against: a reaction inside a range ends with them, too.
    """
    own = sum(event.strength for event in events if event.side == side)
    other = sum(event.strength for event in events if event.side != side and event.name in _DECISIVE)
    return (own - other) / (own + other + 1)


def _volume_balance(c: Columns, start: int) -> float:
    """−1…1: volume of candles that closed higher minus that of those that closed lower, over both, from `start` on."""
    moves, volume = np.diff(c.close[start:]), c.volume[start + 1 :]
    up, down = float(volume[moves > FLAT].sum()), float(volume[moves < -FLAT].sum())
    return (up - down) / (up + down) if up + down > 0 else 0.0
