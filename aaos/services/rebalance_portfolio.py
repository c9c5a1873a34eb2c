"""A rebalance: compares the portfolio's holdings with its targets, and plans the trades between the two."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from aaos.domain.audit import AuditEntry
from aaos.domain.order_book import Instrument
from aaos.domain.portfolio.rebalance import ZERO, Asset, Rebalance, rebalance
from aaos.domain.portfolio.trades import OpenTrades, TradePlan
from aaos.domain.positions import Position
from aaos.domain.results import content_hash
from aaos.domain.runs import ClaimedRun, Completed, Dependency, Input
from aaos.errors import EntriesHeld, InputError
from aaos.ports import Broker, Clock, OrderBooks, ScheduledTrades, TradingBooks
from aaos.settings import Settings

# Books in doubt are reconciled every `execution.reconcile_s`, and at once when an order's fate is unknown.
LOOK_AGAIN_S = 5.0


@dataclass(frozen=True, slots=True)
class PortfolioDesk:
    """What a rebalance reads: the market's books, the venue's rules, our own books, its earlier trades."""

    books: OrderBooks
    broker: Broker
    ledger: TradingBooks
    trades: ScheduledTrades
    clock: Clock


@dataclass(frozen=True, slots=True)
class PortfolioView:
    """The portfolio at one instant, and what a rebalance would do about it."""

    at: datetime
    account: str
    rebalance: Rebalance
    open_trades: OpenTrades
    in_doubt: str | None
    """Why our books of the account may not be the venue's; None while they agree."""


def rebalance_portfolio(
    run: ClaimedRun, dependencies: Sequence[Dependency], desk: PortfolioDesk, settings: Settings
) -> Completed:
    """Returns how far each holding is from its target, and the trades that bring back those too far off.

    The trades are stored with the run's completion, in the place of those still planned by earlier rebalances.

    Raises:
        EntriesHeld: our books of the account are in doubt; no plan can rest on them.
        VenueUnavailable, DatabaseUnavailable: nothing was planned.
    """
    view = look_at_portfolio(desk, settings)
    if view.in_doubt is not None:
        raise EntriesHeld(f"our books of {view.account} are in doubt: {view.in_doubt}", LOOK_AGAIN_S)
    open_trades, planned = view.open_trades, view.rebalance.trades
    plan = TradePlan(view.account, open_trades.newest, tuple(trade.id for trade in open_trades.planned), planned)
    body = _body(view, dependencies, settings)
    return Completed(body, inputs=_inputs(view, dependencies, body), trades=plan, audit=_audit(run, view))


def look_at_portfolio(desk: PortfolioDesk, settings: Settings) -> PortfolioView:
    """Returns the portfolio's holdings at the prices of now, and what a rebalance would do about them.

    Raises:
        VenueUnavailable, DatabaseUnavailable: a peer is away.
    """
    now, account = desk.clock.now(), desk.broker.account
    # Trades first: one that is filled between the two counts as under way, and its symbol is left alone.
    open_trades = desk.trades.open_trades(account)
    held = {position.symbol: position for position in desk.ledger.open_positions(account)}
    rules = settings.portfolio
    assets = [
        _asset(symbol, held.get(symbol), open_trades, now, desk, settings.execution.max_book_age_s)
        for symbol in sorted({*rules.targets, *held})
    ]
    batch_every_s = rules.batch_every_s / settings.speed
    found = rebalance(account, desk.ledger.cash(account), assets, rules, batch_every_s)
    return PortfolioView(now, account, found, open_trades, desk.ledger.books(account).why)


def _asset(
    symbol: str,
    position: Position | None,
    open_trades: OpenTrades,
    at: datetime,
    desk: PortfolioDesk,
    max_book_age_s: float,
) -> Asset:
    price, instrument, fault = _price(symbol, at, desk, max_book_age_s)
    under_way = sum(
        (trade.quantity if trade.side == "buy" else -trade.quantity)
        for trade in open_trades.released
        if trade.symbol == symbol
    )
    return Asset(
        symbol,
        ZERO if position is None else position.quantity,
        ZERO if position is None else position.average_entry,
        price,
        instrument,
        fault,
        Decimal(under_way),
    )


def _price(
    symbol: str, at: datetime, desk: PortfolioDesk, max_book_age_s: float
) -> tuple[Decimal | None, Instrument | None, str | None]:
    """Returns price, instrument and, where there is no usable price, why."""
    try:
        instrument, book = desk.broker.instrument(symbol), desk.books.book(symbol, at)
    except InputError as unusable:
        # A target that this market does not list, as in a replay of one file; or a gap in the market's data.
        return None, None, str(unusable)
    fault = book.fault(max_book_age_s)
    if fault is not None:
        return None, instrument, f"{fault}: the order book as of {book.as_of.isoformat()}, {book.age_s:g} s old"
    return book.mid, instrument, None


def _body(view: PortfolioView, dependencies: Sequence[Dependency], settings: Settings) -> dict[str, Any]:
    open_trades = view.open_trades
    return {
        "account": view.account,
        "at": view.at.isoformat(),
        "drift_threshold": f"{settings.portfolio.drift_threshold:f}",
        "targets": {symbol: f"{weight:f}" for symbol, weight in sorted(settings.portfolio.targets.items())},
        **view.rebalance.to_dict(),
        "superseded": [trade.id for trade in open_trades.planned],
        "under_way": [trade.id for trade in open_trades.released],
        "waited_for": [
            {"run": each.run_id, "kind": each.kind, "symbol": each.symbol, "state": each.state, "reason": each.reason}
            for each in dependencies
        ],
    }


def _inputs(view: PortfolioView, dependencies: Sequence[Dependency], body: dict[str, Any]) -> list[Input]:
    at = view.at.isoformat()
    holdings = [
        {name: line[name] for name in ("symbol", "quantity", "average_entry", "price")} for line in body["lines"]
    ]
    decided = [
        Input(each.kind, each.content_hash, each.analyzed_at.isoformat(), each.result_id)
        for each in dependencies
        if each.content_hash is not None and each.analyzed_at is not None
    ]
    return [
        Input("targets", content_hash(body["targets"]), at),
        Input("holdings", content_hash({"equity": body["equity"], "holdings": holdings}), at),
        *decided,
    ]


def _audit(run: ClaimedRun, view: PortfolioView) -> list[AuditEntry]:
    planned, replaced = view.rebalance.trades, view.open_trades.planned
    if not planned and not replaced:
        return []
    details = {
        "trades": [f"{each.side} {each.quantity:f} {each.symbol}" for each in planned],
        "superseded": [trade.id for trade in replaced],
        "equity": f"{view.rebalance.equity:f}",
    }
    return [AuditEntry("portfolio.rebalanced", f"run:{run.id}", f"account:{view.account}", details)]
