"""What tests of the trading store begin with: an approval, its entry, what the venue says of them."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from itertools import count
from typing import Any

from support.worlds import World, analysis, taken

from aaos.domain.orders import NewOrder, NewRiskApproval, Order, RiskApproval, VenueFill, VenueOrder, opposite
from aaos.domain.runs import ClaimedRun, Completed

ACCOUNT = "paper"
SYMBOL = "BTC/USDT"
FILLED_AT = datetime(2026, 1, 1, 12, tzinfo=UTC)
_numbers = count(1)


def new_approval(world: World, source: str = "decision:1", **changes: Any) -> NewRiskApproval:
    """Returns an approval to buy 2 BTC at 100 with a leverage of 5, on the account's books as they stand."""
    account = changes.get("account", ACCOUNT)
    fields: dict[str, Any] = {
        "source": source,
        "source_hash": f"hash of {source}",
        "account": account,
        "symbol": SYMBOL,
        "side": "buy",
        "quantity": Decimal(2),
        "leverage": Decimal(5),
        "entry_price": Decimal(100),
        "limit_price": Decimal(101),
        "stop_price": Decimal(98),
        "take_profit_price": Decimal(104),
        "reduce_only": False,
        "expires_after_s": 60.0,
        "book_version": world.desk.snapshot(account).version,
    }
    return NewRiskApproval(**(fields | changes))


def assessing(world: World, source: str = "decision:1") -> ClaimedRun:
    """Returns the claim of a risk run for that source."""
    runs = world.runs()
    spec = analysis(kind="risk_assessment", request_key=f"risk:{source}:{next(_numbers)}", params={"source": source})
    run_id, _ = runs.insert_request(spec)
    return taken(runs, run_id)


def approved(world: World, source: str = "decision:1", **changes: Any) -> RiskApproval:
    """Stores an approval the way risk does, with its run, and returns it."""
    new = new_approval(world, source, **changes)
    world.runs().complete(assessing(world, source), Completed({"approved": True}, approval=new), False)
    stored = world.desk.of_source(source)
    assert stored is not None
    return stored


def entry(approval: RiskApproval, **changes: Any) -> NewOrder:
    """Returns the entry that the approval is for, all of it."""
    fields: dict[str, Any] = {
        "approval_id": approval.id,
        "source": approval.source,
        "source_hash": approval.source_hash,
        "account": approval.account,
        "leg": "entry",
        "symbol": approval.symbol,
        "side": approval.side,
        "type": "limit",
        "quantity": approval.quantity,
        "leverage": approval.leverage,
        "price": approval.entry_price,
        "reduce_only": approval.reduce_only,
    }
    return NewOrder(**(fields | changes))


def stop(approval: RiskApproval, **changes: Any) -> NewOrder:
    """Returns the first protective stop of the approval's position."""
    legs: dict[str, Any] = {
        "leg": "stop:1",
        "side": opposite(approval.side),
        "type": "stop_market",
        "price": None,
        "trigger_price": approval.stop_price,
        "reduce_only": True,
    }
    return entry(approval, **(legs | changes))


def seen(order: Order, state: str = "working", **changes: Any) -> VenueOrder:
    """Returns what the venue says of an order."""
    fields: dict[str, Any] = {
        "venue_order_id": f"v{order.id}",
        "client_order_id": order.client_order_id,
        "symbol": order.symbol,
        "side": order.side,
        "type": order.type,
        "state": state,
        "quantity": order.quantity,
        "filled": order.quantity if state == "filled" else Decimal(0),
        "price": order.price,
        "trigger_price": order.trigger_price,
        "reduce_only": order.reduce_only,
        "created_at": FILLED_AT,
    }
    return VenueOrder(**(fields | changes))


def trade(order: Order, quantity: object = None, price: object = 100, **changes: Any) -> VenueFill:
    """Returns a trade of the order: all of it, at 100, for a fee of 0.1, unless said otherwise."""
    fields: dict[str, Any] = {
        "account": order.account,
        "trade_id": f"t{next(_numbers)}",
        "venue_order_id": f"v{order.id}",
        "client_order_id": order.client_order_id,
        "symbol": order.symbol,
        "side": order.side,
        "quantity": order.quantity if quantity is None else Decimal(str(quantity)),
        "price": Decimal(str(price)),
        "fee": Decimal("0.1"),
        "liquidity": "maker",
        "filled_at": FILLED_AT,
    }
    return VenueFill(**(fields | changes))


def opened(world: World, source: str = "decision:1", **changes: Any) -> tuple[RiskApproval, Order]:
    """Approves, orders and fills an entry; returns its approval and the order."""
    approval = approved(world, source, **changes)
    order = world.orders.intend(entry(approval)).order
    world.orders.settle(order.id, seen(order, "filled"))
    world.books.book(order.account, [trade(order)], [])
    return approval, world.orders.order(order.id)
