"""Orders: what risk lets through, what is sent under which name, and what the venue said of it.

An order belongs to a source (`decision:17`, `trade:4`) and a leg of it (`entry`, `stop:1`, `stop:2`, `take_profit`,
`exit:1`). Its name at the venue follows from these and nothing else, so that no second attempt can become a second
order (R2).
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Literal

from aaos.domain.order_book import Side

OrderType = Literal["limit", "market", "stop_market", "take_profit_market"]
Denial = Literal[
    "NO_APPROVAL",
    "APPROVAL_EXPIRED",
    "TRADING_STOPPED",
    "ENTRIES_HELD",
    "SLIPPAGE_EXCEEDED",
    "INSUFFICIENT_DEPTH",
    "BOOK_EMPTY",
    "BOOK_CROSSED",
    "BOOK_STALE",
    "TOO_SMALL",
    "ENTRY_PRICE_OFF",
    "EXECUTION_OFF",
    "VENUE_UNAVAILABLE",
    "ORDER_REJECTED",
]
# Binance takes 36 characters, KuCoin 40, Bybit 36: letters, digits, hyphen and underscore.
CLIENT_ID_CHARS = 32
ENTRY = "entry"
# One ledger each: what decisions trade and what the portfolio holds never net against each other.
TRADING_ACCOUNT = "paper"
PORTFOLIO_ACCOUNT = "paper-portfolio"
ACCOUNTS = (TRADING_ACCOUNT, PORTFOLIO_ACCOUNT)


class OrderState(StrEnum):
    """Where an order stands; the last six are final.

    `unknown`: it was, or may have been, sent, and nobody knows what became of it. `quarantined`: the venue did not know
    it when its window was over; should it turn up all the same, it is adopted.
    """

    INTENT = "intent"
    WORKING = "working"
    UNKNOWN = "unknown"
    FILLED = "filled"
    CANCELED = "canceled"
    REJECTED = "rejected"
    EXPIRED = "expired"
    WITHDRAWN = "withdrawn"
    QUARANTINED = "quarantined"

    @property
    def final(self) -> bool:
        """Whether nothing more is expected of the order."""
        return self not in (OrderState.INTENT, OrderState.WORKING, OrderState.UNKNOWN)


def opposite(side: Side) -> Side:
    """Returns the other side."""
    return "sell" if side == "buy" else "buy"


def client_order_id(namespace: str, account: str, source: str, leg: str) -> str:
    """Returns the order's name at the venue, 32 characters: from what it is for, never from the attempt (R2).

    Args:
        namespace: of this database, so that two of them on one venue never meet (`Orders.namespace`).
        account: the account it is for.
        source: `decision:17`, `trade:4`.
        leg: `entry`, `stop:1` …
    """
    digest = hashlib.sha256(f"{namespace}\n{account}\n{source}\n{leg}".encode()).digest()
    return "aa" + base64.b32encode(digest).decode().lower().rstrip("=")[: CLIENT_ID_CHARS - 2]


@dataclass(frozen=True, slots=True)
class NewRiskApproval:
    """What risk lets through, once: an order over the same source and content, no larger, no more leveraged.

    Attributes:
        source: `decision:17`, `trade:4`; a source has at most one approval, ever.
        source_hash: content hash of what was decided.
        account: the account it is for.
        symbol: unified name.
        side: of the entry.
        quantity: at most, in base currency.
        leverage: at most.
        entry_price: what the figures rest on, in quote currency.
        limit_price: an entry may not be worse than this; None: wherever the book's ninth level is.
        stop_price: where the position's first stop goes.
        take_profit_price: where its profit is taken; None: nowhere.
        reduce_only: it only makes a position smaller (the portfolio's sells).
        expires_after_s: from being stored, by the database's clock.
        book_version: of the books (`AccountSnapshot.version`) that were assessed.
    """

    source: str
    source_hash: str
    account: str
    symbol: str
    side: Side
    quantity: Decimal
    leverage: Decimal
    entry_price: Decimal
    limit_price: Decimal | None
    stop_price: Decimal | None
    take_profit_price: Decimal | None
    reduce_only: bool
    expires_after_s: float
    book_version: int


@dataclass(frozen=True, slots=True)
class RiskApproval:
    """A stored approval; `used_at` is when an entry order used it up, None while none has."""

    id: int
    run_id: int
    source: str
    source_hash: str
    account: str
    symbol: str
    side: Side
    quantity: Decimal
    leverage: Decimal
    entry_price: Decimal
    limit_price: Decimal | None
    stop_price: Decimal | None
    take_profit_price: Decimal | None
    reduce_only: bool
    created_at: datetime
    expires_at: datetime
    used_at: datetime | None
    expired: bool = False
    """By the database's clock, when it was read."""


@dataclass(frozen=True, slots=True)
class NewOrder:
    """An order about to be written down, before anything is sent. Prices and quantities are on the venue's grid."""

    approval_id: int
    source: str
    source_hash: str
    account: str
    leg: str
    symbol: str
    side: Side
    type: OrderType
    quantity: Decimal
    leverage: Decimal
    price: Decimal | None = None
    trigger_price: Decimal | None = None
    reduce_only: bool = False


@dataclass(frozen=True, slots=True)
class Order:
    """A stored order.

    Attributes:
        stop_epoch: that was in force when it was written down; it may be sent under no other.
        filled: quantity of its fills, from the fills themselves.
        reported: what the venue said is filled; beyond `filled` while the fills themselves are still to be booked.
    """

    id: int
    client_order_id: str
    approval_id: int
    source: str
    source_hash: str
    account: str
    leg: str
    symbol: str
    side: Side
    type: OrderType
    quantity: Decimal
    leverage: Decimal
    price: Decimal | None
    trigger_price: Decimal | None
    reduce_only: bool
    state: OrderState
    stop_epoch: int
    filled: Decimal
    venue_order_id: str | None
    reason: str | None
    created_at: datetime
    age_s: float
    """Since it was written down, by the database's clock."""
    reported: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True)
class Intent:
    """An order as it was written down; `created` is False when its leg was written down before, by whomever."""

    order: Order
    created: bool


VenueState = Literal["working", "filled", "canceled", "rejected", "expired"]


@dataclass(frozen=True, slots=True)
class VenueOrder:
    """An order as the venue knows it. `created_at` is None where the venue does not say."""

    venue_order_id: str
    client_order_id: str | None
    symbol: str
    side: Side
    type: OrderType
    state: VenueState
    quantity: Decimal
    filled: Decimal
    price: Decimal | None
    trigger_price: Decimal | None
    reduce_only: bool
    created_at: datetime | None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class VenueFill:
    """One trade of ours, unique by (account, trade_id). `fee` in quote currency, positive when paid."""

    account: str
    trade_id: str
    venue_order_id: str
    client_order_id: str | None
    symbol: str
    side: Side
    quantity: Decimal
    price: Decimal
    fee: Decimal
    liquidity: Literal["maker", "taker"]
    filled_at: datetime


@dataclass(frozen=True, slots=True)
class CashFlow:
    """Money that moved without a trade, unique by (account, flow_id): positive came in. In quote currency."""

    account: str
    flow_id: str
    kind: Literal["deposit", "withdrawal", "funding", "liquidation_fee"]
    symbol: str | None
    amount: Decimal
    at: datetime


@dataclass(frozen=True, slots=True)
class VenuePosition:
    """A position as the venue knows it; `quantity` is signed: a short's is negative."""

    symbol: str
    quantity: Decimal
    average_entry: Decimal


def venue_state_of(order: VenueOrder) -> OrderState:
    """Returns what the venue's word for an order's state is in our books."""
    return _STATES[order.state]


_STATES: Mapping[VenueState, OrderState] = {
    "working": OrderState.WORKING,
    "filled": OrderState.FILLED,
    "canceled": OrderState.CANCELED,
    "rejected": OrderState.REJECTED,
    "expired": OrderState.EXPIRED,
}
