"""What differs between our books of an account and the venue's. Pure: who looks, and what is done, is the service's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from aaos.domain.orders import Order, OrderState, VenueOrder, VenuePosition
from aaos.domain.positions import Position

# Averages of entries are rounded differently here and there. Far below the fee of the smallest order a venue takes
# (5 in quote currency at 0.02 %: 0.001), so that no lost fill, fee or funding hides under it.
CASH_TOLERANCE = Decimal("0.0001")
ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing the two books do not agree about, in words and figures."""

    what: Literal["position", "cash", "order"]
    subject: str
    ours: str
    theirs: str

    def __str__(self) -> str:
        """As an alert says it."""
        return f"{self.what} {self.subject}: {self.ours} here, {self.theirs} at the venue"


@dataclass(frozen=True, slots=True)
class OrderComparison:
    """Our unsettled orders beside the venue's open ones.

    Attributes:
        settle: the venue says something new of them.
        ask: not among the open: they ended, or are not known; to be asked for by their names.
        strangers: open ones that are none of these: settled here, or not ours at all.
        differences: under our names, and yet something else than we wrote down.
    """

    settle: tuple[tuple[Order, VenueOrder], ...] = ()
    ask: tuple[Order, ...] = ()
    strangers: tuple[VenueOrder, ...] = ()
    differences: tuple[Difference, ...] = ()


def compare_orders(ours: Sequence[Order], theirs: Sequence[VenueOrder], in_flight_s: float) -> OrderComparison:
    """Returns what to do about each order; each of ours is settled, asked for, or as the venue has it.

    Args:
        ours: unsettled orders, read before the venue's.
        theirs: the venue's open orders.
        in_flight_s: an intent younger than this is left alone: somebody is just sending it.
    """
    listed = {each.client_order_id: each for each in theirs if each.client_order_id is not None}
    names = {order.client_order_id for order in ours}
    settle, ask, differences = [], [], list(_doubled(theirs))
    for order in ours:
        seen = listed.get(order.client_order_id)
        if seen is None:
            if order.state is not OrderState.INTENT or order.age_s >= in_flight_s:
                ask.append(order)
            continue
        differences.extend(_unlike(order, seen))
        if order.state is not OrderState.WORKING or order.venue_order_id != seen.venue_order_id:
            settle.append((order, seen))
    strangers = tuple(each for each in theirs if each.client_order_id not in names)
    return OrderComparison(tuple(settle), tuple(ask), strangers, tuple(differences))


def foreign_orders(strangers: Sequence[VenueOrder], known: Mapping[str, Order]) -> tuple[VenueOrder, ...]:
    """Returns those that nobody here has written down."""
    return tuple(each for each in strangers if each.client_order_id is None or each.client_order_id not in known)


def revived(order: Order, seen: VenueOrder | None) -> Difference | None:
    """Returns the difference when an order that has ended here is still working there."""
    if seen is None or seen.state != "working" or not order.state.final:
        return None
    return Difference("order", order.client_order_id, order.state.value, seen.state)


def compare_holdings(
    ours: Sequence[Position], theirs: Sequence[VenuePosition], our_cash: Decimal, their_cash: Decimal
) -> tuple[Difference, ...]:
    """Returns where positions (signed, base currency) and cash (quote currency) differ; none: the books agree (R4).

    Cash is compared after taking back what open positions cost (cash − Σ quantity × average entry): when a trade is
    told late, two ledgers have split it differently between what is realised and what is still open, and that sum is
    the same in any order. While positions differ, cash says nothing.
    """
    here, there = _summed(ours), _summed(theirs)
    differences = [
        Difference("position", symbol, str(here.get(symbol, ZERO)), str(there.get(symbol, ZERO)))
        for symbol in sorted(here.keys() | there.keys())
        if here.get(symbol, ZERO) != there.get(symbol, ZERO)
    ]
    if not differences and abs(_flat_cash(our_cash, ours) - _flat_cash(their_cash, theirs)) > CASH_TOLERANCE:
        differences.append(Difference("cash", "of the account", str(our_cash), str(their_cash)))
    return tuple(differences)


def _flat_cash(cash: Decimal, positions: Sequence[Position] | Sequence[VenuePosition]) -> Decimal:
    """Returns what the cash would be, had open positions only been paid for, in quote currency."""
    return cash - sum((each.quantity * each.average_entry for each in positions), ZERO)


def _summed(positions: Sequence[Position] | Sequence[VenuePosition]) -> dict[str, Decimal]:
    quantities: dict[str, Decimal] = {}
    for each in positions:
        quantities[each.symbol] = quantities.get(each.symbol, ZERO) + each.quantity
    return quantities


def _doubled(theirs: Sequence[VenueOrder]) -> list[Difference]:
    """Two open orders under one name: what a second sending would look like (R2)."""
    counts = Counter(each.client_order_id for each in theirs if each.client_order_id is not None)
    return [Difference("order", name, "1", f"{count} under one name") for name, count in counts.items() if count > 1]


def _unlike(order: Order, seen: VenueOrder) -> list[Difference]:
    here = (order.symbol, order.side, order.type, order.quantity, order.reduce_only)
    there = (seen.symbol, seen.side, seen.type, seen.quantity, seen.reduce_only)
    if here == there:
        return []
    return [Difference("order", order.client_order_id, " ".join(map(str, here)), " ".join(map(str, there)))]
