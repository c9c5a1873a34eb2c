"""The seven checks of SPEC 9: each looks at a sized trade and says what it found, whatever the others said. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Context, Decimal
from typing import Any

from aaos.domain.amounts import exact
from aaos.domain.order_book import Instrument
from aaos.domain.risk.correlation import Correlation
from aaos.domain.risk.equity import Account
from aaos.domain.risk.formulas import (
    ZERO,
    break_even_roi_percent,
    drawdown_percent,
    liquidation_buffer_percent,
    roi_percent,
)
from aaos.domain.risk.proposal import Proposal, Terms
from aaos.domain.risk.rules import RiskRules
from aaos.domain.risk.sizing import Sizing, percent_of

# Figures are compared exactly and shown with so many digits: enough for prices of all sizes.
SHOWN = Context(prec=12)


@dataclass(frozen=True, slots=True)
class Measure:
    """One figure against one limit; `figure` None: there is none, and `limit` None: none applies."""

    name: str
    passed: bool
    figure: Decimal | None
    limit: Decimal | None
    unit: str
    why: str

    def to_dict(self) -> dict[str, Any]:
        """Returns the JSON form; figures as text."""
        return {
            "name": self.name,
            "passed": self.passed,
            "figure": shown(self.figure),
            "limit": shown(self.limit),
            "unit": self.unit,
            "why": self.why,
        }


@dataclass(frozen=True, slots=True)
class Check:
    """One of the seven; it passes when all of its measures do, and speaks through the first one that does not."""

    name: str
    measures: tuple[Measure, ...]

    @property
    def passed(self) -> bool:
        """Whether every measure passed."""
        return all(each.passed for each in self.measures)

    @property
    def leading(self) -> Measure:
        """Returns the first measure that failed, else the first one."""
        return next((each for each in self.measures if not each.passed), self.measures[0])

    @property
    def code(self) -> str:
        """Returns how a refusal by this check is counted: `RISK_DRAWDOWN`."""
        return f"RISK_{self.name.upper()}"

    def to_dict(self) -> dict[str, Any]:
        """Returns the JSON form: the leading measure under the check's name, and all measures."""
        measures = [each.to_dict() for each in self.measures]
        return self.leading.to_dict() | {"name": self.name, "passed": self.passed, "measures": measures}


@dataclass(frozen=True, slots=True)
class Trade:
    """A sized trade and what it is held against."""

    proposal: Proposal
    sizing: Sizing
    instrument: Instrument
    account: Account
    correlations: Mapping[str, Correlation]
    terms: Terms
    rules: RiskRules

    @property
    def symbol(self) -> str:
        """Its symbol."""
        return self.proposal.symbol


@dataclass(frozen=True, slots=True)
class Fall:
    """What equity is compared with: a reference, since when, and when it is taken anew (None: never by itself)."""

    name: str
    reference: Decimal | None
    limit: Decimal
    since: str
    over: str | None


def seven_checks(trade: Trade) -> tuple[Check, ...]:
    """Returns all seven, in the order of SPEC 9, each looked at whatever the others say."""
    return tuple(check(trade) for check in CHECKS)


def position_size(trade: Trade) -> Check:
    """1: the position, all positions together, their number, the margin, and what the venue takes at least."""
    if trade.proposal.reduce_only:
        return Check("position_size", (_sellable(trade),))
    return Check(
        "position_size",
        (
            _position(trade),
            _exposure(trade),
            _positions(trade),
            _one_per_symbol(trade),
            _free_margin(trade),
            *_venue_minimum(trade),
        ),
    )


def leverage(trade: Trade) -> Check:
    """2: no more than the market's volatility allows."""
    sizing, rules = trade.sizing, trade.rules
    if sizing.atr_percent is None:
        told = "the candles say nothing of volatility, so 1× is the most"
    else:
        told = (
            f"{rules.target_leverage:f}× × {rules.target_atr_percent:f} % / {sizing.atr_percent:f} % (ATR of an hour),"
            f" at most {min(trade.terms.max_leverage, trade.instrument.max_leverage):f}×"
        )
    why = f"{sizing.leverage:f}× of {sizing.max_leverage:f}×: {told}"
    return _single(
        "leverage", sizing.leverage <= sizing.max_leverage, sizing.leverage, sizing.max_leverage, "times", why
    )


def drawdown(trade: Trade) -> Check:
    """3: equity is not too far below that of the UTC day's start, the ISO week's start, and its peak."""
    if trade.proposal.reduce_only:
        return _shrinks("drawdown")
    account, rules = trade.account.snapshot, trade.rules
    falls = (
        Fall("day", account.day_equity, rules.max_daily_drawdown_percent, "the start of the UTC day", "00:00 UTC"),
        Fall("week", account.week_equity, rules.max_weekly_drawdown_percent, "the start of the week", "Monday, UTC"),
        Fall("peak", account.peak_equity, rules.max_drawdown_percent, "its peak", None),
    )
    return Check("drawdown", tuple(_fallen(each, trade.account.equity) for each in falls))


def consecutive_losses(trade: Trade) -> Check:
    """4: not too many closed positions in a row lost money."""
    if trade.proposal.reduce_only:
        return _shrinks("consecutive_losses")
    losses, limit = trade.account.snapshot.losses_in_a_row, trade.rules.max_consecutive_losses
    why = f"{losses} closed positions in a row lost money, {limit} stop trading"
    if losses >= limit:
        why += ": find out why, then raise risk.max_consecutive_losses until a position gains"
    return _single("consecutive_losses", losses < limit, Decimal(losses), Decimal(limit), "positions", why)


def correlation(trade: Trade) -> Check:
    """5: what moves together with this trade, itself included, is not too much; one bet is not made many times."""
    if trade.proposal.reduce_only:
        return _shrinks("correlation")
    limit, rules = trade.terms.correlated_percent, trade.rules
    together = {symbol: c for symbol, c in trade.correlations.items() if abs(c.value) >= rules.correlation_limit}
    amount = trade.sizing.notional + trade.account.notional_of(trade.symbol)
    amount += sum((trade.account.notional_of(symbol) for symbol in together), ZERO)
    figure = percent_of(amount, trade.account.equity)
    moves = _told_together(together, trade)
    if limit is None:
        return _single("correlation", True, figure, None, "% of equity", f"{moves}; the targets say how much of each")
    passed = figure is not None and figure <= limit
    why = f"{moves}: {_of_equity(figure)}, {limit:f} % may be"
    if not passed:
        why += "; wait until a position closes, or see risk.max_correlated_percent"
    return _single("correlation", passed, figure, limit, "% of equity", why)


def break_even(trade: Trade) -> Check:
    """6: the gain at which profit is taken pays both fees."""
    sizing, proposal, rules = trade.sizing, trade.proposal, trade.rules
    needed = break_even_roi_percent(trade.instrument.taker_fee, sizing.leverage, rules.break_even_buffer_percent)
    if sizing.take_profit_price is None:
        why = "it opens nothing" if proposal.reduce_only else "a holding has no price at which profit is taken"
        return _single("break_even", True, needed, None, "% of margin", why)
    gain = roi_percent(sizing.price, sizing.take_profit_price, sizing.leverage, proposal.side)
    why = f"fees and buffer need {_text(needed)} % on margin, profit is taken at {_text(gain)} %"
    # No exit rests at nothing, which is where the grid of a venue with too coarse a step would put it.
    passed = needed <= gain and sizing.take_profit_price > 0
    if not passed:
        why += "; raise risk.take_profit_roi_percent or lower the leverage"
    return _single("break_even", passed, needed, gain, "% of margin", why)


def liquidation_buffer(trade: Trade) -> Check:
    """7: the stop stands between entry and liquidation, with room beyond it."""
    sizing, limit = trade.sizing, trade.rules.min_liquidation_buffer_percent
    if sizing.stop_price is None:
        return _shrinks("liquidation_buffer")
    stop, entry, side = sizing.stop_price, sizing.price, trade.proposal.side
    beyond = entry - stop if side == "buy" else stop - entry
    buffer = liquidation_buffer_percent(entry, stop, sizing.liquidation_price, side)
    where = f"stop {stop:f}, liquidation {_text(sizing.liquidation_price)}"
    why = f"{where}: {_text(buffer)} % of the entry price between them, {limit:f} % must be"
    if buffer < limit:
        why += "; lower risk.max_leverage or risk.stop_roi_percent"
    stands = stop > 0 and beyond > 0
    told = f"stop {stop:f} {'stands' if stands else 'does not stand'} on the losing side of the entry {entry:f}"
    return Check(
        "liquidation_buffer",
        (
            Measure("buffer", buffer >= limit, buffer, limit, "% of entry price", why),
            Measure("stop", stands, stop, entry, "quote", told),
        ),
    )


CHECKS: Sequence[Callable[[Trade], Check]] = (
    position_size,
    leverage,
    drawdown,
    consecutive_losses,
    correlation,
    break_even,
    liquidation_buffer,
)


def _position(trade: Trade) -> Measure:
    amount = trade.account.notional_of(trade.symbol) + trade.sizing.notional
    figure, limit = percent_of(amount, trade.account.equity), trade.terms.position_percent
    why = f"{trade.symbol} would be {_of_equity(figure)}, {_text(limit)} % may be"
    return _at_most("position", figure, limit, why, f"see {trade.terms.remedy}")


def _exposure(trade: Trade) -> Measure:
    amount = sum((each.notional for each in trade.account.grows), ZERO) + trade.sizing.notional
    figure, limit = percent_of(amount, trade.account.equity), trade.terms.exposure_percent
    why = f"all positions and pending entries would be {_of_equity(figure)}, {_text(limit)} % may be"
    return _at_most("exposure", figure, limit, why, f"wait until one closes, or see {trade.terms.remedy}")


def _positions(trade: Trade) -> Measure:
    symbols = {each.exposure.symbol for each in trade.account.grows} | {trade.symbol}
    count, limit = len(symbols), trade.terms.max_positions
    if limit is None:
        why = f"{count} holdings; the targets say how many"
        return Measure("positions", True, Decimal(count), None, "positions", why)
    why = f"it would be position {count} of {limit}"
    if count > limit:
        why += "; wait until one closes, or see risk.max_positions"
    return Measure("positions", count <= limit, Decimal(count), Decimal(limit), "positions", why)


def _one_per_symbol(trade: Trade) -> Measure:
    there = [each.exposure for each in trade.account.grows if each.exposure.symbol == trade.symbol]
    count = Decimal(len(there))
    if trade.terms.adds_up:
        return Measure("one_per_symbol", True, count, None, "positions", "a holding may be added to")
    if not there:
        return Measure(
            "one_per_symbol", True, count, ZERO, "positions", f"nothing is open or pending in {trade.symbol}"
        )
    first = there[0]
    what = "a position" if first.is_open else "an unused approval or a working entry"
    whose = f" of {first.source}" if first.source else ""
    why = f"{trade.symbol} has {what}{whose} already; wait until it is closed, or has expired"
    return Measure("one_per_symbol", False, count, ZERO, "positions", why)


def _free_margin(trade: Trade) -> Measure:
    needed, free = trade.sizing.margin, trade.account.free
    why = f"it ties up {_text(needed)} as margin, {_text(free)} is free"
    if needed > free:
        why += "; wait until a position closes, or deposit more"
    return Measure("free_margin", needed <= free, needed, free, "quote", why)


def _venue_minimum(trade: Trade) -> tuple[Measure, Measure]:
    sizing, venue = trade.sizing, trade.instrument
    remedy = "raise risk.base_risk, deposit more, or leave this symbol out"
    if trade.terms.adds_up:
        remedy = "fewer portfolio.batches make larger trades"
    quantity = _at_least("min_quantity", sizing.quantity, venue.min_quantity, "base", remedy)
    return quantity, _at_least("min_notional", sizing.notional, venue.min_notional, "quote", remedy)


def _sellable(trade: Trade) -> Measure:
    wanted, held = trade.sizing.quantity, trade.account.sellable(trade.symbol)
    passed = ZERO < wanted <= held and trade.proposal.side == "sell"
    why = f"it sells {wanted:f} of the {held:f} {trade.symbol} that are held and not being sold"
    if not passed:
        why += "; the next rebalance plans anew"
    return Measure("sellable", passed, wanted, held, "base", why)


def _fallen(fall: Fall, equity: Decimal) -> Measure:
    figure = drawdown_percent(equity, fall.reference)
    if fall.reference is None:
        why = f"no equity was recorded yet, so nothing is lost since {fall.since}"
        return Measure(fall.name, True, figure, fall.limit, "%", why)
    passed = figure < fall.limit
    why = f"equity {_text(equity)} is {_text(figure)} % below {_text(fall.reference)}, {fall.since}"
    why += f"; {fall.limit:f} % stop trading"
    if not passed:
        person = "find out why, then raise risk.max_drawdown_percent, or deposit"
        why += f"; {person if fall.over is None else f'it goes on by itself at {fall.over}'}"
    return Measure(fall.name, passed, figure, fall.limit, "%", why)


def _told_together(together: Mapping[str, Correlation], trade: Trade) -> str:
    if not trade.correlations:
        return "nothing else is open"
    if not together:
        return f"nothing open moves with {trade.symbol} (|correlation| from {trade.rules.correlation_limit:f})"
    told = (f"{symbol} ({c.undefined or _text(c.value)})" for symbol, c in sorted(together.items()))
    return f"{trade.symbol} is one bet with {', '.join(told)}"


def _shrinks(name: str) -> Check:
    return _single(name, True, None, None, "", "it only makes a holding smaller")


def _single(name: str, passed: bool, figure: Decimal | None, limit: Decimal | None, unit: str, why: str) -> Check:
    return Check(name, (Measure(name, passed, figure, limit, unit, why),))


def _at_most(name: str, figure: Decimal | None, limit: Decimal, why: str, remedy: str) -> Measure:
    passed = figure is not None and figure <= limit
    return Measure(name, passed, figure, limit, "% of equity", why if passed else f"{why}; {remedy}")


def _at_least(name: str, figure: Decimal, limit: Decimal, unit: str, remedy: str) -> Measure:
    # Nothing at all is no order, whatever the venue says its smallest one is.
    passed = figure >= limit and figure > 0
    why = f"{_text(figure)} {unit}, the venue takes {_text(limit)} or more"
    return Measure(name, passed, figure, limit, unit, why if passed else f"{why}; {remedy}")


def _of_equity(figure: Decimal | None) -> str:
    return "more than the equity, of which there is none" if figure is None else f"{_text(figure)} % of equity"


def _text(value: Decimal) -> str:
    return shown(value) or ""


def shown(value: Decimal | None) -> str | None:
    """Returns a figure as text: rounded for reading, without exponent or trailing zeros."""
    return None if value is None else exact(SHOWN.plus(value))
