"""What shall be traded, the terms it is held against, and what is known of market and account. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from aaos.domain.market import Candles
from aaos.domain.order_book import Instrument, OrderBook, Side
from aaos.domain.portfolio.rules import PortfolioRules
from aaos.domain.risk.account import AccountSnapshot
from aaos.domain.risk.formulas import HUNDRED, ONE, ZERO
from aaos.domain.risk.rules import RiskRules


@dataclass(frozen=True, slots=True)
class Proposal:
    """A decision or a portfolio trade, before risk has sized it.

    Attributes:
        source: `decision:17`, `trade:4`.
        source_hash: content hash of what was decided.
        account: that it would be traded in.
        symbol: unified name.
        side: of the entry.
        quantity: in base currency, as the portfolio planned it; None: risk works it out.
        size_fraction: 0 … 1, of the size that risk works out; never more than all of it.
        leverage: at most this; None: whatever the market allows.
        limit_price: the entry may not be worse than this; None: wherever the book's level is.
        reduce_only: it only makes a holding smaller.
    """

    source: str
    source_hash: str
    account: str
    symbol: str
    side: Side
    quantity: Decimal | None = None
    size_fraction: Decimal = ONE
    leverage: Decimal | None = None
    limit_price: Decimal | None = None
    reduce_only: bool = False


@dataclass(frozen=True, slots=True)
class Terms:
    """What one trade is held against, beside the limits on losses, which hold for every trade.

    Attributes:
        position_percent: notional of its symbol, in percent of equity.
        exposure_percent: notional of all symbols.
        max_positions: symbols at once; None: as many as there are targets.
        adds_up: whether it may add to a position in its symbol.
        correlated_percent: notional of all that moves with it; None: the targets say how much of each.
        max_leverage: however quiet the market.
        stop_roi_percent: loss on margin at which its stop stands.
        take_profit_roi_percent: gain on margin at which profit is taken; None: nowhere.
        remedy: who sets these limits, for whoever reads a refusal.
    """

    position_percent: Decimal
    exposure_percent: Decimal
    max_positions: int | None
    adds_up: bool
    correlated_percent: Decimal | None
    max_leverage: Decimal
    stop_roi_percent: Decimal
    take_profit_roi_percent: Decimal | None
    remedy: str


def decision_terms(rules: RiskRules) -> Terms:
    """Returns the terms of a decision's trade: the section `risk`, one position per symbol."""
    return Terms(
        position_percent=rules.max_position_percent,
        exposure_percent=rules.max_exposure_percent,
        max_positions=rules.max_positions,
        adds_up=False,
        correlated_percent=rules.max_correlated_percent,
        max_leverage=rules.max_leverage,
        stop_roi_percent=rules.stop_roi_percent,
        take_profit_roi_percent=rules.take_profit_roi_percent,
        remedy="config/risk.yaml",
    )


def holding_terms(rules: PortfolioRules, symbol: str) -> Terms:
    """Returns the terms of a portfolio trade: the target plus the drift that is tolerated, never borrowed money.

    A holding is bought to be held: nothing is said of correlation (the targets spread the risk) nor of a profit to be
    taken; the stop lies `portfolio.stop_percent` below the price, which at 1× is the same in percent of margin.
    """
    target = rules.targets.get(symbol, ZERO)
    all_targets = sum(rules.targets.values(), ZERO)
    slack = rules.drift_threshold if target else ZERO
    return Terms(
        position_percent=min(ONE, target + slack) * HUNDRED,
        exposure_percent=min(ONE, all_targets + rules.drift_threshold) * HUNDRED,
        max_positions=None,
        adds_up=True,
        correlated_percent=None,
        max_leverage=ONE,
        stop_roi_percent=rules.stop_percent,
        take_profit_roi_percent=None,
        remedy="config/portfolio.yaml",
    )


@dataclass(frozen=True, slots=True)
class Seen:
    """A market as it is seen when risk is assessed; None where there is no book or no candles to trust."""

    book: OrderBook | None = None
    candles: Candles | None = None


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that an assessment rests on, read at one instant.

    Attributes:
        instrument: what the venue says of the symbol.
        book: of the symbol; one without a fault.
        candles: of the symbol, closed, oldest first; None: none to be trusted.
        snapshot: the account's books at one version.
        others: by symbol, the markets of what the account has open elsewhere.
    """

    instrument: Instrument
    book: OrderBook
    candles: Candles | None
    snapshot: AccountSnapshot
    others: Mapping[str, Seen] = field(default_factory=dict)
