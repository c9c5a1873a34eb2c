"""Risk: a decision or a portfolio trade in; a report with every figure and limit, and at most one approval, out.

It only reads: what it lets through is stored with its run (`Completed.approval`), in one transaction, and only while
the account's books are still those it looked at. Nothing here sends anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

import structlog

from aaos.domain.amounts import exact
from aaos.domain.audit import AuditEntry
from aaos.domain.market import Candles
from aaos.domain.order_book import Instrument, OrderBook
from aaos.domain.results import SCHEMA_VERSION, content_hash
from aaos.domain.risk.gate import Assessment, assess
from aaos.domain.risk.proposal import Evidence, Seen
from aaos.domain.runs import ClaimedRun, Completed, Input, NewAlert, NewRun
from aaos.domain.vetoes import NewVeto
from aaos.errors import AmbiguousReply, InputError, InsufficientData, StaleInput, UnknownSymbol, VenueUnavailable
from aaos.ports import Approvals, Broker, Clock, MarketData, OrderBooks, ResultStore, RiskDesk, ScheduledTrades
from aaos.services.propose_trade import Asked, Refusal, propose_trade
from aaos.settings import Settings

log = structlog.get_logger()

EXECUTION = "execution"
RISK_LIMIT = "risk_limit"
# Checks that stop all trading until somebody has looked; the others refuse this one trade.
STOPS_TRADING = ("drawdown", "consecutive_losses")
BOOK_FAULTS = {
    "BOOK_EMPTY": "a side of its order book is empty",
    "BOOK_CROSSED": "its order book is crossed: the best bid is not below the best ask",
    "BOOK_STALE": "its order book is {age_s:.0f} s old, {allowed:g} s are allowed (execution.max_book_age_s)",
}


@dataclass(frozen=True, slots=True)
class RiskPorts:
    """What risk reads. The brokers, by account, are only asked what a symbol is."""

    results: ResultStore
    approvals: Approvals
    trades: ScheduledTrades
    desk: RiskDesk
    books: OrderBooks
    market: MarketData
    brokers: Mapping[str, Broker]
    clock: Clock


def assess_risk(run: ClaimedRun, ports: RiskPorts, settings: Settings) -> Completed:
    """Returns the report on the run's `source` (`decision:17`, `trade:4`), with an approval if every check passed.

    HOLD, a decision that is not cleared or too old, an unusable book: each is a report that approves nothing and says
    why, never an error. Should the account's books move meanwhile, storing it fails with RiskBookMoved, and all is read
    again.

    Raises:
        InputError: the run names no source that is stored, or an account without a venue.
        InvariantViolation: the decision stored is not the one that was made.
        VenueUnavailable: the venue did not say what the symbol is; worth trying again.
    """
    now = ports.clock.now()
    asked = propose_trade(run, ports.results, ports.approvals, ports.trades, now, settings)
    reader = _Reader(ports, settings, now)
    own = reader.look(asked.proposal.symbol)
    found = _assessed(asked, own, reader)
    market_time = reader.market_time(asked.proposal.symbol)
    report = _report(asked, found, now, market_time)
    told = {key: report[key] for key in ("source", "symbol", "approved", "code", "reason")}
    log.info("risk_assessed", run=run.id, **told)
    return Completed(
        report,
        _lineage(asked, own, market_time),
        starts=_starts(asked, found, settings),
        approval=None if isinstance(found, Refusal) else found.approval(settings.risk.approval_expires_s),
        veto=_veto(asked, found, own),
        audit=_audit(run, asked, found, report),
        alerts=_alerts(found),
    )


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads markets as they are at one instant."""

    ports: RiskPorts
    settings: Settings
    now: datetime

    def look(self, symbol: str) -> Seen:
        """Returns book and candles; None in place of what cannot be had."""
        return Seen(self._book(symbol), self._candles(symbol))

    def market_time(self, symbol: str) -> str | None:
        """Returns the market's own time; None where the market in use does not list the symbol."""
        try:
            return self.ports.market.market_time(symbol, self.now).isoformat()
        except UnknownSymbol:
            return None

    def _book(self, symbol: str) -> OrderBook | None:
        try:
            return self.ports.books.book(symbol, self.now)
        except UnknownSymbol:
            return None

    def _candles(self, symbol: str) -> Candles | None:
        # The market refuses to give fewer than it takes for an analysis.
        limit = max(self.settings.risk.correlation_candles, self.settings.market.min_candles)
        try:
            return self.ports.market.candles(symbol, self.now, limit)
        except (UnknownSymbol, InsufficientData, StaleInput) as error:
            log.warning("risk_without_candles", symbol=symbol, why=str(error))
            return None


def _assessed(asked: Asked, own: Seen, reader: _Reader) -> Assessment | Refusal:
    ports, settings = reader.ports, reader.settings
    refusal = asked.refusal or _given_before(asked, ports.desk)
    if refusal is not None:
        return refusal
    book = _usable_book(asked, own, settings)
    if isinstance(book, Refusal):
        return book
    instrument = _instrument(asked, ports.brokers)
    if isinstance(instrument, Refusal):
        return instrument
    snapshot = ports.desk.snapshot(asked.proposal.account)
    elsewhere = sorted({each.symbol for each in snapshot.exposures} - {asked.proposal.symbol})
    others = {symbol: reader.look(symbol) for symbol in elsewhere}
    evidence = Evidence(instrument, book, own.candles, snapshot, others)
    rules = settings.execution
    return assess(asked.proposal, evidence, settings.risk, asked.terms, rules.entry_level, rules.max_book_age_s)


def _given_before(asked: Asked, desk: RiskDesk) -> Refusal | None:
    given = desk.of_source(asked.proposal.source)
    if given is None:
        return None
    return Refusal("ALREADY_APPROVED", f"run {given.run_id} has let it through already: once is all", counts=False)


def _usable_book(asked: Asked, own: Seen, settings: Settings) -> OrderBook | Refusal:
    """The symbol's book, or why no entry may rest on it, or on a market without candles to be trusted (R7)."""
    symbol = asked.proposal.symbol
    if own.book is None:
        return Refusal("RISK_UNKNOWN_SYMBOL", f"the market in use does not list {symbol}", counts=True)
    allowed = settings.execution.max_book_age_s
    fault = own.book.fault(allowed)
    if fault is not None:
        why = BOOK_FAULTS[fault].format(age_s=own.book.age_s, allowed=allowed)
        return Refusal(f"RISK_{fault}", f"{symbol}: {why}", counts=True)
    if own.candles is None and asked.proposal.quantity is None:
        why = f"{symbol} has no fresh candles to measure volatility and correlation on"
        return Refusal("RISK_NO_CANDLES", f"{why}; `aaos analyze {symbol}` says why", counts=True)
    return own.book


def _instrument(asked: Asked, brokers: Mapping[str, Broker]) -> Instrument | Refusal:
    proposal = asked.proposal
    try:
        broker = brokers[proposal.account]
    except KeyError:
        known = ", ".join(sorted(brokers))
        raise InputError(f"no venue has the account {proposal.account!r}; there are: {known}") from None
    try:
        return broker.instrument(proposal.symbol)
    except UnknownSymbol as error:
        return Refusal("RISK_UNKNOWN_SYMBOL", str(error), counts=True)
    except AmbiguousReply as error:
        # Nothing was to be done at the venue, so nothing can have been done: asking again is safe.
        raise VenueUnavailable(f"the venue did not say what {proposal.symbol} is: {error}") from error


def _report(asked: Asked, found: Assessment | Refusal, now: datetime, market_time: str | None) -> dict[str, Any]:
    proposal = asked.proposal
    outcome = _outcome(found)
    figures = {"checks": [], "sizing": None, "figures": None} if isinstance(found, Refusal) else found.to_dict()
    return {
        "source": proposal.source,
        "source_hash": proposal.source_hash,
        "account": proposal.account,
        "symbol": proposal.symbol,
        "signal": asked.signal,
        **outcome,
        **figures,
        "as_of": now.isoformat(),
        "market_time": market_time,
        "schema_version": SCHEMA_VERSION,
    }


def _outcome(found: Assessment | Refusal) -> dict[str, Any]:
    if isinstance(found, Refusal):
        return {"approved": False, "code": found.code, "reason": found.reason}
    if found.approved:
        return {"approved": True, "code": None, "reason": f"all {len(found.checks)} checks passed"}
    reason = "; ".join(f"{each.name}: {each.leading.why}" for each in found.failed)
    return {"approved": False, "code": found.failed[0].code, "reason": reason}


def _starts(asked: Asked, found: Assessment | Refusal, settings: Settings) -> tuple[NewRun, ...]:
    if isinstance(found, Refusal) or not found.approved or not settings.execution.enabled:
        return ()
    source, timeout_s = asked.proposal.source, settings.kinds[EXECUTION].timeout_seconds
    return (
        NewRun(
            EXECUTION,
            asked.proposal.symbol,
            timeout_s,
            # Longer than the approval holds, so that an order that comes too late is denied by name, not left out.
            start_within_s=settings.risk.approval_expires_s + timeout_s,
            request_key=f"{EXECUTION}:{source}",
            params={"source": source},
        ),
    )


def _veto(asked: Asked, found: Assessment | Refusal, own: Seen) -> NewVeto | None:
    """What was refused, at the market's price then; None where nothing was, or the market has no price at all."""
    priced = _market_price(own)
    outcome = _outcome(found)
    if outcome["approved"] or priced is None or (isinstance(found, Refusal) and not found.counts):
        return None
    proposal = asked.proposal
    market_ms, price = priced
    veto = NewVeto(
        source=proposal.source,
        stage="risk",
        code=outcome["code"],
        reason=outcome["reason"],
        symbol=proposal.symbol,
        side=proposal.side,
        market_ms=market_ms,
        price=price,
    )
    if isinstance(found, Refusal):
        return veto
    sizing = found.sizing
    return replace(
        veto,
        quantity=sizing.quantity or None,
        leverage=sizing.leverage,
        stop_price=sizing.stop_price,
        take_profit_price=sizing.take_profit_price,
    )


def _market_price(own: Seen) -> tuple[int, Decimal] | None:
    """The market's time (ms) and price: the newest close, else the book's mid."""
    if own.candles is not None and len(own.candles):
        return own.candles.last_close_time_ms, Decimal(repr(float(own.candles.close[-1])))
    if own.book is not None and own.book.bids and own.book.asks:
        return round(own.book.as_of.timestamp() * 1000), own.book.mid
    return None


def _lineage(asked: Asked, own: Seen, market_time: str | None) -> list[Input]:
    inputs = list(asked.inputs)
    if own.candles is not None:
        inputs.append(Input("candles", own.candles.content_hash(), market_time or ""))
    if own.book is not None:
        inputs.append(Input("order_book", _book_hash(own.book), own.book.as_of.isoformat()))
    return inputs


def _book_hash(book: OrderBook) -> str:
    sides = {name: [[exact(each.price), exact(each.size)] for each in getattr(book, name)] for name in ("bids", "asks")}
    return content_hash({"symbol": book.symbol, "as_of": book.as_of.isoformat(), **sides})


def _audit(
    run: ClaimedRun, asked: Asked, found: Assessment | Refusal, report: Mapping[str, Any]
) -> tuple[AuditEntry, ...]:
    """One entry for whatever was let through or refused; what was never to be traded is not worth one."""
    if isinstance(found, Refusal) and not found.counts:
        return ()
    keys = ("source", "source_hash", "account", "symbol", "signal", "code", "reason")
    details = {key: report[key] for key in keys} | {"sizing": report["sizing"]}
    action = "risk.approved" if report["approved"] else "risk.rejected"
    return (AuditEntry(action, f"run:{run.id}", asked.subject, details),)


def _alerts(found: Assessment | Refusal) -> tuple[NewAlert, ...]:
    if isinstance(found, Refusal):
        return ()
    account = found.proposal.account
    return tuple(
        NewAlert(RISK_LIMIT, f"{account} opens nothing: {check.leading.why}", check.to_dict() | {"account": account})
        for check in found.checks
        if check.name in STOPS_TRADING and not check.passed
    )
