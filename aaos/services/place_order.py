"""The last step of a trade: what risk let through becomes one order at the venue, or a refusal with its reason."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import structlog

from aaos.domain.amounts import exact
from aaos.domain.audit import AuditEntry
from aaos.domain.execution.entry import Entry, NoEntry, price_entry
from aaos.domain.execution.stops import is_passed
from aaos.domain.orders import ENTRY, NewOrder, Order, OrderState, RiskApproval
from aaos.domain.results import SCHEMA_VERSION
from aaos.domain.runs import ClaimedRun, Completed, Input, JsonObject
from aaos.domain.vetoes import NewVeto
from aaos.errors import AaosError, ConfigError, EntriesHeld, InputError, OrderDenied
from aaos.ports import Clock, OrderBooks, RiskDesk
from aaos.services.reconcile_orders import ensure_reconciled
from aaos.services.send_order import Sent, adopt_order, send_order
from aaos.services.trading_desk import TradingDesk

log = structlog.get_logger()

STAGE = "execution"
# While nobody knows an order's fate its run waits in the database, not on a worker.
ASK_AGAIN_S = 2.0

Protect = Callable[[str], object]
"""Puts the stops of an account's positions where they belong (`guard_positions`); called under the account's watch."""


@dataclass(frozen=True, slots=True)
class Execution:
    """What placing orders needs beside the desks.

    Attributes:
        risk: approvals.
        market: order books.
        clock: the database's.
        protect: puts stops where they belong, once an entry has filled.
    """

    risk: RiskDesk
    market: OrderBooks
    clock: Clock
    protect: Protect


@dataclass(frozen=True, slots=True)
class Refused:
    """Why nothing is at the venue; `mid` is the book's, None where it has none."""

    code: str
    reason: str
    mid: Decimal | None = None
    slippage: Decimal | None = None


def place_order(run: ClaimedRun, desks: Mapping[str, TradingDesk], execution: Execution) -> Completed:
    """Returns what became of the trade of `params.source`: placed, refused (with a veto), or in quarantine.

    An order that an earlier attempt wrote down is asked about by its name and never sent again (R2).

    Raises:
        EntriesHeld: no entry may be sent now, or nobody knows yet what became of this one; the run waits.
        FenceLost: the run is no longer the caller's.
        InputError: the run names no source.
    """
    source = _source(run)
    approval = execution.risk.of_source(source)
    if approval is None:
        return _without_approval(run, source)
    desk = _desk(approval, desks)
    outcome = _earlier(approval, desk) or _first(run, approval, desk, execution)
    if isinstance(outcome, Refused):
        return _refused(run, approval, outcome, execution)
    return _placed(run, approval, *outcome, desk, execution)


def _source(run: ClaimedRun) -> str:
    source = run.params.get("source")
    if not isinstance(source, str):
        raise InputError(f"run {run.id} has no source to trade; execution runs are started by risk, not by hand")
    return source


def _desk(approval: RiskApproval, desks: Mapping[str, TradingDesk]) -> TradingDesk:
    if approval.account not in desks:
        served = ", ".join(sorted(desks)) or "none"
        raise ConfigError(f"approval {approval.id} is for account {approval.account!r}; accounts here: {served}")
    return desks[approval.account]


def _earlier(approval: RiskApproval, desk: TradingDesk) -> tuple[Sent, Entry | None] | None:
    """Returns what became of the order that used the approval up, None while none has."""
    order = desk.orders.of_leg(approval.source, ENTRY) if approval.used_at is not None else None
    return None if order is None else (adopt_order(order, desk), None)


def _first(
    run: ClaimedRun, approval: RiskApproval, desk: TradingDesk, execution: Execution
) -> tuple[Sent, Entry | None] | Refused:
    if not desk.rules.enabled:
        return Refused("EXECUTION_OFF", "execution.enabled is false: decisions are assessed, and no order is sent")
    if approval.expired:
        return Refused("APPROVAL_EXPIRED", f"approval {approval.id} expired at {approval.expires_at.isoformat()}")
    try:
        ensure_reconciled(desk)
        entry = _entry(approval, desk, execution)
        if isinstance(entry, NoEntry):
            return Refused(entry.code, entry.reason, entry.mid, entry.slippage)
        return send_order(_new_order(approval, entry), desk, run), entry
    except OrderDenied as denied:
        return Refused(denied.code, str(denied))
    except EntriesHeld as held:
        return _held(approval, held, desk, execution)


def _held(approval: RiskApproval, held: EntriesHeld, desk: TradingDesk, execution: Execution) -> Refused:
    """Refuses when there is no later attempt in time; else lets the run wait."""
    if desk.books.books(desk.account).why is not None:
        # Whoever comes next compares the books, instead of waiting for the schedule to do it.
        desk.gate.lost()
    left_s = (approval.expires_at - execution.clock.now()).total_seconds()
    if left_s > (held.retry_after_s or 0.0):
        raise held
    return Refused("ENTRIES_HELD", f"{held}; the approval ends before entries are let through again")


def _entry(approval: RiskApproval, desk: TradingDesk, execution: Execution) -> Entry | NoEntry:
    book = execution.market.book(approval.symbol, execution.clock.now())
    instrument = desk.broker.instrument(approval.symbol)
    entry = price_entry(book, instrument, approval.side, approval.quantity, approval.limit_price, desk.rules)
    return entry if isinstance(entry, NoEntry) else _over_before_it_began(approval, entry) or entry


def _over_before_it_began(approval: RiskApproval, entry: Entry) -> NoEntry | None:
    """Returns why an entry would be closed at market as soon as it fills; None when it would not."""
    is_long = approval.side == "buy"
    exits = (("stop", approval.stop_price, is_long), ("take-profit", approval.take_profit_price, not is_long))
    for name, price, from_above in exits:
        if price is not None and is_passed(price, entry.mid, is_long=from_above):
            reason = f"the market at {entry.mid} has passed its {name} at {price}"
            return NoEntry("ENTRY_PRICE_OFF", reason, entry.mid, entry.slippage)
    return None


def _new_order(approval: RiskApproval, entry: Entry) -> NewOrder:
    return NewOrder(
        approval_id=approval.id,
        source=approval.source,
        source_hash=approval.source_hash,
        account=approval.account,
        leg=ENTRY,
        symbol=approval.symbol,
        side=approval.side,
        type="limit",
        quantity=entry.quantity,
        leverage=approval.leverage,
        price=entry.price,
        reduce_only=approval.reduce_only,
    )


def _placed(
    run: ClaimedRun, approval: RiskApproval, sent: Sent, entry: Entry | None, desk: TradingDesk, execution: Execution
) -> Completed:
    order = sent.order
    if order.state in (OrderState.INTENT, OrderState.UNKNOWN):
        raise EntriesHeld(f"nobody knows yet what became of order {order.id}; the venue is asked again", ASK_AGAIN_S)
    if sent.denial is not None:
        mid = None if entry is None else entry.mid
        return _refused(run, approval, Refused(sent.denial, order.reason or sent.denial, mid), execution, order)
    if order.filled:
        _protect(order, desk, execution)
    placed = None if order.state is OrderState.QUARANTINED else True
    body = _body(run, approval, placed) | _order_figures(order, sent)
    if entry is not None:
        body |= {"mid": exact(entry.mid), "slippage": exact(entry.slippage), "bounded_by_limit": entry.bounded}
    action = "order.quarantined" if placed is None else "order.placed"
    return Completed(body, _lineage(approval), audit=[_audit(action, run, f"order:{order.id}", body)])


def _protect(order: Order, desk: TradingDesk, execution: Execution) -> None:
    """A stop at once; what fails here, or another process is just looking after, the watch does a moment later."""
    try:
        with desk.books.watching(order.account) as ours:
            if ours:
                execution.protect(order.account)
    except AaosError as error:
        log.warning("protection_left_to_the_watch", order=order.id, account=order.account, why=str(error))


def _without_approval(run: ClaimedRun, source: str) -> Completed:
    body = {
        "source": source,
        "task_id": str(run.id),
        "symbol": run.symbol,
        "placed": False,
        "denial": "NO_APPROVAL",
        "reason": f"risk has let nothing through for {source}",
        "schema_version": SCHEMA_VERSION,
    }
    log.warning("order_refused", run=run.id, source=source, code="NO_APPROVAL")
    return Completed(body, audit=[_audit("order.refused", run, source, body)])


def _refused(
    run: ClaimedRun, approval: RiskApproval, refused: Refused, execution: Execution, order: Order | None = None
) -> Completed:
    log.warning("order_refused", run=run.id, source=approval.source, code=refused.code, why=refused.reason)
    body = _body(run, approval, False) | {"denial": refused.code, "reason": refused.reason}
    if order is not None:
        body |= _order_figures(order, None)
    if refused.mid is not None:
        body["mid"] = exact(refused.mid)
    if refused.slippage is not None:
        body["slippage"] = exact(refused.slippage)
    audit = [_audit("order.refused", run, approval.source, body)]
    return Completed(body, _lineage(approval), veto=_veto(approval, refused, execution), audit=audit)


def _veto(approval: RiskApproval, refused: Refused, execution: Execution) -> NewVeto:
    seen_at = execution.market.market_time(approval.symbol, execution.clock.now())
    return NewVeto(
        source=approval.source,
        stage=STAGE,
        code=refused.code,
        reason=refused.reason,
        symbol=approval.symbol,
        side=approval.side,
        market_ms=int(seen_at.timestamp() * 1000),
        price=approval.entry_price if refused.mid is None else refused.mid,
        quantity=approval.quantity,
        leverage=approval.leverage,
        stop_price=approval.stop_price,
        take_profit_price=approval.take_profit_price,
    )


def _body(run: ClaimedRun, approval: RiskApproval, placed: bool | None) -> dict[str, Any]:
    """The result's fields that are always there; `placed` is None where nobody can say."""
    return {
        "source": approval.source,
        "task_id": str(run.id),
        "account": approval.account,
        "symbol": approval.symbol,
        "side": approval.side,
        "approval": approval.id,
        "reduce_only": approval.reduce_only,
        "placed": placed,
        "schema_version": SCHEMA_VERSION,
    }


def _order_figures(order: Order, sent: Sent | None) -> dict[str, Any]:
    figures = {
        "order": order.id,
        "client_order_id": order.client_order_id,
        "venue_order_id": order.venue_order_id,
        "state": order.state.value,
        "price": None if order.price is None else exact(order.price),
        "quantity": exact(order.quantity),
        "filled": exact(order.filled),
        "leverage": exact(order.leverage),
    }
    if sent is not None:
        gap_s = sent.check_to_send_s
        figures |= {"adopted": not sent.first, "check_to_send_ms": None if gap_s is None else round(gap_s * 1000, 3)}
    return figures


def _lineage(approval: RiskApproval) -> tuple[Input, ...]:
    return (Input(approval.source, approval.source_hash, approval.created_at.isoformat()),)


def _audit(action: str, run: ClaimedRun, subject: str, body: JsonObject) -> AuditEntry:
    told = {
        key: body[key] for key in ("source", "state", "denial", "client_order_id", "quantity", "price") if key in body
    }
    return AuditEntry(action, f"run:{run.id}", subject, told)
