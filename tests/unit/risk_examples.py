"""Made-up markets, accounts and stores for risk: every figure in them is an example."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
from market_examples import candles_of

from aaos.domain.approvals import Approval
from aaos.domain.market import Candles
from aaos.domain.order_book import Instrument, Level, OrderBook
from aaos.domain.orders import RiskApproval
from aaos.domain.portfolio.rules import PortfolioRules
from aaos.domain.portfolio.trades import ScheduledTrade
from aaos.domain.results import canonical_json, content_hash
from aaos.domain.risk.account import AccountSnapshot, Exposure
from aaos.domain.risk.checks import Check
from aaos.domain.risk.gate import Assessment, assess
from aaos.domain.risk.proposal import Evidence, Proposal, Seen, decision_terms, holding_terms
from aaos.domain.risk.rules import RiskRules
from aaos.domain.runs import ClaimedRun
from aaos.errors import InputError, InsufficientData, UnknownSymbol
from aaos.ports import ResultRecord
from aaos.services.assess_risk import RiskPorts

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
SYMBOL = "BTC/USDT"
D = Decimal
RULES = RiskRules()
PORTFOLIO = PortfolioRules(targets={SYMBOL: D("0.4"), "ETH/USDT": D("0.3")})


def an_instrument(symbol: str = SYMBOL, **changes: Any) -> Instrument:
    base = Instrument(
        symbol=symbol,
        price_step=D("0.01"),
        quantity_step=D("0.001"),
        min_quantity=D("0.001"),
        min_notional=D(5),
        max_leverage=D(50),
        maker_fee=D("0.0002"),
        taker_fee=D("0.0006"),
        maintenance_margin=D("0.005"),
    )
    return replace(base, **changes)


def a_book(mid: str | Decimal = "100", symbol: str = SYMBOL, levels: int = 10, step: str = "0.01", age_s: float = 1.0):
    """Bids and asks `step` apart around the middle; the ninth bid of 100 is 99.91."""
    middle, gap = D(mid), D(step)
    bids = tuple(Level(middle - gap * n, D(5)) for n in range(1, levels + 1))
    asks = tuple(Level(middle + gap * n, D(5)) for n in range(1, levels + 1))
    return OrderBook(symbol, bids, asks, NOW, age_s)


def returns(seed: int, n: int = 239, sigma: float = 0.0007) -> np.ndarray[Any, Any]:
    return sigma * np.random.default_rng(seed).normal(size=n)


def candles_from(moves: np.ndarray[Any, Any], symbol: str = SYMBOL, price: float = 100.0) -> Candles:
    """Candles that end at `price`, with these log returns."""
    path = np.concatenate(([0.0], np.cumsum(moves)))
    return candles_of(price * np.exp(path - path[-1]), symbol=symbol)


def calm(symbol: str = SYMBOL, seed: int = 1, price: float = 100.0, sigma: float = 0.0007) -> Candles:
    return candles_from(returns(seed, sigma=sigma), symbol, price)


def an_exposure(symbol: str = "ETH/USDT", quantity: str = "10", price: str = "100", **changes: Any) -> Exposure:
    base = Exposure("decision:1", symbol, D(quantity), D(price), D(5), is_open=True)
    return replace(base, **changes)


def a_snapshot(*exposures: Exposure, cash: str = "10000", **changes: Any) -> AccountSnapshot:
    base = AccountSnapshot(
        account="paper",
        version=7,
        cash=D(cash),
        exposures=exposures,
        peak_equity=D(cash),
        day_equity=D(cash),
        week_equity=D(cash),
        losses_in_a_row=0,
        read_at=NOW,
    )
    return replace(base, **changes)


def a_proposal(side: str = "buy", **changes: Any) -> Proposal:
    return replace(Proposal("decision:17", "ab" * 32, "paper", SYMBOL, side), **changes)  # type: ignore[arg-type]


def evidence(snapshot: AccountSnapshot | None = None, **changes: Any) -> Evidence:
    base = Evidence(an_instrument(), a_book(), calm(), snapshot or a_snapshot())
    return replace(base, **changes)


def seen(symbol: str = "ETH/USDT", seed: int = 2, mid: str = "100") -> dict[str, Seen]:
    return {symbol: Seen(a_book(mid, symbol), calm(symbol, seed, float(mid)))}


RUN = ClaimedRun(
    id=99,
    kind="risk_assessment",
    symbol=SYMBOL,
    slot=NOW,
    attempt=1,
    fence=7,
    deadline=NOW + timedelta(seconds=60),
    dependent=False,
    scheduled=False,
    params={"source": "decision:17"},
    created_at=NOW,
    time_left_s=60.0,
)


def a_decision(signal: str = "BUY", tradable: bool = True, age_s: float = 5, **more: Any) -> ResultRecord:
    body = {"symbol": SYMBOL, "signal": signal, "confidence": 0.8, "tradable": tradable, **more}
    stored: Mapping[str, Any] = json.loads(canonical_json(body))
    made = NOW - timedelta(seconds=age_s)
    return ResultRecord(1017, 17, "trading_decision", SYMBOL, NOW, 3, made, content_hash(stored), stored, (), None)


def a_trade(side: str = "buy", quantity: str = "2", **changes: Any) -> ScheduledTrade:
    base = ScheduledTrade(
        id=4,
        rebalance_run=50,
        account="paper-portfolio",
        symbol=SYMBOL,
        side=side,  # type: ignore[arg-type]
        quantity=D(quantity),
        batch=0,
        state="released",
        due_at=NOW - timedelta(seconds=10),
        expires_at=NOW + timedelta(seconds=600),
        risk_run=RUN.id,
        outcome=None,
        why="drift",
    )
    return replace(base, **changes)


@dataclass
class World:
    """In-memory stand-ins for everything risk reads; a test changes what it is about."""

    decision: ResultRecord | None = field(default_factory=a_decision)
    verdict: Approval | None = None
    trade_row: ScheduledTrade | None = None
    given: RiskApproval | None = None
    account: AccountSnapshot = field(default_factory=a_snapshot)
    order_books: dict[str, OrderBook] = field(default_factory=lambda: {SYMBOL: a_book()})
    series: dict[str, Candles] = field(default_factory=lambda: {SYMBOL: calm()})
    listed: Instrument | Exception = field(default_factory=an_instrument)

    def ports(self) -> RiskPorts:
        return RiskPorts(
            results=self,  # type: ignore[arg-type]
            approvals=self,  # type: ignore[arg-type]
            trades=self,  # type: ignore[arg-type]
            desk=self,  # type: ignore[arg-type]
            books=self,  # type: ignore[arg-type]
            market=self,  # type: ignore[arg-type]
            brokers={"paper": self, "paper-portfolio": self},  # type: ignore[dict-item]
            clock=self,
        )

    def now(self) -> datetime:
        return NOW

    def result_of_run(self, run_id: int) -> ResultRecord | None:
        return self.decision if self.decision is not None and run_id == self.decision.run_id else None

    def verdicts(self, run_ids: Sequence[int]) -> Mapping[int, Approval]:
        return {} if self.verdict is None else {self.verdict.run_id: self.verdict}

    def trade(self, trade_id: int) -> ScheduledTrade:
        if self.trade_row is None:
            raise InputError(f"no trade {trade_id}; `aaos portfolio` lists them")
        return self.trade_row

    def of_source(self, source: str) -> RiskApproval | None:
        return self.given

    def snapshot(self, account: str) -> AccountSnapshot:
        return replace(self.account, account=account)

    def book(self, symbol: str, at: datetime) -> OrderBook:
        try:
            return self.order_books[symbol]
        except KeyError:
            raise UnknownSymbol(f"no {symbol}") from None

    def candles(self, symbol: str, at: datetime, limit: int) -> Candles:
        if symbol not in self.order_books:
            raise UnknownSymbol(f"no {symbol}")
        if symbol not in self.series:
            raise InsufficientData(f"{symbol} has no candles")
        return self.series[symbol].tail(limit)

    def market_time(self, symbol: str, at: datetime) -> datetime:
        if symbol not in self.order_books:
            raise UnknownSymbol(f"no {symbol}")
        return at

    def instrument(self, symbol: str) -> Instrument:
        if isinstance(self.listed, Exception):
            raise self.listed
        return self.listed


def assessed(
    known: Evidence | None = None, proposal: Proposal | None = None, rules: RiskRules = RULES, **changes: Any
) -> Assessment:
    chosen = replace(rules, **changes)
    return assess(proposal or a_proposal(), known or evidence(), chosen, decision_terms(chosen), 9, 90.0)


def held(side: str, quantity: str, *exposures: Any, **changes: Any) -> Assessment:
    """A portfolio trade, with 10,000 in cash beside what is held."""
    proposal = a_proposal(side, source="trade:4", quantity=D(quantity), reduce_only=side == "sell")
    known = evidence(a_snapshot(*exposures, **changes), others=seen())
    return assess(proposal, known, RULES, holding_terms(PORTFOLIO, SYMBOL), 9, 90.0)


def check(found: Assessment, name: str) -> Check:
    return next(each for each in found.checks if each.name == name)


def failed(found: Assessment) -> list[str]:
    return [each.name for each in found.checks if not each.passed]


def measure(found: Assessment, name: str, part: str) -> Any:
    return next(each for each in check(found, name).measures if each.name == part)
