"""A trade that a rebalance planned for later."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Literal

from aaos.domain.order_book import Side

TradeState = Literal["planned", "released", "done", "skipped", "expired"]


@dataclass(frozen=True, slots=True)
class NewTrade:
    """One trade of a rebalance: `batch` counts from 0; sells of a rebalance end before its buys are released.

    `quantity` in base currency, on the venue's grid; `due_after_s` from the rebalance's end, by the database's clock.
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
