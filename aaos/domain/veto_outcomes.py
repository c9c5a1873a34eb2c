"""What a refused trade would have become, on the candles that the market really made.

It is taken to be filled whole at the market's price of the moment of the refusal, and to end at its stop, where its
profit is taken, or at the close of the horizon's last candle, whichever comes first; both fees are the taker's. All
vetoes wait for the end of the horizon, those whose stop was touched early, too: else the early ends, stops and
profits alone, would be counted before the others. A candle that had begun before the refusal counts neither for nor
against the trade: which of its prices came later is not known.
"""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Final

import numpy as np

from aaos.domain.calibration import SeriesNow
from aaos.domain.market import BoolArray, Candles, timeframe_ms
from aaos.domain.risk.rules import RiskRules
from aaos.domain.vetoes import ExitBy, NewVeto, Veto, VetoOutcome, VetoRules, VetoTerms

# Why a veto has no outcome. Constant sentences, so that they can be counted.
SERIES_GONE: Final = "the market was switched: this symbol is not in use any more"
SET_BACK: Final = "the market was switched or set back: it has not reached the moment of the refusal"
NOT_THERE: Final = "the market was switched, or has a gap: no candle closed at the moment of the refusal"
OTHER_PRICE: Final = "the market was switched: its price then is not the one that was refused"
MARKET_SWITCHED: Final = "the market was switched: its candles are not the ones of the moment of the refusal"
CANDLES_MISSING: Final = "more than a tenth of the horizon's candles are missing: a gap, or the end of the replay"

# Candles up to the refusal that tell one market from another.
ANCHOR_CANDLES: Final = 100
# Decisions, people and risk refuse at the newest close, to the last digit. Execution refuses at the middle of a book,
# which lies outside the last closed candle by what happened since.
AT_A_BOOKS_PRICE: Final = "execution"
PRICE_SLACK: Final = 0.02
# So much of the horizon may be missing: a stop touched in a gap is not seen, but the price after it is.
MISSING_SHARE: Final = 0.1
PERCENT_STEP: Final = Decimal("0.000001")
QUOTE_STEP: Final = Decimal("0.00000001")
ONE: Final = Decimal(1)


def read_veto(veto: Veto, series: SeriesNow | None, candles: Candles, rules: VetoRules, risk: RiskRules) -> Veto:
    """Returns the veto with what it waits for, or its end where there is nothing to wait for.

    Args:
        veto: an unread one.
        series: the one of its symbol in use now; None where there is none.
        candles: the newest `ANCHOR_CANDLES` that had closed when it was refused.
        rules: horizon and fee, kept with it.
        risk: stop and profit where the refusal names none.
    """
    if series is None:
        return unscorable(veto, SERIES_GONE)
    width_ms = timeframe_ms(series.timeframe)
    anchor_ms = anchor_of(veto.refusal, series.timeframe)
    if series.newest_open_ms < anchor_ms:
        return unscorable(veto, SET_BACK)
    if not len(candles) or int(candles.open_time_ms[-1]) != anchor_ms:
        return unscorable(veto, NOT_THERE)
    if not _has_price(candles, veto.refusal):
        return unscorable(veto, OTHER_PRICE)
    stop_at, profit_at = exits_of(veto.refusal, risk)
    terms = VetoTerms(
        timeframe=series.timeframe,
        anchor_ms=anchor_ms,
        market_candles=len(candles),
        market_hash=candles.content_hash(),
        horizon_candles=rules.horizon_candles,
        due_ms=first_after(veto.refusal, series.timeframe) + (rules.horizon_candles - 1) * width_ms,
        taker_fee=rules.taker_fee,
        stop_at=stop_at,
        profit_at=profit_at,
    )
    return replace(veto, state="waiting", terms=terms)


def anchor_of(refusal: NewVeto, timeframe: str) -> int:
    """Returns when the newest candle opened that had closed at the refusal (ms)."""
    width_ms = timeframe_ms(timeframe)
    return refusal.market_ms // width_ms * width_ms - width_ms


def first_after(refusal: NewVeto, timeframe: str) -> int:
    """Returns when the first candle opens that lies whole after the refusal (ms)."""
    width_ms = timeframe_ms(timeframe)
    return -(-refusal.market_ms // width_ms) * width_ms


def exits_of(refusal: NewVeto, risk: RiskRules) -> tuple[Decimal | None, Decimal | None]:
    """Returns (stop, price where profit is taken): the refusal's own, else as risk would have set them (SPEC 9).

    A portfolio's trade (`trade:4`) is meant to be held: it has the exits that it names, and no others.
    """
    if refusal.source.startswith("trade:"):
        return refusal.stop_price, refusal.take_profit_price
    leverage = refusal.leverage or risk.target_leverage
    sign = ONE if refusal.side == "buy" else -ONE
    stop = refusal.price * (1 - sign * risk.stop_roi_percent / leverage / 100)
    profit = refusal.price * (1 + sign * risk.take_profit_roi_percent / leverage / 100)
    return refusal.stop_price or _above_zero(stop), refusal.take_profit_price or _above_zero(profit)


def settle_veto(veto: Veto, candles: Candles) -> Veto:
    """Returns the end of a veto whose horizon is over.

    Args:
        veto: a waiting one, due.
        candles: those in use now that opened at or before `due_ms`, all closed, reaching back `market_candles` from
            the anchor; what opened later than `due_ms` is not looked at.
    """
    terms = veto.terms
    if terms is None:
        raise ValueError(f"veto {veto.id} was not read yet")
    width_ms = timeframe_ms(terms.timeframe)
    if candles.until(terms.anchor_ms + width_ms).tail(terms.market_candles).content_hash() != terms.market_hash:
        return unscorable(veto, MARKET_SWITCHED)
    path = _path(candles, terms)
    if len(path) < terms.horizon_candles * (1 - MISSING_SHARE):
        return unscorable(veto, CANDLES_MISSING)
    return replace(veto, state="scored", outcome=outcome_of(veto.refusal, terms, path))


def strand_veto(veto: Veto, in_use: set[tuple[str, str]]) -> Veto:
    """Returns the end of a waiting veto whose market is gone: its series, or the candle of the refusal.

    Args:
        veto: a waiting one.
        in_use: (symbol, timeframe) of the series in use now.
    """
    known = veto.terms is not None and (veto.refusal.symbol, veto.terms.timeframe) in in_use
    return unscorable(veto, SET_BACK if known else SERIES_GONE)


def unscorable(veto: Veto, why: str) -> Veto:
    """Returns the veto as one whose outcome nobody will know."""
    return replace(veto, state="unscorable", why=why)


def outcome_of(refusal: NewVeto, terms: VetoTerms, path: Candles) -> VetoOutcome:
    """Returns what the trade would have become on these candles, those after the refusal up to the horizon's end.

    A candle that touches both stop and profit counts as a stop: its inside is not known, and this is the worse. A
    stop that the market jumped over is filled where the candle opened; a profit is never filled better than asked.
    """
    is_long = refusal.side == "buy"
    stopped = _first(_touched(path, terms.stop_at, below=is_long))
    gained = _first(_touched(path, terms.profit_at, below=not is_long))
    if terms.stop_at is not None and stopped is not None and (gained is None or stopped <= gained):
        opened = Decimal(str(path.open[stopped]))
        worse = min(terms.stop_at, opened) if is_long else max(terms.stop_at, opened)
        return _outcome(refusal, terms, path, stopped, "stop", worse)
    if terms.profit_at is not None and gained is not None:
        return _outcome(refusal, terms, path, gained, "take_profit", terms.profit_at)
    last = len(path) - 1
    return _outcome(refusal, terms, path, last, "horizon", Decimal(str(path.close[last])))


def _outcome(
    refusal: NewVeto, terms: VetoTerms, path: Candles, at: int, exit_by: ExitBy, exit_price: Decimal
) -> VetoOutcome:
    share = exit_price / refusal.price
    gross = share - 1 if refusal.side == "buy" else 1 - share
    net = gross - terms.taker_fee * (1 + share)
    quote = None if refusal.quantity is None else (net * refusal.quantity * refusal.price).quantize(QUOTE_STEP)
    return VetoOutcome(int(path.open_time_ms[at]), exit_by, exit_price, (net * 100).quantize(PERCENT_STEP), quote)


def _path(candles: Candles, terms: VetoTerms) -> Candles:
    """The candles that lie whole after the refusal, none of them beyond the horizon."""
    width_ms = timeframe_ms(terms.timeframe)
    until = candles.until(terms.due_ms + width_ms)
    first_ms = terms.due_ms - (terms.horizon_candles - 1) * width_ms
    return until.tail(len(until) - int(np.searchsorted(until.open_time_ms, first_ms)))


def _has_price(candles: Candles, refusal: NewVeto) -> bool:
    """Whether the newest candle is one that the refusal's price can be of."""
    if refusal.stage != AT_A_BOOKS_PRICE:
        return float(refusal.price) == float(candles.close[-1])
    low, high = float(candles.low[-1]) * (1 - PRICE_SLACK), float(candles.high[-1]) * (1 + PRICE_SLACK)
    return low <= refusal.price <= high


def _touched(path: Candles, price: Decimal | None, *, below: bool) -> BoolArray:
    if price is None:
        return np.zeros(len(path), dtype=np.bool_)
    return np.less_equal(path.low, float(price)) if below else np.greater_equal(path.high, float(price))


def _first(touched: BoolArray) -> int | None:
    return int(np.argmax(touched)) if touched.any() else None


def _above_zero(price: Decimal) -> Decimal | None:
    """A stop a hundred percent away, or more, is none."""
    return price if price > 0 else None
