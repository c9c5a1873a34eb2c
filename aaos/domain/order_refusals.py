"""What an order must be to be written down (R1): the rules that the database's triggers hold, by the same names. Pure.

The rules stand in migration 0005, where nobody gets round them; here they are for the tables in memory, and for saying
in words what was refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from aaos.domain.audit import AuditEntry
from aaos.domain.execution.rules import ExecutionRules
from aaos.domain.orders import ENTRY, Denial, NewOrder, NewRiskApproval, Order, OrderState, RiskApproval
from aaos.domain.runs import NewAlert
from aaos.errors import EntriesHeld, InputError, OrderDenied, RiskBookMoved

# A send takes its time limit and what the venue takes to show it; then nobody is at work on that intent any more.
INTENT_GRACE_S = 10.0
# Between two tries of an entry that is held: the watch settles what is unknown about as often.
HELD_RETRY_S = 2.0

# Rule → what callers do about its breach, and what it says in words.
RULES: Mapping[str, tuple[Denial, str]] = {
    "approval_exists": ("NO_APPROVAL", "there is no such approval"),
    "approval_is_of_this": ("NO_APPROVAL", "its approval is over another source, content, account or symbol"),
    "leverage_is_approved": ("NO_APPROVAL", "its leverage is higher than approved"),
    "trading_is_not_stopped": ("TRADING_STOPPED", "trading is stopped; `aaos resume` lets entries through again"),
    "approval_unused": ("NO_APPROVAL", "its approval is used up"),
    "approval_unexpired": ("APPROVAL_EXPIRED", "its approval has expired"),
    "side_is_approved": ("NO_APPROVAL", "the other side, or the other effect on the position, was approved"),
    "quantity_is_approved": ("NO_APPROVAL", "it is larger than approved"),
    "price_is_approved": ("NO_APPROVAL", "its price is worse than approved"),
    "exits_only_reduce": ("NO_APPROVAL", "only an entry may make a position larger"),
    "exits_follow_an_entry": ("NO_APPROVAL", "no entry has used its approval"),
    "exits_are_on_the_other_side": ("NO_APPROVAL", "an exit is on the side that closes"),
    "exits_close_what_is_open": ("NO_APPROVAL", "it is larger than what there is to close"),
}


def order_denied(rule: str, order: NewOrder) -> OrderDenied:
    """Returns the error for an order that breaks a rule of `RULES`."""
    code, why = RULES[rule]
    return OrderDenied(
        f"{order.leg} of {order.source} ({order.side} {order.quantity} {order.symbol}) was not written down: {why}",
        code,
    )


def expired_unsent(order_id: int) -> OrderDenied:
    """Returns the error for an entry that was written down in time and is to be sent too late."""
    code, why = RULES["approval_unexpired"]
    return OrderDenied(f"entry {order_id} was not sent: {why} since it was written down", code)


def broken_rule(
    order: NewOrder, approval: RiskApproval | None, *, stopped: bool, closable: Decimal | None = None
) -> str | None:
    """Returns the first rule that the order breaks, None when it may be written down.

    Args:
        order: of any leg.
        approval: the one it names; None where there is none.
        stopped: whether entries are stopped.
        closable: for other legs than the entry: how much there is to close (see `closable`); None for nothing.
    """
    if approval is None:
        return "approval_exists"
    if _over(approval) != (order.source, order.source_hash, order.account, order.symbol):
        return "approval_is_of_this"
    if order.leverage > approval.leverage:
        return "leverage_is_approved"
    if order.leg != ENTRY:
        return _exit_breaks(order, approval, closable)
    rules = (
        (stopped, "trading_is_not_stopped"),
        (approval.used_at is not None, "approval_unused"),
        (approval.expired, "approval_unexpired"),
        ((order.side, order.reduce_only) != (approval.side, approval.reduce_only), "side_is_approved"),
        (order.quantity > approval.quantity, "quantity_is_approved"),
        (_is_worse(order, approval.limit_price), "price_is_approved"),
    )
    return next((rule for broken, rule in rules if broken), None)


def _over(approval: RiskApproval) -> tuple[str, str, str, str]:
    return approval.source, approval.source_hash, approval.account, approval.symbol


def _is_worse(order: NewOrder, limit: Decimal | None) -> bool:
    if limit is None:
        return False
    return order.price is None or (order.price > limit if order.side == "buy" else order.price < limit)


def _exit_breaks(order: NewOrder, approval: RiskApproval, closable: Decimal | None) -> str | None:
    rules = (
        (not order.reduce_only, "exits_only_reduce"),
        (approval.used_at is None, "exits_follow_an_entry"),
        ((order.side == approval.side) != approval.reduce_only, "exits_are_on_the_other_side"),
        (closable is None or order.quantity > closable, "exits_close_what_is_open"),
    )
    return next((rule for broken, rule in rules if broken), None)


def books_have_moved(approval: NewRiskApproval, version: int) -> RiskBookMoved:
    """Returns the error for an approval whose books are at another version by now."""
    return RiskBookMoved(
        f"{approval.source} was assessed on version {approval.book_version} of the books of {approval.account}, "
        f"which are at {version} by now: it is assessed again"
    )


def approved_before(source: str) -> InputError:
    """Returns the error for a second approval of one source."""
    return InputError(f"{source} has an approval already: a source has one, ever")


def entries_held(why: str) -> EntriesHeld:
    """Returns the error for an entry that has to wait for what is unclear."""
    return EntriesHeld(f"no entry now: {why}; `aaos orders` lists what is not settled", HELD_RETRY_S)


def no_such_order(order_id: int) -> InputError:
    """Returns the error for an id that no order has."""
    return InputError(f"no order {order_id}; `aaos orders` lists the newest")


def not_quarantined(order: Order) -> InputError:
    """Returns the error for the release of an order that holds nothing back."""
    return InputError(
        f"order {order.id} is {order.state}: only a quarantined one is released; "
        f"`aaos orders --state {OrderState.QUARANTINED}` lists them"
    )


def quarantine_alert(order: Order, reason: str) -> NewAlert:
    """Returns what an operator should see of a quarantine."""
    then = "it holds nothing back, and is cancelled should it turn up once nothing needs it"
    if order.leg == ENTRY:
        then = f"entries of {order.symbol} wait until it is found or released"
    message = (
        f"order {order.id} ({order.leg} of {order.source}: {order.side} {order.quantity} {order.symbol}) is "
        f"quarantined ({reason}); {then}"
    )
    details = {"order_id": order.id, "client_order_id": order.client_order_id, "account": order.account}
    return NewAlert("order_quarantined", message, details)


def release_entry(order: Order, by: str, reason: str) -> AuditEntry:
    """Returns the audit entry of a release."""
    details = {"reason": reason, "client_order_id": order.client_order_id, "symbol": order.symbol}
    return AuditEntry("order.released", by, f"order:{order.id}", details)


def intent_is_old_after_s(rules: ExecutionRules) -> float:
    """Returns from which age (seconds) on an intent holds entries back."""
    return rules.visible_within_s + INTENT_GRACE_S
