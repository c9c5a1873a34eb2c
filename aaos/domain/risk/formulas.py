"""The formulas of risk, Decimal throughout: break-even, stop, liquidation, leverage, drawdown (SPEC 9). Pure.

Contracts are linear (profit in quote currency) and margins isolated: what a position can lose is its own margin.
ROI is return on margin in percent: a move of the price times the leverage.
"""

from __future__ import annotations

from decimal import ROUND_FLOOR, ROUND_UP, Decimal

import numpy as np

from aaos.domain.market import Candles, timeframe_ms
from aaos.domain.order_book import Side

ZERO, ONE, HUNDRED = Decimal(0), Decimal(1), Decimal(100)
# A trade is two of them: in and out.
FEES_OF_A_TRADE = 2
# Wilder (1978), "New Concepts in Technical Trading Systems": the average true range over 14 candles.
ATR_PERIOD = 14
# What the ATR is scaled to, so that one figure in the configuration holds for candles of any length.
ATR_HORIZON_MS = 3_600_000
# Digits of figures that come from float64 candles: rounded up, so that rounding never makes a market calmer.
ATR_STEP = Decimal("0.000001")


def break_even_roi_percent(taker_fee: Decimal, leverage: Decimal, buffer_percent: Decimal) -> Decimal:
    """Returns the ROI in percent that pays both fees, plus a buffer: 0.0006 at 50× and 0.05 → 6.05."""
    return taker_fee * FEES_OF_A_TRADE * leverage * HUNDRED + buffer_percent


def margin_percent(base_risk: Decimal, leverage: Decimal) -> Decimal:
    """Returns the margin of a trade in percent of equity: 0.5 at 50× → 1, at 25× → 2.

    Times the leverage it is the notional, so the notional is `base_risk` × equity whatever the leverage: a higher
    leverage ties up less money, and does not make the bet larger.
    """
    return base_risk * HUNDRED / leverage


def stop_price(entry: Decimal, roi_percent: Decimal, leverage: Decimal, side: Side) -> Decimal:
    """Returns where a position has lost `roi_percent` of its margin: 100, 0.5, 50× → 99.99 long, 100.01 short."""
    return entry * (ONE - _direction(side) * roi_percent / leverage / HUNDRED)


def take_profit_price(entry: Decimal, roi_percent: Decimal, leverage: Decimal, side: Side) -> Decimal:
    """Returns where a position has gained `roi_percent` of its margin; a short's may lie below zero: out of reach."""
    return entry * (ONE + _direction(side) * roi_percent / leverage / HUNDRED)


def roi_percent(entry: Decimal, price: Decimal, leverage: Decimal, side: Side) -> Decimal:
    """Returns the gain on margin, in percent, when the price has gone from `entry` to `price`; fees not counted."""
    return _direction(side) * (price - entry) / entry * leverage * HUNDRED


def liquidation_price(entry: Decimal, leverage: Decimal, maintenance_margin: Decimal, side: Side) -> Decimal:
    """Returns where a position's margin and loss leave just the maintenance margin; zero: never (a long at 1×).

    From margin + profit = maintenance: entry / L ± (p − entry) = m p, solved for p; fees not counted.

    Args:
        entry: average entry price.
        leverage: L, at least 1.
        maintenance_margin: m, fraction of the notional at the price then.
        side: of the entry.
    """
    direction = _direction(side)
    return max(ZERO, entry * (ONE - direction / leverage) / (ONE - direction * maintenance_margin))


def liquidation_buffer_percent(entry: Decimal, stop: Decimal, liquidation: Decimal, side: Side) -> Decimal:
    """Returns how far beyond the stop the liquidation lies, in percent of the entry price; negative: before it."""
    return _direction(side) * (stop - liquidation) / entry * HUNDRED


def volatility_leverage(atr: Decimal, target_atr: Decimal, target_leverage: Decimal) -> Decimal:
    """Returns the leverage at which an ATR moves the margin as much as `target_atr` does at `target_leverage`.

    Unbounded and not rounded; see `leverage_limit`. Both ATRs in percent of the price, the first positive.
    """
    return target_leverage * target_atr / atr


def leverage_limit(
    atr: Decimal | None, target_atr: Decimal, target_leverage: Decimal, max_leverage: Decimal, venue_max: Decimal
) -> Decimal:
    """Returns the volatility-adjusted maximum, a whole number from 1 to the smaller of both maxima.

    Whole, since not every venue takes fractions. Unknown or no volatility at all says that the candles are not to be
    trusted, not that the market is safe: 1 then.
    """
    if atr is None or atr <= 0:
        return ONE
    adjusted = min(volatility_leverage(atr, target_atr, target_leverage), max_leverage, venue_max)
    return max(ONE, adjusted.to_integral_value(rounding=ROUND_FLOOR))


def hourly_atr_percent(candles: Candles) -> Decimal | None:
    """Returns Wilder's ATR of the candles in percent of the last close, scaled to an hour; None when it is unknown.

    Scaled by √(1 h / timeframe): the range of a random walk grows with the square root of time (Feller 1951).

    Args:
        candles: closed ones, oldest first; more than `ATR_PERIOD` of them.
    """
    if len(candles) <= ATR_PERIOD:
        return None
    before = candles.close[:-1]
    ranges = np.maximum(candles.high[1:], before) - np.minimum(candles.low[1:], before)
    atr = float(ranges[:ATR_PERIOD].mean())
    for each in ranges[ATR_PERIOD:].tolist():
        atr += (each - atr) / ATR_PERIOD
    scale = (ATR_HORIZON_MS / timeframe_ms(candles.timeframe)) ** 0.5
    percent = 100.0 * atr / float(candles.close[-1]) * scale
    if not np.isfinite(percent) or percent <= 0:
        return None
    return Decimal(percent).quantize(ATR_STEP, rounding=ROUND_UP)


def drawdown_percent(equity: Decimal, reference: Decimal | None) -> Decimal:
    """Returns how far equity lies below the reference, in percent of it; 0 above it, or where nothing was recorded.

    From a reference that is no longer positive there is nothing left to lose: 100.
    """
    if reference is None:
        return ZERO
    if reference <= 0:
        return HUNDRED
    return max(ZERO, (reference - equity) / reference * HUNDRED)


def _direction(side: Side) -> Decimal:
    return ONE if side == "buy" else -ONE
