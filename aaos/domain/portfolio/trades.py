"""Trades that a rebalance planned for later, and what became of them. Pure.

A trade's source is `trade:{id}`: its risk assessment, approval, orders and fills carry that name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

from aaos.domain.order_book import Side
from aaos.domain.orders import ENTRY, Order, OrderState

TradeState = Literal["planned", "released", "done", "skipped", "expired"]
UNFINISHED: tuple[TradeState, ...] = ("planned", "released")
SUPERSEDED = "superseded"


@dataclass(frozen=True, slots=True)
class NewTrade:
    """One trade of a rebalance: `batch` counts from 0; sells of a rebalance end before its buys are released.

    `quantity` in base currency, on the venue's grid; `due_after_s` from the rebalance's end and `expires_after_s` from
    when it is due, both by the database's clock.
    """

    account: str
    symbol: str
    side: Side
    quantity: Decimal
    batch: int
    due_after_s: float
    expires_after_s: float
    why: str


@dataclass(frozen=True, slots=True)
class TradePlan:
    """What a rebalance wants done; it takes the place of all that is still planned for its account.

    Attributes:
        account: whose trades they are.
        newest_known: id of the account's newest trade that the rebalance knew, 0 for none.
        replaces: ids of the account's planned trades that it knew. Should one of them have been released, or a newer
            one planned, when the plan is stored, the plan rests on holdings that have changed or will: it is refused
            with RiskBookMoved.
        trades: in the order in which they are to be made.
    """

    account: str
    newest_known: int
    replaces: tuple[int, ...]
    trades: tuple[NewTrade, ...]


@dataclass(frozen=True, slots=True)
class ScheduledTrade:
    """A stored trade; its source is `trade:{id}`. `outcome` says in words what came of it."""

    id: int
    rebalance_run: int
    account: str
    symbol: str
    side: Side
    quantity: Decimal
    batch: int
    state: TradeState
    due_at: datetime
    expires_at: datetime
    risk_run: int | None
    outcome: str | None
    why: str

    @property
    def source(self) -> str:
        """Returns the name that its assessment, approval and orders carry."""
        return trade_source(self.id)


@dataclass(frozen=True, slots=True)
class OpenTrades:
    """An account's unfinished trades, read at one instant; `newest` is the id of its newest trade, 0 for none."""

    newest: int
    planned: tuple[ScheduledTrade, ...]
    released: tuple[ScheduledTrade, ...]

    @classmethod
    def of(cls, trades: Sequence[ScheduledTrade]) -> OpenTrades:
        """Returns them sorted out; `trades` holds at least the unfinished ones and the newest one."""
        return cls(
            newest=max((trade.id for trade in trades), default=0),
            planned=tuple(trade for trade in trades if trade.state == "planned"),
            released=tuple(trade for trade in trades if trade.state == "released"),
        )


@dataclass(frozen=True, slots=True)
class Step:
    """A run on a trade's way, as far as the trade cares: whether it is over, and why it ended without a result."""

    run_id: int
    kind: str
    final: bool
    completed: bool
    reason: str | None
    says: str | None = None
    """What its result says of itself (`reason`, else `code`), where it has one."""


@dataclass(frozen=True, slots=True)
class UnderWay:
    """A released trade with its runs, read at one instant; `execution` is None while risk has let nothing through."""

    trade: ScheduledTrade
    risk: Step
    execution: Step | None


def trade_source(trade_id: int) -> str:
    """Returns `trade:{id}`."""
    return f"trade:{trade_id}"


def moved_since(account: str, trades: Sequence[int]) -> str:
    """Returns why a plan is refused, in words."""
    return f"trades {', '.join(map(str, trades))} of {account} were planned or released since its holdings were read"


def said_of(body: Mapping[str, Any] | None) -> str | None:
    """Returns what a run's result says of itself in words; None where it says nothing."""
    found = {} if body is None else body
    return next((str(found[name]) for name in ("reason", "code") if found.get(name)), None)


def outcome_of(under_way: UnderWay, orders: Sequence[Order]) -> tuple[TradeState, str] | None:
    """Returns how a released trade ended, and in words what came of it; None while that is open.

    Args:
        under_way: the trade and its runs, read before the orders: a run that is over here has written its order down.
        orders: of the trade's source; protective stops among them do not count.
    """
    steps = [under_way.risk] + ([] if under_way.execution is None else [under_way.execution])
    made = [order for order in orders if order.leg == ENTRY]
    if not all(step.final for step in steps) or not all(_is_over(order) for order in made):
        return None
    if made:
        return _of_order(made[-1])
    last = steps[-1]
    why = last.reason or last.says or ("nothing was let through" if last.completed else "no reason given")
    return "skipped", f"{last.kind} (run {last.run_id}): {why}"


def _is_over(order: Order) -> bool:
    """An order is over once its fills are booked, too: until then our holdings do not show them."""
    whole = order.quantity if order.state is OrderState.FILLED else order.reported
    return order.state.final and order.filled >= whole


def _of_order(order: Order) -> tuple[TradeState, str]:
    why = f": {order.reason}" if order.reason else ""
    said = f"order {order.id} {order.state.value}, filled {order.filled:f} of {order.quantity:f}{why}"
    if order.filled > 0 or order.state is OrderState.FILLED:
        return "done", said
    return ("expired" if order.state is OrderState.EXPIRED else "skipped"), said
