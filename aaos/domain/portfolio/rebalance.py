"""A rebalance: what is held against what shall be held, and the trades between the two. Pure.

The account trades linear contracts, but the portfolio uses no leverage: what a holding is worth counts as spent, and
what is left of the equity is free. `Σ weights of holdings + free / equity = 1`.

Threshold rebalancing, all the way to the target: a holding inside the band is left alone, one outside it is traded to
its target, not to the band's edge (Perold and Sharpe 1988, "constant mix"; Leland 1999 on the width of the band).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Literal

from aaos.domain.order_book import Instrument
from aaos.domain.portfolio.rules import PortfolioRules
from aaos.domain.portfolio.trades import NewTrade
from aaos.errors import InvariantViolation

ZERO = Decimal(0)
Note = Literal["IN_BAND", "TOO_SMALL", "NO_PRICE", "UNDER_WAY", "NO_CASH", "LESS_FOR_CASH", "NO_EQUITY", "GRID"]


@dataclass(frozen=True, slots=True)
class Asset:
    """A symbol that is held or shall be.

    Attributes:
        symbol: unified name.
        quantity: held, in base currency, signed; 0 for none.
        average_entry: of what is held, in quote currency; 0 for none.
        price: the middle of the book, in quote currency; None where there is no usable one.
        instrument: what the venue says of it; None where it does not list it.
        fault: why there is no usable price, in words; None where there is one.
        under_way: signed quantity of its released trades that are not over; the symbol is left alone until they are.
    """

    symbol: str
    quantity: Decimal
    average_entry: Decimal
    price: Decimal | None
    instrument: Instrument | None
    fault: str | None = None
    under_way: Decimal = ZERO

    @property
    def value(self) -> Decimal:
        """What is held is worth, in quote currency; without a price at what it was bought for."""
        return self.quantity * (self.average_entry if self.price is None else self.price)

    @property
    def unrealised(self) -> Decimal:
        """Profit of what is held, in quote currency; 0 without a price."""
        return self.value - self.quantity * self.average_entry


@dataclass(frozen=True, slots=True)
class Line:
    """One symbol of a rebalance. Shares are of the equity; drift is what is held minus what shall be.

    Attributes:
        trade: signed quantity to be traded, in base currency; 0 for none.
        note: why it is not traded, or not all the way; None where it is.
        detail: the note in words, with its figures.
    """

    asset: Asset
    target: Decimal
    weight: Decimal
    drift: Decimal
    trade: Decimal = ZERO
    note: Note | None = None
    detail: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Returns the JSON form; money and shares as text, to the digit."""
        asset = self.asset
        return {
            "symbol": asset.symbol,
            "quantity": f"{asset.quantity:f}",
            "average_entry": f"{asset.average_entry:f}",
            "price": None if asset.price is None else f"{asset.price:f}",
            "value": f"{asset.value:f}",
            "weight": f"{self.weight:f}",
            "target": f"{self.target:f}",
            "drift": f"{self.drift:f}",
            "trade": f"{self.trade:f}",
            "note": self.note,
            "detail": self.detail,
        }


@dataclass(frozen=True, slots=True)
class Rebalance:
    """A whole account against its targets; in quote currency. `free` is equity that is in no holding."""

    equity: Decimal
    free: Decimal
    lines: tuple[Line, ...]
    trades: tuple[NewTrade, ...]

    def to_dict(self) -> dict[str, Any]:
        """Returns the JSON form."""
        return {
            "equity": f"{self.equity:f}",
            "free": f"{self.free:f}",
            "lines": [line.to_dict() for line in self.lines],
            "trades": [
                {"symbol": each.symbol, "side": each.side, "quantity": f"{each.quantity:f}", "batch": each.batch}
                for each in self.trades
            ],
        }


def rebalance(
    account: str, cash: Decimal, assets: Sequence[Asset], rules: PortfolioRules, batch_every_s: float
) -> Rebalance:
    """Returns how far each holding is from its target, and the trades that bring back those beyond the threshold.

    Sells come before buys; buys, fees included, never cost more than what is free once the sells are made. A symbol
    that cannot be traded now is left alone, and its line says why.

    Args:
        account: whose holdings they are.
        cash: deposits + realised profit − fees + funding, in quote currency.
        assets: every symbol that is held or has a target; their order decides nothing.
        rules: targets, threshold, batches.
        batch_every_s: wall-clock seconds between two batches.
    """
    ordered = sorted(assets, key=lambda asset: asset.symbol)
    equity = cash + sum((asset.unrealised for asset in ordered), ZERO)
    free = equity - sum((asset.value for asset in ordered), ZERO)
    lines = [_wanted(_line(asset, rules.targets, equity), equity, rules.drift_threshold) for asset in ordered]
    lines = [_within(line, equity, rules.drift_threshold) for line in _affordable(lines, free)]
    return Rebalance(equity, free, tuple(lines), _trades(account, lines, rules, batch_every_s))


def _line(asset: Asset, targets: Mapping[str, Decimal], equity: Decimal) -> Line:
    target = targets.get(asset.symbol, ZERO)
    weight = asset.value / equity if equity > 0 else ZERO
    return Line(asset, target, weight, weight - target)


def _wanted(line: Line, equity: Decimal, threshold: Decimal) -> Line:
    """Returns the line with the trade all the way to its target, on the venue's grid; or with why there is none."""
    asset = line.asset
    if equity <= 0:
        return replace(line, note="NO_EQUITY", detail=f"the account's equity is {equity:f}: nothing to share out")
    if asset.price is None or asset.instrument is None:
        return replace(line, note="NO_PRICE", detail=asset.fault or "no usable price")
    if asset.under_way:
        said = f"a trade of {asset.under_way:+f} is still under way"
        return replace(line, note="UNDER_WAY", detail=said)
    if abs(line.drift) <= threshold:
        return replace(line, note="IN_BAND", detail=f"drift is at most {threshold:f}")
    wanted = line.target * equity / asset.price - asset.quantity
    if wanted < 0 and line.target == 0:
        wanted = -asset.quantity
    return _sized(line, wanted, asset.price, asset.instrument)


def _sized(line: Line, wanted: Decimal, price: Decimal, instrument: Instrument) -> Line:
    quantity = instrument.quantity(abs(wanted))
    if quantity < instrument.min_quantity or quantity * price < instrument.min_notional or not quantity:
        least = f"{instrument.min_quantity:f}, or worth {instrument.min_notional:f}"
        return replace(line, trade=ZERO, note="TOO_SMALL", detail=f"{abs(wanted):.8f} is less than the venue's {least}")
    return replace(line, trade=quantity.copy_sign(wanted))


def _affordable(lines: Sequence[Line], free: Decimal) -> list[Line]:
    """Returns the lines with buys cut, all by the same share, to what is free once the sells are made."""
    left = free - sum((_cost(line, line.asset.under_way) for line in lines if line.asset.under_way > 0), ZERO)
    left -= sum((_cost(line, line.trade) for line in lines if line.trade < 0), ZERO)
    asked = sum((_cost(line, line.trade) for line in lines if line.trade > 0), ZERO)
    if not asked or asked <= left:
        return list(lines)
    share = max(left, ZERO) / asked
    cut = []
    for line in lines:
        fitted = _cut(line, share, left) if line.trade > 0 else line
        left -= _cost(fitted, fitted.trade) if line.trade > 0 else ZERO
        cut.append(fitted)
    return cut


def _cut(line: Line, share: Decimal, left: Decimal) -> Line:
    price, instrument = _market(line.asset)
    smaller = _sized(line, line.trade * share, price, instrument)
    if smaller.trade and _cost(smaller, smaller.trade) > left:
        # The share was rounded up by half a digit, and the grid caught it.
        smaller = _sized(line, smaller.trade - instrument.quantity_step, price, instrument)
    if not smaller.trade:
        return replace(smaller, note="NO_CASH", detail=f"cash is left for {share:.4f} of the buys: {smaller.detail}")
    said = f"cash is left for {share:.4f} of the buys: {smaller.trade:f} instead of {line.trade:f}"
    return replace(smaller, note="LESS_FOR_CASH", detail=said)


def _market(asset: Asset) -> tuple[Decimal, Instrument]:
    """Returns price and instrument of an asset that is being traded."""
    if asset.price is None or asset.instrument is None:
        raise InvariantViolation(f"{asset.symbol} was to be traded without a price or an instrument")
    return asset.price, asset.instrument


def _cost(line: Line, quantity: Decimal) -> Decimal:
    """Returns what trading the signed quantity takes out of the free cash, fee included; negative: it puts in."""
    price = line.asset.average_entry if line.asset.price is None else line.asset.price
    fee = ZERO if line.asset.instrument is None else line.asset.instrument.taker_fee
    return quantity * price + abs(quantity) * price * fee


def _within(line: Line, equity: Decimal, threshold: Decimal) -> Line:
    """Returns the line, saying so where the venue's grid is too coarse to bring the holding within the threshold."""
    price = line.asset.price
    if line.note is not None or price is None:
        return line
    rest = abs((line.asset.quantity + line.trade) * price / equity - line.target)
    return (
        line if rest <= threshold else replace(line, note="GRID", detail=f"the venue's steps leave a drift of {rest:f}")
    )


def _trades(account: str, lines: Sequence[Line], rules: PortfolioRules, batch_every_s: float) -> tuple[NewTrade, ...]:
    sells = [(line, _parts(line, rules.batches)) for line in lines if line.trade < 0]
    buys = [(line, _parts(line, rules.batches)) for line in lines if line.trade > 0]
    first_buy = max((len(parts) for _, parts in sells), default=0)
    planned = [
        _trade(account, line, part, batch, batch_every_s, rules.trade_expires_s)
        for first, side in ((0, sells), (first_buy, buys))
        for line, parts in side
        for batch, part in enumerate(parts, start=first)
    ]
    return tuple(sorted(planned, key=lambda trade: (trade.batch, trade.symbol)))


def _trade(account: str, line: Line, part: Decimal, batch: int, every_s: float, expires_s: float) -> NewTrade:
    why = f"holds {line.weight:.2%} of the equity, target {line.target:.2%}, drift {line.drift:+.2%}"
    side: Literal["buy", "sell"] = "buy" if line.trade > 0 else "sell"
    return NewTrade(account, line.asset.symbol, side, part, batch, batch * every_s, expires_s, why)


def _parts(line: Line, batches: int) -> list[Decimal]:
    """Returns the trade in up to so many parts on the venue's grid, none too small for it; they add up to the trade."""
    price, instrument = _market(line.asset)
    whole, step = abs(line.trade), instrument.quantity_step
    steps = int(whole / step)
    for parts in range(min(batches, steps), 1, -1):
        smallest = steps // parts * step
        if smallest >= instrument.min_quantity and smallest * price >= instrument.min_notional:
            longer = steps % parts
            return [(steps // parts + (1 if part < longer else 0)) * step for part in range(parts)]
    return [whole]
