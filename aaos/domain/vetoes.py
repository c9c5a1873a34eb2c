"""The veto ledger (SPEC 21.6): what each refusal would have traded, and what that trade would have become. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Annotated, ClassVar, Literal

from annotated_types import Ge, Gt, Le, Lt

from aaos.domain.order_book import Side

VetoState = Literal["unread", "waiting", "scored", "unscorable"]
ExitBy = Literal["stop", "take_profit", "horizon"]
Verdict = Literal["saved", "cost"]
STAGES = ("decision", "review", "risk", "execution")
TEXT_MAX_CHARS = 2000


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
        price: the market's then, in quote currency: that candle's close, to the last digit; of an execution a price of
            the book near it.
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


@dataclass(frozen=True, slots=True)
class VetoRules:
    """Section `vetoes` of the configuration: when a refused trade's outcome is known, and what trading costs."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    horizon_candles: Annotated[int, Ge(1), Le(10_000)] = 240
    taker_fee: Annotated[Decimal, Ge(0), Lt(Decimal("0.1"))] = Decimal("0.0006")
    window_vetoes: Annotated[int, Ge(1), Le(1_000_000)] = 20_000
    score_every_s: Annotated[float, Ge(1), Le(3_600)] = 30.0
    score_time_s: Annotated[float, Gt(0), Le(60)] = 2.0


@dataclass(frozen=True, slots=True)
class VetoTerms:
    """How a refused trade is followed; kept with it, so that no later change of the rules can pick its outcome.

    Attributes:
        timeframe: of the candles that it is followed on.
        anchor_ms: open time of the newest candle that had closed when it was refused.
        market_candles: how many candles up to that one `market_hash` is over.
        market_hash: content hash of these: what tells another market from this one.
        horizon_candles: it is closed at the close of this many candles later, unless it ended before.
        due_ms: open time of the last of these.
        taker_fee: fraction of the notional, paid on the way in and on the way out.
        stop_at: price of its stop; None: it has none.
        profit_at: price where its profit is taken; None: nowhere.
    """

    timeframe: str
    anchor_ms: int
    market_candles: int
    market_hash: str
    horizon_candles: int
    due_ms: int
    taker_fee: Decimal
    stop_at: Decimal | None
    profit_at: Decimal | None


@dataclass(frozen=True, slots=True)
class VetoOutcome:
    """What a refused trade would have become.

    Attributes:
        after_ms: open time of the candle that ended it.
        exit_by: what ended it.
        exit_price: in quote currency.
        return_pct: in percent of its notional, after both fees.
        result_quote: the same in quote currency; None where no size was worked out.
    """

    after_ms: int
    exit_by: ExitBy
    exit_price: Decimal
    return_pct: Decimal
    result_quote: Decimal | None

    @property
    def verdict(self) -> Verdict:
        """`saved`: the refusal avoided a loss; `cost`: it missed a gain (or nothing)."""
        return "saved" if self.return_pct < 0 else "cost"


@dataclass(frozen=True, slots=True)
class Veto:
    """A stored veto.

    Attributes:
        run_id: the run that refused.
        vetoed_at: wall clock, by the database's.
        state: `unread` until it was looked at, `waiting` for its horizon, then `scored` or `unscorable` for good.
        terms: how it is followed; None while it is unread, and where it could not be read.
        why: why there is no outcome and never will be.
        scored_at: when it ended.
    """

    id: int
    run_id: int
    vetoed_at: datetime
    refusal: NewVeto
    state: VetoState = "unread"
    terms: VetoTerms | None = None
    outcome: VetoOutcome | None = None
    why: str | None = None
    scored_at: datetime | None = None

    @property
    def ended(self) -> bool:
        """Whether nothing more will become of it."""
        return self.state in ("scored", "unscorable")


@dataclass(frozen=True, slots=True)
class VetoCount:
    """How many vetoes of a stage and code stand how; `why` of those that can never be scored."""

    stage: str
    code: str
    state: VetoState
    why: str | None
    count: int


def storable(veto: NewVeto) -> NewVeto:
    """Returns the veto as every store keeps it: without figures that are none, and with printable texts.

    A trade is often refused because its size or stop came out at nothing, and a reason may quote a model, which says
    anything: neither may keep the refusal from being stored.
    """
    return replace(
        veto,
        code=_text(veto.code),
        reason=_text(veto.reason),
        quantity=_figure(veto.quantity),
        leverage=_figure(veto.leverage),
        stop_price=_figure(veto.stop_price),
        take_profit_price=_figure(veto.take_profit_price),
    )


def _figure(value: Decimal | None) -> Decimal | None:
    return value if value is not None and value.is_finite() and value > 0 else None


def _text(said: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in said[:TEXT_MAX_CHARS])
