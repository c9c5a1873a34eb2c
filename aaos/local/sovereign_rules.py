"""What the simulated models read in a prompt's figures: a few rules, each named in the vote's reasoning.

This is no trading advice and no model: it stands in for one, so that the same prompt and seed always give
the same vote, and so that a person can follow why. A rule adds a signed figure to the conviction, from -1
(SELL) to +1 (BUY); the voter's stance decides which rules of a careful model speak.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

SCORE_MAX: Final = 130.0
WIDE_RANGE: Final = 0.005
"""A mean candle range of 0.5 % of the price counts as full volatility."""
NUMBER_MAX: Final = 1e100
"""Far beyond any price, and its square is still a double."""
PRICE_MIN: Final = 1e-100
RSI_MIDDLE: Final = 50.0
RSI_CALM: Final = 10.0
"""An RSI within 40 to 60 says nothing about exhaustion."""
OPEN, HIGH, LOW, CLOSE = 1, 2, 3, 4
GLANCE_CANDLES: Final = 5
"""What a hasty model looks at."""
CHASED_CANDLES: Final = 20


@dataclass(frozen=True, slots=True)
class Evidence:
    """One rule's word: how far it pushes (negative: towards SELL), and why."""

    push: float
    why: str


@dataclass(frozen=True, slots=True)
class Figures:
    """What the rules read in a prompt; 0, "" and empty where the prompt does not say."""

    score: float
    rsi: float | None
    regime: str
    regime_confidence: float
    phase: str
    volume_trend: str
    closes: tuple[float, ...]
    mean_range: float


def _trend(figures: Figures) -> Iterator[Evidence]:
    yield Evidence(0.7 * figures.score / SCORE_MAX, f"technical score {figures.score:g} of 130")
    direction = {"trending_up": 1, "trending_down": -1}.get(figures.regime, 0)
    yield Evidence(0.3 * direction * figures.regime_confidence, f"regime {figures.regime or 'unknown'}")
    drift = drift_of(figures.closes, figures.mean_range)
    yield Evidence(0.25 * drift, f"prices drifted {drift:+.2f} of a typical swing")
    if figures.phase in ("markup", "markdown"):
        yield Evidence(0.15 if figures.phase == "markup" else -0.15, f"Wyckoff phase {figures.phase}")


def _reversal(figures: Figures) -> Iterator[Evidence]:
    trending = figures.regime.startswith("trending")
    share = 0.5 if trending else 1.0
    stretch = _stretch(figures)
    note = ", halved while the market trends" if trending else ""
    yield Evidence(-0.25 * share * stretch, f"price {stretch:+.2f} deviations from its mean{note}")
    if figures.rsi is not None and abs(figures.rsi - RSI_MIDDLE) > RSI_CALM:
        yield Evidence(0.8 * share * (RSI_MIDDLE - figures.rsi) / RSI_MIDDLE, f"RSI {figures.rsi:.1f}{note}")
    if figures.phase in ("accumulation", "distribution"):
        yield Evidence(0.2 if figures.phase == "accumulation" else -0.2, f"Wyckoff phase {figures.phase}")


def _cautious(figures: Figures) -> Iterator[Evidence]:
    push = figures.score / SCORE_MAX
    why = f"technical score {figures.score:g} of 130"
    for applies, factor, reason in (
        (_against_phase(figures, push), 0.4, f"{figures.phase} speaks against it"),
        (figures.regime == "volatile", 0.5, "the market is volatile"),
        (figures.volume_trend == "declining", 0.8, "volume declines"),
    ):
        if applies:
            push, why = push * factor, f"{why}, x {factor:g} as {reason}"
    yield Evidence(push, why)


_BY_STANCE: Final[Mapping[str, Callable[[Figures], Iterator[Evidence]]]] = {
    "trend": _trend,
    "reversal": _reversal,
    "risk": _cautious,
}


def by_stance(figures: Figures, stance: str) -> Iterator[Evidence]:
    """Yields what a model that weighs what it was asked to weigh finds; an unknown stance counts as trend."""
    yield from _BY_STANCE.get(stance, _trend)(figures)


def at_a_glance(figures: Figures, stance: str) -> Iterator[Evidence]:  # noqa: ARG001 - it does not read that far
    """Yields what the score and the last few candles say; regime, phase and volume go unread."""
    yield Evidence(1.0 * figures.score / SCORE_MAX, f"score {figures.score:g} of 130")
    drift = drift_of(figures.closes[-GLANCE_CANDLES:], figures.mean_range)
    yield Evidence(0.5 * drift, f"the last {GLANCE_CANDLES} candles moved {drift:+.2f} of a typical swing")


def against_the_crowd(figures: Figures, stance: str) -> Iterator[Evidence]:
    """Yields the opposite of what by_stance finds."""
    for item in by_stance(figures, stance):
        yield Evidence(-0.9 * item.push, f"the crowd sees {item.why}")


def with_the_move(figures: Figures, stance: str) -> Iterator[Evidence]:  # noqa: ARG001 - price is all it sees
    """Yields the direction of the newest candles, whatever else the prompt says."""
    drift = drift_of(figures.closes[-CHASED_CANDLES:], figures.mean_range)
    yield Evidence(0.9 * drift, f"the last {CHASED_CANDLES} candles moved {drift:+.2f} of a typical swing")


def nothing(figures: Figures, stance: str) -> Iterator[Evidence]:  # noqa: ARG001 - that is its character
    """Yields no evidence."""
    yield from ()


def _against_phase(figures: Figures, push: float) -> bool:
    return (figures.phase, push > 0) in {("distribution", True), ("accumulation", False)}


def drift_of(closes: Sequence[float], mean_range: float) -> float:
    """Returns the window's move in units of what a random walk of such candle ranges covers, in [-1, 1]."""
    if not closes or mean_range <= 0:
        return 0.0
    typical = mean_range * closes[-1] * math.sqrt(len(closes))
    return max(-1.0, min(1.0, (closes[-1] - closes[0]) / typical))


def _stretch(figures: Figures) -> float:
    """Returns the last close's distance from the mean in standard deviations, in [-3, 3]."""
    closes = figures.closes
    mean = sum(closes) / len(closes) if closes else 0.0
    spread = math.sqrt(sum((close - mean) ** 2 for close in closes) / len(closes)) if closes else 0.0
    return max(-3.0, min(3.0, (closes[-1] - mean) / spread)) if spread > 0 else 0.0


def risk_of(figures: Figures, conviction: float) -> float:
    """Returns how dangerous acting on the conviction is, 0.2 to 0.95."""
    risk = 0.2 + 0.3 * min(1.0, figures.mean_range / WIDE_RANGE)
    risk += 0.25 if figures.regime == "volatile" else 0.0
    risk += 0.15 if _against_phase(figures, conviction) else 0.0
    risk += 0.1 if figures.volume_trend == "declining" else 0.0
    return min(risk, 0.95)


def figures_of(said: Mapping[str, Any]) -> Figures:
    """Returns what the rules read in the JSON object of a prompt."""
    technical, regime, candles = (_object(said, name) for name in ("technical", "regime", "candles"))
    rows = [row for row in candles.get("rows") or () if _is_candle(row)]
    return Figures(
        score=max(-SCORE_MAX, min(SCORE_MAX, _number(technical.get("score")) or 0.0)),
        rsi=_rsi(_object(technical, "indicators")),
        regime=str(regime.get("regime") or ""),
        regime_confidence=max(0.0, min(1.0, _number(regime.get("confidence")) or 0.0)),
        phase=str(regime.get("wyckoff_phase") or ""),
        volume_trend=str(regime.get("volume_trend") or ""),
        closes=tuple(row[CLOSE] for row in rows),
        mean_range=sum((row[HIGH] - row[LOW]) / row[CLOSE] for row in rows) / len(rows) if rows else 0.0,
    )


def _object(parent: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = parent.get(name)
    return value if isinstance(value, Mapping) else {}


def _number(value: object) -> float | None:
    """Returns a finite float, or None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < NUMBER_MAX:
        return None
    return float(value)


def _rsi(indicators: Mapping[str, Any]) -> float | None:
    """Returns the first value of an indicator whose name begins with RSI ("rsi", "RSI_14")."""
    named = (_number(indicators[name]) for name in sorted(indicators) if name.lower().startswith("rsi"))
    return next((value for value in named if value is not None), None)


def _is_candle(row: object) -> bool:
    return (
        isinstance(row, list)
        and len(row) > CLOSE
        and all(_number(cell) is not None for cell in row)
        and row[CLOSE] > PRICE_MIN
        and row[HIGH] >= row[LOW]
    )
