"""From indicator figures to one score: each indicator gives a share from −1 to +1, times its weight.

Two families speak against each other on purpose. Momentum (MACD, AO, EMA, OBV; 60 points by default) follows the move,
measured in ATRs so that every market has the same scale; oscillators (RSI, Williams %R, Stochastic,
Bollinger, KDJ; 40 points by default) lean against what is overstretched. An oscillator may stay overstretched for as
long as a trend is strong, so what it says against the EMAs' trend counts in full up to `adx_weak` and less from
there on, down to `counter_trend_share` of it at `adx_strong`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, Self

from aaos.domain.signals.params import MAX_SCORE, SignalParams

Direction = Literal["long", "short", "neutral"]
Figures = Mapping[str, float | None]

# Half the width of RSI, stochastic and KDJ: their midpoint.
_MIDDLE = 50.0
_MOMENTUM = frozenset({"macd", "ao", "ema", "obv"})
# A range this small beside the price is rounding, not movement.
_FLAT_RELATIVE = 1e-10
# A share that reads as 1.00 goes without saying.
_AS_GOOD_AS_FULL = 0.995


@dataclass(frozen=True, slots=True)
class Contribution:
    """One indicator's share of the score: its newest value, the points it gives and the reason in words."""

    name: str
    value: float | None
    points: float
    why: str

    def to_dict(self) -> dict[str, Any]:
        """JSON-able fields."""
        return asdict(self)

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        """What `to_dict` gave."""
        return cls(**stored)


def score_figures(
    figures: Figures, close: float, obv_share: float | None, params: SignalParams
) -> tuple[Contribution, ...]:
    """Every indicator's contribution at one candle.

    Args:
        figures: the indicators' values at that candle, by field name of `IndicatorColumns`.
        close: the candle's close, in price units.
        obv_share: OBV's change over the window divided by the volume traded in it, −1…1; None without volume.
        params: thresholds and weights.
    """
    macd, ao, ema, obv = momentum_contributions(figures, close, obv_share, params)
    p = params
    oscillators = (
        _oscillator("rsi", figures["rsi"], (p.rsi_oversold, _MIDDLE, p.rsi_overbought), p.weight_rsi),
        _williams(figures["williams_r"], p),
        _oscillator("stochastic", figures["stoch_d"], (p.stoch_oversold, _MIDDLE, p.stoch_overbought), p.weight_stoch),
        _bollinger(figures, close, p.weight_bollinger),
        _oscillator("kdj", figures["kdj_j"], (0.0, _MIDDLE, 100.0), p.weight_kdj),
    )
    rsi, williams, stoch, bollinger, kdj = (_damped(each, figures, p) for each in oscillators)
    return rsi, macd, williams, ao, stoch, bollinger, ema, kdj, obv


def momentum_contributions(
    figures: Figures, close: float, obv_share: float | None, params: SignalParams
) -> tuple[Contribution, Contribution, Contribution, Contribution]:
    """The contributions of MACD, AO, the EMAs and OBV; arguments as for `score_figures`."""
    p, atr = params, figures["atr"]
    trend = _difference(figures["ema_fast"], figures["ema_slow"])
    return (
        _momentum("macd", figures["macd_hist"], atr, close, p.macd_full_atr, p.weight_macd),
        _momentum("ao", figures["ao"], atr, close, p.ao_full_atr, p.weight_ao),
        _momentum("ema", trend, atr, close, p.ema_full_atr, p.weight_ema),
        _obv(obv_share, p),
    )


def momentum_share(contributions: Sequence[Contribution], params: SignalParams) -> float:
    """−1…1: the momentum family's points among the contributions, as a share of all it could give."""
    points = math.fsum(each.points for each in contributions if each.name in _MOMENTUM)
    return _clip(points / params.momentum_weight, 1.0) if params.momentum_weight > 0 else 0.0


def total_score(contributions: tuple[Contribution, ...]) -> float:
    """The sum of all points, never outside −130…+130."""
    return _clip(math.fsum(c.points for c in contributions), MAX_SCORE)


def direction_of(score: float, min_score: float) -> Direction:
    """Long or short once the score reaches `min_score` points either way, else neutral."""
    if abs(score) < min_score:
        return "neutral"
    return "long" if score > 0 else "short"


def _oscillator(name: str, value: float | None, levels: tuple[float, float, float], weight: float) -> Contribution:
    """+1 up to the oversold level, −1 from the overbought one on, 0 in the middle, straight between."""
    if value is None:
        return _undefined(name, "no movement to measure")
    oversold, middle, overbought = levels
    reach = (middle - oversold) if value < middle else (overbought - middle)
    share = _clip((middle - value) / reach, 1.0) if reach > 0 else 0.0
    if value <= oversold:
        why = f"{value:.2f} is oversold (at or below {oversold:g})"
    elif value >= overbought:
        why = f"{value:.2f} is overbought (at or above {overbought:g})"
    else:
        why = f"{value:.2f} lies between {oversold:g} and {overbought:g}"
    return Contribution(name, value, weight * share, why)


def _damped(c: Contribution, figures: Figures, p: SignalParams) -> Contribution:
    """The oscillator's contribution, smaller when it speaks against a strong trend."""
    trend, adx = _difference(figures["ema_fast"], figures["ema_slow"]), figures["adx"]
    if trend is None or adx is None or c.points * trend >= 0 or adx <= p.adx_weak:
        return c
    strength = min(1.0, (adx - p.adx_weak) / (p.adx_strong - p.adx_weak))
    share = 1 - strength * (1 - p.counter_trend_share)
    if share > _AS_GOOD_AS_FULL:
        return replace(c, points=c.points * share)
    return replace(c, points=c.points * share, why=f"{c.why}; against the trend (ADX {adx:.0f}), so × {share:.2f}")


def _williams(value: float | None, p: SignalParams) -> Contribution:
    middle = (p.williams_oversold + p.williams_overbought) / 2
    return _oscillator("williams_r", value, (p.williams_oversold, middle, p.williams_overbought), p.weight_williams)


def _momentum(
    name: str, value: float | None, atr: float | None, close: float, full_atr: float, weight: float
) -> Contribution:
    """The value in ATRs, straight up to ±1 at `full_atr` ATRs."""
    if value is None or atr is None or atr <= close * _FLAT_RELATIVE:
        return _undefined(name, "no movement to measure", value)
    in_atrs = value / atr
    side = "upwards" if value > 0 else "downwards" if value < 0 else "flat"
    return Contribution(name, value, weight * _clip(in_atrs / full_atr, 1.0), f"{in_atrs:+.3f} ATR, {side}")


def _bollinger(figures: Figures, close: float, weight: float) -> Contribution:
    """+1 at the lower band, −1 at the upper band; the value is the close's place, −1…1 between the bands."""
    half_width = _difference(figures["bb_upper"], figures["bb_mid"])
    offset = _difference(close, figures["bb_mid"])
    if half_width is None or offset is None or half_width <= close * _FLAT_RELATIVE:
        return _undefined("bollinger", "the bands have no width")
    place = offset / half_width
    why = f"close lies {place:+.2f} of the way from the middle to the {'upper' if place > 0 else 'lower'} band"
    return Contribution("bollinger", place, weight * _clip(-place, 1.0), why)


def _obv(share: float | None, p: SignalParams) -> Contribution:
    """Straight up to ±1 once `obv_full_share` of the window's volume went one way on balance."""
    if share is None:
        return _undefined("obv", "no volume was traded")
    why = f"{share:+.1%} of {p.obv_window} candles' volume, on balance"
    return Contribution("obv", share, p.weight_obv * _clip(share / p.obv_full_share, 1.0), why)


def _undefined(name: str, why: str, value: float | None = None) -> Contribution:
    return Contribution(name, value, 0.0, f"undefined: {why}")


def _difference(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a - b


def _clip(value: float, bound: float) -> float:
    return max(-bound, min(bound, value))
