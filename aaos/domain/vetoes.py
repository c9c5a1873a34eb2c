"""The veto ledger (SPEC 21.6): what each refusal would have traded, and what that trade would have become. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from aaos.domain.order_book import Side


@dataclass(frozen=True, slots=True)
class NewVeto:
    """A trade that was refused, written down with the refusal.

    Attributes:
        source: `decision:17`, `trade:4`.
        stage: who refused: `decision`, `review`, `risk`, `execution`.
        code: short and stable, for counting: `HIDDEN_HAND`, `CONFIDENCE`, `RISK_DRAWDOWN`, `SLIPPAGE_EXCEEDED` …
        reason: in words.
        symbol: unified name.
        side: what would have been bought or sold.
        market_ms: market time of the refusal (ms): the newest closed candle's close.
        price: the market's then, in quote currency.
        quantity: that would have been traded, in base currency; None where no size was worked out.
        leverage: of that trade; None where none was worked out.
        stop_price: of that trade; None where none was worked out.
        take_profit_price: of that trade; None where none was worked out.
    """

    source: str
    stage: str
    code: str
    reason: str
    symbol: str
    side: Side
    market_ms: int
    price: Decimal
    quantity: Decimal | None = None
    leverage: Decimal | None = None
    stop_price: Decimal | None = None
    take_profit_price: Decimal | None = None
