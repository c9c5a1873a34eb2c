"""What risk is asked about: a decision that is cleared for it, or a portfolio trade; or why there is nothing to ask."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from aaos.domain.amounts import exact
from aaos.domain.order_book import Side
from aaos.domain.orders import TRADING_ACCOUNT
from aaos.domain.portfolio.trades import ScheduledTrade, trade_source
from aaos.domain.results import content_hash
from aaos.domain.risk.proposal import Proposal, Terms, decision_terms, holding_terms
from aaos.domain.runs import ClaimedRun, Input
from aaos.errors import InputError, InvariantViolation
from aaos.ports import Approval, Approvals, ResultRecord, ResultStore, ScheduledTrades
from aaos.services.approve_decision import cleared_for_risk
from aaos.services.start_risk import decision_source
from aaos.settings import Settings

DECISION, TRADE = "decision", "trade"
NOT_CLEARED, STALE = "NOT_CLEARED", "RISK_STALE"
SIDES: dict[str, Side] = {"BUY": "buy", "SELL": "sell"}


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why there is nothing to assess; `counts`: a trade that would have been made was refused."""

    code: str
    reason: str
    counts: bool


@dataclass(frozen=True, slots=True)
class Asked:
    """What risk is asked about.

    Attributes:
        proposal: the trade; its account and symbol are named even where there is nothing to assess.
        terms: the limits of its kind.
        signal: BUY or SELL (HOLD: nothing is to be traded).
        subject: what the audit log says it happened to.
        inputs: its lineage.
        refusal: why risk does not look at it; None when it does.
    """

    proposal: Proposal
    terms: Terms
    signal: str
    subject: str
    inputs: tuple[Input, ...]
    refusal: Refusal | None = None


def propose_trade(
    run: ClaimedRun,
    results: ResultStore,
    approvals: Approvals,
    trades: ScheduledTrades,
    now: datetime,
    settings: Settings,
) -> Asked:
    """Returns the trade that the run's `source` stands for.

    Raises:
        InputError: the run names no source, or one that is not stored; says how they look.
        InvariantViolation: the decision stored is not the one that was made.
    """
    kind, number = _source(run)
    if kind == TRADE:
        return _of_trade(run, trades.trade(number), now, settings)
    record = results.result_of_run(number)
    if record is None:
        raise InputError(f"run {number} has no stored result to assess; `aaos results` lists those that have")
    verdict = approvals.verdicts([number]).get(number) if "review" in record.body else None
    return _of_decision(record, verdict, now, settings)


def _source(run: ClaimedRun) -> tuple[str, int]:
    source = str(run.params.get("source", ""))
    kind, _, number = source.partition(":")
    if kind not in (DECISION, TRADE) or not (number.isascii() and number.isdigit()):
        raise InputError(
            f"risk run {run.id} has the source {source!r}: decision:RUN or trade:NUMBER is needed; decisions and"
            " trades start their own risk run, none is asked for by hand"
        )
    return kind, int(number)


def _of_decision(record: ResultRecord, verdict: Approval | None, now: datetime, settings: Settings) -> Asked:
    body = record.body
    if content_hash(body) != record.content_hash:
        raise InvariantViolation(f"decision {record.run_id} does not have its own content hash any more")
    signal = str(body.get("signal", ""))
    limits = body.get("arbitration") or {}
    fraction = _decimal(limits.get("size_fraction"))
    proposal = Proposal(
        source=decision_source(record.run_id),
        source_hash=record.content_hash,
        account=TRADING_ACCOUNT,
        symbol=record.symbol,
        side=SIDES.get(signal, "buy"),
        size_fraction=Decimal(1) if fraction is None else fraction,
        leverage=_decimal(limits.get("leverage")),
        limit_price=_decimal(limits.get("entry_price")),
    )
    lineage = Input(record.kind, record.content_hash, record.analyzed_at.isoformat(), record.id)
    refusal = _decision_refusal(record, signal, verdict, now, settings.decision.decision_valid_s)
    return Asked(proposal, decision_terms(settings.risk), signal, f"run:{record.run_id}", (lineage,), refusal)


def _decision_refusal(
    record: ResultRecord, signal: str, verdict: Approval | None, now: datetime, valid_s: float
) -> Refusal | None:
    why_not = cleared_for_risk(record, verdict, now)
    if why_not is None and signal not in SIDES:
        why_not = f"its signal is {signal!r}, neither BUY nor SELL"
    if why_not is not None:
        return Refusal(NOT_CLEARED, why_not, counts=False)
    # What a person approved has been looked at again: it is as old as that look.
    since = record.analyzed_at if verdict is None else verdict.at
    age_s = (now - since).total_seconds()
    if age_s <= valid_s:
        return None
    allowed = f"{valid_s:g} s are allowed (decision.decision_valid_s)"
    return Refusal(STALE, f"the decision is {age_s:.0f} s old, {allowed}; ask for a new one", counts=True)


def _of_trade(run: ClaimedRun, trade: ScheduledTrade, now: datetime, settings: Settings) -> Asked:
    proposal = Proposal(
        source=trade_source(trade.id),
        source_hash=trade_hash(trade),
        account=trade.account,
        symbol=trade.symbol,
        side=trade.side,
        quantity=trade.quantity,
        reduce_only=trade.side == "sell",
    )
    lineage = Input(TRADE, proposal.source_hash, trade.due_at.isoformat())
    signal = "BUY" if trade.side == "buy" else "SELL"
    terms = holding_terms(settings.portfolio, trade.symbol)
    return Asked(proposal, terms, signal, proposal.source, (lineage,), _trade_refusal(run, trade, now))


def _trade_refusal(run: ClaimedRun, trade: ScheduledTrade, now: datetime) -> Refusal | None:
    if trade.state != "released" or trade.risk_run != run.id:
        why = f"the trade is {trade.state}, and its risk run is {trade.risk_run}"
        return Refusal(NOT_CLEARED, why, counts=False)
    if now >= trade.expires_at:
        why = f"the trade's time ended at {trade.expires_at.isoformat()}; the next rebalance plans anew"
        return Refusal(STALE, why, counts=True)
    return None


def trade_hash(trade: ScheduledTrade) -> str:
    """Returns the content hash of what the rebalance decided about a trade; how far it has come is not part of it."""
    content: dict[str, Any] = {
        "id": trade.id,
        "rebalance_run": trade.rebalance_run,
        "account": trade.account,
        "symbol": trade.symbol,
        "side": trade.side,
        "quantity": exact(trade.quantity),
        "batch": trade.batch,
    }
    return content_hash(content)


def _decimal(value: float | None) -> Decimal | None:
    """A figure from JSON as it is written there, not as the nearest binary fraction."""
    return None if value is None else Decimal(repr(value))
